"""Finding and deleting datapoints."""

from typing import Any

import psycopg
import pytest
import requests

from hl_sessions.server.protocol import paging
from tests.servers import served
from tests.waiting import PATIENCE

LOGS: list[dict[str, Any]] = [
    {"inputs": {"question": 'Why "so"?'}, "created_at": "2025-01-01T00:00:00Z"},
    {"output": "Übung macht den Meister", "created_at": "2025-01-01T23:59:59.999999Z"},
    {"messages": [{"role": "user", "content": "100%\n_sure_"}], "created_at": "2025-01-02T00:00:00Z"},
    {
        "output_message": {"role": "assistant", "content": "ПРИВЕТ"},
        "metadata": {"user": "Zoë", "n": 42},
        "created_at": "2025-01-03T12:00:00+02:00",
    },
]


@pytest.fixture
def project_id(client: Any, unique: str) -> str:
    """A project with the logs above."""
    created: list[dict[str, str]] = client.ok(
        "POST", "/logs", json=[{"project": unique, **log} for log in LOGS]
    )
    return created[0]["project_id"]


def found(client: Any, project_id: str, **parameters: Any) -> list[int]:
    """Return the names of the logs that are found, newest first."""
    page = client.ok("GET", "/logs", params={"project_id": project_id, **parameters})
    assert page["total"] == len(page["records"])
    days = {log["created_at"][:19]: number for number, log in enumerate(LOGS)}
    days["2025-01-03T10:00:00"] = 3
    return [days[log["created_at"][:19]] for log in page["records"]]


@pytest.mark.parametrize(
    ("search", "numbers"),
    [
        ("WHY", [0]),
        ('"so"?', [0]),
        ("übung", [1]),
        ("ÜBUNG MACHT", [1]),
        ("100%", [2]),
        ("%\n_", [2]),
        ("0_", []),
        ("_sure", [2]),
        ("привет", [3]),
        ("Zoë", []),
        ("\\", []),
        ("", [3, 2, 1, 0]),
    ],
)
def test_a_search_finds_a_text_in_what_went_in_or_came_out(
    client: Any, project_id: str, search: str, numbers: list[int]
) -> None:
    """Case does not matter in any alphabet, and no character is special."""
    assert found(client, project_id, search=search) == numbers


@pytest.mark.parametrize(
    ("search", "number"),
    [
        ("Ä*[Ü]?_%\\", 1),
        ("ä*[ü]?_%\\", 1),
        ("ä*ü", 0),
        ("ä?[", 0),
        ("ä_[", 0),
        ("[ü]", 1),
        ("ü^-ß", 1),
        ("Ü^-SS", 0),
        ("*x*Ø", 0),
        ("ΟΔΌΣ", 1),
        ("k\N{LATIN SMALL LETTER A WITH RING ABOVE}l", 1),
        ("漢ö", 1),
        ("😀Ö", 1),
    ],
)
def test_a_search_takes_every_sign_beside_letters_as_it_is(
    client: Any, unique: str, search: str, number: int
) -> None:
    """Databases have wildcards, and some know upper and lower case only from A to Z."""
    output = "x ä*[ü]?_%\\ Ü^-ß Οδός ΟΔΌΣ K\N{ANGSTROM SIGN}L 漢Ö 😀ö"
    project_id = client.log(project=unique, output=output)["project_id"]
    found = client.ok("GET", "/logs", params={"project_id": project_id, "search": search})
    assert found["total"] == number


@pytest.mark.parametrize(("search", "numbers"), [("zoË", [3]), ("42", [3]), ("Why", []), ("", [3, 2, 1, 0])])
def test_a_metadata_search_finds_a_text_in_the_metadata(
    client: Any, project_id: str, search: str, numbers: list[int]
) -> None:
    """It does not search other fields."""
    assert found(client, project_id, metadata_search=search) == numbers


@pytest.mark.parametrize(
    ("start", "end", "numbers"),
    [
        ("2025-01-02", None, [3, 2]),
        (None, "2025-01-01", [1, 0]),
        ("2025-01-02", "2025-01-02", [2]),
        ("2025-01-03T10:00:00Z", None, [3]),
        ("2025-01-03T12:00:00.000001+02:00", None, []),
        (None, "2025-01-02T00:00:00Z", [2, 1, 0]),
        ("0001-01-01", "9999-12-31", [3, 2, 1, 0]),
        ("2025-01-02", "2025-01-01", []),
    ],
)
def test_dates_bound_the_list(
    client: Any, project_id: str, start: str | None, end: str | None, numbers: list[int]
) -> None:
    """Both bounds are inclusive, and a date stands for its whole day."""
    assert found(client, project_id, start_date=start, end_date=end) == numbers


