"""Records that have not changed for long are deleted while the server runs, and their space is returned."""

import logging
import re
import sqlite3
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import requests
from sqlalchemy import Connection, Table, func, insert, select, update

from hl_sessions.server.commands.data import prune
from hl_sessions.server.database.leases import hold_lease
from hl_sessions.server.database.tables import idempotency_keys, leases, logs, organisations, sessions
from hl_sessions.server.records import upkeep
from hl_sessions.server.records.deleting import Deleted
from hl_sessions.server.records.upkeep import Upkeep
from tests.servers import opened_database, served
from tests.waiting import PATIENCE, in_threads, wait_until

HOUR = timedelta(hours=1)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def make_old(database: str) -> None:
    """Make all records two hours old."""
    times = dict.fromkeys(("created_at", "updated_at"), datetime.now(timezone.utc) - 2 * HOUR)
    with opened_database(database) as there:
        for table in (sessions, logs):
            there.write_now(partial(Connection.execute, statement=update(table).values(times)))


def pruned(base_url: str) -> dict[str, float]:
    """Return the numbers of deleted records in the metrics."""
    text = requests.get(f"{base_url.removesuffix('/v4')}/metrics", timeout=PATIENCE).text
    found = re.findall(r"^hl_sessions_pruned_(\w+)_total (\S+)$", text, re.MULTILINE)
    return {name: float(count) for name, count in found}


class Told:
    """Collects the reports of an ``Upkeep``."""

    def __init__(self) -> None:
        self.sum = Deleted()
        self.began = Event()
        self.may_go_on = Event()

    def pruned(self, pruned: Deleted) -> None:
        self.sum += pruned
        self.began.set()
        self.may_go_on.wait(PATIENCE)


