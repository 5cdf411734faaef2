"""Looks after the records while the server runs, in one process at a time.

It deletes those that have not changed for long, and gives bits to frequent members of metadata.
"""

import logging
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import chain
from threading import Event, Thread
from time import monotonic
from typing import Final, Protocol

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.database.leases import hold_lease
from hl_sessions.server.records.deleting import Deleted
from hl_sessions.server.records.member_noting import note_members
from hl_sessions.server.records.pruning import give_back, prune, prune_idempotency_keys

_LEASE: Final = timedelta(minutes=1)
"""The time after which another process continues, if this one freezes."""

_RENEWED: Final = 20.0
"""Seconds after which a working process renews the lease."""

_REST: Final = timedelta(minutes=10)
"""Time between two passes through the database, by any process."""

_LOOK: Final = 60.0
"""Seconds after which a process tries to get the lease."""

_PAUSE: Final = 0.05
"""Seconds between two steps, which leave most of the processor's time to requests."""

_NOT_DELETED: Final = "old records could not be deleted"
_NOT_NOTED: Final = "frequent members of metadata could not be noted"

_logger = logging.getLogger(__name__)


class UpkeepObserver(Protocol):
    """Told on any thread how many records were deleted."""

    def pruned(self, pruned: Deleted) -> None:
        """Note the records that a step has deleted."""


@dataclass
class _Work:
    """Work to be done every ten minutes.

    Args:
        lease: The name of its lease.
        undone: What the log says of it when the database fails.
        steps: Does the work in steps.
        begins: The time of its next turn, by ``time.monotonic``.
    """

    lease: str
    undone: str
    steps: Callable[[], Generator[Deleted, None, None]]
    begins: float


class Upkeep:
    """Deletes old records, and notes members of metadata, on a thread beside the work of the server.

    Args:
        database: The database.
        keep: How long records are kept after their last change; ``None``: for ever. Idempotency keys are
            deleted when they expire.
        observer: Told how many records were deleted.
    """

    def __init__(self, database: Database, keep: timedelta | None, observer: UpkeepObserver) -> None:
        self._database = database
        self._observer = observer
        self._holder = secrets.token_hex(8)
        self._ending = Event()
        # Each has its own lease, because only some of the servers may be set to delete old records. The first
        # two can wait until a starting server has done its other work.
        later = monotonic() + _LOOK
        self._works = [
            _Work("idempotency keys", _NOT_DELETED, self._delete_keys, later),
            _Work("frequent members", _NOT_NOTED, self._note_members, later),
        ]
        if keep is not None:
            is_old = partial(self._delete_what_is_old, keep)
            self._works.append(_Work("retention", _NOT_DELETED, is_old, monotonic()))
        # Runs in an empty context. A daemon, so that a process that must end at once does not wait for it.
        self._thread = Thread(target=Context().run, args=(self._run,), name="hl-sessions-upkeep", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread after the running step."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            for work in self._works:
                if work.begins <= monotonic() and not self._ending.is_set():
                    try:
                        self._do(work)
                    except DatabaseError as error:
                        _logger.warning("%s; this is tried again: %s", work.undone, error)
            self._ending.wait(_LOOK)

    def _do(self, work: _Work) -> None:
        if not self._hold_lease(work, _LEASE):
            return
        renewed = monotonic()
        with closing(work.steps()) as steps:
            for step in steps:
                self._observer.pruned(step)
                if self._ending.wait(_PAUSE):
                    break
                if monotonic() - renewed > _RENEWED:
                    renewed = monotonic()
                    if not self._hold_lease(work, _LEASE):
                        break
        if self._ending.is_set():
            # Another process may continue.
            self._hold_lease(work, timedelta(0))
        elif self._hold_lease(work, _REST):
            work.begins = monotonic() + _REST.total_seconds()

    def _delete_keys(self) -> Generator[Deleted, None, None]:
        for _ in prune_idempotency_keys(self._database):
            yield Deleted()

    def _note_members(self) -> Generator[Deleted, None, None]:
        for _ in note_members(self._database):
            yield Deleted()

    def _delete_what_is_old(self, keep: timedelta) -> Generator[Deleted, None, None]:
        before = datetime.now(timezone.utc) - keep
        pruned = Deleted()
        try:
            for step in chain(prune(self._database, before), self._give_back()):
                pruned += step
                yield step
        finally:
            if pruned != Deleted():
                # A warning, because warnings reach the standard error output without any setup.
                _logger.warning(
                    "deleted %s without a change since %s UTC",
                    pruned,
                    f"{before:%Y-%m-%d %H:%M}",
                )

    def _give_back(self) -> Iterator[Deleted]:
        return (Deleted() for _ in give_back(self._database))

    def _hold_lease(self, work: _Work, duration: timedelta) -> bool:
        return self._database.write_now(
            partial(hold_lease, name=work.lease, holder=self._holder, duration=duration)
        )
