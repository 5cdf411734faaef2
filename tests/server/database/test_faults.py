"""A full, locked or missing database is reported in the wire format, and the server recovers by itself."""

import resource
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import delete, select

from hl_sessions.server.database import retrying, sqlite
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import DatabaseError, ReplacedFileError
from hl_sessions.server.database.tables import organisations
from hl_sessions.server.run.serving import serving_in_background
from hl_sessions.server.settings import ServerSettings
from tests.servers import locked_file, opened_database
from tests.waiting import PATIENCE, wait_until

PAYLOAD = "PAYLOAD of a datapoint"


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as http:
        yield http


def wait_for_databases(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (retrying, sqlite):
        monkeypatch.setattr(module, "PATIENCE", seconds)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even on a busy machine, the server waits until the database is back."""
    wait_for_databases(PATIENCE, monkeypatch)


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server waits for the database only as long as a test has time."""
    wait_for_databases(0.3, monkeypatch)


def log(http: requests.Session, base_url: str) -> requests.Response:
    return http.post(f"{base_url}/logs", json={"project": "p", "output": PAYLOAD}, timeout=PATIENCE)


def assert_unavailable(answer: requests.Response) -> None:
    assert answer.status_code == 503
    assert answer.json() == {"detail": "The database is locked or does not answer"}
    assert int(answer.headers["Retry-After"]) > 0


def counted(http: requests.Session, base_url: str) -> int:
    [project] = http.get(f"{base_url}/projects", timeout=PATIENCE).json()["records"]
    count: int = project["data_count"]
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="needs to limit the files of another process")
def test_a_full_disk_refuses_writes_only(
    tmp_path: Path, spawn: Callable[..., Any], http: requests.Session
) -> None:
    """Without space a datapoint is answered 507 and not stored. Reads work, and later writes, too."""
    server = spawn(tmp_path, "--db", "full.sqlite3")
    first = log(http, server.base_url).json()["id"]
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    written = 1
    while (answer := log(http, server.base_url)).ok:
        written += 1
    assert answer.status_code == 507
    assert answer.json() == {"detail": "The disk of the database is full; nothing was stored"}
    assert http.get(f"{server.base_url}/logs/{first}", timeout=PATIENCE).json()["output"] == PAYLOAD
    assert counted(http, server.base_url) == written
    assert log(http, server.base_url).status_code == 507

    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert log(http, server.base_url).status_code == 200
    assert counted(http, server.base_url) == written + 1
    server.process.terminate()
    output, errors = server.process.communicate(timeout=PATIENCE)
    assert output + errors == ""


def test_a_locked_file_is_waited_for(tmp_path: Path, http: requests.Session) -> None:
    """A write waits for another process that writes, and reads do not."""
    database = tmp_path / "locked.sqlite3"
    settings = ServerSettings(port=0, database=str(database))
    with serving_in_background(settings) as base_url, ThreadPoolExecutor(1) as threads:
        log(http, base_url)
        with locked_file(database), requests.Session() as other:
            writing = threads.submit(log, other, base_url)
            assert counted(http, base_url) == 1
            assert not writing.done()
        assert writing.result().status_code == 200
        assert counted(http, base_url) == 2


