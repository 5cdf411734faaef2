"""Serves with several processes on one socket, and replaces those that die."""

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

from hl_sessions.server.application import create_application
from hl_sessions.server.http.metrics import SHARED_DIRECTORY, forget_process
from hl_sessions.server.run.ending import Ending
from hl_sessions.server.run.garbage import search_less
from hl_sessions.server.run.serving import GRACE, make_server
from hl_sessions.server.settings import ServerSettings

_TICK: Final = 0.2
"""How long a signal may wait to be noticed, in seconds."""

_SHORTEST_LIFE: Final = 3.0
"""Seconds after its start before which none is replaced: what cannot start must not keep the machine busy."""

_LAST_GRACE: Final = 2 * GRACE
"""Seconds after which a worker that was told to end, and should have by itself, is killed."""

_logger = logging.getLogger(__name__)


def serve_with_workers(settings: ServerSettings, listener: socket.socket, ending: Ending) -> None:
    """Serve until the process is told to end; then the workers answer what they have taken.

    Args:
        settings: What to serve, and with how many processes. They get it through a pipe: neither their
            command lines nor their environment are given a key.
        listener: The socket, which is closed at the end.
        ending: Knows when it is time to end.
    """
    with _shared_metrics() as directory:
        workers = _Workers(settings, listener, directory)
        try:
            while not ending.is_told():
                if workers.has_lost_one() and not ending.is_told():
                    workers.replace_the_dead()
        finally:
            # While it is open here, connections that no worker will serve are still accepted.
            listener.close()
            workers.end()


class _Worker(NamedTuple):
    process: SpawnProcess
    started_at: float


class _Workers:
    def __init__(self, settings: ServerSettings, listener: socket.socket, directory: Path) -> None:
        self._settings = settings
        self._listener = listener
        self._directory = directory
        self._context = multiprocessing.get_context("spawn")
        # Nothing is ever sent: its other end is seen to close, also when this process is killed.
        self._until, self._alive = self._context.Pipe(duplex=False)
        self._workers = [self._start() for _ in range(settings.workers)]

    def has_lost_one(self) -> bool:
        """Wait a moment for a worker to die, and tell whether one has."""
        return bool(wait([worker.process.sentinel for worker in self._workers], timeout=_TICK))

    def replace_the_dead(self) -> None:
        """Replace what has died, at once or when it is time for that."""
        for index, (process, started_at) in enumerate(self._workers):
            if process.is_alive():
                continue
            if monotonic() - started_at < _SHORTEST_LIFE:
                sleep(_TICK)
                continue
            self._forget(process)
            self._workers[index] = self._start()
            _logger.warning(
                "worker %s has ended with exit code %s; worker %s takes its place",
                process.pid,
                process.exitcode,
                self._workers[index].process.pid,
            )

    def end(self) -> None:
        """Tell all to end, and wait for that."""
        self._alive.close()
        deadline = monotonic() + _LAST_GRACE
        for process, _started_at in self._workers:
            process.join(max(0, deadline - monotonic()))
            if process.is_alive():
                _logger.error("worker %s does not end, and is killed", process.pid)
                process.kill()
                process.join()
        self._until.close()

    def _start(self) -> _Worker:
        process = self._context.Process(
            target=_work, args=(self._settings, self._listener, self._until), name="hl-sessions-worker"
        )
        with _without_interrupts():
            process.start()
        return _Worker(process, monotonic())

    def _forget(self, process: SpawnProcess) -> None:
        process.join()
        if process.pid is not None:
            forget_process(process.pid, self._directory)


def _work(settings: ServerSettings, listener: socket.socket, until: Connection) -> None:
    server = make_server(create_application(settings), GRACE)
    search_less()

    def end_in_time() -> None:
        wait([until])
        server.should_exit = True

    threading.Thread(target=end_in_time, name="hl-sessions-end", daemon=True).start()
    server.run(sockets=[listener])


@contextmanager
def _shared_metrics() -> Iterator[Path]:
    """Have the processes that are started in the ``with`` block share a folder for what they count."""
    before = os.environ.get(SHARED_DIRECTORY)
    with tempfile.TemporaryDirectory(prefix="hl-sessions-metrics-") as directory:
        os.environ[SHARED_DIRECTORY] = directory
        try:
            yield Path(directory)
        finally:
            del os.environ[SHARED_DIRECTORY]
            if before is not None:
                os.environ[SHARED_DIRECTORY] = before


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C, which a terminal sends to all of them, does not reach: they are told."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Else the first start does that, and lets interrupts through again.
    ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
