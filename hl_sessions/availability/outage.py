"""How long something fails, and when it is tried again meanwhile."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hl_sessions.availability.reports import Reports

__all__ = ["CALM", "FIRST_COOL_OFF", "LONGEST_COOL_OFF", "Outage"]

FIRST_COOL_OFF = 1.0  # seconds, doubled by each further failure
LONGEST_COOL_OFF = 30.0  # seconds
LONGEST_ASKED_FOR = 300.0  # seconds
CALM = 5.0  # seconds without a failure after which a success ends an outage of single failures


class Outage:
    """The time from a first failure until it works again; its beginning and its end are reported once each.

    The owner decides which failures begin a cool-off and which success ends the outage, and calls the
    methods that change it under a lock of its own.

    Args:
        reports: where the beginning and the end are reported.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        #: Whether there is one.
        self.is_on = False
        self._since = 0.0
        self._last_failure = 0.0
        #: Seconds that the next cool-off takes at the most.
        self.pause = FIRST_COOL_OFF
        self._next_trial = 0.0

    def failed(self, message: str, *arguments: object) -> None:
        """Note a failure, and report it as a warning if it is the first; arguments as of ``Logger.log``."""
        self._last_failure = time.monotonic()
        if not self.is_on:
            self.is_on = True
            self._since = self._last_failure
            self.pause = FIRST_COOL_OFF
            self._reports.add(logging.WARNING, message, *arguments)

    def cool_off(self, at_least: float = 0.0) -> None:
        """Begin a pause after the last failure, twice as long as the one before, without any trial.

        Args:
            at_least: seconds that the other side has asked for; :data:`LONGEST_ASKED_FOR` of them count.
        """
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        pause = max(self.pause * jitter, min(at_least, LONGEST_ASKED_FOR))
        self._next_trial = self._last_failure + pause
        self.pause = min(2 * self.pause, LONGEST_COOL_OFF)

    def is_cooling_off(self) -> bool:
        """Whether it is too early for another trial."""
        return time.monotonic() < self._next_trial

    def begin_trial(self, seconds: float) -> None:
        """Let the caller try, and nobody else for ``seconds``: by then the trial has ended, or is lost."""
        self._next_trial = time.monotonic() + seconds

    def give_up_trial(self) -> None:
        """Let somebody else try at once."""
        self._next_trial = time.monotonic()

    def is_calm(self) -> bool:
        """Whether the last failure was :data:`CALM` seconds ago."""
        return time.monotonic() - self._last_failure >= CALM

    def end(self, message: str, *arguments: object) -> None:
        """End the outage, and report that; the first argument of the message is the seconds that it took."""
        self.is_on = False
        self._reports.add(logging.INFO, message, time.monotonic() - self._since, *arguments)
