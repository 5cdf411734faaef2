"""Deletes what has not changed for long while the server runs, in one of its processes at a time."""

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
from hl_sessions.server.records.pruning import give_back, prune, prune_idempotency_keys

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

    def pruned(self, pruned: Deleted) -> None:
        """Note what a step has deleted."""


@dataclass
class _Work:
    """What is to be done every ten minutes.

    Args:
        lease: The name of its lease.
        steps: Does it.
        begins: When its next turn is, by ``time.monotonic``.
    """

    lease: str
    steps: Callable[[], Generator[Deleted, None, None]]
    begins: float


class Retention:
    """Deletes what is old on a thread of its own, beside all that the server does.

    Args:
        database: From where.
        keep: For how long after its last change something is kept; ``None``: for ever. Idempotency keys are
            deleted when their time is over.
        observer: Is told what was deleted.
    """

    def __init__(self, database: Database, keep: timedelta | None, observer: RetentionObserver) -> None:
        self._database = database
        self._observer = observer
        self._holder = secrets.token_hex(8)
        self._ending = Event()
        # Each with a lease of its own, as not every server may be told to delete the rest. Keys can wait: a
        # server that starts has other things to do.
        self._works = [_Work("idempotency keys", self._delete_keys, monotonic() + _LOOK)]
        if keep is not None:
            self._works.append(_Work("retention", partial(self._delete_what_is_old, keep), monotonic()))
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
            for work in self._works:
                if work.begins <= monotonic() and not self._ending.is_set():
                    try:
                        self._do(work)
                    except DatabaseError as error:
                        _logger.warning("what is old could not be deleted, which is tried again: %s", error)
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
            # Somebody else may go on.
            self._hold_lease(work, timedelta(0))
        elif self._hold_lease(work, _REST):
            work.begins = monotonic() + _REST.total_seconds()

    def _delete_keys(self) -> Generator[Deleted, None, None]:
        for _ in prune_idempotency_keys(self._database):
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
                # A warning, as these reach the standard error output without any set-up.
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
