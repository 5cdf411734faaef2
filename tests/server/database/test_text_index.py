"""Searches find the same with the text index as without it, after any change of the datapoints."""

import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests
from alembic import command
from pydantic import TypeAdapter
from sqlalchemy import Connection, event, func, insert, select, update

from hl_sessions.server.database import search_index, search_indexing, search_signature
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.engines import for_migrating, for_writing, open_engine
from hl_sessions.server.database.migrating import alembic_config
from hl_sessions.server.database.search_index import Numbers, parts_to_search, read_segments
from hl_sessions.server.database.search_indexing import SearchIndexing
from hl_sessions.server.database.tables import (
    leases,
    logs,
    search_changes,
    search_numbers,
    search_segments,
    sessions,
)
from hl_sessions.server.finding import session_search
from hl_sessions.server.finding.filters import Cursor, SessionFilter
from hl_sessions.server.finding.session_page import list_found_sessions
from hl_sessions.server.finding.session_search import find_sessions, matching
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.requests import LogRequest, UpdateLogRequest
from hl_sessions.server.records.log_creation import create_logs
from hl_sessions.server.records.log_filter import LogFilter
from hl_sessions.server.records.logs import LogUpdate, delete_logs, list_logs, update_logs
from hl_sessions.server.records.organisations import find_or_create_organisation
from hl_sessions.server.records.sessions import update_session
from hl_sessions.server.settings import ServerSettings
from tests.servers import served
from tests.waiting import PATIENCE, wait_until

LOG_REQUESTS = TypeAdapter(list[LogRequest])
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
# Letters of several scripts in both cases, special characters, and characters that are no letters.
ALPHABETS = [
    "abcdeABCDE0123",
    "äöüßéÄÖÜẞÉİıiIſkKåÅÅ",  # noqa: RUF001 - they are here because they look alike
    "абвгдежАБВГДЕЖёЁ",
    "αβγσςΣΑΒΓ",
    "日本語学猫舌犬",
    "한국어말",
    "ไทยกขค",
    "\u1ebf\u1ec7\u1ebe\u1ec6ti\u0307",
    "🐈🐕😀",
    ' _-%*?[]\\"/\n\t\x7f\u3000“”…',
]


