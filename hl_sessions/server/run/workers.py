"""Serves with several processes on one socket, and replaces those that die."""

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from hl_sessions.server.application import create_application
from hl_sessions.server.http.metrics import SHARED_DIRECTORY, forget_process
from hl_sessions.server.run.allocation import keep_little_memory
from hl_sessions.server.run.ending import Ending
from hl_sessions.server.run.error_output import warnings_on_a_thread
from hl_sessions.server.run.garbage import search_less
from hl_sessions.server.run.serving import GRACE, make_server
from hl_sessions.server.settings import ServerSettings

_NAME: Final = "hl-sessions-worker"

_TICK: Final = 0.2
"""Seconds after which a signal is noticed, at the latest."""

_SHORTEST_LIFE: Final = 3.0
"""Seconds after its start before which no worker is replaced: failing starts must not keep the machine busy.
"""

_FAILED_STARTS: Final = 3
"""After so many workers in a row have ended before serving, with no other one serving, no more are started.
"""

_LAST_GRACE: Final = 2 * GRACE
"""Seconds after which a worker that does not end by itself is killed."""

_logger = logging.getLogger(__name__)


class NoWorkerError(Exception):
    """No worker can be started.

    Args:
        exit_code: The exit code of the last worker.
    """

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(f"no worker can be started; the last one has ended with exit code {exit_code}")


def serve_with_workers(settings: ServerSettings, listener: socket.socket, ending: Ending) -> None:
    """Serve until the process is told to end; then the workers answer the requests that they have accepted.

    Args:
        settings: The settings, with the number of processes. The workers get them as a copy of the memory or
            through a pipe, so no key is in a command line or an environment.
        listener: The socket, which is closed at the end.
        ending: Knows whether the process was told to end.

    Raises:
        NoWorkerError: When no worker serves, and new ones end before they do.
    """
    with _shared_metrics() as metrics:
        workers = _Workers(settings, listener, metrics)
        try:
            while not ending.is_told():
                if workers.has_lost_one() and not ending.is_told():
                    workers.replace_the_dead()
        finally:
            # While the socket is open here, it accepts connections that no worker will serve.
            listener.close()
            workers.end()


class _Worker:
    """A process, and whether it has begun to serve.

    Args:
        process: The process, which has just been started.
        told: The end of a pipe on which the process reports that it begins to serve.
    """

    def __init__(self, process: BaseProcess, told: Connection) -> None:
        self.process = process
        self.started_at = monotonic()
        self._told = told
        self._has_served = False

    def has_served(self) -> bool:
        """Tell whether the worker serves, or served before it ended."""
        if not self._has_served and self._told.poll():
            # The end of the pipe counts as something to read, too.
            with suppress(EOFError):
                self._told.recv()
                self._has_served = True
        return self._has_served

    def forget(self) -> None:
        """Release the resources of a process that has ended."""
        self.process.join()
        self._told.close()


