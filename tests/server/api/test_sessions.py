import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
import requests

from tests.waiting import PATIENCE


def test_a_new_session_has_an_unguessable_id_and_nothing_else(client: Any) -> None:
    """Creating takes an empty body without a content type, and answers 201 with the ID only."""
    response = client("POST", "/sessions")
    assert "Content-Type" not in response.request.headers
    assert response.status_code == 201
    assert list(response.json()) == ["id"]
    assert re.fullmatch(r"sesh_[A-Za-z0-9_-]{20,}", response.json()["id"])


def test_ids_begin_with_the_time(client: Any) -> None:
    """IDs of the same time are neighbours in the indexes of a database, so they change few pages."""
    beginnings = [client.new_session()[: len("sesh_") + 8] for _ in range(10)]
    assert beginnings == sorted(beginnings)


def test_an_empty_session_leaves_out_what_has_no_value(client: Any) -> None:
    """The optional fields of a session are absent, never null."""
    session_id = client.new_session()
    session = client.ok("GET", f"/sessions/{session_id}")
    assert session.keys() == {"id", "projects", "datapoints_count", "created_at", "updated_at"}
    assert session["id"] == session_id
    assert session["projects"] == []
    assert session["datapoints_count"] == 0
    created_at = datetime.fromisoformat(session["created_at"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - created_at).total_seconds()) < 60


def test_a_session_sums_up_its_datapoints(client: Any, unique: str) -> None:
    """The inputs come from the first datapoint, the output from the last, and each project is named once."""
    session_id = client.new_session()
    before = client.ok("GET", f"/sessions/{session_id}")["updated_at"]
    first = client.log(project=unique, session_id=session_id, inputs={"question": "?"}, output="no")
    client.log(project=f"{unique} 2", session_id=session_id, inputs={"question": "!"}, output="maybe")
    client.log(project=unique, session_id=session_id, output="yes")
    session = client.ok("GET", f"/sessions/{session_id}")
    assert session["datapoints_count"] == 3
    assert session["first_inputs"] == {"question": "?"}
    assert session["last_output"] == "yes"
    assert [project["name"] for project in session["projects"]] == [unique, f"{unique} 2"]
    assert session["projects"][0]["id"] == first["project_id"]
    assert session["updated_at"] > before


def test_first_and_last_follow_the_times_that_the_caller_gave(client: Any, unique: str) -> None:
    """A datapoint that is logged late but was created early is the first one."""
    session_id = client.new_session()
    for day, name in ((2, "middle"), (3, "last"), (1, "first")):
        client.log(
            project=unique,
            session_id=session_id,
            created_at=f"2025-01-0{day}T00:00:00+02:00",
            inputs={"name": name},
            output=name,
        )
    session = client.ok("GET", f"/sessions/{session_id}")
    assert session["first_inputs"] == {"name": "first"}
    assert session["last_output"] == "last"


def test_pages_hold_the_sessions_of_the_project_newest_first(client: Any, unique: str) -> None:
    """Every session appears on exactly one page, in the reverse order of its creation."""
    session_ids = [client.new_session() for _ in range(5)]
    logs = [{"project": unique, "session_id": session_id} for session_id in [*session_ids, session_ids[0]]]
    project_id = client.ok("POST", "/logs", json=logs)[0]["project_id"]
    client.log(project=f"another than {unique}", session_id=client.new_session())
    pages = [
        client.ok("GET", "/sessions", params={"project_id": project_id, "page": page, "size": 2})
        for page in (1, 2, 3, 4)
    ]
    assert [[record["id"] for record in page["records"]] for page in pages] == [
        session_ids[:2:-1],
        session_ids[2:0:-1],
        session_ids[:1],
        [],
    ]
    assert [(page["page"], page["size"], page["total"]) for page in pages] == [
        (n, 2, 5) for n in (1, 2, 3, 4)
    ]


def test_the_first_page_holds_ten_sessions_unless_told_otherwise(client: Any, unique: str) -> None:
    """Page 1 and size 10 are the defaults."""
    logs = [{"project": unique, "session_reference_id": f"{unique} {n}"} for n in range(11)]
    project_id = client.ok("POST", "/logs", json=logs)[0]["project_id"]
    page = client.ok("GET", "/sessions", params={"project_id": project_id})
    assert (page["page"], page["size"], page["total"], len(page["records"])) == (1, 10, 11, 10)
    assert page["records"][0]["reference_id"] == f"{unique} 10"


