"""Twenty thousand requests to real servers, each with a session of its own and with only one."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interpreters import needs
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.slow, needs("gevent")]  # the application asks whether it is patched

HERE = Path(__file__).parent
MOST_SECONDS = 250.0  # that the requests to one server may take, on a busy machine

# However busy the machine is, no worker counts as hanging, and no connection as idle.
UVICORN = ["uvicorn", "--timeout-keep-alive=1000", "--log-level=critical", "--fd={}"]
GUNICORN = ["gunicorn", "--no-control-socket", "--timeout=0", "--keep-alive=1000", "--log-level=critical"]
GUNICORN += ["--bind=fd://{}"]
#: The command, how many requests, how many at a time.
SERVERS = {
    "uvicorn": ([*UVICORN, "load_application:asgi_application"], 4000, 16),
    "sync": ([*GUNICORN, "--worker-class=sync", "--workers=2"], 8000, 4),
    "gthread": ([*GUNICORN, "--worker-class=gthread", "--workers=2", "--threads=8"], 4000, 16),
    "gevent": ([*GUNICORN, "--worker-class=gevent", "--workers=2"], 4000, 16),
}


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[tuple[str, int]]:
    """A server on a free port; it is given the listening socket, so that no connection comes too early."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        arguments = [argument.format(listener.fileno()) for argument in command]
        process = subprocess.Popen(
            [sys.executable, *arguments],
            pass_fds=[listener.fileno()],
            cwd=HERE,
            env={**os.environ, "NO_PROXY": "*", **environment},
        )
        try:
            yield listener.getsockname()
        finally:
            process.terminate()
            process.wait(PATIENCE)


class Requests:
    """A bounded number of requests, a few at a time, and what was answered to each."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.address = address
        self.count = count
        self.numbers = iter(range(count))
        self.bodies: dict[int, str] = {}

    async def send(self, concurrency: int) -> None:
        shown = asyncio.create_task(self.show_progress())
        try:
            await asyncio.wait_for(
                asyncio.gather(*(self.keep_sending() for _ in range(concurrency))), MOST_SECONDS
            )
        finally:
            shown.cancel()

    async def keep_sending(self) -> None:
        connection = None
        for number in self.numbers:
            if connection is None:
                connection = await asyncio.open_connection(*self.address)
            reader, writer = connection
            writer.write(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % number)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200 "), head
            assert b"transfer-encoding: chunked" in head, head
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            self.bodies[number] = body.decode()
            if b"connection: close" in head:
                writer.close()
                connection = None
        if connection is not None:
            connection[1].close()

    async def show_progress(self) -> None:
        while sys.stdout.isatty():
            await asyncio.sleep(0.5)
            sys.stdout.write(f"\r{len(self.bodies)} of {self.count} requests ")
            sys.stdout.flush()


def lines_in_time(report: Path, count: int) -> list[str]:
    """What the background tasks, some of which may be still under way, have reported."""
    deadline = time.monotonic() + PATIENCE
    while len(lines := report.read_text(encoding="ascii").splitlines()) < count:
        assert time.monotonic() < deadline, f"{len(lines)} of {count} reports"
        time.sleep(0.02)
    return lines


def test_all_together() -> None:
    """There are twenty thousand requests."""
    assert sum(count for _, count, _ in SERVERS.values()) == 20_000


@pytest.mark.parametrize("server", SERVERS)
def test_load(server: str, tmp_path: Path) -> None:
    """No session ID is shared by two requests, none differs inside one, and each costs one POST."""
    command, count, concurrency = SERVERS[server]
    command = ["-m", *command]
    if server != "uvicorn":
        command.append("load_application:wsgi_application")
    report = tmp_path / "report"
    with running(["counting_api.py", "{}"]) as (host, port):
        with running(
            command, HL_SESSIONS_BASE_URL=f"http://{host}:{port}/v4", HL_SESSIONS_TEST_REPORT=str(report)
        ) as address:
            requests = Requests(address, count)
            asyncio.run(requests.send(concurrency))
            lines = lines_in_time(report, count)
        with urllib.request.urlopen(f"http://{host}:{port}/count") as answer:
            posts = int(answer.read())
    seen = {number: body.split() for number, body in requests.bodies.items()}
    for line in lines:
        number, session_id = line.split()
        seen[int(number)].append(session_id)
    assert len(lines) == len(seen) == count
    assert min(len(ids) for ids in seen.values()) >= 5
    assert {number: ids for number, ids in seen.items() if len(set(ids)) != 1} == {}
    all_ids = {ids[0] for ids in seen.values()}
    assert len(all_ids) == count == posts
    assert all(re.fullmatch(r"sesh_\d+", session_id) for session_id in all_ids)