class _Workers:
    def __init__(self, settings: ServerSettings, listener: socket.socket, metrics: "_SharedMetrics") -> None:
        self._settings = settings
        self._listener = listener
        self._metrics = metrics
        self._failed_starts = 0
        # Nothing is ever sent: workers notice when its other end closes, even if this process is killed.
        self._until, self._alive = Pipe(duplex=False)
        # A search for garbage in a copy would write to the memory that it shares with this process.
        search_less()
        self._workers = [self._start() for _ in range(settings.workers)]

    def has_lost_one(self) -> bool:
        """Wait a moment for a worker to die, and tell whether one has died."""
        return bool(wait([worker.process.sentinel for worker in self._workers], timeout=_TICK))

    def replace_the_dead(self) -> None:
        """Replace dead workers, at once or after the shortest life of a worker."""
        for index, worker in enumerate(self._workers):
            process = worker.process
            if process.is_alive():
                continue
            if monotonic() - worker.started_at < _SHORTEST_LIFE:
                sleep(_TICK)
                continue
            self._forget(worker)
            self._workers[index] = self._start()
            _logger.warning(
                "worker %s has ended with exit code %s; worker %s takes its place",
                process.pid,
                process.exitcode,
                self._workers[index].process.pid,
            )

    def end(self) -> None:
        """Tell all workers to end, and wait until they have ended."""
        self._alive.close()
        deadline = monotonic() + _LAST_GRACE
        for worker in self._workers:
            process = worker.process
            process.join(max(0, deadline - monotonic()))
            if process.is_alive():
                _logger.error("worker %s does not end, and is killed", process.pid)
                process.kill()
            worker.forget()
        self._until.close()

    def _start(self) -> _Worker:
        told, tell = Pipe(duplex=False)
        arguments = (self._settings, self._listener, self._until, tell)
        process: BaseProcess
        if _is_safe_to_copy():
            copied = (*arguments, self._alive)
            process = get_context("fork").Process(target=_work, args=copied, name=_NAME)
        else:
            process = get_context("spawn").Process(target=_work, args=arguments, name=_NAME)
        self._metrics.ensure()
        with tell, _without_interrupts():
            process.start()
        return _Worker(process, told)

    def _forget(self, dead: _Worker) -> None:
        has_served = dead.has_served()
        dead.forget()
        if dead.process.pid is not None:
            self._metrics.forget(dead.process.pid)
        if has_served or any(worker.process.is_alive() and worker.has_served() for worker in self._workers):
            self._failed_starts = 0
            return
        self._failed_starts += 1
        if self._failed_starts == _FAILED_STARTS:
            raise NoWorkerError(dead.process.exitcode)


def _is_safe_to_copy() -> bool:
    """Tell whether workers may be forked from this process, to share the memory of all loaded code.

    A fork has none of the other threads, but has their locks as they were.
    """
    return sys.platform == "linux" and threading.active_count() == 1


def _work(
    settings: ServerSettings,
    listener: socket.socket,
    until: Connection,
    tell: Connection,
    copy_of_alive: Connection | None = None,
) -> None:
    if copy_of_alive is not None:
        copy_of_alive.close()
    server = make_server(create_application(settings), GRACE)
    tell.send("serving")
    search_less()
    keep_little_memory()

    def end_in_time() -> None:
        wait([until])
        server.should_exit = True

    threading.Thread(target=end_in_time, name="hl-sessions-end", daemon=True).start()
    with warnings_on_a_thread():
        server.run(sockets=[listener])


class _SharedMetrics:
    """The folder where the workers share their metrics. If none can be made, each worker has its own."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def ensure(self) -> None:
        """Make a folder if there is none, or it is gone: some programs clean the temporary directory."""
        if self._folder is not None:
            if Path(self._folder.name).is_dir():
                return
            self.remove()
        # Python remembers the temporary directory, which may be gone, too.
        tempfile.tempdir = None
        try:
            # Under a new name, which no other user can have taken in the meantime.
            self._folder = tempfile.TemporaryDirectory(
                prefix="hl-sessions-metrics-", ignore_cleanup_errors=True
            )
        except OSError as error:
            _logger.warning("workers do not share their metrics: %s", error)
        else:
            os.environ[SHARED_DIRECTORY] = self._folder.name

    def forget(self, process_id: int) -> None:
        """Remove what only holds for a process that runs."""
        if self._folder is not None:
            # It may be cleaned meanwhile.
            with suppress(OSError):
                forget_process(process_id, Path(self._folder.name))

    def remove(self) -> None:
        """Remove the folder."""
        os.environ.pop(SHARED_DIRECTORY, None)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


@contextmanager
def _shared_metrics() -> Iterator[_SharedMetrics]:
    """Have the processes that are started in the ``with`` block share their metrics."""
    metrics = _SharedMetrics()
    try:
        yield metrics
    finally:
        metrics.remove()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block Ctrl-C in the started processes: a terminal sends it to all, but this one tells them to end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Otherwise the first start would start the resource tracker, which lets interrupts through again.
    ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