@pytest.mark.parametrize(
    "parameters",
    [{"page": 0}, {"page": -1}, {"page": 10**30}, {"page": "x"}, {"size": 0}, {"size": 101}, {"size": 1.5}],
    ids=str,
)
def test_a_page_that_cannot_be_is_refused(client: Any, parameters: dict[str, Any]) -> None:
    """Pages count from 1 and hold 1 to 100 sessions."""
    response = client("GET", "/sessions", params={"project_id": "pr_any", **parameters})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", next(iter(parameters))]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sessions/sesh_AAAAAAAAAAAAAAAAAAAAAAAA", 404),
        ("/sessions?project_id=pr_AAAAAAAAAAAAAAAAAAAAAAAA", 404),
        ("/sessions/data_AAAAAAAAAAAAAAAAAAAAAAAA", 422),
        ("/sessions/sesh_%00", 422),
        ("/sessions/sesh_%0A", 422),
        ("/sessions?project_id=1", 422),
    ],
)
def test_an_unknown_id_is_not_found_and_a_malformed_one_invalid(client: Any, path: str, status: int) -> None:
    """404 is for IDs that are well-formed."""
    response = client("GET", path)
    assert response.status_code == status
    assert response.json().keys() == {"detail"}


def test_a_caller_tells_of_a_new_session(client: Any, unique: str) -> None:
    """The fields are in the answer. Old clients, which send none, see nothing of them."""
    told = {
        "reference_id": unique,
        "name": "Shoes",
        "user": "alice",
        "metadata": {"customer": "acme", "n": 1},
    }
    session_id = client.ok("POST", "/sessions", json=told)["id"]
    session = client.ok("GET", f"/sessions/{session_id}")
    assert {name: session[name] for name in told} == told
    assert client.log(project=unique, session_reference_id=unique)["session_id"] == session_id


def test_a_known_reference_id_makes_no_second_session(client: Any, unique: str) -> None:
    """Whether a datapoint or a call has named it first. Fields that are sent again change nothing."""
    by_log = client.log(project=unique, session_reference_id=unique)["session_id"]
    again = {"reference_id": unique, "name": "other"}
    assert client.ok("POST", "/sessions", json=again)["id"] == by_log
    assert "name" not in client.ok("GET", f"/sessions/{by_log}")


def test_simultaneous_sessions_of_a_reference_id_are_one(client: Any, base_url: str, unique: str) -> None:
    """The first caller creates it, and the others get its ID."""

    def create(_: int) -> Any:
        response = requests.post(f"{base_url}/sessions", json={"reference_id": unique}, timeout=PATIENCE)
        assert response.status_code == 201
        return response.json()["id"]

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(create, range(32)))) == 1


def test_a_session_is_changed(client: Any) -> None:
    """Fields that are not sent stay, metadata is replaced as a whole, and the session counts as changed."""
    session_id = client.ok("POST", "/sessions", json={"user": "alice", "metadata": {"a": 1}})["id"]
    before = client.ok("GET", f"/sessions/{session_id}")
    changes = {"name": "Shoes", "metadata": {"b": [2, None]}, "ended_at": "2026-01-02T03:04:05+02:00"}
    session = client.ok("PATCH", f"/sessions/{session_id}", json=changes)
    assert session == client.ok("GET", f"/sessions/{session_id}")
    assert session["user"] == "alice"
    assert (session["name"], session["metadata"]) == ("Shoes", {"b": [2, None]})
    assert session["ended_at"] == "2026-01-02T01:04:05Z"
    assert session["updated_at"] > before["updated_at"]
    assert client.ok("PATCH", f"/sessions/{session_id}", json={})["name"] == "Shoes"


