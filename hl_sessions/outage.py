"""The memory of an outage of the sessions API."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from hl_sessions.errors import APIConnectionError, APITimeoutError
from hl_sessions.fork import renew_after_fork
from hl_sessions.interruptions import is_interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.transport import Deadline

__all__ = ["CircuitBreaker", "Reports", "Rest"]

FAILURES_TO_OPEN = 3  # in a row
FIRST_COOL_OFF = 1.0  # seconds, doubled by each further failure
LONGEST_COOL_OFF = 30.0  # seconds
LONGEST_TRIAL = 25.0  # seconds after which another trial may begin, as the one before may be lost
TRIAL_MARGIN = 1.0  # seconds that a trial may go on beyond its deadline
CALM = 5.0  # seconds without a failure that end an outage of single failures

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

    After :data:`FAILURES_TO_OPEN` failures in a row the calls under way are given up, and nothing is tried
    until a cool-off has passed, then by one caller only. The cool-off grows from :data:`FIRST_COOL_OFF`
    to :data:`LONGEST_COOL_OFF` seconds.

    A call that had to wait so long for its turn that less than half of its time was left, and then runs out
    of it, tells nothing about the API, and does not count.

    An outage is reported from its first failure on until a trial succeeds. Where it did not come to trials,
    as every second call or so succeeds, it lasts until there was no failure for :data:`CALM` seconds: an
    API that fails now and then does not fill the log.

    Args:
        create: creates a session by a deadline and gives its ID.
        reports: where the beginning and the end of an outage are reported.
    """

    def __init__(self, create: Callable[[Deadline], str], reports: Reports) -> None:
        self._create = create
        self._reports = reports
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._failures = 0  # in a row
        self._is_reported = False
        self._is_late_reported = False
        self._since = 0.0
        self._last_failure = 0.0
        self._cool_off = FIRST_COOL_OFF
        self._next_trial = 0.0
        self._last_error = ""
        self._sessions_without_id = 0
        self._under_way: set[Deadline] = set()

    def create(self, deadline: Deadline) -> str:
        """Create a session and give its ID, or raise at once during an outage.

        Raises:
            APIConnectionError: it was not tried, or not to the end, as creations have been failing.
            Exception: what the creation raised.
        """
        is_late = deadline.is_late()
        if is_late and not deadline.remaining():
            late = APITimeoutError("the time for this read was over before it was its turn")
            self._report_late(late)
            raise late
        is_trial = self._admit(deadline)
        self._under_way.add(deadline)
        if self._is_open() and not is_trial:
            deadline.abort()  # the outage was recognised in this moment, without this call in the list
        try:
            session_id = self._create(deadline)
        except BaseException as error:
            if is_interruption(error):
                if is_trial:
                    self._next_trial = time.monotonic()
            elif deadline.is_aborted:
                raise self._refusal() from None
            elif is_late and not is_trial and isinstance(error, APITimeoutError):
                self._report_late(error)
            else:
                self._failed(error, is_trial=is_trial)
            raise
        finally:
            self._under_way.discard(deadline)
        if self._is_reported:
            self._succeeded(is_trial=is_trial)
        return session_id

    def refusal(self) -> APIConnectionError | None:
        """Give the error that :meth:`create` would raise without trying, ``None`` if it would try."""
        if self._is_open() and time.monotonic() < self._next_trial:
            return self._refusal()
        return None

    def count_session_without_id(self) -> None:
        """Count a session that went without an ID in the outage, for the report at its end."""
        with self._lock:
            self._sessions_without_id += 1

    def _is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    def _admit(self, deadline: Deadline) -> bool:
        if not self._is_open():
            return False
        with self._lock:
            refusal = self.refusal()
            if refusal is not None:
                raise refusal
            # Nobody else until this trial has ended, or should have.
            self._next_trial = time.monotonic() + min(deadline.remaining() + TRIAL_MARGIN, LONGEST_TRIAL)
            return True

    def _refusal(self) -> APIConnectionError:
        return APIConnectionError(
            f"not tried, as the sessions API failed {self._failures} times in a row, the last time with:"
            f" {self._last_error}"
        )

    def _report_late(self, error: Exception) -> None:
        """Say, once, that creations did not come to their turn in time, which is no failure of the API."""
        with self._lock:
            if self._is_late_reported or self._is_reported:
                return
            self._is_late_reported = True
            self._reports.add(
                logging.WARNING,
                "a session could not be created in time, as many were being created at once (said once): %s",
                error,
            )

    def _failed(self, error: BaseException, *, is_trial: bool) -> None:
        with self._lock:
            self._failures += 1
            self._last_failure = time.monotonic()
            self._last_error = f"{type(error).__name__}: {error}"
            if not self._is_reported:
                self._is_reported = True
                self._since = self._last_failure
                self._cool_off = FIRST_COOL_OFF
                self._sessions_without_id = 0
                self._reports.add(
                    logging.WARNING,
                    "no session could be created, and none will be until the sessions API is back: %s",
                    self._last_error,
                )
            is_opened = self._failures == FAILURES_TO_OPEN
            if is_opened or is_trial:
                jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
                self._next_trial = self._last_failure + self._cool_off * jitter
                self._cool_off = min(2 * self._cool_off, LONGEST_COOL_OFF)
        if is_opened:
            for deadline in self._under_way.copy():
                deadline.abort()

    def _succeeded(self, *, is_trial: bool) -> None:
        with self._lock:
            self._failures = 0
            now = time.monotonic()
            if self._is_reported and (is_trial or now - self._last_failure >= CALM):
                self._is_reported = False
                self._reports.add(
                    logging.INFO,
                    "the sessions API is back after %.1f seconds; %d sessions went without an ID",
                    now - self._since,
                    self._sessions_without_id,
                )


