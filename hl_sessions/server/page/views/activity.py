"""The page of activity over time, and of the totals of sessions."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from math import inf
from time import monotonic
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.finding.filters import InvalidFilterError, SessionFilter
from hl_sessions.server.http.reading import read_for, scan_for
from hl_sessions.server.page.queries.activity import SAMPLE, WINDOWS, Span, Window, read_activity
from hl_sessions.server.page.queries.project_list import name_projects
from hl_sessions.server.page.queries.sums import MOST_MEASURED, SessionSums, find_sequences, sum_up
from hl_sessions.server.page.requests import prices_of
from hl_sessions.server.page.show.chart import draw_bars, draw_line, pick_labels, round_up
from hl_sessions.server.page.show.formatting import format_label
from hl_sessions.server.page.show.rendering import stream
from hl_sessions.server.page.show.sums import largest, spread

_ALL: Final = "all"
"""The name of the window without a limit."""

_LABELS: Final = 6
_FIRST_PART: Final = 500
_PART: Final = 2000
"""The number of sessions that one read sums up, which takes a tenth of a second."""

_PAUSE: Final = 1.0
"""Seconds between two states of the sums that are shown."""


async def show_activity(request: Request) -> Response:
    """Show the activity in the time that the address names, and the totals of its sessions."""
    wanted = SessionFilter.read(request.query_params)
    is_of_list = bool(replace(wanted, project_id=None))
    window = _read_window(request, _ALL if is_of_list else "24h")
    begins = window.begins(datetime.now(timezone.utc)) if window else None
    projects = await read_for(request, name_projects)
    charts = None
    if window is not None and begins is not None and not is_of_list:
        spans = await scan_for(request, read_activity, wanted.project_id, begins)
        charts = _draw(window.span, spans, has_sessions=wanted.project_id is None, sample=SAMPLE)
    return await stream(
        request,
        "activity.html",
        "sums.html",
        _states(request, wanted, begins[0] if begins else None, has_charts=charts is None),
        wanted=wanted,
        listed=wanted if begins is None else wanted.narrowed("began", ">=", f"{begins[0]:%Y-%m-%dT%H:%M}"),
        is_of_list=is_of_list,
        window=window.name if window else _ALL,
        windows=[*((window.name, window.label) for window in WINDOWS), (_ALL, "All")],
        projects=projects,
        project_names={project.id: project.name for project in projects},
        charts=charts,
    )


def _read_window(request: Request, default: str) -> Window | None:
    name = request.query_params.get("window") or default
    if name == _ALL:
        return None
    window = next((window for window in WINDOWS if window.name == name), None)
    if window is None:
        names = [*(window.name for window in WINDOWS), _ALL]
        raise InvalidFilterError(f"window may be {', '.join(names)}")
    return window


async def _states(
    request: Request, wanted: SessionFilter, since: datetime | None, *, has_charts: bool
) -> AsyncIterator[dict[str, Any]]:
    """Yield the sums so far, again and again, and at last the complete sums."""
    prices = prices_of(request)
    sums, done = SessionSums(), 0
    sequences: Sequence[int] = ()
    problem: DatabaseError | None = None

    async def show() -> dict[str, Any]:
        laid_out = await run_in_threadpool(_lay_out, sums, has_charts=has_charts)
        return laid_out | {"done": done, "found": len(sequences), "problem": problem}

    shown_at = -inf
    try:
        sequences = await scan_for(request, find_sequences, wanted, since)
        while done < len(sequences):
            part = sequences[done : done + (_PART if done else _FIRST_PART)]
            is_measured = sums.measured < MOST_MEASURED
            sums.add(await scan_for(request, sum_up, part, prices, is_measured=is_measured))
            done += len(part)
            if done < len(sequences) and monotonic() - shown_at >= _PAUSE:
                yield await show()
                shown_at = monotonic()
    except ClientDisconnect:
        return
    except DatabaseError as error:
        problem = error
    yield await show()


def _lay_out(sums: SessionSums, *, has_charts: bool) -> dict[str, Any]:
    charts = None
    if has_charts and sums.hours:
        charts = _draw(*spread(sums.hours), has_sessions=True)
    tables = [("Project", sums.projects), ("Model", sums.models), ("Source", sums.sources)]
    return {
        "sums": sums,
        "charts": charts,
        "tables": [(kind, largest(named)) for kind, named in tables],
    }


def _draw(
    span: timedelta, spans: Sequence[Span], *, has_sessions: bool, sample: int | None = None
) -> dict[str, Any]:
    most_sessions = round_up(max(span.sessions for span in spans))
    most_datapoints = round_up(max(span.datapoints for span in spans))
    longest = round_up(max(span.slowest or 0 for span in spans))
    return {
        "spans": spans,
        "sample": sample,
        "labels": [format_label(spans[index].begin, span) for index in pick_labels(len(spans), _LABELS)],
        "has_sessions": has_sessions,
        "most_sessions": most_sessions,
        "session_bars": draw_bars([(span.sessions, 0) for span in spans], most_sessions),
        "most_datapoints": most_datapoints,
        "datapoint_bars": draw_bars([(span.datapoints, span.errors) for span in spans], most_datapoints),
        "longest": longest,
        "median_lines": draw_line([span.median for span in spans], longest),
        "slowest_lines": draw_line([span.slowest for span in spans], longest),
    }
