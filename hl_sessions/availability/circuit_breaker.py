"""The creation of sessions while the sessions API may be down."""

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
LONGEST_TRIAL = 25.0  # seconds after which another trial may begin, as the former one may be lost
TRIAL_MARGIN = 1.0  # seconds that a trial may exceed its deadline


class CircuitBreaker:
    """Creates sessions. During an outage it makes only a trial now and then, for one caller at a time.

    After :data:`FAILURES_TO_OPEN` failures in a row, the calls under way are given up. Further calls fail at
    once until a cool-off has passed; then one caller makes a trial. A ``Retry-After`` of a failure extends
    the cool-off, up to five minutes.

    Time-outs of calls that spent half their time queueing do not count as failures. Neither do failures
    because this process has no file descriptor left.

    An outage lasts from its first failure until a trial succeeds. If there was no trial, as for example every
    second call succeeds, it lasts until the last failure is a while ago. So an API that fails now and then
    does not fill the log.

    Args:
        create: creates a session by a deadline, with its description, and returns its ID.
        reports: takes the warnings that concern no outage.
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
            deadline: when the creation has to be done.
            told: the description of the session.

        Raises:
            APIConnectionError: the creation was not tried, or given up, because of an outage.
            Exception: the error of the creation.
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
            deadline.abort()  # the outage began just now, before this call was in the list
        try:
            session_id = await self._create(deadline, told)
        except BaseException as error:
            if deadline.is_aborted and not is_interruption(error):
                raise (self._ended() or self._refusal()) from None
            self._note(error, is_late=is_late or deadline.has_begun_late(), is_trial=is_trial)
            raise
        finally:
            self._under_way.discard(deadline)
        if self._outage.is_on:
            self._succeeded(is_trial=is_trial)
        return session_id

    def _note(self, error: BaseException, *, is_late: bool, is_trial: bool) -> None:
        """Note the error of a creation, if it tells anything about the API."""
        is_of_process = isinstance(error, APIConnectionError) and error._is_of_process
        if is_trial and (is_of_process or is_interruption(error)):
            self._outage.give_up_trial()
        if is_of_process or (is_late and not is_trial and isinstance(error, APITimeoutError)):
            self._report_late(error)
        elif not is_interruption(error):
            self._failed(error, is_trial=is_trial)

    def close(self) -> None:
        """Give up the creations under way, and refuse further ones."""
        self._is_closed = True
        for deadline in self._under_way.copy():
            deadline.abort()

    def fall_silent(self) -> None:
        """Do not warn of a read after the close."""
        self._said_closed.said = True

    def _end_with_process(self) -> None:
        self._is_process_ending = True
        for deadline in self._under_way.copy():
            if deadline.is_of_worker:
                deadline.abort()

    def refusal(self) -> APIConnectionError | None:
        """Return the error that :meth:`create` would raise at once, ``None`` if it would try."""
        if self._is_closed:
            return self._report_closed()
        if self._is_open() and self._outage.is_cooling_off():
            return self._refusal()
        return None

    def count_session_without_id(self) -> None:
        """Count a session without an ID, for the report at the end of the outage."""
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
        """Return the error of a creation that the end of the manager or process has stopped, if it has."""
        if self._is_closed:
            return APIConnectionError("no session was created, as its manager is closed")
        if self._is_process_ending:
            return APIConnectionError("no session was created, as the process is ending")
        return None

    def _report_closed(self) -> APIConnectionError:
        """Warn, once, of a read after the close, which is no failure of the API; return the error."""
        if self._said_closed.is_first():
            self._reports.add(logging.WARNING, "a session ID was read, but its manager is closed (said once)")
        return APIConnectionError("no session is created, as its manager is closed")

    def _report_late(self, error: BaseException) -> None:
        """Warn, once, that too many sessions were created at once, which is no failure of the API."""
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
                self._outage.end("sessions that went without an ID", self._sessions_without_id)