LOOKED_AT_TOGETHER = 8


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds an index even for a few datapoints."""
    monkeypatch.setattr(search_signature, "_FULL_BLOCK", 200)
    monkeypatch.setattr(search_signature, "_LARGEST_BLOCK", 3)
    monkeypatch.setattr(search_signature, "MOST_BLOCKS", 10)
    monkeypatch.setattr(search_indexing, "_FEWEST", 20)
    monkeypatch.setattr(search_indexing, "_MOST_WHILE_BUSY", 20)
    monkeypatch.setattr(search_indexing, "_REST", 0)
    monkeypatch.setattr(search_indexing, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(search_indexing, "_MOST_CHANGES", 5)
    monkeypatch.setattr(search_index, "_LOOKED_AT_TOGETHER", LOOKED_AT_TOGETHER)
    monkeypatch.setattr(search_index, "_FEW_BLOCKS", 2)
    monkeypatch.setattr(search_index, "_FEW_DATAPOINTS", 0)


class Server:
    """The database work of a server, without HTTP."""

    def __init__(self, database: str) -> None:
        self.database = Database.open(ServerSettings(database=database).database_url)
        self.organisation = self.database.write_now(
            lambda connection: find_or_create_organisation(connection, "default")
        )
        self.indexing = SearchIndexing(self.database)

    def log(self, *given: dict[str, Any]) -> list[dict[str, str]]:
        requests = LOG_REQUESTS.validate_python([{"project": "p"} | fields for fields in given])
        [created] = self.database.write_now(
            lambda connection: create_logs(connection, [(self.organisation, requests)])
        )
        assert isinstance(created, list)
        return created

    def change(self, log_id: str, **fields: Any) -> None:
        change = LogUpdate(self.organisation, "id", log_id, UpdateLogRequest(**fields))
        self.database.write_now(lambda connection: update_logs(connection, [(None, change)]))

    def tell(self, session_id: str, **told: Any) -> None:
        """Change what is told of a session."""
        self.database.write_now(
            lambda connection: update_session(connection, self.organisation, "id", session_id, told)
        )

    def delete(self, log_ids: Sequence[str]) -> None:
        assert self.database.write_now(lambda connection: delete_logs(connection, self.organisation, log_ids))

    def index(self) -> None:
        """Build the index for all datapoints that need one."""
        while self.indexing.step():
            pass

    def search(self, project_id: str | None, size: int = 1000, **texts: Any) -> list[str]:
        """Return the IDs of the found datapoints, as the API lists them."""
        wanted = LogFilter(project_id, **texts)

        def query(connection: Connection) -> Any:
            pending = list_logs(connection, self.organisation, wanted, Page(1, size))
            assert pending is not None
            read = b""
            while pending:
                part = pending.pop(0)
                if isinstance(part, bytes):
                    read += part
                else:
                    pending[:0] = part.read(connection)
            return json.loads(read)

        page = self.database.read_now(query)
        assert size < page["total"] or page["total"] == len(page["records"])
        return [record["id"] for record in page["records"]]

    def read(self, project_id: str, **texts: Any) -> list[str]:
        """Return the IDs that are found by reading everything."""
        query = (
            select(logs.c.id)
            .where(logs.c.project_id == project_id, *LogFilter(**texts).conditions())
            .order_by(logs.c.created_at.desc(), logs.c.sequence.desc())
        )
        return self.database.read_now(lambda connection: list(connection.scalars(query)))

    def find_sessions(self, cursor: Cursor | None = None, **wanted: Any) -> Any:
        def query(connection: Connection) -> Any:
            return find_sessions(connection, self.organisation, SessionFilter(**wanted), cursor or Cursor())

        return self.database.read_now(query)

    def matching(self, **wanted: Any) -> set[str]:
        def query(connection: Connection) -> set[str]:
            found = matching(connection, self.organisation, SessionFilter(**wanted))
            return set(connection.scalars(select(sessions.c.id).where(sessions.c.sequence.in_(found))))

        return self.database.read_now(query)

    def segments(self) -> list[tuple[int, int]]:
        rows = self.database.read_now(read_segments)
        return [(row.first, row.last) for row in rows]

    def looked_at(self, *texts: str, numbers: Numbers | None = None) -> int:
        """Return how many datapoints a search reads."""
        everything = self.count(logs)
        parts = self.database.read_now(
            lambda connection: parts_to_search(connection, texts, everything, numbers)
        )
        return everything if parts is None else sum(part.size for part in parts)

    def count(self, table: Any) -> int:
        return self.database.read_now(
            lambda connection: connection.scalar(select(func.count()).select_from(table)) or 0
        )


@pytest.fixture
def open_server(database: str) -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def start() -> Server:
        servers.append(Server(database))
        return servers[-1]

    yield start
    for server in servers:
        server.database.close()


@pytest.fixture
def server(open_server: Callable[[], Server]) -> Server:
    return open_server()


@contextmanager
def during_the_indexing(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> Iterator[None]:
    """Run code after the first datapoints were read for the index, and before it is stored."""
    bits = search_signature.Blocks.bits
    still_to_happen = [happens]
    # The servers of other tests keep an index too, on threads of their own.
    thread = threading.get_ident()

    def bits_after(self: search_signature.Blocks) -> Iterator[bytes]:
        while still_to_happen and threading.get_ident() == thread:
            still_to_happen.pop()()
        return bits(self)

    with monkeypatch.context() as patching:
        patching.setattr(search_signature.Blocks, "bits", bits_after)
        yield


def random_text(draw: random.Random, most: int = 40) -> str:
    letters = draw.choice(ALPHABETS) + draw.choice(ALPHABETS) + ALPHABETS[-1][0]
    return "".join(draw.choices(letters, k=draw.randrange(most)))


def random_log(draw: random.Random) -> dict[str, Any]:
    texts = [random_text(draw) for _ in range(5)]
    return {
        "inputs": {texts[0]: texts[1]},
        "messages": [{"role": "user", "content": texts[2]}],
        "output": texts[3],
        "metadata": {"text": texts[4]},
        # In another order than that of their arrival.
        "created_at": (BEGIN + timedelta(seconds=draw.randrange(10**6))).isoformat(),
    }


def random_part(draw: random.Random, text: str) -> str:
    begin = draw.randrange(len(text) + 1)
    part = text[begin : begin + draw.randint(1, 6)]
    return draw.choice([part, part.upper(), part.lower(), part.swapcase()]) or "a"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_index_finds_what_reading_finds(server: Server, seed: int) -> None:
    """Any part of any text, in any script and case, in the same order, also in one session."""
    draw = random.Random(seed)
    given = [random_log(draw) | {"session_reference_id": str(number % 2)} for number in range(150)]
    created = server.log(*given)
    project_id, session_id = created[0]["project_id"], created[0]["session_id"]
    of_session = {log["id"] for log in created if log["session_id"] == session_id}
    server.index()
    assert len(server.segments()) > 2
    for _ in range(75):
        log = draw.choice(given)
        texts = [*log["inputs"].items(), (log["messages"][0]["content"], log["output"])]
        wanted: dict[str, Any] = {"search": random_part(draw, draw.choice(draw.choice(texts)))}
        if draw.random() < 0.2:
            wanted["metadata_search"] = random_part(draw, log["metadata"]["text"])
        found = server.read(project_id, **wanted)
        assert server.search(project_id, **wanted) == found, wanted
        in_session = [log_id for log_id in found if log_id in of_session]
        assert server.search(None, session_id=session_id, **wanted) == in_session, wanted
        if found:
            assert server.search(project_id, size=2, **wanted) == found[:2]
            assert server.search(project_id, size=2, session_id=session_id, **wanted) == in_session[:2]


def test_a_rare_word_is_found_without_reading_all(server: Server) -> None:
    """In any script, and with letters that are special in a pattern or in JSON."""
    words = ["Zebrafink", "Überraschung", "Щегол", "猫舌", "고양이", 'say "quux"', "100%_quuz"]
    server.log(*({"output": f"word{number}"} for number in range(300)))
    created = server.log(*({"inputs": {"text": f"a {word}."}} for word in words))
    server.log(*({"output": f"word{number}"} for number in range(300)))
    server.index()
    for word, log in zip(words, created, strict=True):
        assert server.search(log["project_id"], search=word.upper()) == [log["id"]]
        assert server.looked_at(word) < 100


def test_a_rare_word_is_found_beside_frequent_longer_ones(server: Server) -> None:
    """Though more of their windows are looked up than in a search for one word."""
    server.log(*({"output": f"understanding conversations {number}"} for number in range(600)))
    [rare] = server.log({"output": "Understanding conversations, Zebra"})
    server.index()
    assert server.search(rare["project_id"], search="understanding conversations, zebra") == [rare["id"]]
    assert server.looked_at("understanding conversations, zebra") < 100


def test_what_a_conversation_repeats_is_found_in_each_datapoint(server: Server) -> None:
    """Each datapoint has the messages of those before it, and some messages end alike."""
    said = [f'say "word{number}"}}' for number in range(30)]
    messages = [{"role": "user", "content": text} for text in said]
    created = server.log(*({"messages": messages[: number + 1]} for number in range(30)))
    server.index()
    assert server.segments()
    for number in range(30):
        found = server.search(created[0]["project_id"], search=f'word{number}"')
        assert found == [log["id"] for log in created[number:]][::-1]


def test_an_old_database_gets_its_index_while_it_is_used(server: Server) -> None:
    """In steps that are committed one by one. Searches are complete before, between and after them."""
    texts = {"output": "needle"}
    ids = [log["id"] for log in server.log(*({**texts, "metadata": {"n": n}} for n in range(100)))]
    project_id = server.log({"output": "hay"})[0]["project_id"]
    expired = update(leases).values(expires_at=BEGIN)
    for step in range(3):
        assert server.search(project_id, search="needle") == ids[::-1]
        assert server.indexing.step()
        assert len(server.segments()) == step + 1
        # While others write.
        ids += [log["id"] for log in server.log(texts, {"output": "hay"})[:1]]
        server.change(ids[3], output=f"a needle {step}")
        # The next step is made by a server that has just started.
        server.indexing = SearchIndexing(server.database)
        server.database.write_now(lambda connection: connection.execute(expired))
    server.index()
    assert server.search(project_id, search="needle") == ids[::-1]
    assert server.search(project_id, search="needle 2") == [ids[3]]


def test_what_has_changed_is_found_by_what_it_is_now(server: Server) -> None:
    """At once, and after so many changes that it is indexed again."""
    created = server.log(*({"output": f"before{number}"} for number in range(100)))
    project_id = created[0]["project_id"]
    server.index()
    for number in range(20):
        server.change(created[number]["id"], output=f"after{number}", error=f"broken{number}")
        assert server.search(project_id, search=f"after{number}") == [created[number]["id"]]
        assert server.search(project_id, search=f"before{number}x") == []
    server.index()
    assert server.count(search_changes) <= 5
    assert server.looked_at("after11") < 50
    for number in range(20):
        assert server.search(project_id, search=f"after{number}x") == []
        assert created[number]["id"] in server.search(project_id, search=f"after{number}")


def test_a_change_during_the_indexing_is_not_lost(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index has the earlier text, and the datapoint is read nevertheless."""
    created = server.log(*({"output": f"before{number}"} for number in range(40)))
    server.change(created[1]["id"], output="between")
    with during_the_indexing(monkeypatch, lambda: server.change(created[1]["id"], output="after1")):
        server.index()
    assert server.segments()
    assert server.search(created[0]["project_id"], search="after1") == [created[1]["id"]]


