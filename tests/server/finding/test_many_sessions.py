"""Among many sessions, what is rare is found by indexes, and what is frequent among the newest first."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Connection, event, func, select

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.tables import session_totals, sessions
from hl_sessions.server.finding import few_sessions, session_search
from hl_sessions.server.finding.filters import Cursor, SessionFilter
from hl_sessions.server.finding.session_search import find_sessions, matching, sort_limit
from hl_sessions.server.records.frequent_members import give_bits
from hl_sessions.server.records.member_noting import set_some
from hl_sessions.server.records.organisations import DEFAULT_ORGANISATION, find_or_create_organisation
from hl_sessions.server.records.sessions import NewSession, create_sessions
from tests.servers import opened_database, served

SESSIONS = 12
RARE = [
    ("user:ben", [9, 6, 3, 0]),
    ("user:nobody", []),
    ('name="Red shoes 7"', [7]),
    ("reference:3", [3]),
    ("model:large-1", [10, 5, 0]),
    ("model:large-1 user:ben", [0]),
    ("source:unknown", []),
    ("feedback:rating=bad", [4]),
    ("feedback:note", []),
    ("model:large-1 datapoints>0 -errors>0", [10, 5, 0]),
    ('user:ben "shoe 6"', [6]),
    ("user:ben metadata.number>4", [9, 6]),
    ("project:shoes user:ben", [9, 6, 3, 0]),
]
FREQUENT = [
    ("feedback:rating", [8, 4, 0]),
    ("began>2026-01-01 model:large-1", [10, 5, 0]),
    ("name:shoes cost>=0.03", [11, 10, 9, 8, 7, 6, 5, 4, 3]),
    ("-user:ada", [9, 6, 3, 0]),
    ("-feedback:rating cost<0.07 -model:large-1", [6, 3, 2, 1]),
    ("cost>0.1", [11]),
    ("-project:shoes", []),
    ("project:shoes project:boots", [9, 5, 1]),
    ("project:boots cost>0.05", [9]),
    ("project:boots -project:shoes", []),
    ("-project:boots cost>0.05", [11, 10, 8, 7, 6]),
    ("-project:unknown cost>=0.1", [11, 10]),
    ("project:shoes project:unknown", []),
    ("feedback:rating=good feedback:rating=bad", []),
    ("feedback:rating feedback:score", [4]),
    ("feedback:score=5", [4]),
    ("feedback:rating -feedback:rating=bad", [8, 0]),
    ("metadata.parity=even metadata.plan=free", []),
    ("metadata.parity=odd metadata.plan=free", [11, 9, 7, 5, 3, 1]),
    ("metadata.parity=even metadata.tier=gold", [10, 8, 6]),
    ("metadata.tier=gold -metadata.parity=even", [11, 9, 7]),
    ("-metadata.parity=even -metadata.parity=odd", []),
    ("-metadata.tier=gold model:large-1", [5, 0]),
    ("-metadata.tier=gold", [5, 4, 3, 2, 1, 0]),
    ("-metadata.plan=free -metadata.tier=gold -metadata.number=2", [4, 0]),
    ("-metadata.score=0.5 -metadata.parity=odd", [8, 6, 4, 2]),
    ("metadata.parity=even cost>0.05 name:shoes", [10, 8, 6]),
    ("metadata.parity=odd began>2026-01-01", [11, 9, 7, 5, 3, 1]),
    ("metadata.tier=none", []),
    ("user:ada metadata.parity=even", [10, 8, 4, 2]),
    ("metadata.score=0.5", [10, 5, 0]),
    ("metadata.score=0.50", []),
    ("metadata.number=7", [7]),
    ("metadata.number>9 metadata.parity=odd", [11]),
    ("metadata.number>11", []),
]
LOOKS_AT_ALL = re.compile(r"SCAN (?:sessions|session_totals|session_labels|project_sessions|logs|feedback)\b")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A file with sessions of which each is rare in some way."""
    path = tmp_path_factory.mktemp("many") / "many.sqlite3"
    fill(path)
    with opened_database(path) as opened:
        yield opened


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The same in each kind of database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("file")
        return
    url = request.getfixturevalue("postgresql").new_database()
    fill(url)
    with opened_database(url) as opened:
        yield opened


def fill(database: str | Path) -> None:
    with served(database) as base_url, requests.Session() as http:

        def post(path: str, body: Any) -> Any:
            answer = http.post(base_url + path, json=body)
            assert answer.ok, answer.text
            return answer.json()

        for number in range(SESSIONS):
            user = "ada" if number % 3 else "ben"
            told = {"reference_id": str(number), "user": user, "name": f"Red shoes {number}"}
            post("/sessions", told | ({"metadata": {"tier": "gold"}} if number > 5 else {}))
        logged = post("/logs", [datapoint(number) for number in range(SESSIONS)])
        boots = [{"project": "boots", "session_reference_id": str(number)} for number in (1, 5, 9)]
        post("/logs", boots)
        post("/feedback", {"type": "score", "value": 5, "data_id": logged[4]["id"]})
        for number in range(0, SESSIONS, 4):
            value = "bad" if number == 4 else "good"
            post("/feedback", {"type": "rating", "value": value, "data_id": logged[number]["id"]})
    with opened_database(database) as opened:
        opened.write_now(note_some_members)


