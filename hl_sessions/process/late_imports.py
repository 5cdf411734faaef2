"""Imports at first use, which a fork in another thread must not interrupt.

The child would have a half imported module, and wait for ever for the thread that imports it.
"""

from __future__ import annotations

import threading

from hl_sessions.process.fork import prepare_for_fork, renew_after_fork

__all__ = ["late_import"]

PATIENCE = 5.0  # seconds that a fork waits


class _LateImport:
    """The context manager for an import at first use; a fork waits until it is left."""

    def __init__(self) -> None:
        self._renew_after_fork()
        prepare_for_fork(self)
        renew_after_fork(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _prepare_for_fork(self) -> None:
        # Not for ever, as the import may wait for the thread that forks.
        self._is_held_for_fork = self._lock.acquire(timeout=PATIENCE)

    def _go_on_after_fork(self) -> None:
        if self._is_held_for_fork:
            self._lock.release()

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()


late_import = _LateImport()
