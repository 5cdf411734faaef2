"""Creating sessions while the sessions API may be down."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from hl_sessions.availability.outage import Outage
from hl_sessions.errors import APIConnectionError, APITimeoutError
from hl_sessions.process.ending import end_with_process
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.interruptions import is_interruption
from hl_sessions.process.once import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from hl_sessions.availability.outage import Incident
    from hl_sessions.availability.reports import Reports
    from hl_sessions.client.deadline import Deadline

__all__ = ["CircuitBreaker"]

FAILURES_TO_OPEN = 3  # in a row
LONGEST_TRIAL = 25.0  # seconds after which another trial may begin, as the one before may be lost
TRIAL_MARGIN = 1.0  # seconds that a trial may go on beyond its deadline


class CircuitBreaker:
    """Tries what fails only now and then, and one caller at a time, until it works again.

    After :data:`FAILURES_TO_OPEN` failures in a row the calls under way are given up, and nothing is tried
    until a cool-off has passed, then by one caller only. Where one of the failures said when to come again
    (``Retry-After``), it does not pass before, for up to five minutes.

    Time-outs of calls that spent half their time queueing do not count as failures, nor does it when this
    process may open no more connections.

    An outage lasts from its first failure until a trial succeeds. Where it did not come to trials, as every
    second call or so succeeds, it lasts until the last failure is a while ago: an API that fails now and then
    does not fill the log.

    Args:
        create: creates a session by a deadline, tells the API of it, and returns its ID.
        reports: where it is reported what is no outage.
        incident: reports the beginning and the end of an outage.
    """

    def __init__(
        self,
        create: Callable[[Deadline, Mapping[str, Any]], Coroutine[Any, Any, str]],
        reports: Reports,
        incident: Incident,
    ) -> None:
        self._create = create
        self._reports = reports
        self._incident = incident
        self._said_closed = Once()
        self._is_closed = False
        self._is_process_ending = False
        self._renew_after_fork()
        renew_after_fork(self)
        end_with_process(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._outage = Outage(self._incident)
        self._failures = 0  # in a row
        self._is_late_reported = False
        self._last_error = ""
        self._sessions_without_id = 0
        self._under_way: set[Deadline] = set()

    async def create(self, deadline: Deadline, told: Mapping[str, Any]) -> str:
        """Create a session and return its ID, or raise at once during an outage.

        Args:
            deadline: when that has to be done.
            told: what the API is told of the session.

        Raises:
            APIConnectionError: it was not tried, or not to the end, as creations have been failing.
            Exception: what the creation raised.
        """
        if self._is_closed:
            raise self._report_closed()
        is_late = deadline.is_late()
        if is_late and not deadline.remaining():
            late = APITimeoutError("the time for this read was over before it was its turn")
            self._report_late(late)
            raise late
        is_trial = self._admit(deadline)
        self._under_way.add(deadline)
        if self._is_closed or (self._is_open() and not is_trial):
            deadline.abort()  # the outage was recognised in this moment, without this call in the list
        try:
            session_id = await self._create(deadline, told)
        except BaseException as error:
            if deadline.is_aborted and not is_interruption(error):
                raise (self._ended() or self._refusal()) from None
            self._note(error, is_late=is_late, is_trial=is_trial)
            raise
        finally:
            self._under_way.discard(deadline)
        if self._outage.is_on:
            self._succeeded(is_trial=is_trial)
        return session_id

    def _note(self, error: BaseException, *, is_late: bool, is_trial: bool) -> None:
        """Note what a creation says of the API that has raised."""
        is_of_process = isinstance(error, APIConnectionError) and error._is_of_process
        if is_trial and (is_of_process or is_interruption(error)):
            self._outage.give_up_trial()
        if is_of_process or (is_late and not is_trial and isinstance(error, APITimeoutError)):
            self._report_late(error)
        elif not is_interruption(error):
            self._failed(error, is_trial=is_trial)

    def close(self) -> None:
        """Give up the creations under way, and create no more."""
        self._is_closed = True
        for deadline in self._under_way.copy():
            deadline.abort()

    def _end_with_process(self) -> None:
        self._is_process_ending = True
        for deadline in self._under_way.copy():
            if deadline.is_of_worker:
                deadline.abort()

    def refusal(self) -> APIConnectionError | None:
        """Return the error that :meth:`create` would raise without trying, ``None`` if it would try."""
        if self._is_closed:
            return self._report_closed()
        if self._is_open() and self._outage.is_cooling_off():
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
            self._outage.begin_trial(min(deadline.remaining() + TRIAL_MARGIN, LONGEST_TRIAL))
            return True

    def _refusal(self) -> APIConnectionError:
        return APIConnectionError(
            f"not tried, as the sessions API failed {self._failures} times in a row, the last time with:"
            f" {self._last_error}"
        )

    def _ended(self) -> APIConnectionError | None:
        """Return the error of a creation that was given up at the end, ``None`` if this is not the end."""
        if self._is_closed:
            return APIConnectionError("no session was created, as its manager is closed")
        if self._is_process_ending:
            return APIConnectionError("no session was created, as the process is ending")
        return None

    def _report_closed(self) -> APIConnectionError:
        """Say, once, that an ID was read too late, which is no failure of the API; return the error."""
        if self._said_closed.is_first():
            self._reports.add(logging.WARNING, "a session ID was read, but its manager is closed (said once)")
        return APIConnectionError("no session is created, as its manager is closed")

    def _report_late(self, error: BaseException) -> None:
        """Say, once, that too much was created at once, which is no failure of the API."""
        with self._lock:
            if self._is_late_reported or self._outage.is_on:
                return
            self._is_late_reported = True
            self._reports.add(
                logging.WARNING,
                "a session could not be created, as many were being created at once (said once): %s",
                error,
            )

    def _failed(self, error: BaseException, *, is_trial: bool) -> None:
        with self._lock:
            self._failures += 1
            self._last_error = f"{type(error).__name__}: {error}"
            if not self._outage.is_on:
                self._sessions_without_id = 0
            self._outage.failed(
                "no session could be created, and none will be until the sessions API is back: %s",
                self._last_error,
            )
            self._outage.note_request(getattr(error, "retry_after", None) or 0.0)
            is_opened = self._failures == FAILURES_TO_OPEN
            if is_opened or is_trial:
                self._outage.cool_off()
        if is_opened:
            for deadline in self._under_way.copy():
                deadline.abort()

    def _succeeded(self, *, is_trial: bool) -> None:
        with self._lock:
            self._failures = 0
            self._outage.asked_until = 0.0
            if self._outage.is_on and (is_trial or self._outage.is_calm()):
                self._outage.end(f"sessions that went without an ID: {self._sessions_without_id}")
