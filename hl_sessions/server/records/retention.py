"""Deletes what has not changed for long while the server runs, in one of its processes at a time."""

import logging
import secrets
from collections.abc import Iterator
from contextvars import Context
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import chain
from threading import Event, Thread
from time import monotonic
from typing import Final, Protocol

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.database.leases import hold_lease
from hl_sessions.server.records.pruning import Pruned, give_back, prune

_NAME: Final = "retention"

_LEASE: Final = timedelta(minutes=1)
"""After which another process goes on, when this one stands still."""

_RENEWED: Final = 20.0
"""Seconds after which a process that is at it renews the lease."""

_REST: Final = timedelta(minutes=10)
"""Between two times, of whichever processes, that all is looked through."""

_LOOK: Final = 60.0
"""Seconds after which a process looks whether the lease is to be had."""

_PAUSE: Final = 0.05
"""Seconds between two steps, which most of the time of a processor is left for the requests in."""

_logger = logging.getLogger(__name__)


class RetentionObserver(Protocol):
    """Is told what was deleted, on whatever thread."""

    def pruned(self, pruned: Pruned) -> None:
        """Note what a step has deleted."""


class Retention:
    """Deletes what is old on a thread of its own, beside all that the server does.

    Args:
        database: From where.
        keep: For how long after its last change something is kept.
        observer: Is told what was deleted.
    """

    def __init__(self, database: Database, keep: timedelta, observer: RetentionObserver) -> None:
        self._database = database
        self._keep = keep
        self._observer = observer
        self._holder = secrets.token_hex(8)
        self._ending = Event()
        # In an empty context, and no thread that a process which has to end at once waits for.
        self._thread = Thread(
            target=Context().run, args=(self._run,), name="hl-sessions-retention", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End after the step that runs."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._delete_what_is_old()
            except DatabaseError as error:
                _logger.warning("what is old could not be deleted, which is tried again: %s", error)
            self._ending.wait(_LOOK)

    def _delete_what_is_old(self) -> None:
        if not self._hold_lease(_LEASE):
            return
        before = datetime.now(timezone.utc) - self._keep
        pruned = Pruned()
        renewed = monotonic()
        try:
            for step in chain(prune(self._database, before), self._give_back()):
                pruned += step
                self._observer.pruned(step)
                if self._ending.wait(_PAUSE):
                    break
                if monotonic() - renewed > _RENEWED:
                    renewed = monotonic()
                    if not self._hold_lease(_LEASE):
                        break
        finally:
            if pruned != Pruned():
                # A warning, as these reach the standard error output without any set-up.
                _logger.warning(
                    "deleted %s sessions and %s datapoints without a change since %s UTC",
                    f"{pruned.sessions:,}",
                    f"{pruned.datapoints:,}",
                    f"{before:%Y-%m-%d %H:%M}",
                )
        if self._ending.is_set():
            # Somebody else may go on.
            self._hold_lease(timedelta(0))
        elif self._hold_lease(_REST):
            self._ending.wait(_REST.total_seconds())

    def _give_back(self) -> Iterator[Pruned]:
        return (Pruned() for _ in give_back(self._database))

    def _hold_lease(self, duration: timedelta) -> bool:
        return self._database.write_now(
            partial(hold_lease, name=_NAME, holder=self._holder, duration=duration)
        )
