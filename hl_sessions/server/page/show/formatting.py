"""Formats numbers and times for readers, as plain text."""

from datetime import datetime, timedelta, timezone
from math import floor
from typing import Final

from hl_sessions.server.page.prices import Cost

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_WEEK: Final = 7 * _DAY
_NONSENSE: Final = 1e9
"""The protocol allows any number of seconds, but no real duration is longer than this."""


def format_count(count: float) -> str:
    """Return a whole number with separated thousands: ``12,345``."""
    # Not by a format of floats, which would round a large integer.
    return f"{round(count):,}"


def format_seconds(seconds: float | None) -> str:
    """Return a duration in suitable units: ``1.4 ms``, ``380 ms``, ``2.4 s``, ``3 min 20 s``.

    The text is empty if there is no duration.
    """
    if seconds is None:
        return ""
    if seconds < 9.95:  # noqa: PLR2004 - which would be rounded to 10 s
        return _short(seconds)
    return _long(seconds) if seconds < _NONSENSE else "over 30 years"


def format_dollars(dollars: float) -> str:
    """Return a cost in dollars, with as many digits as the small costs of single calls need."""
    if dollars == 0 or abs(dollars) >= 1:
        return f"${dollars:,.2f}"
    return f"${dollars:.4f}" if abs(dollars) >= 0.0001 else "<$0.0001"  # noqa: PLR2004


def format_cost(cost: Cost) -> str:
    """Return a cost, and its computed part: ``$0.01``, ``≈ $0.0012 computed``."""
    if cost.computed is None:
        return format_dollars(cost.logged or 0)
    if cost.logged is None:
        return f"≈ {format_dollars(cost.computed)} computed"
    return f"≈ {format_dollars(cost.logged + cost.computed)}, {format_dollars(cost.computed)} of it computed"


def format_bytes(size: int) -> str:
    """Return a size: ``812 B``, ``24 kB``, ``3.1 MB``."""
    if size < 1000:  # noqa: PLR2004
        return f"{size} B"
    if size < 999_500:  # noqa: PLR2004
        return f"{size / 1000:.0f} kB"
    return f"{size / 1_000_000:.1f} MB"


def format_age(moment: datetime, now: datetime) -> str:
    """Return the age of a point in time, or its day if that is more than a week ago."""
    seconds = (now - moment).total_seconds()
    if seconds < 5:  # noqa: PLR2004
        return "just now"
    for limit, unit, name in (
        (_MINUTE, 1, "s"),
        (_HOUR, _MINUTE, "min"),
        (_DAY, _HOUR, "h"),
        (_WEEK, _DAY, "d"),
    ):
        if seconds < limit:
            return f"{floor(seconds / unit)} {name} ago"
    return f"{moment.day} {moment:%b} {moment.year}"


def format_moment(moment: datetime) -> str:
    """Return date and time to the second, in UTC."""
    utc = moment.astimezone(timezone.utc)
    return f"{utc.day} {utc:%b} {utc.year}, {utc:%H:%M:%S} UTC"


def format_label(moment: datetime, span: timedelta) -> str:
    """Label a place on an axis by day, time of day, or both, depending on the distance of its places."""
    day = f"{moment.day} {moment:%b}"
    if span >= timedelta(days=1):
        return day
    return f"{day}, {moment:%H:%M}" if span > timedelta(hours=1) else f"{moment:%H:%M}"


def _short(seconds: float) -> str:
    if seconds < -_NONSENSE:
        return "less than nothing"
    if 0 < seconds < 0.00995:  # noqa: PLR2004 - which would be rounded to 10 ms
        return f"{seconds * 1000:.1f} ms" if seconds >= 0.00005 else "<0.1 ms"  # noqa: PLR2004
    # From here on it would be rounded to 1000 ms.
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"  # noqa: PLR2004


def _long(seconds: float) -> str:
    whole = floor(seconds + 0.5)
    for large, small, names in (
        (_DAY, _HOUR, ("d", "h")),
        (_HOUR, _MINUTE, ("h", "min")),
        (_MINUTE, 1, ("min", "s")),
    ):
        if whole >= large:
            lesser = whole % large // small
            return f"{whole // large} {names[0]}" + (f" {lesser} {names[1]}" if lesser else "")
    return f"{whole} s"
