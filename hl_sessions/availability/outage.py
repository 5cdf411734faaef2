"""Outages: how long a service fails, and when it is tried again."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from hl_sessions.process.fork import renew_after_fork

if TYPE_CHECKING:
    from hl_sessions.availability.reports import Reports

__all__ = ["CALM", "FIRST_COOL_OFF", "LONGEST_COOL_OFF", "Incident", "Outage"]

FIRST_COOL_OFF = 1.0  # seconds, doubled by each further failure
LONGEST_COOL_OFF = 30.0  # seconds
LONGEST_ASKED_FOR = 300.0  # seconds
CALM = 5.0  # seconds without a failure after which a success ends an outage of single failures


class Incident:
    """The outages of one cause. The beginning of the first one and the end of the last one are reported.

    Args:
        reports: takes the reports.
        end: the message at the end; its argument is the duration in seconds.
    """

    def __init__(self, reports: Reports, end: str) -> None:
        self._reports = reports
        self._end = end
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._since = 0.0
        self._outages: set[Outage] = set()
        self._effects: dict[str, int] = {}
        self._level = logging.INFO

    def begin(self, outage: Outage, message: str, *arguments: object) -> None:
        """Note the beginning of an outage; the arguments are those of ``Logger.log``."""
        with self._lock:
            if not self._outages:
                self._since = time.monotonic()
                self._reports.add(logging.WARNING, message, *arguments)
            self._outages.add(outage)

    def end(self, outage: Outage, effect: str, count: int, *, is_loss: bool) -> None:
        """Note the end of an outage, and how often it had an effect; a loss is reported as a warning."""
        with self._lock:
            self._outages.discard(outage)
            if effect:  # it may have begun and ended more than once, while another one went on
                self._effects[effect] = self._effects.get(effect, 0) + count
            self._level = max(self._level, logging.WARNING if is_loss and count else logging.INFO)
            if not self._outages:
                effects = [f"{effect}: {count}" for effect, count in self._effects.items()]
                self._reports.add(
                    self._level, "; ".join([self._end, *effects]), time.monotonic() - self._since
                )
                self._effects, self._level = {}, logging.INFO


class Outage:
    """The time from a first failure until the service works again. Its beginning and its end are reported.

    The owner decides which failures begin a cool-off, and which success ends the outage. It calls the methods
    that change the outage under a lock of its own.

    Args:
        incident: reports the beginning and the end.
    """

    def __init__(self, incident: Incident) -> None:
        self._incident = incident
        #: Whether the outage is going on.
        self.is_on = False
        self._last_failure = 0.0
        #: The longest duration of the next cool-off, in seconds.
        self.pause = FIRST_COOL_OFF
        #: The end, of ``time.monotonic()``, of the wait that the service has asked for.
        self.asked_until = 0.0
        self._next_trial = 0.0

    def failed(self, message: str, *arguments: object) -> None:
        """Note a failure, and report the first one as a warning; arguments as for ``Logger.log``."""
        self._last_failure = time.monotonic()
        if not self.is_on:
            self.is_on = True
            self.pause = FIRST_COOL_OFF
            self.asked_until = 0.0
            self._incident.begin(self, message, *arguments)

    def note_request(self, seconds: float) -> None:
        """Note how long the last failure asked to wait, up to :data:`LONGEST_ASKED_FOR`."""
        self.asked_until = max(self.asked_until, self._last_failure + min(seconds, LONGEST_ASKED_FOR))

    def cool_off(self) -> None:
        """Begin a pause without trials after the last failure, twice as long as the former pause.

        It is longer if a failure since the last success asked for a longer wait.
        """
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        self._next_trial = max(self._last_failure + self.pause * jitter, self.asked_until)
        self.pause = min(2 * self.pause, LONGEST_COOL_OFF)

    def is_cooling_off(self) -> bool:
        """Whether it is too early for another trial."""
        return self.seconds_to_trial() > 0.0

    def seconds_to_trial(self) -> float:
        """Return the seconds until another trial may begin."""
        return max(0.0, self._next_trial - time.monotonic())

    def begin_trial(self, seconds: float) -> None:
        """Let only the caller try for ``seconds``; after that its trial has ended, or is lost."""
        self._next_trial = time.monotonic() + seconds

    def give_up_trial(self) -> None:
        """Let another caller try at once."""
        self._next_trial = time.monotonic()

    def is_calm(self) -> bool:
        """Whether the last failure was :data:`CALM` seconds ago."""
        return time.monotonic() - self._last_failure >= CALM

    def end(self, effect: str = "", count: int = 0, *, is_loss: bool = False) -> None:
        """End the outage, and report that.

        Args:
            effect: the effect of the outage, for the reader of the log.
            count: how often it had that effect.
            is_loss: whether data is lost for good by it.
        """
        self.is_on = False
        self._incident.end(self, effect, count, is_loss=is_loss)