@pytest.mark.parametrize("moment", ["after", "while"])
def test_new_datapoints_in_the_place_of_deleted_ones_are_found(
    server: Server, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """SQLite reuses the numbers of deleted datapoints, which the index still has, or is about to have."""
    created = server.log(*({"output": f"old{number}"} for number in range(60)))
    project_id = created[0]["project_id"]

    def replace() -> None:
        server.delete([log["id"] for log in created[20:]])
        server.log(*({"output": f"new{number}"} for number in range(40)))

    if moment == "while":
        with during_the_indexing(monkeypatch, replace):
            assert not server.indexing.step()
    else:
        server.index()
        replace()
    for _ in range(2):
        for number in range(20, 40):
            word = f"new{number}"
            assert server.search(project_id, search=word) == server.read(project_id, search=word) != []
            assert server.search(project_id, search=f"old{number}") == []
        server.index()
    assert server.segments()


def test_the_index_of_what_was_deleted_goes_too(server: Server) -> None:
    """So it does not grow for ever. The remaining datapoints are found."""
    created = server.log(*({"output": f"word{number}"} for number in range(120)))
    server.index()
    before = server.segments()
    server.delete([log["id"] for log in created[:90]])
    server.index()
    assert len(server.segments()) < len(before)
    assert server.looked_at("word100") < 60
    assert server.search(created[0]["project_id"], search="word100") == [created[100]["id"]]


@pytest.mark.slow
def test_several_processes_index_one_database(open_server: Callable[[], Server]) -> None:
    """At the same time, while others write. Each datapoint is in one segment."""
    servers = [open_server() for _ in range(3)]
    project_id = servers[0].log({"output": "first"})[0]["project_id"]

    def work(server: Server) -> list[str]:
        ids = []
        for number in range(8):
            ids += [log["id"] for log in server.log(*({"output": f"needle{number}"} for _ in range(10)))]
            server.indexing.step()
        return ids

    with ThreadPoolExecutor(len(servers)) as threads:
        ids = [log_id for found in threads.map(work, servers) for log_id in found]
    for server in servers:
        server.index()
    segments = servers[0].segments()
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(segments))
    assert len(segments) > 2
    for server in servers:
        assert sorted(server.search(project_id, search="needle")) == sorted(ids)
        assert len(server.search(project_id, search="needle7")) == 30


