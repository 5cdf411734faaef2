"""An answered write survives any fate of the server and of other users of the database."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

Spawn = Callable[..., Any]


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as http:
        yield http


def all_records(http: requests.Session, url: str) -> Iterator[dict[str, Any]]:
    """The records of all pages."""
    for page in range(1, 1000):
        answer = http.get(f"{url}size=100&page={page}", timeout=30).json()
        yield from answer["records"]
        if page * 100 >= answer["total"]:
            return


def test_what_was_answered_survives_a_kill(
    database: str, tmp_path: Any, spawn: Spawn, http: requests.Session
) -> None:
    """A server is killed under several writers and started again: it has everything that it answered."""
    server = spawn(tmp_path, "--db", database)
    sessions: set[str] = set()
    logs: list[dict[str, str]] = []
    enough = threading.Event()

    def write(number: int) -> None:
        with requests.Session() as own_http:
            while True:
                try:
                    session = own_http.post(f"{server.base_url}/sessions", timeout=PATIENCE).json()["id"]
                    batch = [{"project": f"p{number}", "session_id": session}] * 3
                    answer = own_http.post(f"{server.base_url}/logs", json=batch, timeout=PATIENCE).json()
                except requests.RequestException:
                    return
                sessions.add(session)
                logs.extend(answer)
                if len(logs) > 150:
                    enough.set()

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, number) for number in range(4)]
        assert enough.wait(timeout=30)
        server.process.kill()
    assert not [failure for thread in writing if (failure := thread.exception())]

    server = spawn(tmp_path, "--db", database)
    projects = list(all_records(http, f"{server.base_url}/projects?"))
    assert {project["name"] for project in projects} == {f"p{number}" for number in range(4)}
    # A batch is stored as a whole or not at all.
    assert all(project["data_count"] % 3 == 0 for project in projects)
    kept_sessions: dict[str, int] = {}
    kept_logs: set[str] = set()
    for project in projects:
        of_project = f"project_id={project['id']}&"
        for session in all_records(http, f"{server.base_url}/sessions?{of_project}"):
            kept_sessions[session["id"]] = session["datapoints_count"]
        kept_logs |= {log["id"] for log in all_records(http, f"{server.base_url}/logs?{of_project}")}
    assert {log["id"] for log in logs} <= kept_logs
    assert sessions <= kept_sessions.keys()
    assert sum(kept_sessions.values()) == len(kept_logs) == sum(project["data_count"] for project in projects)


def test_servers_share_one_database(
    database: str, tmp_path: Any, spawn: Spawn, http: requests.Session
) -> None:
    """They start and write at once. A name or reference that all use first exists once."""
    with ThreadPoolExecutor(4) as threads:
        servers = list(threads.map(lambda _: spawn(tmp_path, "--db", database), range(2)))

        def write(base_url: str) -> list[requests.Response]:
            answers = []
            with requests.Session() as own_http:
                for number in range(20):
                    log = {
                        "project": f"shared {number % 5}",
                        "session_reference_id": f"session {number}",
                        "reference_id": f"log {number}",
                    }
                    answers.append(own_http.post(f"{base_url}/logs", json=log, timeout=30))
                    log = {"project": f"shared {number % 5}", "session_reference_id": f"session {number}"}
                    answers.append(own_http.post(f"{base_url}/logs", json=log, timeout=30))
            return answers

        answers = [
            answer
            for given in threads.map(write, [server.base_url for server in servers * 2])
            for answer in given
        ]
    assert [answer.status_code for answer in answers].count(200) == 20 + 80
    refused = [answer.json()["detail"][0] for answer in answers if answer.status_code != 200]
    assert len(refused) == 60
    assert {tuple(detail["loc"]) for detail in refused} == {("body", "reference_id")}
    created = [answer.json() for answer in answers if answer.ok]
    assert len({log["session_id"] for log in created}) == 20
    project_ids = {log["project_id"] for log in created}
    assert len(project_ids) == 5
    for server in servers:
        for project_id in project_ids:
            page = http.get(f"{server.base_url}/sessions?project_id={project_id}", timeout=PATIENCE).json()
            assert page["total"] == 4
            assert [session["datapoints_count"] for session in page["records"]] == [5] * 4