@pytest.mark.slow
def test_a_server_deletes_what_is_old(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """It counts and logs the deleted records. Records that are used again, and new ones, stay."""
    with served(database) as url:
        given = [{"project": "p", "session_reference_id": f"{n % 20}"} for n in range(40)]
        for body in (given, {"project": "p"}):
            requests.post(f"{url}/logs", json=body, timeout=PATIENCE).raise_for_status()
    make_old(database)
    with served(database) as url:
        used = requests.post(
            f"{url}/logs", json={"project": "p", "session_reference_id": "3"}, timeout=PATIENCE
        ).json()
    with caplog.at_level(logging.WARNING), served(database, keep=HOUR) as url:
        wait_until(lambda: "deleted" in caplog.text)
        assert pruned(url) == {"sessions": 19, "datapoints": 39}
        new = requests.post(f"{url}/sessions", timeout=PATIENCE).json()
        for session_id in (used["session_id"], new["id"]):
            assert requests.get(f"{url}/sessions/{session_id}", timeout=PATIENCE).status_code == 200
        project = requests.get(f"{url}/projects/{used['project_id']}", timeout=PATIENCE).json()
        assert project["data_count"] == 3
    assert "deleted 19 sessions and 39 datapoints without a change since 20" in caplog.text


@pytest.mark.slow
def test_without_an_age_a_server_deletes_nothing(database: str) -> None:
    """It reports nothing either."""
    with served(database) as url:
        created = requests.post(f"{url}/sessions", timeout=PATIENCE).json()
    make_old(database)
    with served(database) as url:
        assert pruned(url) == {"sessions": 0, "datapoints": 0}
        assert requests.get(f"{url}/sessions/{created['id']}", timeout=PATIENCE).status_code == 200


@pytest.mark.slow
def test_idempotency_keys_are_deleted_after_a_day(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even without an age for other records. Their results stay, and so do younger keys."""
    monkeypatch.setattr(upkeep, "_LOOK", 0.01)

    def post(base_url: str, key: str) -> None:
        headers = {"Idempotency-Key": key}
        requests.post(f"{base_url}/sessions", headers=headers, timeout=PATIENCE).raise_for_status()

    with opened_database(database) as there:

        def count(table: Table) -> int:
            query = select(func.count()).select_from(table)
            return there.read_now(lambda connection: connection.scalar(query)) or 0

        with monkeypatch.context() as without_deleting:
            without_deleting.setattr(upkeep, "_LOOK", PATIENCE)
            with served(database) as url:
                for n in range(250):
                    post(url, f"old-key-{n}")
            day_before = datetime.now(timezone.utc) - 24 * HOUR
            change = update(idempotency_keys).values(created_at=day_before)
            there.write_now(partial(Connection.execute, statement=change))
            with served(database) as url:
                post(url, "a-new-key")
        assert count(idempotency_keys) == 251
        with served(database):
            wait_until(lambda: count(idempotency_keys) == 1)
        assert count(sessions) == 251


@pytest.mark.slow
def test_of_workers_one_deletes(tmp_path: Path, spawn: Any) -> None:
    """Any of them has the deleted records in its metrics, counted once."""
    database = tmp_path / "database.sqlite3"
    with served(database) as url:
        for n in range(3):
            log = {"project": "p", "session_reference_id": f"{n}"}
            requests.post(f"{url}/logs", json=log, timeout=PATIENCE).raise_for_status()
    make_old(str(database))
    config = tmp_path / "config.toml"
    config.write_text('keep = "1h"\nworkers = 2\n')
    server = spawn(tmp_path, "--db", str(database), "--config", str(config))
    wait_until(lambda: pruned(server.base_url) == {"sessions": 3, "datapoints": 3})
    told = server.process.stderr.readline()
    assert told.startswith("deleted 3 sessions and 3 datapoints without a change since 20")
    server.process.terminate()
    assert server.process.communicate(timeout=PATIENCE) == ("", "")


def test_who_is_told_to_end_leaves_the_rest_to_others(database: str) -> None:
    """At once, without the time that a frozen process is waited for."""
    with opened_database(database) as there, ExitStack() as running:
        past = {"created_at": NOW, "updated_at": NOW}
        organisation = {"team_id": "t", "name": "o", "created_at": NOW}
        there.write_now(lambda connection: connection.execute(insert(organisations), organisation))
        organisation_id = there.read_now(
            lambda connection: connection.scalar(select(organisations.c.sequence))
        )
        rows = [{"id": f"{n}", "organisation_id": organisation_id, **past} for n in range(2000)]
        there.write_now(lambda connection: connection.execute(insert(sessions), rows))
        one, other = Told(), Told()
        first = Upkeep(there, HOUR, one)
        first.start()
        assert one.began.wait(PATIENCE)
        [end] = in_threads(first.close)
        wait_until(first._ending.is_set)
        one.may_go_on.set()
        end.result(PATIENCE)
        assert 0 < one.sum.sessions < len(rows)
        other.may_go_on.set()
        second = Upkeep(there, HOUR, other)
        second.start()
        running.callback(second.close)
        wait_until(lambda: one.sum.sessions + other.sum.sessions == len(rows))
        count = select(func.count()).select_from(sessions)
        assert there.read_now(lambda connection: connection.scalar(count)) == 0


def test_what_another_one_is_at_is_left_to_it(database: str) -> None:
    """Until its lease expires. One of a clock that was far ahead holds nobody up."""
    with opened_database(database) as there, ExitStack() as running:

        def hold(duration: timedelta) -> bool:
            return there.write_now(
                partial(hold_lease, name="retention", holder="another one", duration=duration)
            )

        def taken() -> bool:
            holder = select(leases.c.holder).where(leases.c.name == "retention")
            return there.read_now(lambda connection: connection.scalar(holder)) != "another one"

        ours = partial(hold_lease, name="retention", holder="us", duration=timedelta(0))
        assert hold(timedelta(days=400))
        assert there.write_now(ours)
        assert hold(HOUR)
        assert there.write_now(ours) is False
        refused = Upkeep(there, HOUR, Told())
        refused.start()
        refused.close()
        assert not taken()
        assert hold(timedelta(0))
        next_one = Upkeep(there, HOUR, Told())
        next_one.start()
        running.callback(next_one.close)
        wait_until(taken)


@pytest.mark.parametrize("is_new", [True, False], ids=["a new file", "an old file"])
def test_space_is_given_back(tmp_path: Path, is_new: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A new file becomes smaller. An old one keeps its size until it is rebuilt."""
    path = tmp_path / "database.sqlite3"
    if not is_new:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    with served(path) as url:
        for _ in range(3):
            given = [{"project": "p", "output": "x" * 10_000}] * 100
            requests.post(f"{url}/logs", json=given, timeout=PATIENCE).raise_for_status()
    make_old(str(path))
    size = path.stat().st_size
    prune(["--db", str(path), "--older-than", "1h"], standalone_mode=False)
    assert (path.stat().st_size < size / 4) == is_new
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # The commands of the documentation.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert path.stat().st_size < size / 4
