import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests


def test_what_was_answered_survives_a_kill(tmp_path: Path, spawn: Callable[..., Any]) -> None:
    """Killed under several writers and started again, a server has everything that it answered."""
    server = spawn(tmp_path)
    sessions: list[str] = []
    logs: list[str] = []
    enough = threading.Event()

    def write(number: int) -> None:
        with requests.Session() as http:
            while True:
                try:
                    session = http.post(f"{server.base_url}/sessions", timeout=10).json()["id"]
                    sessions.append(session)
                    batch = [{"project": f"p{number}", "session_id": session}] * 3
                    answer = http.post(f"{server.base_url}/logs", json=batch, timeout=10).json()
                    logs.extend(log["id"] for log in answer)
                except requests.RequestException:
                    return
                if len(logs) > 300:
                    enough.set()

    writers = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for writer in writers:
        writer.start()
    assert enough.wait(timeout=30)
    server.process.kill()
    for writer in writers:
        writer.join()

    server = spawn(tmp_path)
    with requests.Session() as http:
        for path, ids in (("sessions", sessions), ("logs", logs)):
            statuses = {http.get(f"{server.base_url}/{path}/{id_}", timeout=10).status_code for id_ in ids}
            assert statuses == {200}
        projects = http.get(f"{server.base_url}/projects", timeout=10).json()["records"]
    assert {project["name"] for project in projects} == {f"p{number}" for number in range(4)}
    # A batch is there as a whole or not at all.
    assert all(project["data_count"] % 3 == 0 for project in projects)


def test_two_servers_share_one_file(tmp_path: Path, spawn: Callable[..., Any]) -> None:
    """Started and written to at once, both answer, and each sees what the other wrote."""
    spawned: list[Any] = []
    starters = [threading.Thread(target=lambda: spawned.append(spawn(tmp_path))) for _ in range(2)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    created: list[dict[str, str]] = []

    def write(base_url: str) -> None:
        with requests.Session() as http:
            for number in range(50):
                log = {"project": "shared", "session_reference_id": f"reference {number}"}
                answer = http.post(f"{base_url}/logs", json=log, timeout=30)
                assert answer.ok, answer.text
                created.append(answer.json())

    writers = [threading.Thread(target=write, args=[server.base_url]) for server in spawned * 2]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(created) == 200
    assert len({log["session_id"] for log in created}) == 50
    [project_id] = {log["project_id"] for log in created}
    for server in spawned:
        url = f"{server.base_url}/sessions?project_id={project_id}"
        page = requests.get(url, timeout=10).json()
        assert page["total"] == 50
        assert page["records"][0]["datapoints_count"] == 4
