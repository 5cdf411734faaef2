"""No client can stop the server with connections: half-sent requests end, and others find room."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from hl_sessions.server.run import connections, patience
from hl_sessions.server.run.serving import base_url as base_url_of
from hl_sessions.server.run.serving import in_background, listen
from tests.nginx import documented, nginx
from tests.servers import first_lines, served
from tests.waiting import PATIENCE, StillClock, wait_until

KEY = "the key of many callers"
FILES = 128  # the greatest number of files that a process may open
ROOM = 64  # for connections
FEW = 16  # connections, in tests that set this limit
HEAD = b"POST /v4/sessions HTTP/1.1\r\nHost: localhost\r\n"
PARTS = {
    "nothing": b"",
    "half a head": HEAD,
    "half a body": HEAD + b"Content-Length: 2\r\n\r\nx",
    "a body that nobody reads": b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nx",
}
WHOLE = HEAD + b"\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
FULL = re.compile(
    rf"(no more than {ROOM} connections are served at once: .* the limit on open files is {FILES}\n)"
)

Connect = Callable[[str, bytes], socket.socket]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect to a URL, and send some bytes."""
    with ExitStack() as stack:

        def connected(url: str, sent: bytes) -> socket.socket:
            address = urlsplit(url)
            connection = socket.create_connection((str(address.hostname), address.port or 0), PATIENCE)
            stack.enter_context(connection)
            connection.sendall(sent)
            return connection

        yield connected


class Clock(StillClock):
    """A clock that counts how often it is read."""

    looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return super().monotonic()

    def wait_for_looks(self) -> None:
        """Wait until the server has looked at all of its connections, while nothing else happens."""
        enough = self.looks + 2
        wait_until(lambda: self.looks >= enough)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the limits; connections are looked at often."""
    clock = Clock()
    monkeypatch.setattr(connections, "monotonic", clock.monotonic)
    monkeypatch.setattr(patience, "monotonic", clock.monotonic)
    monkeypatch.setattr(connections, "_TICK", 0.01)
    return clock


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Tell whether a connection is closed in time; bytes before that are ignored."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


def pass_time(clock: Clock, witness: socket.socket) -> None:
    """Let a connection that sends nothing be late. By then all others have been looked at, too."""
    while not is_closed(witness, 0.05):
        # The server may have seen it late.
        clock.offset += patience.TIME_TO_SEND / 4


@contextmanager
def application(answer: Callable[[Any], Any]) -> Iterator[str]:
    """The URL of an application whose answers the test controls."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await answer(send)

    with listen("127.0.0.1", 0) as listener, in_background(application, listener, grace=1):
        yield base_url_of(listener, "/")


@pytest.mark.parametrize("before", [b"", WHOLE], ids=["first", "second"])
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_request_has_to_arrive_in_time(
    tmp_path: Path, connect: Connect, clock: Clock, before: bytes, part: bytes
) -> None:
    """However much of it has arrived, and whether or not it is the first one of its connection."""
    with served(tmp_path / "database") as base_url:
        pass_time(clock, connect(base_url, before + part))
        assert requests.post(f"{base_url}/sessions", timeout=PATIENCE).status_code == 201


def test_a_long_body_has_the_time_that_it_takes(tmp_path: Path, connect: Connect, clock: Clock) -> None:
    """As long as it makes progress, however slow."""
    part = patience.SLOWEST * b"          "
    parts = 12
    with served(tmp_path / "database") as base_url:
        witness = connect(base_url, HEAD)
        upload = connect(base_url, HEAD + f"Content-Length: {parts * len(part)}\r\n\r\n".encode())
        for _ in range(parts - 1):
            upload.sendall(part)
            # Once this is answered, the server has read the bytes.
            requests.post(f"{base_url}/sessions", timeout=PATIENCE).raise_for_status()
            clock.offset += 10
        assert clock.offset > patience.TIME_TO_SEND
        pass_time(clock, witness)
        upload.sendall(b"{}".ljust(len(part)))
        assert upload.recv(100).startswith(b"HTTP/1.1 201 ")


