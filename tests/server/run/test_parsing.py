"""Requests as they are on the wire, for both parsers."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.servers import first_lines, served
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHOUT_C = """
import sys
sys.modules["httptools"] = sys.modules["uvloop"] = None
from hl_sessions.cli import main
main()
"""


@pytest.fixture(scope="module", params=["in C", "in Python"])
def base_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with each of the parsers."""
    database = tmp_path_factory.mktemp("parsing") / "database.sqlite3"
    if request.param == "in C":
        pytest.importorskip("httptools")
    with (served if request.param == "in C" else served_without_c)(database) as url:
        yield url


@contextmanager
def served_without_c(database: Path) -> Iterator[str]:
    """Serve without httptools and uvloop."""
    command = [sys.executable, "-c", WITHOUT_C, "serve", "--port", "0", "--db", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield first_lines(process, 1)[0].split()[-1]
        finally:
            process.kill()


@contextmanager
def connected(base_url: str) -> Iterator[tuple[socket.socket, IO[bytes]]]:
    """Connect to the server."""
    address = urlsplit(base_url)
    with (
        socket.create_connection((str(address.hostname), address.port or 0), PATIENCE) as connection,
        connection.makefile("rb") as answers,
    ):
        yield connection, answers


def read_answer(answers: IO[bytes]) -> tuple[int, bytes]:
    """Read one answer and nothing after it, and return its status and its body."""
    status = int(answers.readline().split()[1])
    length = 0
    while (line := answers.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, answers.read(length)


def test_any_method_and_any_target_may_come_by_one_connection(base_url: str) -> None:
    """The server answers methods that the parser has no name for, and leaves the connection open."""
    with connected(base_url) as (connection, answers):
        for line, body, status, expected in [
            ("BREW /v4/sessions", b"coffee", 404, b"There is no such call"),
            ("GET http://localhost/healthz", b"", 200, b"alive"),
            ("POST /v4/sessions", b"", 201, b"sesh_"),
            ("M-SEARCH *", b"", 404, b"Not Found"),
            ("OPTIONS *", b"", 404, b"Not Found"),
            ("GET /healthz", b"", 200, b"alive"),
        ]:
            head = f"{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            answer = read_answer(answers)
            assert (answer[0], expected in answer[1]) == (status, True), (line, answer)


def test_what_looks_like_a_request_in_another_one_is_none(base_url: str) -> None:
    """Wherever the parts of the request are cut."""
    inner = b"BREW http://localhost/v4/sessions HTTP/1.1\r\n"
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nX-Part: " % len(inner)
    with connected(base_url) as (connection, answers):
        for part in (head, b"1\r\n\r\n", inner):
            connection.sendall(part)
        assert read_answer(answers) == (200, b'{"status":"alive"}')


@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: evil.example\r\n"], ids=["none", "two"])
def test_a_request_has_one_host(base_url: str, hosts: str) -> None:
    """Otherwise its meaning would be ambiguous. By HTTP/1.0 there need not be one."""
    with connected(base_url) as (connection, answers):
        connection.sendall(f"GET /healthz HTTP/1.1\r\n{hosts}\r\n".encode())
        assert read_answer(answers)[0] == 400
        # The connection ends with that.
        assert b"HTTP/" not in answers.read()


def test_a_head_that_does_not_end_is_refused(base_url: str) -> None:
    """Headers cannot fill the memory."""
    with connected(base_url) as (connection, answers):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for _ in range(1024):
                connection.sendall(b"X-More: " + b"x" * 16 * 1024 + b"\r\n")
        except OSError:
            # It was closed while there were more bytes to come.
            return
        assert read_answer(answers)[0] == 400


CHUNKED = b"POST /v4/sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_the_trailer_of_a_body_is_no_part_of_the_head(base_url: str) -> None:
    """A proxy that sets headers of its own may let it pass."""
    with connected(base_url) as (connection, answers):
        for trailer, status in ((b"X-Forwarded-For: 1.2.3.4\r\n", 201), (b"", 201)):
            connection.sendall(CHUNKED + b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n")
            assert read_answer(answers)[0] == status
        # In the head, it shows that a proxy has passed on the request.
        connection.sendall(
            CHUNKED.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n") + b"0\r\n\r\n"
        )
        assert read_answer(answers)[0] == 403


@pytest.mark.parametrize(
    ("begin", "more"), [(b"0\r\n", b"X-More: %b\r\n"), (b"0\r\nX-More: ", b"%b"), (b"1;", b"%b")]
)
def test_what_is_around_the_chunks_of_a_body_has_an_end(base_url: str, begin: bytes, more: bytes) -> None:
    """Otherwise it would fill the memory, or be read for ever."""
    with connected(base_url) as (connection, _answers):
        connection.sendall(CHUNKED + begin)
        with suppress(ConnectionError):
            for _ in range(1024):
                connection.sendall(more % (b"x" * 16 * 1024))
            pytest.fail("16 MB were read")


def test_a_long_body_may_arrive_in_short_chunks(base_url: str) -> None:
    """The lines between them are longer than any head, all together."""
    with connected(base_url) as (connection, answers):
        connection.sendall(CHUNKED)
        for _ in range(12):
            connection.sendall(b"1\r\n \r\n" * 1024)
        connection.sendall(b"2\r\n{}\r\n0\r\n\r\n")
        assert read_answer(answers)[0] == 201