def test_a_session_is_changed_by_its_reference_id(client: Any, unique: str) -> None:
    """Even if a datapoint has created it. A caller that wants no answer gets none."""
    parameters = {"reference_id": unique}
    assert client("PATCH", "/sessions", params=parameters, json={"name": "Shoes"}).status_code == 404
    session_id = client.log(project=unique, session_reference_id=unique)["session_id"]
    session = client.ok("PATCH", "/sessions", params=parameters, json={"name": "Shoes"})
    assert (session["id"], session["name"]) == (session_id, "Shoes")
    for path in (f"/sessions?reference_id={unique}", f"/sessions/{session_id}"):
        answer = client("PATCH", path, json={"user": "alice"}, headers={"Prefer": "return=minimal"})
        assert (answer.status_code, answer.content) == (204, b"")
    assert client.ok("GET", f"/sessions/{session_id}")["user"] == "alice"
    answer = client("PATCH", "/sessions", json={"name": "Shoes"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "reference_id"]


def test_a_session_names_the_one_before_it(client: Any) -> None:
    """That session need not exist, and may be sent later."""
    first = client.ok("POST", "/sessions", json={"previous_id": "sesh_deleted"})["id"]
    second = client.new_session()
    client.ok("PATCH", f"/sessions/{second}", json={"previous_id": first})
    assert client.ok("GET", f"/sessions/{first}")["previous_id"] == "sesh_deleted"
    assert client.ok("GET", f"/sessions/{second}")["previous_id"] == first


def test_a_session_is_deleted_with_its_datapoints(client: Any, unique: str) -> None:
    """Other sessions stay, and are counted as before."""
    session_id, other = client.new_session(), client.new_session()
    logs = [{"project": unique, "session_id": session_id} for _ in range(150)]
    created = client.ok("POST", "/logs", json=[*logs, {"project": unique, "session_id": other}])
    assert client("DELETE", f"/sessions/{session_id}").status_code == 204
    for method in ("GET", "DELETE"):
        assert client(method, f"/sessions/{session_id}").status_code == 404
    assert client("PATCH", f"/sessions/{session_id}", json={"name": "x"}).status_code == 404
    assert client("GET", f"/logs/{created[0]['id']}").status_code == 404
    assert client("GET", f"/logs/{created[-1]['id']}").status_code == 200
    project_id = created[0]["project_id"]
    assert client.ok("GET", f"/projects/{project_id}")["data_count"] == 1
    page = client.ok("GET", "/sessions", params={"project_id": project_id})
    assert ([record["id"] for record in page["records"]], page["total"]) == ([other], 1)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{", ["body"]),
        (b"[]", ["body"]),
        (b'{"reference_id": ""}', ["body", "reference_id"]),
        (b'{"user": 1}', ["body", "user"]),
        (b'{"metadata": []}', ["body", "metadata"]),
        (b'{"previous_id": "data_1"}', ["body", "previous_id"]),
        (b'{"metadata": {"a": "%s"}}' % (b"x" * 16_384), ["body", "metadata"]),
        (b'{"name": "%s"}' % (b"x" * 513), ["body", "name"]),
    ],
)
def test_what_is_told_is_checked(client: Any, body: bytes, place: list[str]) -> None:
    """An error names the field."""
    response = client("POST", "/sessions", data=body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == place


def test_a_moment_of_the_end_is_checked(client: Any) -> None:
    """Like all points in time."""
    response = client("PATCH", f"/sessions/{client.new_session()}", json={"ended_at": "yesterday"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "ended_at"]


def test_fields_that_a_session_has_not_are_named(client: Any) -> None:
    """They are not stored, and a header lists them."""
    response = client("POST", "/sessions", json={"user": "alice", "color": "red"})
    assert response.status_code == 201
    assert response.headers["X-Ignored-Fields"] == "color"


def test_all_sessions_are_listed_newest_first(client: Any) -> None:
    """With those without a datapoint, but not those of other organisations."""
    made = [client.new_session() for _ in range(3)]
    page = client.ok("GET", "/sessions", params={"size": 2})
    assert [record["id"] for record in page["records"]] == made[:0:-1]
    rest = client.ok("GET", "/sessions", params={"size": 2, "page": 2})
    assert rest["records"][0]["id"] == made[0]


def test_all_sessions_are_counted_exactly_up_to_a_limit(
    client: Any, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page tells the number of pages; beyond the limit, no page tells less than what follows."""

    def total(**parameters: int) -> int:
        counted: int = client.ok("GET", "/sessions", params=parameters)["total"]
        return counted

    client.new_session()
    before = total(size=1)
    logs = [{"project": unique, "session_reference_id": f"{unique} {n}"} for n in range(210)]
    client.ok("POST", "/logs", json=logs)
    assert total(size=1) == total(size=100) == before + 210
    monkeypatch.setattr("hl_sessions.server.records.sessions._MOST_COUNTED", 20)
    monkeypatch.setattr("hl_sessions.server.protocol.paging.MOST_COUNTED", 3)
    assert [total(size=1), total(size=100), total(size=100, page=2)] == [20, 103, 203]
