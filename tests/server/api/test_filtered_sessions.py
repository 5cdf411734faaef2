"""``GET /sessions`` takes the filters and the orders of the page."""

from collections.abc import Sequence
from typing import Any

import pytest


@pytest.fixture
def chats(client: Any, unique: str) -> Sequence[str]:
    """Three sessions of a project with 1, 2 and 3 datapoints and rising costs."""
    session_ids = [client.new_session() for _ in range(3)]
    for number, session_id in enumerate(session_ids, 1):
        logs = [{"project": unique, "session_id": session_id, "output_cost": 0.01 * number}] * number
        logs[0] |= {"config": {"type": "model", "model": f"{unique}-{number}"}, "output": f"shoes {number}"}
        client.ok("POST", "/logs", json=logs)
    return session_ids


def _found(client: Any, **parameters: Any) -> list[str]:
    page = client.ok("GET", "/sessions", params=parameters)
    assert page["total"] >= len(page["records"])
    return [record["id"] for record in page["records"]]


def test_a_filter_finds_what_it_finds_on_the_page(client: Any, chats: Sequence[str], unique: str) -> None:
    """Any filter that can be typed there; the newest session comes first."""
    first, second, third = chats
    of_project = f"project:{unique}"
    assert _found(client, q=of_project) == [third, second, first]
    assert _found(client, q=f"{of_project} model:{unique}-2") == [second]
    assert _found(client, q=f'{of_project} "SHOES 1"') == [first]
    assert _found(client, q=f"{of_project} cost>0.03") == [third, second]
    assert _found(client, q=f"{of_project} -datapoints:2") == [third, first]
    assert _found(client, q=f"{of_project} model:{unique}-4") == []


def test_a_filter_and_a_project_both_hold(client: Any, chats: Sequence[str], unique: str) -> None:
    """The parameter of v4 keeps its meaning, and the filter selects among its sessions."""
    project_id = client.ok("GET", f"/sessions/{chats[0]}")["projects"][0]["id"]
    assert _found(client, project_id=project_id, q="datapoints>1") == [chats[2], chats[1]]
    other = client.log(project=f"{unique} other", session_id=chats[1])["project_id"]
    assert _found(client, project_id=other, q="datapoints>1") == [chats[1]]


def test_one_of_many_projects_is_told_from_another(client: Any, unique: str) -> None:
    """More than 63 share their bits, so that some are looked up in the table that the search reads, too."""
    names = [f"{unique} {number}" for number in range(64)]
    logs = [{"project": name, "session_reference_id": unique} for name in names]
    logged = client.ok("POST", "/logs", json=logs)
    first, *others = [log["project_id"] for log in logged]
    without = client.log(project=names[0], session_reference_id=f"{unique} without")["session_id"]
    everything = client.log(project=names[0], session_reference_id=unique)["session_id"]
    assert _found(client, q=f"project:{first}") == [without, everything]
    for start in range(0, len(others), 16):
        some = others[start : start + 16]
        assert _found(client, q=" ".join([f"project:{first}", *(f"-project:{id_}" for id_ in some)])) == [
            without
        ]
        assert _found(client, q=" ".join(f"project:{id_}" for id_ in [first, *some])) == [everything]


def test_the_list_comes_in_the_order_that_is_asked_for(
    client: Any, chats: Sequence[str], unique: str
) -> None:
    """In the order of a column, with a minus the greatest first, page after page."""
    in_order = [_found(client, q=f"project:{unique}", sort="cost", page=page, size=2) for page in (1, 2, 3)]
    assert in_order == [[*chats[:2]], [chats[2]], []]
    assert _found(client, q=f"project:{unique}", sort="-cost", size=1) == [chats[2]]


def test_all_that_is_found_is_counted(client: Any, chats: Sequence[str], unique: str) -> None:
    """``total`` counts the sessions of all pages."""
    page = client.ok("GET", "/sessions", params={"q": f"project:{unique}", "size": 1, "page": 2})
    assert page["total"] == len(chats)
    assert [record["id"] for record in page["records"]] == [chats[1]]


@pytest.mark.parametrize(
    ("parameters", "parameter", "message"),
    [
        ({"q": "cost>much"}, "q", "at character 6"),
        ({"q": "colour:red"}, "q", "colour"),
        ({"q": "a" * 1001}, "q", "1,000"),
        ({"sort": "colour"}, "sort", "began, active"),
        ({"q": "errors>0", "page": 101, "size": 100}, "page", "10000 sessions"),
        ({"from": "2026-11-22"}, "from", "not supported"),
    ],
)
def test_what_cannot_be_understood_is_told(
    parameters: dict[str, Any], parameter: str, message: str, client: Any
) -> None:
    """The answer names the parameter, and the place in it."""
    answer = client("GET", "/sessions", params=parameters)
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert detail["loc"] == ["query", parameter]
    assert message in detail["msg"]


def test_an_unknown_project_is_no_project_without_sessions(client: Any) -> None:
    """It is 404, with or without a filter."""
    answer = client("GET", "/sessions", params={"project_id": f"pr_{'A' * 24}", "q": "errors>0"})
    assert answer.status_code == 404
    assert "no project" in answer.json()["detail"]


def test_a_session_does_not_come_before_itself(client: Any, unique: str) -> None:
    """That would be an endless chain."""
    session_id = client.ok("POST", "/sessions", json={"reference_id": unique})["id"]
    for name in (f"/sessions/{session_id}", f"/sessions?reference_id={unique}"):
        answer = client("PATCH", name, json={"previous_id": session_id})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "previous_id"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_session_that_is_gone_is_told_so(method: str, client: Any) -> None:
    """The answer names the session, so that a late ``ended_at`` or deletion can be recognised."""
    session_id = client.new_session()
    client("DELETE", f"/sessions/{session_id}")
    answer = client(method, f"/sessions/{session_id}", json={"ended_at": "2026-11-29T10:00:00Z"})
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"There is no session '{session_id}': it was deleted, or never existed"