def test_nothing_is_written_to_a_file_that_is_no_longer_at_its_path(
    tmp_path: Path, http: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    """Writes are refused, which one line reports, and reads go on. Back in its place, it is written to."""
    link, database, moved = (tmp_path / name for name in ("link.sqlite3", "there.sqlite3", "moved.sqlite3"))
    link.symlink_to(database)

    def refused() -> str:
        answer = log(http, base_url)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert counted(http, base_url) == 1
        detail: str = answer.json()["detail"]
        return detail

    with serving_in_background(ServerSettings(port=0, database=str(link))) as base_url:
        assert log(http, base_url).status_code == 200
        database.rename(moved)
        assert refused() == (
            "The file of the database was moved, removed or replaced: put it back, or start the server again"
        )
        assert not database.exists()
        database.touch()
        refused()
        moved.rename(database)
        link.unlink()
        refused()
        link.symlink_to(database)
        with closing(sqlite3.connect(database)) as other:
            other.execute("VACUUM")
        assert log(http, base_url).status_code == 200
        assert counted(http, base_url) == 2
    [warning] = caplog.messages
    assert warning == (
        f"requests are refused: {link} was moved, removed or replaced, "
        "so nothing is written: put it back, or start again"
    )


def test_no_connection_makes_the_file_that_was_removed_anew(tmp_path: Path) -> None:
    """SQLite would: a read that needs one is refused."""
    path = tmp_path / "removed.sqlite3"
    query = select(organisations.c.name)
    with opened_database(path) as opened:
        path.unlink()
        opened.read_now(lambda connection: connection.execute(query).all())
        with pytest.raises(ReplacedFileError, match="was moved, removed or replaced"):
            opened.read_now(lambda _: opened.read_now(lambda connection: connection.execute(query).all()))
    assert not path.exists()


def test_a_new_file_that_another_process_has_locked(tmp_path: Path) -> None:
    """Servers may start on it at the same time: the later one waits."""
    database = tmp_path / "new.sqlite3"
    url = ServerSettings(database=str(database)).database_url
    with ThreadPoolExecutor(1) as threads:
        with locked_file(database):
            opening = threads.submit(Database.open, url)
            assert not wait([opening], timeout=0.5).done
        opening.result(PATIENCE).close()


def test_a_failure_says_why_but_no_value(tmp_path: Path) -> None:
    """The reason is told if SQLite has a fixed text for it. Other messages quote what is stored."""
    path = tmp_path / "failing.sqlite3"
    with opened_database(path) as opened:
        opened.write_now(
            lambda connection: connection.exec_driver_sql(
                "INSERT INTO organisations (team_id, name, created_at) "
                "VALUES (CAST(X'534543524554FF' AS TEXT), 'o', '')"
            )
        )
        with pytest.raises(DatabaseError, match=r"^OperationalError \(no SQLSTATE\) in: ") as raised:
            opened.read_now(lambda connection: connection.scalar(select(organisations.c.team_id)))
    assert "SECRET" not in str(raised.value)
    with (
        opened_database(f"sqlite:///file:{path}?mode=ro&uri=true") as opened,
        pytest.raises(DatabaseError, match=r"\(attempt to write a readonly database\) in: DELETE"),
    ):
        opened.write_now(lambda connection: connection.execute(delete(organisations)))


@pytest.mark.usefixtures("impatient")
def test_a_file_that_stays_locked_is_unavailable(
    tmp_path: Path, http: requests.Session, capfd: pytest.CaptureFixture[str]
) -> None:
    """After a limited time a write is answered 503. It is not made later, but new writes are."""
    database = tmp_path / "locked.sqlite3"
    settings = ServerSettings(port=0, database=str(database))
    with serving_in_background(settings) as base_url:
        log(http, base_url)
        with locked_file(database):
            assert_unavailable(log(http, base_url))
            assert counted(http, base_url) == 1
        assert log(http, base_url).status_code == 200
        assert counted(http, base_url) == 2
    assert "PAYLOAD" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_a_restart_of_postgresql_loses_nothing(
    own_postgresql: Any, http: requests.Session, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under load, calls wait, or are answered that their outcome is unknown. Answered writes are stored."""
    stop = threading.Event()
    answers: list[requests.Response] = []
    settings = ServerSettings(port=0, database=own_postgresql.new_database())

    def write(base_url: str) -> None:
        with requests.Session() as own_http:
            while not stop.is_set():
                answers.append(log(own_http, base_url))

    def wait_for_answers(number: int) -> None:
        wanted = len(answers) + number
        wait_until(lambda: len(answers) >= wanted)

    with serving_in_background(settings) as base_url, ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, base_url) for _ in range(4)]
        wait_for_answers(20)
        own_postgresql.stop()
        own_postgresql.start()
        wait_for_answers(20)
        stop.set()
        for thread in writing:
            thread.result()
        assert answers[-1].status_code == 200
        for answer in answers:
            if not answer.ok:
                assert_unavailable(answer)
        stored = {
            record["id"]
            for page in range(1, 100)
            for record in http.get(
                f"{base_url}/logs?project_id={answers[0].json()['project_id']}&size=100&page={page}",
                timeout=PATIENCE,
            ).json()["records"]
        }
        assert {answer.json()["id"] for answer in answers if answer.ok} <= stored
        assert len(stored) == counted(http, base_url)
    assert "PAYLOAD" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_postgresql_that_is_away_is_unavailable(
    own_postgresql: Any,
    http: requests.Session,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reads and writes are answered 503 after a limited time, and work again when it is back."""
    settings = ServerSettings(port=0, database=own_postgresql.new_database())
    with serving_in_background(settings) as base_url:
        log(http, base_url)
        own_postgresql.stop()
        with monkeypatch.context() as while_it_is_away:
            wait_for_databases(0.3, while_it_is_away)
            assert_unavailable(log(http, base_url))
            assert_unavailable(http.get(f"{base_url}/projects", timeout=PATIENCE))
        own_postgresql.start()
        assert log(http, base_url).status_code == 200
        assert counted(http, base_url) == 2
    assert "PAYLOAD" not in "".join(capfd.readouterr())
