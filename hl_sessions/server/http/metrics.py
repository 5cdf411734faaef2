"""The metrics for Prometheus: counts and times, without names, IDs or payloads."""

import os
import sys
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from hl_sessions.server.database.errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseFullError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    ReplacedFileError,
    UnknownOutcomeError,
)
from hl_sessions.server.records.deleting import Deleted

SHARED_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with the folder where processes share their counts; read when ``Metrics`` is created."""

_ROOM: Final = {"counter": 128 * 1024, "gauge_livesum": 4 * 1024, "histogram": 512 * 1024}
"""Bytes in each kind of file of the shared folder, for calls of more than a hundred routes."""

_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# Other methods share one label, because a caller can make up any number of them.
_OTHER_METHOD: Final = "other"
_NO_ROUTE: Final = "none"
_REASONS: Final[dict[type[DatabaseError], str]] = {
    DatabaseBusyError: "busy",
    DatabaseFullError: "full",
    DatabaseTimeoutError: "timeout",
    DatabaseUnavailableError: "unavailable",
    ReplacedFileError: "unavailable",
    UnknownOutcomeError: "unavailable",
}
_OTHER_REASON: Final = "unexpected"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WRITES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one application, or with ``SHARED_DIRECTORY`` those of all processes that share it."""

    def __init__(self) -> None:
        if SHARED_DIRECTORY in os.environ and not _take_room(Path(os.environ[SHARED_DIRECTORY])):
            # This process reports only itself.
            del os.environ[SHARED_DIRECTORY]
        # The library looked for the folder when it was loaded, which in a forked worker was too early.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "hl_sessions_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._durations = Histogram(
            "hl_sessions_http_request_duration_seconds",
            "Time from the arrival of a request to the end of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "hl_sessions_http_requests_in_flight",
            "Requests that are being answered.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self._writes = Histogram(
            "hl_sessions_database_writes_per_commit",
            "Requests whose writes shared one transaction.",
            buckets=_WRITES,
            registry=self._registry,
        )
        self._database_errors = Counter(
            "hl_sessions_database_errors",
            "Reads and writes that the database failed, after all retries.",
            ["reason"],
            registry=self._registry,
        )
        for reason in (*_REASONS.values(), _OTHER_REASON):
            self._database_errors.labels(reason)
        self._lost_lines = Counter(
            "hl_sessions_access_log_lost_lines",
            "Lines of the access log that were lost because nothing read them or the disk was full.",
            registry=self._registry,
        )
        self._pruned_sessions = Counter(
            "hl_sessions_pruned_sessions",
            "Sessions that were deleted because they had not changed for long.",
            registry=self._registry,
        )
        self._pruned_datapoints = Counter(
            "hl_sessions_pruned_datapoints",
            "Datapoints that were deleted because they had not changed for long.",
            registry=self._registry,
        )
        # Looking up a child by its labels takes longer than counting.
        self._children: dict[tuple[str, str | None, int], tuple[Counter, Histogram]] = {}

    def request_begins(self) -> None:
        """Count a request that has arrived."""
        self._in_flight.inc()

    def request_ends(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            method: The method of the request, known or not.
            route: The template of its route; ``None`` when it has none.
            status: The status of the answer.
            seconds: The duration of the request.
        """
        if method not in _METHODS:
            method = _OTHER_METHOD
        children = self._children.get((method, route, status))
        if children is None:
            labels = (method, route or _NO_ROUTE)
            children = self._requests.labels(*labels, str(status)), self._durations.labels(*labels)
            self._children[method, route, status] = children
        requests, durations = children
        requests.inc()
        durations.observe(seconds)
        self._in_flight.dec()

    def committed(self, writes: int) -> None:
        """Count a transaction with the writes of this number of requests."""
        self._writes.observe(writes)

    def failed(self, error: DatabaseError) -> None:
        """Count a failure of the database."""
        self._database_errors.labels(_REASONS.get(type(error), _OTHER_REASON)).inc()

    def access_log_lost(self, lines: int) -> None:
        """Count lines of the access log that were not written."""
        self._lost_lines.inc(lines)

    def pruned(self, pruned: Deleted) -> None:
        """Count records that were deleted because of their age."""
        self._pruned_sessions.inc(pruned.sessions)
        self._pruned_datapoints.inc(pruned.datapoints)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        # If the folder is gone, because temporary folders are cleaned, a process reports only itself.
        directory = os.environ.get(SHARED_DIRECTORY)
        if directory is None or not Path(directory).is_dir():
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)


def forget_process(process_id: int, directory: Path) -> None:
    """Remove the in-flight requests of a process that has ended; its counts stay.

    Args:
        process_id: The process.
        directory: The folder that ``SHARED_DIRECTORY`` named for it.
    """
    mark_process_dead(process_id, str(directory))  # type: ignore[no-untyped-call]
    for path in _files(directory, process_id):
        if path.exists():
            with path.open("r+b") as file:
                # Its room is needed no longer. The length of its content comes first, unless it has none yet.
                file.truncate(int.from_bytes(file.read(4), sys.byteorder) or 8)


def _files(directory: Path, process_id: int) -> list[Path]:
    return [directory / f"{kind}_{process_id}.db" for kind in _ROOM]


def _take_room(directory: Path) -> bool:
    """Take room on the disk for the counts of this process, and tell whether there is any.

    The library writes to files that are mapped into the memory. If the disk were full then, the system would
    kill the process.
    """
    files = _files(directory, os.getpid())
    try:
        for path, length in zip(files, _ROOM.values(), strict=True):
            if not path.exists():
                path.write_bytes(bytes(length))
    except OSError:
        for path in files:
            path.unlink(missing_ok=True)
        return False
    return True
