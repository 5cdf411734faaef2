from datetime import datetime, timedelta, timezone

import pytest

from hl_sessions.server.page.show.formatting import (
    format_age,
    format_bytes,
    format_count,
    format_dollars,
    format_label,
    format_moment,
    format_seconds,
)

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.00002, "<0.1 ms"),
        (0.0004, "0.4 ms"),
        (0.00994, "9.9 ms"),
        (0.00996, "10 ms"),
        (0.38, "380 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (2.44, "2.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (3660, "1 h 1 min"),
        (26 * 3600, "1 d 2 h"),
        (1e12, "over 30 years"),
        (-5, "-5000 ms"),
        (-1e300, "less than nothing"),
    ],
)
def test_durations_are_told_in_the_units_that_say_something(seconds: float | None, text: str) -> None:
    """They are rounded, and never 60 of a unit."""
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "just now"),
        (4, "just now"),
        (59, "59 s ago"),
        (61, "1 min ago"),
        (7300, "2 h ago"),
        (3 * 86400, "3 d ago"),
        (8 * 86400, "14 Nov 2026"),
    ],
)
def test_ages_are_told_until_the_day_says_more(seconds: float, text: str) -> None:
    """After a week the day is shown."""
    assert format_age(NOW - timedelta(seconds=seconds), NOW) == text


def test_numbers_read_as_numbers() -> None:
    """Thousands are separated, small costs are not rounded to zero, and sizes have a unit."""
    assert [format_count(count) for count in (0, 1234567, 2.0, 2**63 - 1)] == [
        "0",
        "1,234,567",
        "2",
        "9,223,372,036,854,775,807",
    ]
    assert [format_dollars(value) for value in (0, 12.5, 0.0123, 0.00001)] == [
        "$0.00",
        "$12.50",
        "$0.0123",
        "<$0.0001",
    ]
    assert [format_bytes(size) for size in (999, 24_400, 999_600, 3_140_000)] == [
        "999 B",
        "24 kB",
        "1.0 MB",
        "3.1 MB",
    ]
    zone = timezone(timedelta(hours=2))
    assert format_moment(datetime(2026, 11, 2, 1, 2, 3, tzinfo=zone)) == "1 Nov 2026, 23:02:03 UTC"
    spans = (timedelta(minutes=30), timedelta(hours=4), timedelta(days=1))
    assert [format_label(NOW, span) for span in spans] == ["12:30", "22 Nov, 12:30", "22 Nov"]