class Rest:
    """Leaves a conversation store alone for a while after it failed, longer each time, and tries it again.

    An outage is reported from its first failure on until there was none for :data:`CALM` seconds.

    Args:
        reports: where the beginning and the end of an outage are reported.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._is_resting = False
        self._is_trial = False  # whether a caller was told to use the store after a rest
        self._until = 0.0
        self._cool_off = FIRST_COOL_OFF
        self._since: float | None = None
        self._last_failure = 0.0

    def is_over(self) -> bool:
        """Whether to use the store; of the callers after a rest one is told so, until it has tried."""
        if not self._is_resting:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._until:
                return False
            self._until = now + self._cool_off
            self._is_trial = True
            return True

    def begin(self, error: Exception) -> None:
        """Note that it failed."""
        with self._lock:
            self._last_failure = time.monotonic()
            if self._since is None:
                self._since = self._last_failure
                self._reports.add(
                    logging.WARNING,
                    "the conversation store fails, scopes with a key fall back to a session of their own: %s",
                    _described(error),
                )
            if self._is_resting and not self._is_trial:
                return  # of a caller that was under way when the rest began
            self._is_resting, self._is_trial = True, False
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
            self._until = self._last_failure + self._cool_off * jitter
            self._cool_off = min(2 * self._cool_off, LONGEST_COOL_OFF)

    def end(self) -> None:
        """Note that it worked."""
        if self._since is None:
            return
        with self._lock:
            self._is_resting = False
            now = time.monotonic()
            if self._since is not None and now - self._last_failure >= CALM:
                self._reports.add(
                    logging.INFO, "the conversation store is back after %.1f seconds", now - self._since
                )
                self._since = None
                self._cool_off = FIRST_COOL_OFF


def _described(error: Exception) -> str:
    # What a store of somebody else says may hold a conversation key, which may be personal.
    is_of_a_database = type(error).__module__.partition(".")[0] in {"redis", "sqlite3"}
    shows_no_key = isinstance(error, OSError) or is_of_a_database
    return f"{type(error).__name__}: {error}" if shows_no_key else type(error).__name__
