"""Several servers write to one PostgreSQL at once, and none of them can stop the others."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Connection, text

from hl_sessions.server.database import postgresql, retrying
from hl_sessions.server.database.errors import DatabaseUnavailableError
from tests.servers import locked_file, opened_database, served
from tests.waiting import PATIENCE, ends_within, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even on a busy machine, servers wait for each other."""
    monkeypatch.setattr(retrying, "PATIENCE", PATIENCE)
    monkeypatch.setattr(postgresql, "_STOPPED_WRITER", int(1000 * PATIENCE))


@pytest.fixture
def servers() -> Iterator[Callable[[str, int], list[str]]]:
    """Starts this many servers on a database."""
    with ExitStack() as running:

        def start(database: str, number: int) -> list[str]:
            return [running.enter_context(served(database)) for _ in range(number)]

        yield start


def post(base_url: str, path: str, body: Any) -> requests.Response:
    return requests.post(base_url + path, json=body, timeout=PATIENCE)


def assert_counts_are_right(base_url: str, project_id: str) -> None:
    project = requests.get(f"{base_url}/projects/{project_id}", timeout=PATIENCE).json()
    logs = requests.get(f"{base_url}/logs?project_id={project_id}&size=100", timeout=PATIENCE).json()[
        "records"
    ]
    sessions = requests.get(f"{base_url}/sessions?project_id={project_id}&size=100", timeout=PATIENCE).json()
    assert project["data_count"] == len(logs)
    in_sessions = [log["session_id"] for log in logs if "session_id" in log]
    assert sessions["total"] == len(sessions["records"]) == len(set(in_sessions))
    assert sum(session["datapoints_count"] for session in sessions["records"]) == len(in_sessions)


def test_a_name_that_all_give_at_once_is_one(
    own_postgresql: Any, servers: Callable[[str, int], list[str]]
) -> None:
    """Even in opposite orders: one session, one project, right counts, and no error in PostgreSQL's log."""
    base_urls = servers(own_postgresql.new_database(), 3)

    def write(number: int) -> list[dict[str, str]]:
        answers: list[dict[str, str]] = []
        for turn in range(4):
            logs: list[dict[str, Any]] = [
                {"project": f"project {n % 3}", "session_reference_id": f"{turn} {n}", "inputs": {"n": n}}
                for n in range(8)
            ]
            given = logs[:: -1 if number % 2 else 1]
            answer = post(base_urls[number % len(base_urls)], "/logs", given)
            assert answer.status_code == 200, answer.text
            answers += [
                {**created, "reference": str(log["session_reference_id"])}
                for created, log in zip(answer.json(), given, strict=True)
            ]
        return answers

    with ThreadPoolExecutor(6) as threads:
        created = [answer for answers in threads.map(write, range(6)) for answer in answers]
        assert len({(answer["reference"], answer["session_id"]) for answer in created}) == 4 * 8
        project_ids = {answer["project_id"] for answer in created}
        assert len(project_ids) == 3
        for project_id in project_ids:
            assert_counts_are_right(base_urls[0], project_id)

        # Two servers delete it at once, and it is counted once.
        doomed = [answer["id"] for answer in created[:20]]

        def delete(number: int) -> int:
            ids = doomed[:: -1 if number % 2 else 1]
            return requests.delete(
                f"{base_urls[number % len(base_urls)]}/logs", params={"id": ids}, timeout=PATIENCE
            ).status_code

        assert sorted(threads.map(delete, range(4))) == [204, 404, 404, 404]
    for project_id in project_ids:
        assert_counts_are_right(base_urls[0], project_id)
    assert own_postgresql.errors() == []


