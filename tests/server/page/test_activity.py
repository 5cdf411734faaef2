import html
import re
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from hl_sessions.server.page.queries.activity import WINDOWS
from hl_sessions.server.page.show.chart import draw_bars, draw_line, pick_labels, round_up
from tests.servers import served


def numbers_on(page: str) -> list[list[str]]:
    """Return the table of the charts, newest span first: start, [sessions,] datapoints, errors, latencies."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', page, re.DOTALL)
    return [
        [html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.split(r"</th>|</td>", row)[:-1]]
        for row in rows
    ]


def test_activity_counts_what_was_logged_when(reader: Any, unique: str) -> None:
    """Each datapoint counts at its ``created_at``, with its error and duration, in its span."""
    now = datetime.now(timezone.utc)
    begin = WINDOWS[0].begins(now)[10]

    def at(seconds: float) -> str:
        return (begin + timedelta(seconds=seconds)).isoformat()

    created = reader.log(
        *({"project": unique, "created_at": at(n), "duration": n / 10} for n in range(1, 101)),
        {"project": unique, "created_at": at(119.9), "error": "Late"},
        {"project": unique, "created_at": at(120), "error": "Later", "duration": 7},
        {"project": unique, "created_at": at(-3600), "error": "Before the window"},
        {"project": f"{unique}-other", "created_at": at(1)},
    )
    page = reader.read(f"/activity?window=1h&project={created[0]['project_id']}")
    counted = [row for row in numbers_on(page) if row[1:3] != ["0", "0"]]
    assert [row[1:] for row in counted] == [["1", "1", "7.0 s", "7.0 s"], ["101", "1", "5.0 s", "9.5 s"]]
    assert counted[1][0] == f"{begin.day} {begin:%b %Y, %H:%M}:00 UTC"
    assert "<b>102</b> logged" in page
    assert len(re.findall(r'class="bar is-failed"', page)) == 2
    assert "101 datapoints, 1 with an error" in page


def test_activity_of_all_projects_counts_sessions_too(reader: Any, unique: str) -> None:
    """They are counted when they began."""
    before = int(re.findall(r"<b>([\d,]+)</b> began", reader.read("/activity"))[0].replace(",", ""))
    reader.log(project=unique, session_reference_id=unique)
    after = int(re.findall(r"<b>([\d,]+)</b> began", reader.read("/activity"))[0].replace(",", ""))
    assert after == before + 1


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.name)
def test_windows_reach_from_round_times_to_now(window: Any) -> None:
    """Even if now is a round time itself."""
    for now in (
        datetime(2026, 11, 22, 12, tzinfo=timezone.utc),
        datetime(2026, 2, 28, 23, 59, 59, 999999, timezone.utc),
    ):
        begins = window.begins(now)
        assert len(begins) == window.spans + 1
        assert begins[-2] <= now < begins[-1]
        assert all(later - earlier == window.span for earlier, later in pairwise(begins))
        assert begins[0].second == begins[0].microsecond == 0


@pytest.mark.slow
def test_activity_of_thousands_of_projects_is_one_too(tmp_path: Path) -> None:
    """They are more than a statement of SQLite takes values."""
    with served(tmp_path / "many.sqlite3") as base_url:
        logs = [{"project": f"project {number}"} for number in range(5400)]
        requests.post(f"{base_url}/logs", json=logs, timeout=30).raise_for_status()
        answer = requests.get(f"{base_url.removesuffix('/v4')}/activity?window=24h", timeout=30)
    assert answer.ok
    assert "<b>5,400</b> logged" in answer.text


def test_a_window_that_is_not_there_is_told(reader: Any) -> None:
    """The answer lists the existing ones."""
    answer = reader.get("/activity?window=2h")
    assert answer.status_code == 422
    assert "window may be 1h, 24h, 7d, 30d, all." in answer.text
    assert reader.get("/activity?project=x").status_code == 422


def test_charts_end_at_a_round_number_and_hide_no_error() -> None:
    """Bars and lines are in units of 1000 by 100, for values of any size."""
    assert [round_up(value) for value in (0, 1, 1.01, 7, 9, 11, 250, 0.034)] == [
        1,
        1,
        2,
        8,
        10,
        20,
        300,
        0.04,
    ]
    full, none, many = draw_bars([(4, 1), (0, 0), (2, 2)], 4)
    assert (full.height, full.marked) == (100, 25)
    assert (none.height, none.marked) == (0, 0)
    assert (many.height, many.marked) == (50, 50)
    assert draw_bars([(100_000, 1)], 100_000)[0].marked == 2
    assert 0 < full.x < full.x + full.width < none.x < many.x + many.width < 1000
    assert draw_line([1.0, 2.0, None, 4.0], 4) == ["125.0,75.00 375.0,50.00", "750.0,0.00 1000.0,0.00"]
    assert pick_labels(48, 6) == [0, 8, 16, 24, 32, 40]
