"""Writes share transactions, and one that fails, waits or is refused does not delay the others."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Connection, text

from hl_sessions.server.database import group_commit, retrying
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import DatabaseBusyError, DatabaseUnavailableError
from tests.servers import locked_file, opened_database, served
from tests.waiting import PATIENCE, ends_within


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "database.sqlite3"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with opened_database(path) as database:
        yield database


def write(connection: Connection) -> str:
    return str(connection.scalar(text("SELECT 'written'")))


@pytest.mark.slow
def test_each_write_waits_for_a_lock_no_longer_than_one_alone(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regardless of their number and their groups."""
    monkeypatch.setattr(retrying, "PATIENCE", 3.0)

    async def write_many() -> list[Any]:
        writes = (database.write(write) for _ in range(4000))
        return await asyncio.gather(*writes, return_exceptions=True)

    with locked_file(path), ends_within(3):
        outcomes = asyncio.run(write_many())
    assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailableError}


def test_those_with_time_left_are_written_after_others_have_given_up(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier write fails, and a later one keeps waiting."""

    async def write_both() -> str:
        with locked_file(path):
            monkeypatch.setattr(retrying, "PATIENCE", 0.5)
            early = asyncio.ensure_future(database.write(write))
            await asyncio.sleep(0)
            monkeypatch.setattr(retrying, "PATIENCE", PATIENCE)
            late = asyncio.ensure_future(database.write(write))
            with pytest.raises(DatabaseUnavailableError):
                await early
            assert not late.done()
        return await late

    assert asyncio.run(write_both()) == "written"


def test_when_too_many_wait_the_next_one_is_refused_at_once(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that already wait are written."""
    monkeypatch.setattr(retrying, "PATIENCE", PATIENCE)
    monkeypatch.setattr(group_commit, "MOST_WAITING", 10)

    async def write_too_many() -> list[Any]:
        with locked_file(path):
            writes = [asyncio.ensure_future(database.write(write)) for _ in range(12)]
            done, _ = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
            assert {type(one.exception()) for one in done} == {DatabaseBusyError}
        return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = asyncio.run(write_too_many())
    assert [type(outcome) for outcome in outcomes] == 10 * [str] + 2 * [DatabaseBusyError]


def test_a_refused_write_is_told_when_to_come_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a 503 with the header ``Retry-After``."""
    with served(path) as base_url:
        monkeypatch.setattr(group_commit, "MOST_WAITING", 0)
        answer = requests.post(f"{base_url}/sessions", timeout=PATIENCE)
        assert answer.status_code == 503
        assert answer.json() == {"detail": "Too many requests wait for the database"}
        assert int(answer.headers["Retry-After"]) > 0
        metrics = requests.get(f"{base_url.removesuffix('/v4')}/metrics", timeout=PATIENCE).text
        assert 'hl_sessions_database_errors_total{reason="busy"} 1.0' in metrics


def test_a_refusal_costs_the_others_of_its_group_nothing(database: Database) -> None:
    """The other changes of the group are made once."""
    calls = 0

    def accepted(connection: Connection) -> str:
        nonlocal calls
        calls += 1
        return write(connection)

    def refused(_connection: Connection) -> str | ValueError:
        return ValueError("refused")

    async def write_both() -> list[Any]:
        return await asyncio.gather(
            *(database.write(change) for change in (accepted, refused, accepted)), return_exceptions=True
        )

    outcomes = asyncio.run(write_both())
    assert [str(outcome) for outcome in outcomes] == ["written", "refused", "written"]
    assert calls == 2


def test_a_transaction_holds_so_many_records_whatever_their_requests(database: Database) -> None:
    """Long lists share one with few others, which are answered no later than necessary."""

    def count_together(_connection: Connection, arguments: Sequence[None]) -> list[int]:
        return [len(arguments)] * len(arguments)

    async def write_lists(sizes: list[int]) -> list[int]:
        writes = (database.write_together(count_together, None, size=size) for size in sizes)
        return await asyncio.gather(*writes)

    assert asyncio.run(write_lists([10_000, 500, 500, 1, 600, 300])) == [1, 2, 2, 3, 3, 3]
