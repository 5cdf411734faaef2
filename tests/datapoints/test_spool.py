"""A spool: what a process did not get to send another one sends, once and into the same session."""

import json
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from hl_sessions import ConfigurationError, SessionManager
from hl_sessions.datapoints import spool as spool_module
from hl_sessions.datapoints import spooled_queue
from hl_sessions.process import seldom
from hl_sessions.stores import SQLiteStore
from tests.datapoints.conftest import Stored
from tests.datapoints.cutting_proxy import CuttingProxy
from tests.faults import FaultServer, Play, Wire
from tests.servers import free_port
from tests.sessions_api import Answer, Request, SessionsAPI, new_session_id
from tests.waiting import PATIENCE, wait_until

APPLICATION = """
import logging, os, sys, time
logging.basicConfig(format="%(message)s")
from hl_sessions import SessionManager
spool, base_url, project = sys.argv[1:4]
manager = SessionManager(base_url, project=project, spool=spool, timeout=1.0, retries=0)
"""
LOG = """
for number in range(30):
    with manager.session(), manager.datapoint(source=f"outer {number}") as outer:
        manager.log(source=f"inner {number}", inputs={"of": outer.reference_id})
"""
FLUSH = """
assert manager.flush(60)
manager.close()
"""
STAY = """
print("logged", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite3"


def rows(path: Path) -> int:
    """Return how many datapoints are in a spool."""
    with closing(sqlite3.connect(path)) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM datapoints").fetchall()
    return int(count)


def is_set_up(path: Path) -> bool:
    """Whether a file has the table of a spool."""
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA table_info(datapoints)").fetchall())


def run(script: str, *arguments: object) -> str:
    """Run an application until it ends, and return what it has said."""
    command = [sys.executable, "-c", APPLICATION + script, *map(str, arguments)]
    done = subprocess.run(command, check=True, timeout=PATIENCE, stderr=subprocess.PIPE, text=True)
    return done.stderr


@contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run an application that has logged, and kill it in the end."""
    command = [sys.executable, "-c", APPLICATION + script + STAY, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "logged\n"
            yield process
        finally:
            process.kill()


def accept_into(accepted: list[dict[str, Any]]) -> Callable[[Request], Answer]:
    """Return an API's answers, which add the datapoints that it accepts to a list."""

    def answer(request: Request) -> Answer:
        if request.target == "/v4/sessions":
            return Answer(201, {"id": new_session_id()})
        accepted.extend(json.loads(request.body))
        return Answer(200, [])

    return answer


def unreachable() -> str:
    return f"http://127.0.0.1:{free_port()}/v4"


def check_that_all_are_stored(stored: Stored) -> None:
    """Check that there is what the application logs, none twice, each with its session and its parent."""
    found = stored.by_source()
    assert len(found) == 60
    for number in range(30):
        outer, inner = found[f"outer {number}"], found[f"inner {number}"]
        assert inner["parent_id"] == outer["id"]
        assert inner["session_id"] == outer["session_id"]
        assert inner["inputs"] == {"of": outer["reference_id"]}
        assert outer["duration"] > 0
    assert stored.sessions() == 30


def test_what_a_killed_process_has_logged_the_next_one_sends(path: Path, stored: Stored) -> None:
    """Although the first one never reached the API."""
    with running(LOG, path, unreachable(), stored.project):
        wait_until(lambda: rows(path) >= 60)
    run(FLUSH, path, stored.base_url, stored.project)
    check_that_all_are_stored(stored)
    assert rows(path) == 0


def test_a_batch_under_way_is_in_the_file(
    path: Path, stored: Stored, serve: Callable[[Play], FaultServer]
) -> None:
    """And so is what is logged while an API keeps the sender waiting."""
    server = serve(Wire.wait_until_closed)
    script = """
manager.log(source="under way")
while len(manager.recorder._queue):
    time.sleep(0.001)
manager.log(source="later")
"""
    with running(script, path, server.base_url, stored.project):
        wait_until(lambda: rows(path) == 2)
    run(FLUSH, path, stored.base_url, stored.project)
    assert set(stored.by_source()) == {"under way", "later"}


def test_what_a_killed_process_has_told_of_a_session_the_next_one_sends(path: Path, stored: Stored) -> None:
    """Of one that was created, and of one that was only logged into."""
    created = requests.post(f"{stored.base_url}/sessions", timeout=PATIENCE).json()["id"]
    script = f"""
from hl_sessions.carrying import carried
with carried({{"session_id": "{created}"}}, manager) as session:
    session.set(name="created")
with manager.session(key="chat") as session:
    manager.log(source="question")
    session.set(name="logged into", metadata={{"turns": 1}})
    session.set(metadata={{"plan": "pro"}})
    session.end()
"""
    with running(script, path, unreachable(), stored.project):
        wait_until(lambda: rows(path) == 5)
    run(FLUSH, path, stored.base_url, stored.project)
    assert stored.get(f"/sessions/{created}")["name"] == "created"
    logged = stored.get(f"/sessions/{stored.only()['session_id']}")
    assert (logged["name"], logged["metadata"]) == ("logged into", {"turns": 1, "plan": "pro"})
    assert "ended_at" in logged
    assert rows(path) == 0


def test_a_conversation_of_a_killed_process_goes_on(
    path: Path, stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has logged in an outage, and what another process logs or reads later, has one session."""
    store = tmp_path / "conversations.sqlite3"
    script = f"""
from hl_sessions.stores import SQLiteStore
manager.close()
store = SQLiteStore({str(store)!r})
manager = SessionManager(base_url, project=project, spool=spool, timeout=1.0, retries=0, store=store)
with manager.session(key="chat"):
    manager.log(source="question")
"""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as outage:
        outage.setenv("http_proxy", unreachable())
        with running(script, path, stored.base_url, stored.project):
            wait_until(lambda: rows(path) == 1)
    run(FLUSH, path, stored.base_url, stored.project)
    with (
        SQLiteStore(store) as conversations,
        SessionManager(stored.base_url, project=stored.project, spool=path, store=conversations) as manager,
        manager.session(key="chat") as session,
    ):
        assert session.id == stored.only()["session_id"]


def test_what_is_logged_before_the_end_of_a_conversation_is_together(path: Path, stored: Stored) -> None:
    """In an outage, in which a part of it has a row already when the conversation is ended."""
    script = """
with manager.session(key="chat"):
    manager.log(source="question")
manager.recorder._queue.save()
with manager.session(key="chat") as session:
    manager.log(source="goodbye")
    session.end()
"""
    with running(script, path, unreachable(), stored.project):
        wait_until(lambda: rows(path) == 3)
    run(FLUSH, path, stored.base_url, stored.project)
    assert len(stored.by_source()) == 2
    assert stored.sessions() == 1


def test_what_was_stored_before_the_kill_is_not_stored_again(
    path: Path, stored: Stored, tmp_path: Path
) -> None:
    """The rows of a batch whose answer was not read are sent once more, into the same session."""
    copy = tmp_path / "copy.sqlite3"
    script = (
        LOG
        + """
import shutil
queue = manager.recorder._queue
deliver = manager._sender._delivery._send_all
def send_all(method, entries, params):
    if entries and not os.path.exists(sys.argv[4]):
        queue._spool.disconnect()
        shutil.copy(spool, sys.argv[4])
    return deliver(method, entries, params)
manager._sender._delivery._send_all = send_all
"""
        + FLUSH
    )
    run(script, path, stored.base_url, stored.project, copy)
    check_that_all_are_stored(stored)
    assert rows(copy) >= 60
    with closing(sqlite3.connect(copy)) as connection, connection:
        # Another batch, which the server does not know by its key.
        connection.execute("DELETE FROM datapoints WHERE number = (SELECT max(number) FROM datapoints)")
    said = run(FLUSH, copy, stored.base_url, stored.project)
    assert said == ""
    assert rows(copy) == 0
    check_that_all_are_stored(stored)


def test_the_session_that_a_batch_is_sent_to_is_in_the_file(path: Path, sessions_api: SessionsAPI) -> None:
    """Also where it got its ID after the row was written: what another process sends again goes there too."""
    begun, gate = threading.Event(), threading.Event()
    accept = accept_into([])

    def answer(request: Request) -> Answer:
        (gate if request.target == "/v4/logs" else begun).wait(PATIENCE)
        return accept(request)

    sessions_api.answer = answer
    with SessionManager(sessions_api.base_url, project="p", spool=path) as manager:
        with manager.session() as session:
            manager.log(source="answer")
        wait_until(lambda: rows(path) == 1)
        begun.set()
        wait_until(lambda: "/v4/logs" in [request.target for request in sessions_api.requests])
        with closing(sqlite3.connect(path)) as connection:
            [name] = connection.execute("SELECT session_field, session FROM datapoints").fetchall()
        assert name == ("session_id", session.peek())
        gate.set()
        assert manager.flush(PATIENCE)


def test_processes_share_a_spool(path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """None sends what belongs to one that lives, and any sends what one leaves that was killed."""
    monkeypatch.setattr(spooled_queue, "ADOPTION_INTERVAL", 0.0)
    with SessionManager(stored.base_url, project=stored.project, spool=path) as manager:
        with running('manager.log(source="first")', path, unreachable(), stored.project) as process:
            wait_until(lambda: rows(path) == 1)
            manager.log(source="second")
            assert manager.flush(PATIENCE)
            wait_until(lambda: rows(path) == 1)
            assert manager.flush(PATIENCE)  # of what it might have taken meanwhile
            assert set(stored.by_source()) == {"second"}
            process.kill()
        manager.log(source="third")
        wait_until(lambda: rows(path) == 0)
    assert set(stored.by_source()) == {"first", "second", "third"}


def test_managers_of_one_process_share_a_spool(path: Path, stored: Stored) -> None:
    """The next manager sends the rows that a closed one has left."""
    with SessionManager(unreachable(), project=stored.project, spool=path, retries=0, timeout=0.1) as first:
        first.log(source="first")
        with SessionManager(stored.base_url, project=stored.project, spool=path) as second:
            second.log(source="second")
            assert second.flush(PATIENCE)
        assert set(stored.by_source()) == {"second"}
    with SessionManager(stored.base_url, spool=path) as third:
        assert third.flush(PATIENCE)
    assert set(stored.by_source()) == {"first", "second"}


def test_what_was_stored_unanswered_is_completed_by_the_next_manager(path: Path, stored: Stored) -> None:
    """The row has its end, which the stored datapoint lacks."""
    proxy = CuttingProxy(stored.base_url, every=1)
    settings: dict[str, Any] = {"project": stored.project, "spool": path, "retries": 0}
    with SessionManager(proxy.base_url, timeout=0.1, **settings) as first, first.datapoint() as opened:
        wait_until(lambda: proxy.cut and len(first.recorder._queue))
        proxy.close()
        opened.output = "42"
    with SessionManager(stored.base_url, **settings) as second:
        assert second.flush(PATIENCE)
    assert stored.only()["output"] == "42"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_rows_of_its_own(path: Path, stored: Stored) -> None:
    """A child does not send its parent's rows, and the parent does not lose the child's rows."""
    script = """
with manager.session():
    manager.log(source="parent")
while manager.recorder._queue._unwritten:
    time.sleep(0.001)
child = os.fork()
if not child:
    with manager.session():
        manager.log(source="child")
    while manager.recorder._queue._unwritten:
        time.sleep(0.001)
    os.kill(os.getpid(), 9)
os.waitpid(child, 0)
manager.log(source="after")
"""
    with running(script, path, unreachable(), stored.project):
        wait_until(lambda: rows(path) == 3)
    run(FLUSH, path, stored.base_url, stored.project)
    assert set(stored.by_source()) == {"parent", "child", "after"}
    assert rows(path) == 0


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing rests longer than it has to."""
    monkeypatch.setattr("hl_sessions.availability.outage.FIRST_COOL_OFF", 0.05)
    monkeypatch.setattr("hl_sessions.availability.outage.LONGEST_COOL_OFF", 0.1)
    monkeypatch.setattr(spooled_queue, "REST", 0.05)


@pytest.mark.usefixtures("soon")
def test_an_outage_drops_nothing(path: Path) -> None:
    """However little of it memory may have; in order, and each in its session."""
    port = free_port()
    manager = SessionManager(
        f"http://127.0.0.1:{port}/v4", project="p", retries=0, queue_size=100_000, spool=path
    )
    queue = manager.recorder._queue
    names = []
    for number in range(1000):
        with manager.session() as session:
            manager.log(source=f"{number} first", output="x" * 1000)
            manager.log(source=f"{number} second")
            names.append(session)
    wait_until(lambda: rows(path) == 2000 and queue.size <= 100_000)
    api = SessionsAPI(port=port)
    sent: list[dict[str, Any]] = []
    api.answer = accept_into(sent)
    assert manager.flush(PATIENCE)
    assert [datapoint["source"] for datapoint in sent] == [
        f"{number} {place}" for number in range(1000) for place in ("first", "second")
    ]
    for number, session in enumerate(names):
        params = session.log_params()
        for datapoint in sent[2 * number : 2 * number + 2]:
            assert params.items() <= datapoint.items()
    wait_until(lambda: rows(path) == 0)
    manager.close()
    api.close()
    assert path.stat().st_size < 100_000


def test_a_session_is_sampled_alike_by_whoever_sends(path: Path, stored: Stored) -> None:
    """What names it is in the file."""
    manager = SessionManager(unreachable(), project=stored.project, spool=path, retries=0, timeout=0.1)
    for number in range(100):
        with manager.session():
            manager.log(source=f"{number} first")
            manager.log(source=f"{number} second")
    manager.close()
    with SessionManager(stored.base_url, sample=0.5, spool=path) as second:
        assert second.flush(PATIENCE)
    found = stored.by_source()
    numbers = {source.split()[0] for source in found}
    assert 10 < len(numbers) < 90
    assert len(found) == 2 * len(numbers)


def test_the_file_is_for_its_owner_and_holds_no_secret(path: Path) -> None:
    """Keys of providers are not kept, and what ``redact`` takes out neither."""

    def redact(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "output": "***"}

    fields: Any = {"source": "a", "output": "seCret", "provider_api_keys": {"openai": "sk-seCret"}}
    with SessionManager(
        unreachable(), project="p", spool=path, retries=0, timeout=0.1, redact=redact
    ) as manager:
        manager.log(**fields)
        wait_until(lambda: rows(path) == 1)
        files = list(path.parent.iterdir())
        assert len(files) > 1
        for file in files:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert b"seCret" not in file.read_bytes()


def test_the_end_says_what_stays_in_the_spool(path: Path, stored: Stored) -> None:
    said = run('manager.log(source="answer")', path, unreachable(), stored.project)
    assert "and stay in the spool for another process: 1" in said
    assert rows(path) == 1


@pytest.mark.parametrize("value", ["", ":memory:", 7, "no such folder/spool", "."])
def test_a_path_that_cannot_be_a_file_is_refused(
    value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="spool="):
        SessionManager(spool=value)


def test_a_file_that_is_no_spool_is_refused(path: Path) -> None:
    """And stays as it is."""
    path.write_bytes(b"somebody's diary\n" * 1000)
    with pytest.raises(ConfigurationError, match=r"spool=.* cannot be opened: file is not a database"):
        SessionManager(spool=path)
    assert path.read_bytes() == b"somebody's diary\n" * 1000


@pytest.mark.parametrize("table", ["diary", "datapoints"])
def test_a_database_that_is_no_spool_is_refused(path: Path, table: str) -> None:
    """One of another program, or of a version with other columns; it stays as it is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table} (number INTEGER, owner INTEGER)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="of another program, or of another version"):
        SessionManager(spool=path)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("damage", ["removed", "replaced"])
def test_a_file_that_fails_later_costs_nothing_but_itself(
    damage: str, path: Path, sessions_api: SessionsAPI, records: list[logging.LogRecord]
) -> None:
    """One warning, and datapoints go on through memory."""
    gate = threading.Event()
    sent: list[dict[str, Any]] = []
    accept = accept_into(sent)

    def answer(request: Request) -> Answer:
        gate.wait(PATIENCE)
        return accept(request)

    sessions_api.answer = answer
    with SessionManager(sessions_api.base_url, project="p", spool=path) as manager:
        manager.log(source="before")
        wait_until(lambda: rows(path) == 1)
        if damage == "removed":
            path.unlink()
        else:
            other = path.with_name("other")
            other.write_bytes(b"somebody's diary\n" * 1000)
            other.replace(path)
            path.with_name(path.name + "-wal").unlink()  # which has all that the file had
        manager.log(source="after")
        wait_until(lambda: records)
        if damage == "removed":
            wait_until(lambda: path.exists() and rows(path) == 2)
        gate.set()
        assert manager.flush(PATIENCE)
        assert [datapoint["source"] for datapoint in sent] == ["before", "after"]
    [record] = records
    assert "the spool" in record.getMessage()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.usefixtures("soon")
def test_a_disk_that_is_full_at_the_start_is_used_once_there_is_room(
    small_disk: Path, records: list[logging.LogRecord]
) -> None:
    """The application starts, and is told."""
    others = small_disk / "others"
    with suppress(OSError), others.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    path = small_disk / "spool.db"
    url = f"http://127.0.0.1:{free_port()}/v4"
    with SessionManager(url, project="p", spool=path, timeout=0.1) as manager:
        manager.log(source="1")
        wait_until(lambda: [record for record in records if "disk is full" in record.getMessage()])
        others.unlink()
        manager.log(source="2")
        wait_until(lambda: is_set_up(path) and rows(path) == 2)
    assert not [record for record in records if "removed or replaced" in record.getMessage()]


@pytest.mark.usefixtures("soon")
def test_a_file_that_is_full_takes_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch, records: list[logging.LogRecord]
) -> None:
    """Then memory does, as far as it may; what is in the file is sent all the same: that makes room again.

    A file that is full again within a minute is not told of again.
    """
    monkeypatch.setattr(spool_module, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(seldom, "PAUSE", 100 * PATIENCE)
    port = free_port()
    manager = SessionManager(
        f"http://127.0.0.1:{port}/v4", project="p", retries=0, queue_size=200_000, spool=path
    )

    def fill() -> None:
        for number in range(2000):
            manager.log(source=str(number), output="x" * 1000)
            if number % 100 == 0:
                manager.recorder._queue.save()

    fill()
    wait_until(lambda: [record for record in records if "spool" in record.getMessage()])
    api = SessionsAPI(port=port)
    sent: list[dict[str, Any]] = []
    gate = threading.Event()
    accept = accept_into(sent)

    def answer(request: Request) -> Answer:
        gate.wait(PATIENCE)
        return accept(request)

    api.answer = answer
    gate.set()
    assert manager.flush(PATIENCE)
    sources = [int(datapoint["source"]) for datapoint in sent]
    assert sources == sorted(set(sources))
    assert len(sources) > 600
    manager.log(source="2000")
    assert manager.flush(PATIENCE)
    assert sent[-1]["source"] == "2000"
    wait_until(lambda: rows(path) == 0)
    sent.clear()
    gate.clear()
    fill()
    gate.set()
    assert manager.flush(PATIENCE)
    assert 0 < len(sent) < 2000
    manager.close()
    api.close()
    assert len([record for record in records if "spool" in record.getMessage()]) == 1