def note_some_members(connection: Connection) -> None:
    """Note members for the newer half of the sessions, as if the server had ended meanwhile."""
    organisation_id = find_or_create_organisation(connection, DEFAULT_ORGANISATION)
    members = [("parity", "even"), ("parity", "odd"), ("plan", "free"), ("tier", "gold"), ("score", "0.5")]
    give_bits(connection, organisation_id, members)
    assert set_some(connection, after=SESSIONS // 2) == SESSIONS
    noted = select(func.count()).where(session_totals.c.members != 0)
    assert connection.scalar(noted) == SESSIONS // 2


def datapoint(number: int) -> dict[str, Any]:
    return {
        "project": "shoes",
        "session_reference_id": str(number),
        "output": f"shoe {number}",
        "config": {"model": "small-1" if number % 5 else "large-1"},
        "metadata": {
            "number": number,
            "score": 0.5 if number % 5 == 0 else number / 3,
            "parity": "odd" if number % 2 else "even",
            "plan": "free" if number % 2 else "paid",
        },
        "output_cost": number / 100,
    }


def found(database: Database, filter_text: str, cursor: Cursor | None = None, size: int = 50) -> list[int]:
    """The numbers of the sessions that a filter finds, in the order of the list."""

    def query(connection: Connection) -> list[int]:
        organisation_id = find_or_create_organisation(connection, DEFAULT_ORGANISATION)
        wanted = SessionFilter.read({"q": filter_text})
        ids = find_sessions(connection, organisation_id, wanted, cursor or Cursor(), size).ids
        number_of = {row.id: row.reference_id for row in connection.execute(select(sessions))}
        every = connection.scalars(matching(connection, organisation_id, wanted)).all()
        assert len(every) >= len(ids)
        return [int(number_of[one]) for one in ids]

    return database.read_now(query)


@pytest.mark.parametrize(("filter_text", "expected"), RARE)
def test_what_is_rare_is_found_without_a_look_at_all_sessions(
    file: Database, filter_text: str, expected: Sequence[int]
) -> None:
    """With any further condition; the plan of the database shows it."""

    def query(connection: Connection, organisation_id: int) -> None:
        wanted = SessionFilter.read({"q": filter_text})
        assert len(find_sessions(connection, organisation_id, wanted, Cursor()).ids) == len(expected)

    assert [plan for plan in plans_of(file, query) if LOOKS_AT_ALL.match(plan)] == []


def test_a_session_is_made_without_a_look_at_all_others(file: Database) -> None:
    """Though its reference ID may be known."""

    def query(connection: Connection, organisation_id: int) -> None:
        create_sessions(connection, [NewSession(organisation_id, {"reference_id": "0"})])

    assert [plan for plan in plans_of(file, query) if LOOKS_AT_ALL.match(plan)] == []


def plans_of(file: Database, query: Callable[[Connection, int], None]) -> Sequence[str]:
    """How the database goes about the statements that read, each step with its statement."""
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            driver_connection = connection.connection.driver_connection
            rows = driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            plans.extend(f"{step}: {statement}" for *_, step in rows)

    def explained(connection: Connection) -> None:
        organisation_id = find_or_create_organisation(connection, DEFAULT_ORGANISATION)
        event.listen(connection, "before_cursor_execute", explain)
        query(connection, organisation_id)

    file.write_now(explained)
    assert plans
    return plans


@pytest.mark.parametrize("limits", [(5_000, 50_000, 250_000), (3, 2, 3), (0, 1, 0)])
@pytest.mark.parametrize(("filter_text", "expected"), [*RARE, *FREQUENT])
def test_the_same_is_found_whether_it_is_rare_or_not(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    filter_text: str,
    expected: Sequence[int],
    limits: tuple[int, int, int],
) -> None:
    """Where rare ends, and how many are looked at first, makes no difference to what is found."""
    few, newest, small = limits
    monkeypatch.setattr(few_sessions, "_FEW", few)
    monkeypatch.setattr(session_search, "_NEWEST", newest)
    monkeypatch.setattr(session_search, "_SMALL_PROJECT", small)
    assert found(database, filter_text) == expected


@pytest.mark.parametrize("newest", [1, 4, 50_000])
def test_parts_of_the_list_have_each_session_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    """Forwards, and back, however many sessions are looked at first."""
    monkeypatch.setattr(session_search, "_NEWEST", newest)
    id_of = database.read_now(
        lambda connection: {row.reference_id: row.id for row in connection.execute(select(sessions))}
    )
    filter_text = "cost>0.005 -model:large-1"
    every = [11, 9, 8, 7, 6, 4, 3, 2, 1]
    assert found(database, filter_text, size=2) == every[:2]
    for place in range(1, len(every)):
        session_id = id_of[str(every[place])]
        assert found(database, filter_text, Cursor(before=session_id), 2) == every[place + 1 : place + 3]
        assert found(database, filter_text, Cursor(after=session_id), 2) == every[max(0, place - 2) : place]


def test_a_list_says_how_many_are_sorted_only_if_there_are_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest first needs no sort, and so no limit."""

    def limit(sort: str | None) -> int | None:
        def query(connection: Connection) -> int | None:
            organisation_id = find_or_create_organisation(connection, DEFAULT_ORGANISATION)
            return sort_limit(connection, organisation_id, SessionFilter(sort=sort))

        return database.write_now(query)

    for most, expected in ((SESSIONS - 1, SESSIONS - 1), (SESSIONS, None)):
        monkeypatch.setattr(session_search, "MOST_SORTED", most)
        assert limit("-cost") == expected
        assert limit(None) is limit("began") is None
