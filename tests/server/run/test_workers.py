"""Several processes, and the files that they share."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.server.conftest import Server
from tests.servers import HL_SESSIONS, first_lines
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slow

Spawn = Callable[..., Any]


def answering_process(server: Any, method: str = "POST", path: str = "/v4/sessions") -> int:
    """Call the server, and return the process that has answered."""
    answer = requests.request(method, server.base_url.removesuffix("/v4") + path, timeout=PATIENCE)
    assert answer.ok
    for text in server.process.stdout:
        line = json.loads(text)
        if line["request_id"] == answer.headers["X-Request-ID"]:
            return int(line["process"])
    raise AssertionError


def kill(server: Any, process: int) -> None:
    """Kill a worker, and wait until another one takes its place."""
    os.kill(process, signal.SIGKILL)
    line = server.process.stderr.readline()
    assert line.startswith(f"worker {process} has ended with exit code -9; worker ")


def metrics_of(server: Any) -> str:
    answer = requests.get(f"{server.base_url.removesuffix('/v4')}/metrics", timeout=PATIENCE)
    assert answer.status_code == 200
    return answer.text


def workers_that_share(temporary: Path) -> int:
    """The number of workers that have begun the last kind of their files."""
    files = temporary.glob("hl-sessions-metrics-*/counter_*.db")
    return sum(any(path.read_bytes()) for path in files)


@pytest.mark.parametrize("cleaned", ["temporary/hl-sessions-metrics-*", "temporary"])
def test_workers_are_replaced_when_the_temporary_directory_was_cleaned(
    tmp_path: Path, spawn: Spawn, cleaned: str
) -> None:
    """The shared folder is made anew, elsewhere if need be; until then each reports itself."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    server = spawn(tmp_path, "--workers", "2", TMPDIR=str(temporary), HL_SESSIONS_ACCESS_LOG="true")
    # A starting worker needs the folder.
    wait_until(lambda: workers_that_share(temporary) == 2)
    for folder in tmp_path.glob(cleaned):
        shutil.rmtree(folder)
    assert "hl_sessions_http_requests_total" in metrics_of(server)
    # Both of the first two, one of which may not have answered before, and one more.
    for _ in range(3):
        kill(server, answering_process(server))
    assert answering_process(server) > 0
    assert "hl_sessions_http_requests_total" in metrics_of(server)
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0
    assert not list(temporary.glob("hl-sessions-metrics-*"))


@contextmanager
def small_temporary_directory(path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start servers with a temporary directory of 4 MB, which only they see."""
    path.mkdir()
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=4m none "$TMPDIR" && exec "$0" "$@"']
    environment = os.environ | {"TMPDIR": str(path)}
    if subprocess.run([*mount, "true"], env=environment, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may mount nothing")
    with ExitStack() as running:

        def start(*arguments: str) -> subprocess.Popen[str]:
            command: list[str | Path] = [*mount, HL_SESSIONS, "serve", "--port", "0", *arguments]
            pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = running.enter_context(subprocess.Popen(command, env=environment, **pipes))
            running.callback(process.kill)
            return process

        yield start


@pytest.mark.skipif(shutil.which("unshare") is None, reason="only Linux has such directories")
def test_a_full_temporary_directory_ends_no_worker(tmp_path: Path) -> None:
    """Their counts have room already; those of a replacement are not shared."""
    temporary = tmp_path / "temporary"
    with small_temporary_directory(temporary) as start:
        process = start("--workers", "2", "--db", str(tmp_path / "database"))
        server = Server(process, *first_lines(process, 2))
        seen = Path(f"/proc/{process.pid}/root{temporary}")
        wait_until(lambda: workers_that_share(seen) == 2)
        with suppress(OSError), (seen / "file").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        for path in ("/v4/projects", "/healthz", "/openapi.json", "/", "/activity", "/projects", "/readyz"):
            url = server.base_url.removesuffix("/v4") + path
            for _ in range(4):
                assert requests.get(url, timeout=PATIENCE).status_code < 500
        for _ in range(3):
            kill(server, answering_process(server))
        assert answering_process(server) > 0
        assert "hl_sessions_http_requests_total" in metrics_of(server)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("variable", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_the_metrics_of_another_program_are_its_own(
    tmp_path: Path, spawn: Spawn, workers: str, variable: str
) -> None:
    """A variable that was meant for another program does not make the server write into its folder."""
    others = tmp_path / "others"
    others.mkdir()
    server = spawn(tmp_path, "--workers", workers, **{variable: str(others)})
    assert requests.post(f"{server.base_url}/sessions", timeout=PATIENCE).status_code == 201
    assert 'route="/v4/sessions",status="201"' in metrics_of(server)
    assert not list(others.iterdir())


def test_without_any_worker_the_first_process_ends(tmp_path: Path, spawn: Spawn) -> None:
    """The port does not stay open without a worker, and the last line has the reason."""
    server = spawn(tmp_path, "--workers", "2", "--db", "database", HL_SESSIONS_ACCESS_LOG="true")
    answering_process(server)
    with closing(sqlite3.connect(tmp_path / "database")) as database:
        # A worker reads it when it starts.
        database.execute("ALTER TABLE organisations RENAME TO gone")
    # A worker that was killed, or the end of the first process, does not answer any more.
    with suppress(requests.ConnectionError):
        while True:
            os.kill(answering_process(server, "GET", "/healthz"), signal.SIGKILL)
    _output, errors = server.process.communicate(timeout=PATIENCE)
    assert server.process.returncode == 1
    assert (
        errors.splitlines()[-1] == "Error: no worker can be started; the last one has ended with exit code 1"
    )