def test_references_in_opposite_orders_are_given_once(
    own_postgresql: Any, servers: Callable[[str, int], list[str]]
) -> None:
    """Of lists with the same reference IDs one is stored, in its own order, and the others are refused."""
    base_urls = servers(own_postgresql.new_database(), 2)
    references = [f"log {n}" for n in range(20)]

    def write(number: int) -> requests.Response:
        given = references[:: -1 if number % 2 else 1]
        logs = [{"project": "p", "reference_id": reference} for reference in given]
        return post(base_urls[number % 2], "/logs", logs)

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(write, range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + 5 * [422]
    [stored] = [answer.json() for answer in answers if answer.ok]
    url = f"{base_urls[0]}/logs?project_id={stored[0]['project_id']}&size=100"
    listed = requests.get(url, timeout=PATIENCE).json()["records"]
    assert [log["id"] for log in listed] == [log["id"] for log in reversed(stored)]
    assert own_postgresql.errors() == []


def test_a_stopped_server_stops_nobody(
    own_postgresql: Any, servers: Callable[[str, int], list[str]], spawn: Callable[..., Any], tmp_path: Path
) -> None:
    """It is stopped in a transaction, with locks on rows that all need: the others only wait for a moment."""
    import psycopg

    database = own_postgresql.new_database()
    stopped = spawn(tmp_path, "--db", database)
    [other] = servers(database, 1)
    log = {"project": "p", "session_reference_id": "conversation"}
    project_id = post(other, "/logs", {"project": "p"}).json()["project_id"]
    with psycopg.connect(database, autocommit=True) as watching, ThreadPoolExecutor(1) as threads:

        def is_somebody(condition: str) -> bool:
            query = f"SELECT 1 FROM pg_stat_activity WHERE application_name = 'hl-sessions' AND {condition}"
            return watching.execute(query).fetchone() is not None

        with psycopg.connect(database) as holding:
            holding.execute("SELECT 1 FROM projects WHERE id = %s FOR NO KEY UPDATE", [project_id])
            writing = threads.submit(post, stopped.base_url, "/logs", log)
            wait_until(lambda: is_somebody("wait_event_type = 'Lock'"))
            stopped.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_somebody("state = 'idle in transaction'"))
        answer = post(other, "/logs", log)
        assert answer.status_code == 200
        stopped.process.send_signal(signal.SIGCONT)
        late = writing.result()
    # It repeated the write, or answered that it could not.
    assert late.status_code in {200, 503}
    if late.ok:
        assert late.json()["session_id"] == answer.json()["session_id"]
    assert_counts_are_right(other, project_id)
    again = post(stopped.base_url, "/logs", log)
    assert again.json()["session_id"] == answer.json()["session_id"]


def test_a_server_that_ends_waits_for_no_database(own_postgresql: Any) -> None:
    """Background work gives up then, however patient it is."""
    attempts: list[Connection] = []

    def lose_the_connection(connection: Connection) -> None:
        attempts.append(connection)
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with opened_database(own_postgresql.new_database()) as database, ThreadPoolExecutor(1) as threads:
        reading = threads.submit(database.read_now, lose_the_connection)
        wait_until(lambda: attempts)
        with ends_within(0):
            database.begin_to_close()
            error = reading.exception()
        assert isinstance(error, DatabaseUnavailableError)


def test_what_a_server_does_at_its_end_waits_for_no_lock(tmp_path: Path) -> None:
    """Such as releasing a lease: work that begins then has one short attempt."""
    path = tmp_path / "database.sqlite3"
    with opened_database(path) as database, locked_file(path):
        database.begin_to_close()
        with ends_within(0), pytest.raises(DatabaseUnavailableError):
            database.write_now(lambda connection: connection.execute(text("SELECT 1")).all())


def test_servers_share_the_connections_of_a_pooler(
    own_postgresql: Any, servers: Callable[[str, int], list[str]]
) -> None:
    """Behind PgBouncer, each transaction uses any free connection, and nothing fails."""
    database = own_postgresql.new_database()
    with own_postgresql.behind_pgbouncer(connections=2) as through:
        base_urls = servers(through(database), 2)

        def work(number: int) -> list[str]:
            base_url = base_urls[number % 2]
            with requests.Session() as http:
                for turn in range(15):
                    log = {"project": "p", "session_reference_id": f"{turn}"}
                    created = http.post(f"{base_url}/logs", json=log, timeout=PATIENCE).json()
                    change = {"output": "text"}
                    answers = [
                        http.patch(f"{base_url}/logs/{created['id']}", json=change, timeout=PATIENCE),
                        http.get(f"{base_url}/sessions/{created['session_id']}", timeout=PATIENCE),
                        http.get(f"{base_url}/projects", timeout=PATIENCE),
                    ]
                    assert [answer.status_code for answer in answers] == [200] * 3
            return [created["project_id"]]

        with ThreadPoolExecutor(6) as threads:
            project_ids = {id_ for found in threads.map(work, range(6)) for id_ in found}
        assert len(project_ids) == 1
        assert_counts_are_right(base_urls[0], project_ids.pop())
    assert own_postgresql.errors() == []
