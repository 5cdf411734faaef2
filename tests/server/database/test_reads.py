"""Reads have a time limit, end when their client has gone, and searches only delay searches."""

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from select import select
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from hl_sessions.server.database import database as database_module
from hl_sessions.server.database import lanes
from hl_sessions.server.database.engines import SCANNERS
from tests.servers import served
from tests.waiting import PATIENCE, wait_until

# Long enough for a quick search, but not for one that has to wait for a slow one.
BUDGET = lanes.BUDGET
# At each place, such a text matches nearly all of the search.
DATAPOINT = {"project": "slow", "session_reference_id": "slow", "output": 10_000 * "a"}
DATAPOINTS = 1000
SLOW = 199 * "a" + "b"
SLOWEST = 999 * "a" + "b"


class Server:
    """A server with datapoints that take long to search."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.url = base_url.removesuffix("/v4")
        created = self.call("POST", "/logs", json=DATAPOINTS * [DATAPOINT]).json()[0]
        self.session_id = created["session_id"]
        self._slow_id = created["project_id"]
        self._quick_id = self.call("POST", "/logs", json={"project": "quick"}).json()["project_id"]

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.base_url + path, timeout=PATIENCE, **options)

    def get_page(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=PATIENCE)

    def search_quickly(self) -> requests.Response:
        return self.call("GET", f"/logs?project_id={self._quick_id}&search=x")

    def search_slowly(self) -> requests.Response:
        return self.call("GET", f"/logs?project_id={self._slow_id}&search={SLOWEST}")

    def measured(self, metric: str) -> float:
        """Return the metrics of the server."""
        lines = self.get_page("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(metric))

    @contextmanager
    def searches(self, count: int) -> Iterator[list[socket.socket]]:
        """Have this many callers search. At the end of the block they go, answered or not."""
        address = urlsplit(self.base_url)
        target = f"/v4/logs?project_id={self._slow_id}&search={SLOWEST}"
        host, port = address.netloc.split(":")
        connections = [socket.create_connection((host, int(port))) for _ in range(count)]
        try:
            for connection in connections:
                connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            # The request for the metrics counts as well.
            wait_until(lambda: self.measured("hl_sessions_http_requests_in_flight") > count)
            yield connections
        finally:
            for connection in connections:
                connection.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even on a busy machine, nothing times out."""
    monkeypatch.setattr(lanes, "BUDGET", PATIENCE)


@pytest.fixture
def server(database: str) -> Iterator[Server]:
    with served(database) as base_url:
        yield Server(base_url)


def assert_given_up(answer: requests.Response) -> None:
    assert answer.status_code == 503
    assert re.match(r"The database took longer than \d+ seconds", answer.json()["detail"])
    assert "Retry-After" not in answer.headers


def test_single_records_wait_for_no_search(server: Server) -> None:
    """A session and its page are answered although more callers search than may run at a time."""
    with server.searches(3 * SCANNERS) as searching:
        assert server.call("GET", f"/sessions/{server.session_id}").status_code == 200
        assert server.get_page(f"/sessions/{server.session_id}").status_code == 200
        assert server.get_page("/readyz").status_code == 200
        answered, _, _ = select(searching, [], [], 0)
        assert not answered


def test_searches_wait_in_a_short_queue_and_end_when_nobody_waits(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is told to come back. When the callers have gone, the next one runs at once."""
    most = SCANNERS + database_module.WAITING_SCANS
    with server.searches(most):
        answer = server.search_quickly()
        assert answer.status_code == 503
        assert answer.json() == {"detail": "Too many requests wait for the database"}
        assert int(answer.headers["Retry-After"]) > 0
        page = server.get_page("/?q=x")
        assert page.status_code == 503
        assert "Too many requests at once" in page.text
        assert int(page.headers["Retry-After"]) > 0
        assert server.call("GET", f"/sessions/{server.session_id}").status_code == 200
    wait_until(lambda: server.measured("hl_sessions_http_requests_in_flight") == 1)
    monkeypatch.setattr(lanes, "BUDGET", BUDGET)
    assert server.search_quickly().status_code == 200
    gone = 'hl_sessions_http_requests_total{method="GET",route="/v4/logs",status="499"}'
    assert server.measured(gone) == most
    assert server.measured('hl_sessions_database_errors_total{reason="busy"}') == 2


@pytest.mark.slow
def test_a_search_that_takes_too_long_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller is told so, in plain words on the page, and the search stops."""
    monkeypatch.setattr(lanes, "BUDGET", 1)
    with ThreadPoolExecutor(SCANNERS) as threads:
        for answer in [threads.submit(server.search_slowly) for _ in range(SCANNERS)]:
            assert_given_up(answer.result())
    monkeypatch.setattr(lanes, "BUDGET", BUDGET)
    assert server.search_quickly().status_code == 200
    monkeypatch.setattr(lanes, "BUDGET", 1)
    # On a busy machine, its turn may not come within a second.
    wait_until(lambda: "This takes too long" in server.get_page(f"/?q={SLOW}").text)
    assert server.measured('hl_sessions_database_errors_total{reason="timeout"}') > SCANNERS


def test_postgresql_knows_the_limit_too(postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends a search in time even if the server that asked for it cannot."""
    monkeypatch.setattr(lanes, "BUDGET", 1)
    with served(postgresql.new_database()) as base_url:
        monkeypatch.setattr(lanes, "BUDGET", PATIENCE)
        assert_given_up(Server(base_url).search_slowly())
