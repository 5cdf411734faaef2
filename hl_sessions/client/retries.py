"""The pauses before further attempts."""

from __future__ import annotations

import math
import random
import time
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RETRIED_STATUSES", "RETRY_AFTER_MAX", "pause_before", "retry_after_seconds"]

BACKOFF_START = 0.1  # seconds before the second attempt, doubled for each further one
BACKOFF_MAX = 2.0  # seconds
RETRY_AFTER_MAX = 10.0  # seconds: an API that wants more than this gets no further attempt
RETRIED_STATUSES = frozenset({409, 429, 502, 503, 504})


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait, as a number or a date, else ``None``.

    Args:
        headers: the headers, with names in lower case or case-insensitive.
    """
    value = headers.get("retry-after", "").strip()
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


def pause_before(attempt: int, headers: Mapping[str, str] | None = None) -> float:
    """Return the seconds to wait after a failed attempt: exponential backoff with jitter, or ``Retry-After``.

    Args:
        attempt: the number of attempts that have failed before this one.
        headers: the headers of its answer, with names in lower case or case-insensitive; ``None``: there was
            no answer.
    """
    asked = None if headers is None else retry_after_seconds(headers)
    if asked is not None:
        return asked
    backoff: float = min(BACKOFF_MAX, BACKOFF_START * 2 ** min(attempt, 30))
    return backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