def test_what_is_committed_late_is_indexed_later(
    postgresql: Any,
) -> None:
    """PostgreSQL assigns numbers before the commit, so a long transaction commits low ones."""
    server = Server(postgresql.new_database())
    created = server.log({"output": "first"})[0]
    row = {
        "id": "data_late",
        "organisation_id": server.organisation,
        "project_id": created["project_id"],
        "created_at": BEGIN,
        "updated_at": BEGIN,
        "save": True,
        "output": "late",
    }
    engine = open_engine(server.database._engine.url)
    with for_writing(engine).begin() as connection:
        connection.execute(insert(logs).values(row))
        server.log(*({"output": f"word{number}"} for number in range(60)))
        server.index()
        assert not server.segments()
    engine.dispose()
    assert server.search(created["project_id"], search="late") == ["data_late"]
    server.index()
    assert server.segments()
    assert server.looked_at("late") < 40
    assert server.search(created["project_id"], search="late") == ["data_late"]
    server.database.close()


@pytest.mark.slow
def test_the_page_finds_sessions_however_old(server: Server) -> None:
    """With all of its filters, part by part."""
    created = server.log(
        *(
            {
                "project": f"p{number % 3}",
                "session_reference_id": f"s{number % 200}",
                "output": "needle" if number % 20 == 0 else f"word{number}",
                "error": "broken" if number % 40 == 0 else None,
            }
            for number in range(600)
        )
    )
    server.index()
    assert server.looked_at("needle") < 600
    expected = [created[number]["session_id"] for number in range(180, -1, -20)]
    assert server.find_sessions(search="NEEDLE").ids == expected
    assert not server.find_sessions(search="NEEDLE").has_older
    assert server.find_sessions(Cursor(before=expected[3]), search="needle").ids == expected[4:]
    assert server.find_sessions(Cursor(after=expected[3]), search="needle").ids == expected[:3]
    in_project = server.find_sessions(search="needle", project_id=created[0]["project_id"])
    assert in_project.ids == expected
    assert server.find_sessions(search="needle", errors=True).ids == expected[1::2]
    assert server.find_sessions(search="needle", from_day="2000-01-01").ids == expected
    assert server.find_sessions(search="needle", until_day="2000-01-01").ids == []
    assert server.find_sessions(search="needle", sort="began").ids == expected[::-1]
    assert server.find_sessions(Cursor(before=expected[3]), search="needle", sort="-errors").ids == [
        *expected[5::2],
        *expected[::2],
    ]
    assert server.find_sessions(search='needle "word"').ids == []
    assert server.matching(search="needle errors>0") == set(expected[1::2])
    assert server.matching(search="needle", project_id=created[0]["project_id"]) == set(expected)
    assert len(server.find_sessions(search="word").ids) == 50
    assert server.find_sessions(search="word").has_older
    assert server.find_sessions(errors=True).ids == expected[1::2]