def test_filters_add_up(client: Any, project_id: str) -> None:
    """A datapoint must pass all of them. There are no committed configs here."""
    assert found(client, project_id, search="why", start_date="2025-01-02") == []
    assert found(client, project_id, search="why", end_date="2025-01-02", version_status="uncommitted") == [0]
    assert found(client, project_id, version_status="committed") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start_date", "0000-01-01"),
        ("end_date", "10000-01-01"),
        ("start_date", "2025-02-30"),
        ("end_date", "1736000000"),
        ("start_date", "9999-12-31T23:59:59-14:00"),
        ("search", "\0"),
        ("metadata_search", "a\0"),
        ("search", "x" * 1001),
        ("version_status", "new"),
        ("page", "-1"),
        ("size", "101"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(client: Any, project_id: str, name: str, value: str) -> None:
    """The 422 names the parameter."""
    response = client("GET", "/logs", params={"project_id": project_id, name: value})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", name]


def test_the_datapoints_of_a_session_are_listed(client: Any, unique: str) -> None:
    """Newest first, in pages, all of them or those that pass a filter, such as one project."""
    session_id, other = client.new_session(), client.new_session()
    logs = [
        {"project": f"{unique} {n % 2}", "session_id": session_id, "output": f"word {n}"} for n in range(5)
    ]
    created = client.ok("POST", "/logs", json=[*logs, {**logs[0], "session_id": other}])
    ids = [log["id"] for log in reversed(created[:5])]

    def page(**parameters: Any) -> tuple[list[str], int]:
        answer = client.ok("GET", "/logs", params={"session_id": session_id, **parameters})
        return [log["id"] for log in answer["records"]], answer["total"]

    assert page() == (ids, 5)
    assert [page(size=2, page=number) for number in (1, 2, 3, 4)] == [
        (ids[:2], 5),
        (ids[2:4], 5),
        (ids[4:], 5),
        ([], 5),
    ]
    assert page(search="WORD 3") == (ids[1:2], 1)
    assert page(project_id=created[1]["project_id"]) == (ids[1::2], 2)
    assert page(project_id=created[0]["project_id"], size=1) == (ids[:1], 3)
    gone = client("GET", "/logs", params={"session_id": "sesh_AAAAAAAAAAAAAAAAAAAAAAAA"})
    assert gone.status_code == 404
    assert "no session 'sesh_A" in gone.json()["detail"]


def test_datapoints_are_deleted(client: Any, unique: str) -> None:
    """Their feedback is deleted, too. Their session, and datapoints nested under them, stay."""
    session_id = client.new_session()
    first, second, third = client.ok(
        "POST", "/logs", json=[{"project": unique, "session_id": session_id, "output": n} for n in "123"]
    )
    child = client.log(project=unique, parent_id=second["id"], output="child")
    client.ok("POST", "/feedback", json={"type": "rating", "value": "bad", "data_id": second["id"]})
    response = client("DELETE", "/logs", params={"id": [first["id"], second["id"], second["id"]]})
    assert (response.status_code, response.content) == (204, b"")
    page = client.ok("GET", "/logs", params={"project_id": first["project_id"]})
    assert [log["id"] for log in page["records"]] == [child["id"], third["id"]]
    assert client("PATCH", f"/logs/{second['id']}", json={}).status_code == 404
    orphan = client.ok("GET", f"/logs/{child['id']}")
    assert "parent_id" not in orphan
    assert orphan["session_id"] == session_id
    assert client.ok("GET", f"/sessions/{session_id}")["datapoints_count"] == 2


def test_datapoints_are_deleted_together_or_not_at_all(client: Any, unique: str) -> None:
    """One unknown or malformed ID keeps all others."""
    log_id = client.log(project=unique)["id"]
    for other, status in (("data_AAAAAAAAAAAAAAAAAAAAAAAA", 404), ("x", 422)):
        assert client("DELETE", "/logs", params={"id": [log_id, other]}).status_code == status
    assert client("DELETE", "/logs").status_code == 422
    assert client("GET", f"/logs/{log_id}").status_code == 200


def test_a_deleted_reference_can_be_taken_again(client: Any, unique: str) -> None:
    """The reference ID of a deleted datapoint is free."""
    log_id = client.log(project=unique, reference_id=unique)["id"]
    assert client("DELETE", "/logs", params={"id": log_id}).status_code == 204
    assert client.log(project=unique, reference_id=unique)["id"] != log_id


@pytest.mark.parametrize(
    ("time_zone", "moment"),
    [("Europe/Berlin", "9999-12-31T23:30:00Z"), ("America/New_York", "0001-01-01T00:30:00Z")],
)
def test_the_time_zone_of_the_database_does_not_matter(postgresql: Any, time_zone: str, moment: str) -> None:
    """A time outside of that zone's calendar is listed as it was given, in UTC."""
    database = postgresql.new_database()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET timezone = '{time_zone}'")
    with served(database) as base_url:
        log = {"project": "p", "created_at": moment}
        project_id = requests.post(f"{base_url}/logs", json=log, timeout=PATIENCE).json()["project_id"]
        answer = requests.get(f"{base_url}/logs?project_id={project_id}", timeout=PATIENCE)
    assert answer.status_code == 200
    assert [record["created_at"] for record in answer.json()["records"]] == [moment]


def test_a_filtered_list_is_counted_a_bounded_way_ahead(
    client: Any, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The total is never less than the records that follow, so paging ends with the last record."""
    monkeypatch.setattr(paging, "MOST_COUNTED", 3)
    created = client.ok("POST", "/logs", json=[{"project": unique, "output": "word"}] * 10)
    totals, ids, page = [2], [], 0
    while page * 2 < totals[-1]:
        page += 1
        parameters = {"project_id": created[0]["project_id"], "search": "word", "page": page, "size": 2}
        answer = client.ok("GET", "/logs", params=parameters)
        totals.append(answer["total"])
        ids += [log["id"] for log in answer["records"]]
    assert totals == [2, 5, 7, 9, 10, 10]
    assert sorted(ids) == sorted(log["id"] for log in created)
