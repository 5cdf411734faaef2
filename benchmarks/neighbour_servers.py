"""Other servers that keep what models were asked and answered, and ours of version 0.1; each as published.

Each runs from an environment of its own, which `make bench` makes; those that have none are left out.
"""

from __future__ import annotations

import json
import os
import secrets
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
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from benchmarks.row import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["NEIGHBOUR_SERVERS", "OLD", "OWN_SERVER", "NeighbourServer", "RunningServer", "running"]

OLD = "hl-sessions 0.1"
ROOT = Path(__file__).resolve().parent.parent
LONGEST_START = 120  # seconds
QUESTION = "Why is the sky blue, and why is the grass green? " * 20
ANSWER = "Because light of short waves is scattered more. " * 20


@dataclass(frozen=True)
class NeighbourServer:
    """A server, and how it is given datapoints.

    Attributes:
        name: what it is called in the report.
        environment: the folder of its environment, in that of the project.
        command: what runs it in a folder of its own, at a ``{port}``.
        health: the path that tells that it has begun.
        path: where datapoints are sent.
        headers: that go with them.
        body: makes the body of a request with so many of them.
        database: its SQLite file, in its folder.
        table: in which the datapoints are.
        variables: that it needs, with the ``{port}`` or without it.
    """

    name: str
    environment: str
    command: str
    health: str
    path: str
    headers: str
    body: Callable[[int], bytes]
    database: str
    table: str
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

    def request(self, datapoints: int) -> bytes:
        """Build a request; no two of them hold the same."""
        body = self.body(datapoints)
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        return f"{head}{self.headers}\r\n".encode() + body


class RunningServer:
    """A server that runs."""

    def __init__(self, server: NeighbourServer, folder: Path, port: int, process_id: int) -> None:
        self.server = server
        self.address = ("127.0.0.1", port)
        self._database = folder / server.database
        self._process_id = process_id

    def stored(self) -> int:
        """Count the datapoints that it has stored."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=60)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {self.server.table}").fetchone()[0])

    def cpu_seconds(self) -> float:
        """Return what its processes have taken until now; only Linux tells."""
        ticks = sum(sum(map(int, values[11:15])) for _, values in _processes(self._process_id))
        return ticks / os.sysconf("SC_CLK_TCK")


def _processes(session: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the processes that one has started in a session of its own, and what the system tells of each."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            values = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(values[3]) == session:
                yield int(folder.name), values


@contextmanager
def running(server: NeighbourServer) -> Iterator[RunningServer]:
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


def _logs(datapoints: int) -> bytes:
    logs = [
        {
            "project": "benchmark",
            "session_reference_id": secrets.token_hex(8),
            "inputs": {"question": QUESTION},
            "output": ANSWER,
            "config": {"type": "model", "model": "gpt-4", "temperature": 0.5},
            "duration": 1.25,
        }
        for _ in range(datapoints)
    ]
    return json.dumps(logs if datapoints > 1 else logs[0]).encode()


def _spans(datapoints: int) -> bytes:
    """The same as spans of OpenTelemetry, in the protobuf of its exporters."""
    messages = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
    request = resolve_name(f"{messages}:ExportTraceServiceRequest")()
    spans = request.resource_spans.add().scope_spans.add().spans
    for _ in range(datapoints):
        now = time.time_ns()
        span = spans.add(
            trace_id=secrets.token_bytes(16),
            span_id=secrets.token_bytes(8),
            name="answer",
            start_time_unix_nano=now,
            end_time_unix_nano=now + 1_250_000_000,
        )
        for key, value in (
            ("openinference.span.kind", "LLM"),
            ("session.id", secrets.token_hex(8)),
            ("llm.model_name", "gpt-4"),
            ("input.value", QUESTION),
            ("output.value", ANSWER),
        ):
            span.attributes.add(key=key).value.string_value = value
    return bytes(request.SerializeToString())


def _own(name: str, environment: str) -> NeighbourServer:
    return NeighbourServer(
        name,
        environment,
        "hl-sessions serve --port {port} --db logs.sqlite3",
        health="/healthz",
        path="/v4/logs",
        headers="Content-Type: application/json\r\n",
        body=_logs,
        database="logs.sqlite3",
        table="logs",
    )


OWN_SERVER = _own(OURS, "")
_OF_PROTOBUF = "Content-Type: application/x-protobuf\r\n"
NEIGHBOUR_SERVERS = (
    _own(OLD, ".venv-0.1"),
    NeighbourServer(
        "arize-phoenix",
        ".venv-arize-phoenix",
        "phoenix serve",
        health="/healthz",
        path="/v1/traces",
        headers=_OF_PROTOBUF,
        body=_spans,
        database="phoenix.db",
        table="spans",
        variables={
            "PHOENIX_PORT": "{port}",
            "PHOENIX_GRPC_PORT": "0",
            "PHOENIX_WORKING_DIR": ".",
            "PHOENIX_TELEMETRY_ENABLED": "false",
        },
    ),
    NeighbourServer(
        "mlflow",
        ".venv-mlflow",
        "mlflow server --port {port} --backend-store-uri sqlite:///mlflow.db",
        health="/health",
        path="/v1/traces",
        headers=f"{_OF_PROTOBUF}x-mlflow-experiment-id: 0\r\n",
        body=_spans,
        database="mlflow.db",
        table="spans",
    ),
)