def test_metadata_are_found_by_the_index(server: Server) -> None:
    """Datapoints with the text in other fields are read, and not found."""
    logs_of = [
        {"session_reference_id": f"s{number}", "output": f"word{number}", "metadata": {"key": "hay"}}
        for number in range(600)
    ]
    logs_of[10]["metadata"] = {"customer": "needle", "score": 4.5}
    logs_of[20]["output"] = "customer needle"
    created = server.log(*logs_of)
    server.index()
    assert server.looked_at("customer", "needle") < 300
    assert server.looked_at(numbers=Numbers("score", least=4)) < 30
    assert server.looked_at(numbers=Numbers("score", greatest=4)) == 0
    found = [created[10]["session_id"]]
    assert server.find_sessions(search="metadata.customer=needle").ids == found
    assert server.find_sessions(search="metadata.score>4").ids == found
    assert server.find_sessions(search="metadata.score<4").ids == []
    assert server.find_sessions(search="metadata.score>4 metadata.customer=needle").ids == found
    assert server.find_sessions(search="metadata.customer=needle", sort="-cost").ids == found
    assert server.matching(search="metadata.customer=needle") == set(found)
    assert server.matching(search="metadata.customer=needle -word10") == set()


def test_an_upgrade_adds_the_numbers_of_what_is_indexed(server: Server, database: str) -> None:
    """As if the index had them from the beginning."""
    server.log(*({"metadata": {"a": n, "b": -n / 7} if n % 5 else {"c": str(n)}} for n in range(100)))
    server.log(*({"session_reference_id": f"s{n}", "metadata": {"a": n, "b": True}} for n in range(100)))
    server.index()
    query = select(search_numbers).order_by(search_numbers.c.segment, search_numbers.c.bucket)

    def numbers() -> list[Any]:
        return server.database.read_now(lambda connection: list(connection.execute(query)))

    expected = numbers()
    assert len(expected) > 5
    engine = open_engine(ServerSettings(database=database).database_url)
    with for_migrating(engine).begin() as connection:
        search_numbers.drop(connection)
        command.stamp(alembic_config(connection), "0014")
        command.upgrade(alembic_config(connection), "0015")
    engine.dispose()
    assert numbers() == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_found_as_without_the_index(server: Server, seed: int) -> None:
    """By any comparison, and after changes."""
    draw = random.Random(seed)
    values = [-1e9, -0.5, 0, 0.1 + 0.2, 7, 10**400, 2**53 + 1, True, "8", None, [9]]

    def drawn() -> dict[str, Any]:
        return {draw.choice("ab"): draw.choice([draw.choice(values), draw.gauss(0, 100)]) for _ in range(2)}

    created = server.log(
        *({"session_reference_id": f"s{number}", "metadata": drawn()} for number in range(150))
    )
    limits = ["-1e9", "-100", "-0.5", "0", "0.3", "7", "8", "150", "9.007199254740992e15", "1e99"]
    wanted = [
        f"{sign}metadata.{key}{operator}{limit}"
        for sign in ("", "-")
        for key in "ab"
        for operator in (">", ">=", "<", "<=")
        for limit in limits
    ]
    for log in created[::60]:
        expected = {one: server.matching(search=one) for one in draw.sample(wanted, 20)}
        server.index()
        assert len(server.segments()) > 2
        for one, found in expected.items():
            assert server.matching(search=one) == found, one
            assert set(server.find_sessions(search=one).ids) == found or len(found) > 50
        server.change(log["id"], metadata=drawn())
        server.delete([created.pop()["id"]])


