"""The memory of an outage of the sessions API."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from hl_sessions.errors import APIConnectionError
from hl_sessions.fork import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CircuitBreaker", "Reports"]

FAILURES_TO_OPEN = 3  # in a row
FIRST_COOL_OFF = 1.0  # seconds, doubled by each further failure
LONGEST_COOL_OFF = 30.0  # seconds

logger = logging.getLogger("hl_sessions")


class Reports:
    """Log records that are kept back until it is safe to emit them.

    A handler that emits one may hold its lock and wait for the very creation that the record is about.
    """

    def __init__(self) -> None:
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        # What the parent has not logged yet it logs itself.
        self._records: deque[tuple[int, str, tuple[object, ...]]] = deque()

    def add(self, level: int, message: str, *arguments: object) -> None:
        """Keep a record; the arguments are those of ``Logger.log``."""
        self._records.append((level, message, arguments))

    def emit(self) -> None:
        """Log what was kept, each record once."""
        while self._records:
            try:
                level, message, arguments = self._records.popleft()
            except IndexError:  # another thread was faster
                return
            logger.log(level, message, *arguments)


class CircuitBreaker:
    """Tries what fails only now and then, and one caller at a time, until it works again.

    After :data:`FAILURES_TO_OPEN` failures in a row nothing is tried until a cool-off has passed, then
    by one caller only. The cool-off grows from :data:`FIRST_COOL_OFF` to :data:`LONGEST_COOL_OFF` seconds.

    Args:
        reports: where the beginning and the end of an outage are reported.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._failures = 0
        self._since = 0.0
        self._without_id = 0  # reads that were tried, or answered at once, in vain
        self._cool_off = FIRST_COOL_OFF
        self._next_trial = 0.0
        self._last_error = ""

    def call(self, function: Callable[[], str]) -> str:
        """Give the result of ``function``, or raise its error, or raise at once during an outage.

        Raises:
            APIConnectionError: ``function`` was not called, as it has been failing.
        """
        is_trial = self._admit()
        try:
            result = function()
        except Exception as error:
            self._failed(error, is_trial=is_trial)
            raise
        except BaseException:
            if is_trial:
                self._next_trial = time.monotonic()
            raise
        if self._failures:
            self._recovered()
        return result

    def _admit(self) -> bool:
        if self._failures < FAILURES_TO_OPEN:
            return False
        with self._lock:
            now = time.monotonic()
            if now >= self._next_trial:
                self._next_trial = float("inf")  # nobody else until this trial has ended
                return True
            self._without_id += 1
            raise APIConnectionError(
                f"not tried, as the sessions API failed {self._failures} times in a row, the last time with:"
                f" {self._last_error}"
            )

    def _failed(self, error: Exception, *, is_trial: bool) -> None:
        with self._lock:
            self._failures += 1
            self._without_id += 1
            self._last_error = f"{type(error).__name__}: {error}"
            if self._failures == 1:
                self._since = time.monotonic()
                self._cool_off = FIRST_COOL_OFF
                self._reports.add(
                    logging.WARNING,
                    "no session could be created, and none will be until the sessions API is back: %s",
                    self._last_error,
                )
            if is_trial or self._failures == FAILURES_TO_OPEN:
                jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
                self._next_trial = time.monotonic() + self._cool_off * jitter
                self._cool_off = min(2 * self._cool_off, LONGEST_COOL_OFF)

    def _recovered(self) -> None:
        with self._lock:
            if not self._failures:
                return
            seconds = time.monotonic() - self._since
            self._reports.add(
                logging.INFO,
                "the sessions API is back after %.1f seconds; %d reads went without an ID",
                seconds,
                self._without_id,
            )
            self._failures = self._without_id = 0
