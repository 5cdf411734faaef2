import re
from datetime import datetime, timezone
from typing import Any

import pytest


def test_a_new_session_has_an_unguessable_id_and_nothing_else(client: Any) -> None:
    """Creating takes an empty body without a content type, and answers 201 with the ID only."""
    response = client("POST", "/sessions")
    assert "Content-Type" not in response.request.headers
    assert response.status_code == 201
    assert list(response.json()) == ["id"]
    assert re.fullmatch(r"sesh_[A-Za-z0-9_-]{20,}", response.json()["id"])


def test_ids_begin_with_the_time(client: Any) -> None:
    """IDs of one time are neighbours in the indexes of a database, and so change few pages of it."""
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
        ("/sessions", 422),
    ],
)
def test_an_unknown_id_is_not_found_and_a_malformed_one_invalid(client: Any, path: str, status: int) -> None:
    """404 says that the ID could have been one."""
    response = client("GET", path)
    assert response.status_code == status
    assert response.json().keys() == {"detail"}