@pytest.mark.slow
def test_a_page_of_the_api_reads_no_more_than_it_counts(server: Server) -> None:
    """However many sessions have the text; a count beyond the page has a limit."""
    server.log(
        *({"session_reference_id": f"s{number}", "output": f"word{number}"} for number in range(2_000))
    )
    server.index()
    reads = 0

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal reads
        reads += "FROM logs JOIN sessions" in statement

    def query(connection: Connection) -> None:
        event.listen(connection, "before_cursor_execute", count)
        wanted, page = SessionFilter(search="word"), Page(1, 10)
        assert list_found_sessions(connection, server.organisation, wanted, page)
        event.remove(connection, "before_cursor_execute", count)

    server.database.read_now(query)
    assert 0 < reads < 2_000 // LOOKED_AT_TOGETHER // 4


@pytest.mark.parametrize("few", [0, 20_000])
def test_metadata_of_sessions_count_beside_those_of_datapoints(
    server: Server, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Whether the datapoints are looked at first, or the sessions are looked through."""
    monkeypatch.setattr(session_search, "_FEW_DATAPOINTS", few)
    created = server.log(
        *({"session_reference_id": f"s{number}", "metadata": {"key": number}} for number in range(100))
    )
    server.index()
    ids = [log["session_id"] for log in created]
    told = {"customer": "acme", "key": 7, "score": 4.5, "vip": True, "tags": ["a"], "long": "x" * 300}
    server.tell(ids[1], metadata=told)
    for wanted, expected in (
        ("metadata.customer=acme", [ids[1]]),
        ("metadata.key=7", [ids[7], ids[1]]),
        ("metadata.key>98", [ids[99]]),
        ("metadata.score>4", [ids[1]]),
        ("metadata.vip=true", [ids[1]]),
        ("metadata.key=7 -metadata.vip=true", [ids[7]]),
        ("metadata.key<=7 metadata.customer=acme", [ids[1]]),
        ("metadata.customer=umbrella", []),
    ):
        assert server.find_sessions(search=wanted).ids == expected
        assert server.matching(search=wanted) == set(expected)
    assert server.find_sessions(search="metadata.key=7", sort="began").ids == [ids[1], ids[7]]
    server.tell(ids[1], metadata={"customer": "umbrella"})
    assert server.find_sessions(search="metadata.customer=acme").ids == []
    assert server.find_sessions(search="metadata.customer=umbrella").ids == [ids[1]]
    server.change(created[50]["id"], metadata={"customer": "umbrella"})
    assert server.find_sessions(search="metadata.customer=umbrella").ids == [ids[50], ids[1]]
    server.organisation = server.database.write_now(
        lambda connection: find_or_create_organisation(connection, "other")
    )
    assert server.find_sessions(search="metadata.customer=umbrella").ids == []


def test_a_search_of_another_organisation_finds_nothing(server: Server) -> None:
    """All organisations share one index."""
    server.log(*({"session_reference_id": "s", "output": f"needle{number}"} for number in range(100)))
    server.index()
    server.organisation = server.database.write_now(
        lambda connection: find_or_create_organisation(connection, "other")
    )
    server.log(*({"output": f"hay{number}"} for number in range(100)))
    assert server.find_sessions(search="needle7").ids == []


def test_a_large_text_is_found_by_any_part(server: Server) -> None:
    """Even if it is longer than a slice, or has too many words for its bits."""
    draw = random.Random(1)
    many = " ".join("".join(draw.choices("abcdefghij", k=8)) for _ in range(20_000))
    created = server.log({"output": "x" * 65_530 + "needle" + "x" * 1000}, {"output": f"{many} quux"})
    server.log(*({"output": f"word{number}"} for number in range(100)))
    server.index()
    project_id = created[0]["project_id"]
    for word, log in (("edlexx", created[0]), ("quux", created[1]), (many[70_000:70_012], created[1])):
        assert server.search(project_id, search=word) == [log["id"]]


@pytest.mark.slow
def test_a_running_server_builds_the_index(database: str) -> None:
    """By itself, from logged datapoints. The API and the page find the same as before."""
    with served(database) as base_url:
        body = [
            {"project": "p", "session_reference_id": f"s{number}", "output": f"word{number}"}
            for number in range(100)
        ]
        created = requests.post(f"{base_url}/logs", json=body, timeout=PATIENCE).json()
        engine = open_engine(ServerSettings(database=database).database_url)

        def is_indexed() -> bool:
            with engine.connect() as connection:
                return bool(connection.scalar(select(func.count()).select_from(search_segments)))

        wait_until(is_indexed)
        engine.dispose()
        project_id = created[0]["project_id"]
        answer = requests.get(
            f"{base_url}/logs", {"project_id": project_id, "search": "WORD7"}, timeout=PATIENCE
        )
        assert answer.json()["total"] == 11
        page = requests.get(base_url.removesuffix("v4"), {"q": "word42"}, timeout=PATIENCE).text
        assert created[42]["session_id"] in page
        assert created[43]["session_id"] not in page