def test_a_request_that_is_being_answered_has_all_time(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and during its answer, even if there is no room for others."""
    monkeypatch.setattr(connections, "MOST", FEW)
    begun, go_on = threading.Barrier(3), threading.Event()

    async def wait(send: Any) -> None:
        await asyncio.to_thread(begun.wait, PATIENCE)
        await asyncio.to_thread(go_on.wait, PATIENCE)

    async def answer(send: Any) -> None:
        headers = [(b"content-length", b"2")]
        if not streamed:
            streamed.append(True)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"1", "more_body": True})
            await wait(send)
            await send({"type": "http.response.body", "body": b"2"})
        else:
            await wait(send)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"12"})

    streamed: list[bool] = []
    with application(answer) as url:
        answered = [connect(url, GET), connect(url, GET)]
        begun.wait(PATIENCE)
        pass_time(clock, connect(url, b""))
        # More connections than there is room for: only those that send nothing are ended.
        others = [connect(url, HEAD) for _ in range(2 * FEW)]
        clock.offset += 1
        while not is_closed(others[FEW - len(answered) - 1], 0.05):
            clock.offset += 1
        go_on.set()
        for connection in answered:
            received = b""
            while not received.endswith(b"12"):
                received += connection.recv(1000)
            assert received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("reads", ["slowly", "nothing"])
def test_an_answer_has_to_be_read(connect: Connect, clock: Clock, reads: str) -> None:
    """Slowly is enough."""
    length = 64 * 1024 * 1024

    async def answer(send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(length)})

    with application(answer) as url:
        reader = connect(url, GET)
        received = len(reader.recv(1000))
        for _ in range(length // 1024 // 1024 // 2):
            clock.wait_for_looks()
            clock.offset += patience.TIME_TO_TAKE / 16
            if reads == "slowly":
                received += len(reader.recv(1024 * 1024, socket.MSG_WAITALL))
        clock.wait_for_looks()
        with suppress(ConnectionResetError):
            while part := reader.recv(65536):
                received += len(part)
        assert (received > length) == (reads == "slowly")


@pytest.mark.parametrize("before", [b"", WHOLE], ids=["first", "second"])
def test_a_head_has_an_end(tmp_path: Path, connect: Connect, before: bytes) -> None:
    """It cannot fill the memory."""
    with served(tmp_path / "database") as base_url:
        connection = connect(base_url, before + HEAD)
        with suppress(ConnectionError):
            for _ in range(10_000):
                connection.sendall(b"X-More: " + 1000 * b"x" + b"\r\n")
            pytest.fail("10 MB were read")
        assert is_closed(connection, PATIENCE)


def test_what_is_no_http_is_told_of_once(tmp_path: Path, spawn: Callable[..., Any], connect: Connect) -> None:
    """Such clients cannot fill the log."""
    server = spawn(tmp_path)
    for _ in range(20):
        assert connect(server.base_url, b"no HTTP\r\n\r\n").recv(100).startswith(b"HTTP/1.1 400 ")
    server.process.terminate()
    _output, errors = server.process.communicate(timeout=PATIENCE)
    assert errors == "Invalid HTTP request received.\n"


@contextmanager
def few_files(
    directory: Path, *arguments: str, loop: str = "asyncio", taken: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """A server that may open few files, and fewer at its start; other code may have taken some."""
    without_uvloop = "import sys; sys.modules['uvloop'] = None; " if loop == "asyncio" else ""
    take = (
        f"import os; from hl_sessions.server.run.descriptors import raise_limit; raise_limit(); "
        f"taken = [os.dup(0) for _ in range({taken})]; "
    )
    program = f"{without_uvloop}{take if taken else ''}from hl_sessions.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", "--port", "0", "--no-access-log", *arguments]
    with subprocess.Popen(
        ["sh", "-c", f'ulimit -Sn 64 && ulimit -Hn {FILES} && exec "$0" "$@"', *command],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def call_often(url: str) -> list[int]:
    """Make calls one after another, on one connection, and on a new one each time."""
    headers = {"X-API-KEY": KEY}
    with requests.Session() as http:
        return [
            call(url, headers=headers, timeout=PATIENCE).status_code
            for _ in range(10)
            for call in (http.post, requests.post)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_more_connections_than_files_stop_nobody(tmp_path: Path, connect: Connect, loop: str) -> None:
    """Others are answered, one line explains the situation, and the server ends when told to."""
    with few_files(tmp_path, loop=loop) as server, ThreadPoolExecutor(8) as clients:
        url = f"{first_lines(server, 1)[0].split()[-1]}/sessions"
        half_open = [connect(url, part) for _ in range(ROOM) for part in (b"", HEAD, WHOLE, WHOLE + HEAD)]
        for statuses in clients.map(call_often, 8 * [url]):
            assert set(statuses) == {201}
        assert half_open
        server.send_signal(signal.SIGTERM)
        _output, errors = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert FULL.fullmatch(errors)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_descriptors_that_something_else_has_taken_stop_nobody(
    tmp_path: Path, connect: Connect, loop: str
) -> None:
    """Connections are ended before there are as many as the limit."""
    with few_files(tmp_path, loop=loop, taken=FILES - ROOM // 2) as server:
        base_url = first_lines(server, 1)[0].split()[-1]
        half_open = [connect(base_url, HEAD) for _ in range(FILES)]
        for _ in range(10):
            answer = requests.get(f"{base_url.removesuffix('/v4')}/healthz", timeout=PATIENCE)
            assert answer.status_code == 200
        assert half_open
        server.send_signal(signal.SIGTERM)
        _output, errors = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert FULL.fullmatch(errors)


@pytest.mark.slow
def test_more_connections_than_files_stop_no_proxy(tmp_path: Path, connect: Connect) -> None:
    """Nor do they stop several workers: a proxy that keeps connections gets all calls answered."""
    with (
        few_files(tmp_path, "--workers", "2", "--api-key", KEY, "--root-path", "/sessions") as server,
        ThreadPoolExecutor(8) as clients,
    ):
        base_url = first_lines(server, 1)[0].split()[-1]
        half_open = [connect(base_url, HEAD) for _ in range(4 * FILES)]
        with nginx(tmp_path, documented([base_url])) as address:
            for statuses in clients.map(call_often, 8 * [f"http://{address}/sessions/v4/sessions"]):
                assert set(statuses) == {201}
        assert half_open
        server.send_signal(signal.SIGTERM)
        _output, errors = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert not FULL.sub("", errors)
    assert 1 <= errors.count("\n") <= 2


@pytest.mark.slow
def test_a_port_for_metrics_leaves_room(tmp_path: Path, connect: Connect) -> None:
    """It has few connections of its own. On both ports, more connections than files stop nobody."""
    with few_files(tmp_path, "--metrics-port", "0") as server:
        base_url, _page, metrics = (line.split()[-1] for line in first_lines(server, 3))
        half_open = [connect(url, HEAD) for _ in range(FILES) for url in (base_url, metrics)]
        assert requests.get(metrics, timeout=PATIENCE).status_code == 200
        assert call_often(f"{base_url}/sessions") == 20 * [201]
        assert half_open
        server.send_signal(signal.SIGTERM)
        _output, errors = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert sorted(line.split(" connections ")[0] for line in errors.splitlines()) == [
        "no more than 16",
        "no more than 64",
    ]


@pytest.mark.slow
def test_half_a_body_does_not_hold_up_the_end(tmp_path: Path, connect: Connect) -> None:
    """The server says nothing about it, because the request was not accepted yet."""
    with few_files(tmp_path) as server:
        base_url = first_lines(server, 1)[0].split()[-1]
        connection = connect(base_url, PARTS["half a body"])
        requests.post(f"{base_url}/sessions", timeout=PATIENCE).raise_for_status()
        server.send_signal(signal.SIGTERM)
        _output, errors = server.communicate(timeout=PATIENCE)
        assert is_closed(connection, PATIENCE)
    assert (server.returncode, errors) == (0, "")
