"""Gunicorn as a process of its own, on a port that nothing else can take."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import PATIENCE, wait_until


@contextmanager
def running_gunicorn(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[str, int]]:
    """Run an application that lies in that folder, and yield the address once it takes connections.

    The socket that holds the port does not listen, so that all connections are gunicorn's. A listening one
    could be handed over, but gunicorn 27.0.1 takes that for a Unix socket: PyPy misreads its addresses then.
    """
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--no-control-socket",
        "--log-level=critical",
        "--reuse-port",
    ]
    command += ["--timeout=0"]  # no worker counts as hanging on a busy machine
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        address: tuple[str, int] = held.getsockname()
        process = subprocess.Popen(
            [*command, f"--bind=127.0.0.1:{address[1]}", *arguments],
            cwd=folder,
            env={**os.environ, "NO_PROXY": "*", **environment},
        )
        try:
            wait_until(lambda: _takes_connections(address) or process.poll() is not None)
            yield address
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _takes_connections(address: tuple[str, int]) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0
