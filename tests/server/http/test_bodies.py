"""Bodies are read only for callers with a key, and never more than there is room for."""

import re
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.servers import served
from tests.waiting import PATIENCE, wait_until

LONGEST = 1000  # bytes
LONG = 10 * 1024 * 1024  # bytes
STRANGERS = 20


@contextmanager
def sent(url: str, *parts: bytes | str) -> Iterator[socket.socket]:
    """A connection on which some bytes were sent."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), address.port or 0), PATIENCE) as connection:
        connection.sendall(b"".join(part if isinstance(part, bytes) else part.encode() for part in parts))
        yield connection


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("POST /projects", 401),
        ("POST /nothing", 401),
        ("POST /sign-out", 401),
        ("POST /datapoints/data_x/feedback", 401),
        ("POST /sign-in", 413),
        ("GET /sign-in", 413),
        ("GET /healthz", 200),
        ("GET /readyz", 200),
        ("GET /metrics", 200),
        ("POST /v4/logs", 401),
    ],
)
def test_nobody_has_a_long_body_read_without_a_key(
    locked_base_url: str, request_line: str, status: int
) -> None:
    """The answer arrives although nothing of the body was sent."""
    origin = locked_base_url.removesuffix("/v4")
    head = f"{request_line} HTTP/1.1\r\nHost: {urlsplit(origin).netloc}\r\nOrigin: {origin}\r\n"
    with sent(origin, f"{head}Content-Length: 10000000\r\n\r\n") as connection:
        assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_form_that_does_not_end_is_refused(locked_base_url: str) -> None:
    """No header has its length, and no key is needed to send it."""
    origin = locked_base_url.removesuffix("/v4")
    head = f"POST /sign-in HTTP/1.1\r\nHost: {urlsplit(origin).netloc}\r\nOrigin: {origin}\r\n"
    parts = 20 * (b"400\r\n" + bytes(1024) + b"\r\n")
    with sent(origin, f"{head}Transfer-Encoding: chunked\r\n\r\n", parts) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_all_bodies_together_have_a_bound(tmp_path: Path) -> None:
    """While eight of the longest bodies arrive, there is no room for another. Afterwards there is."""
    with ExitStack() as stack:
        base_url = stack.enter_context(served(tmp_path / "database", max_body=LONGEST))

        def post(length: int) -> requests.Response:
            return requests.post(f"{base_url}/sessions", data=b"{}".rjust(length), timeout=PATIENCE)

        head = f"POST /v4/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LONGEST}\r\n\r\n"

        def begin() -> socket.socket:
            return stack.enter_context(sent(base_url, head, b"{".ljust(LONGEST - 1)))

        on_their_way = [begin() for _ in range(8)]

        def is_no_room() -> bool:
            for place, connection in enumerate(on_their_way):
                if select.select([connection], [], [], 0)[0]:  # refused, as this look had taken its room
                    on_their_way[place] = begin()
            return post(16).status_code == 503  # they have all but a byte each

        wait_until(is_no_room)
        refused = post(LONGEST)
        assert refused.headers["Retry-After"] == "5"
        assert refused.json() == {"detail": "Too many bodies arrive at once; nothing was stored"}
        origin = base_url.removesuffix("/v4")
        form, headers = {"column": "duration"}, {"Origin": origin}
        refused = requests.post(f"{origin}/columns", data=form, headers=headers, timeout=PATIENCE)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert "<h1>Too many forms at once</h1>" in refused.text
        assert post(2).status_code == 201
        for connection in on_their_way:
            connection.sendall(b"}")
            assert connection.recv(100).startswith(b"HTTP/1.1 201 ")
        wait_until(lambda: post(LONGEST).status_code == 201)


def peak_of_memory(process_id: int) -> int:
    """Return the most memory that a process has ever had, in bytes."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (kibibytes,) = re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(kibibytes) * 1024


@pytest.mark.slow
def test_bodies_of_strangers_take_no_memory(tmp_path: Path, spawn: Callable[..., Any]) -> None:
    """However long they are, and although each is sent except for its last byte."""
    if not Path("/proc/self/status").exists():
        pytest.skip("nobody tells how much memory a process has")
    server = spawn(tmp_path, "--api-key", "the key of somebody else")
    origin = server.base_url.removesuffix("/v4")

    def send(path: str) -> socket.socket:
        address = urlsplit(origin)
        connection = connections.enter_context(
            socket.create_connection((str(address.hostname), address.port or 0), PATIENCE)
        )
        head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nOrigin: {origin}\r\n"
        connection.sendall(f"{head}Content-Length: {LONG}\r\n\r\n".encode())
        with suppress(ConnectionError):
            for _ in range(LONG // 65536 - 1):
                connection.sendall(bytes(65536))
            connection.sendall(bytes(65535))
        return connection

    with ExitStack() as connections, ThreadPoolExecutor(STRANGERS) as strangers:
        send("/v4/logs")
        before = peak_of_memory(server.process.pid)
        for path in ("/v4/logs", "/sign-in", "/nothing"):
            assert all(strangers.map(send, STRANGERS * [path]))
        assert requests.get(f"{origin}/healthz", timeout=PATIENCE).status_code == 200
        assert peak_of_memory(server.process.pid) - before < STRANGERS * LONG / 10
