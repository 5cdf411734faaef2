"""When a failed attempt is tried again."""

from __future__ import annotations

import math
import random
import threading
import time
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import MaxRetryError, ResponseError
from urllib3.util import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage

    from hl_sessions.client.deadline import Deadline

__all__ = ["DeadlineRetry", "retry_after_seconds"]

BACKOFF_START = 0.1  # seconds before the second attempt, doubled for each further one
BACKOFF_MAX = 2.0  # seconds
RETRY_AFTER_MAX = 10.0  # seconds: an API that wants more than this gets no further attempt
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
MAX_UNREAD = 65536  # bytes that are read in order to use a connection again


def retry_after_seconds(headers: Mapping[str, str] | HTTPMessage) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, given as a number or a date; else ``None``."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    date = parsedate_tz(value)
    if date is None:
        return None
    try:
        return max(0.0, mktime_tz((*date[:9], date[9] or 0)) - time.time())
    except (ValueError, OverflowError):
        return None


class DeadlineRetry(Retry):
    """Retries with exponential backoff and jitter, or when ``Retry-After`` says, within a deadline.

    An attempt that could only start after the deadline, or after :data:`RETRY_AFTER_MAX`, is not
    waited for: the failure or the answer at hand is given at once.
    """

    deadline: Deadline | None = None
    delay = 0.0

    def within(self, deadline: Deadline) -> DeadlineRetry:
        """The same retries for one exchange."""
        retry = self.new()
        retry.deadline = deadline
        return retry

    def increment(  # noqa: D102
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> DeadlineRetry:
        retry = super().increment(method, url, response, error, _pool, _stacktrace)
        retry.deadline = self.deadline
        retry.delay = retry._next_delay(response)
        limit = RETRY_AFTER_MAX if self.deadline is None else min(RETRY_AFTER_MAX, self.deadline.remaining())
        if retry.delay >= limit:
            raise MaxRetryError(_pool, url or "", error or ResponseError("no time for another attempt"))
        # What is left of it is going to be read into memory before the next attempt.
        if response is not None and (
            response.length_remaining is None or response.length_remaining > MAX_UNREAD
        ):
            response.close()
        return retry

    def _next_delay(self, response: Any) -> float:
        asked = None if response is None else retry_after_seconds(response.headers)
        if asked is not None:
            return asked
        backoff: float = min(BACKOFF_MAX, BACKOFF_START * 2 ** (len(self.history) - 1))
        return backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret

    def sleep(self, response: Any = None) -> None:  # noqa: ARG002, D102
        if self.deadline is None:
            time.sleep(self.delay)
        else:
            self.deadline.wait(threading.Event(), self.delay)
