"""Servers as processes of their own, each from its environment."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["RunningServer", "ServerProgram", "running"]

ROOT = Path(__file__).resolve().parent.parent
LONGEST_START = 120  # seconds


@dataclass(frozen=True)
class ServerProgram:
    """A server, and how it is given datapoints.

    Attributes:
        name: its name in the report.
        environment: the folder of its environment, in that of the project.
        command: the command that runs it in its own folder, at a ``{port}``.
        health: the path that tells that it has begun.
        path: where datapoints are sent.
        headers: that go with them.
        body: makes the body of a request with one for each of some sessions.
        database: its SQLite file, in its folder.
        table: in which the datapoints are.
        page: the path of the page that lists sessions.
        variables: that it needs, with the ``{port}`` or without it.
    """

    name: str
    environment: str
    command: str
    health: str
    path: str
    headers: str
    body: Callable[[Sequence[str]], bytes]
    database: str
    table: str
    page: str
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the programs of its environment are."""
        return ROOT / self.environment / "bin" if self.environment else Path(sys.executable).parent

    def is_installed(self) -> bool:
        """Whether there is an environment of it."""
        return (self.folder / self.command.split()[0]).exists()

    def installed(self) -> str:
        """Return the name and the version that is installed."""
        libraries = map(str, self.folder.parent.glob("lib/python*/site-packages"))
        name = self.name.split()[0]
        return f"{name} {next(iter(distributions(name=name, path=list(libraries)))).version}"

    def request(self, sessions: Sequence[str]) -> bytes:
        """Build a request with a datapoint for each of some sessions."""
        body = self.body(sessions)
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        return f"{head}{self.headers}\r\n".encode() + body


class RunningServer:
    """A server that runs."""

    def __init__(self, program: ServerProgram, folder: Path, port: int, process_id: int) -> None:
        self.program = program
        self.address = ("127.0.0.1", port)
        self._database = folder / program.database
        self._process_id = process_id

    def stored(self) -> int:
        """Count the datapoints that it has stored."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=60)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {self.program.table}").fetchone()[0])

    def cpu_seconds(self) -> float:
        """Return the CPU time of its processes until now; only on Linux."""
        seconds = 0.0
        for process_id, values in _processes(self._process_id):
            # Linux numbers its clock like this. Of children that have ended there are only ticks.
            seconds += time.clock_gettime((~process_id << 3) | 2)
            seconds += sum(map(int, values[13:15])) / os.sysconf("SC_CLK_TCK")
        return seconds

    def memory(self) -> int:
        """Return the memory of its processes in bytes, shared memory counted once; only on Linux."""
        kibibytes = 0
        for process_id, _ in _processes(self._process_id):
            rollup = Path(f"/proc/{process_id}/smaps_rollup").read_text()
            kibibytes += int(rollup.partition("\nPss:")[2].split()[0])
        return 1024 * kibibytes


def _processes(session: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the processes that one has started in a session of its own, and what the system tells of each."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            values = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(values[3]) == session:
                yield int(folder.name), values


@contextmanager
def running(server: ServerProgram) -> Iterator[RunningServer]:
    """Run a server with an empty database."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, _free_port() as port:
        program, *arguments = server.command.format(port=port).split()
        variables = {name: value.format(port=port) for name, value in server.variables.items()}
        path = f"{server.folder}:{os.environ['PATH']}"
        log = Path(directory) / "log.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(server.folder / program), *arguments],
                cwd=directory,
                env={**os.environ, "PATH": path, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_for(f"http://127.0.0.1:{port}{server.health}", process, log)
            yield RunningServer(server, Path(directory), int(port), process.pid)
        finally:
            process.terminate()
            process.wait()
            for left, _ in _processes(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)


@contextmanager
def _free_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield str(port)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + LONGEST_START
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"no server at {url}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
