"""Many processes and threads log, while the server is killed and answers are lost."""

import subprocess
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.datapoints.conftest import Stored
from tests.datapoints.cutting_proxy import CuttingProxy
from tests.servers import first_lines, free_port, spawning
from tests.waiting import wait_until

APPLICATION = Path(__file__).with_name("logging_application.py")
PROCESSES = 4
THREADS = 16
ROUNDS = (5, 5, 5, 5, 5, 7)  # sessions of each thread in each round
SESSIONS = PROCESSES * THREADS * sum(ROUNDS)
KILLS = 5


def reached(proxy: CuttingProxy, goal: int) -> bool:
    return proxy.handed_on >= goal


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the server runs on CPython")
def test_nothing_is_lost_and_nothing_is_stored_twice(database: str, project: str) -> None:
    """20,000 datapoints in 2,000 sessions are there once, each in its session and under its parent."""
    port = free_port()
    with spawning("serve") as start_process:

        def serve() -> Any:
            process = start_process("--port", str(port), "--db", database, HL_SESSIONS_ACCESS_LOG="false")
            first_lines(process, 1)
            return process

        server = serve()
        proxy = CuttingProxy(f"http://127.0.0.1:{port}/v4", every=10)
        applications = [
            subprocess.Popen(
                [sys.executable, APPLICATION, proxy.base_url, project, str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        for number, sessions in enumerate(ROUNDS):
            goal = proxy.handed_on + 4
            for application in applications:
                assert application.stdin is not None
                application.stdin.write(f"{sessions}\n")
                application.stdin.flush()
            if number < KILLS:
                wait_until(partial(reached, proxy, goal))
                server.kill()
                server.wait()
                server = serve()
        for application in applications:
            printed, _ = application.communicate()
            assert printed.split() == ["logged"] * len(ROUNDS) + ["True"]
        assert proxy.cut
        found = Stored(f"http://127.0.0.1:{port}/v4", project).datapoints()
        proxy.close()
    assert len(found) == len({datapoint["source"] for datapoint in found}) == 10 * SESSIONS
    by_place: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for datapoint in found:
        by_place[datapoint["metadata"]["place"]].append(datapoint)
    assert len(by_place) == len({datapoint["session_id"] for datapoint in found}) == SESSIONS
    for place, datapoints in by_place.items():
        [parent] = [datapoint for datapoint in datapoints if datapoint["source"].endswith("parent")]
        assert parent["output"] == place
        assert len({datapoint["session_id"] for datapoint in datapoints}) == 1
        assert {datapoint.get("parent_id") for datapoint in datapoints} == {None, parent["id"]}
