"""Waits for locks of SQLite for which SQLite itself does not wait."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["while_locked"]

_PAUSE = 0.01  # seconds


def while_locked(attempt: Callable[[], object], patience: float) -> None:
    """Call ``attempt`` repeatedly while it fails because another process has locked the file.

    SQLite itself waits for most locks (``PRAGMA busy_timeout``). It does not wait for the change to a
    write-ahead log, nor for a lock that might never be released.

    Args:
        attempt: the function to call.
        patience: seconds until it is given up.

    Raises:
        sqlite3.OperationalError: ``attempt`` failed for another reason, or the time is over.
    """
    end = time.monotonic() + patience
    while True:
        try:
            attempt()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        else:
            return
        time.sleep(_PAUSE)
