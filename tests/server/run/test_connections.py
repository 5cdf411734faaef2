"""Nobody takes the server out by connections: half-sent requests end, and others find room."""

import re
import resource
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from hl_sessions.server.run import connections
from tests.servers import first_lines, served
from tests.waiting import PATIENCE, StillClock, wait_until

FILES = 128
HEAD = b"POST /v4/sessions HTTP/1.1\r\nHost: localhost\r\n"
PARTS = {
    "nothing": b"",
    "half a head": HEAD,
    "half a body": HEAD + b"Content-Length: 2\r\n\r\nx",
    "a body that nobody reads": b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nx",
}
WHOLE = HEAD + b"\r\n"


def connected(base_url: str, sent: bytes) -> socket.socket:
    address = urlsplit(base_url)
    connection = socket.create_connection((str(address.hostname), address.port or 0), PATIENCE)
    connection.sendall(sent)
    return connection


def read_to_the_end(connection: socket.socket) -> bytes:
    read = b""
    try:
        while part := connection.recv(65536):
            read += part
    except ConnectionResetError:
        pass
    return read


@pytest.mark.parametrize("before", [b"", WHOLE], ids=["first", "second"])
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_request_has_to_arrive_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, part: bytes
) -> None:
    """However far it got, and whether it is the first one of its connection; who is answered is let be."""
    clock = StillClock()
    monkeypatch.setattr(connections, "monotonic", clock.monotonic)
    with (
        served(tmp_path / "database") as base_url,
        connected(base_url, before + part) as connection,
        connected(base_url, b"") as other,
    ):

        def is_closed() -> bool:
            # The clock goes on beside what the server does, as it would: it may see the connection late.
            clock.offset += connections.TIME_TO_SEND / 4
            try:
                connection.settimeout(0.5)
                return not connection.recv(65536)
            except TimeoutError:
                return False
            except ConnectionResetError:
                return True

        wait_until(is_closed)
        assert read_to_the_end(other) == b""
        assert requests.post(f"{base_url}/sessions", timeout=PATIENCE).status_code == 201


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_half_sent_requests_without_end_stop_nobody(tmp_path: Path, loop: str) -> None:
    """More of them than there are descriptors: others are answered, and one line says what happens."""
    without_uvloop = "import sys; sys.modules['uvloop'] = None; " if loop == "asyncio" else ""
    program = f"{without_uvloop}from hl_sessions.cli import main; main()"
    with ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", program, "serve", "--port", "0", "--no-access-log"],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),  # noqa: PLW1509
            )
        )
        stack.callback(server.kill)
        base_url = first_lines(server, 1)[0].split()[-1]
        for _ in range(2 * FILES):
            stack.enter_context(connected(base_url, HEAD))
        for _ in range(5):
            assert requests.post(f"{base_url}/sessions", timeout=PATIENCE).status_code == 201
        server.send_signal(signal.SIGTERM)
        _output, errors = server.communicate(timeout=PATIENCE)
    assert re.fullmatch(r"there are more connections than the 64 that are served: .* files is 128\n", errors)


def test_the_limit_on_open_files_is_raised(tmp_path: Path) -> None:
    """To what the system allows, so that many connections need no setting of the operator's."""
    program = (
        "import resource; from hl_sessions.server.run.descriptors import limit, raise_limit;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200)); raise_limit(); print(limit())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout == "200\n"
