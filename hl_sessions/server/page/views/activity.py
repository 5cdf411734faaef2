"""The page of what was logged over time."""

from datetime import datetime, timezone
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from hl_sessions.server.http.reading import scan_for
from hl_sessions.server.page.queries.activity import SAMPLE, WINDOWS, Span, read_activity
from hl_sessions.server.page.queries.filters import InvalidFilterError, read_identifier
from hl_sessions.server.page.queries.project_list import name_projects
from hl_sessions.server.page.queries.session_list import ProjectLink
from hl_sessions.server.page.show.chart import draw_bars, draw_line, pick_labels, round_up
from hl_sessions.server.page.show.formatting import format_label
from hl_sessions.server.page.show.rendering import render

_LABELS: Final = 6


async def show_activity(request: Request) -> Response:
    """Show counts and latencies over the time that the address names."""
    name = request.query_params.get("window") or "24h"
    window = next((window for window in WINDOWS if window.name == name), None)
    if window is None:
        raise InvalidFilterError(f"window may be {', '.join(window.name for window in WINDOWS)}")
    project_id = read_identifier(request.query_params, "project")
    begins = window.begins(datetime.now(timezone.utc))

    def query(connection: Connection, organisation_id: int) -> tuple[list[Span], list[ProjectLink]]:
        return (
            read_activity(connection, organisation_id, project_id, begins),
            list(name_projects(connection, organisation_id)),
        )

    spans, projects = await scan_for(request, query)
    most_sessions = round_up(max(span.sessions for span in spans))
    most_datapoints = round_up(max(span.datapoints for span in spans))
    longest = round_up(max(span.slowest or 0 for span in spans))
    return await render(
        request,
        "activity.html",
        window=window,
        windows=WINDOWS,
        project_id=project_id,
        projects=projects,
        spans=spans,
        labels=[format_label(spans[index].begin, window.span) for index in pick_labels(len(spans), _LABELS)],
        sample=SAMPLE,
        most_sessions=most_sessions,
        session_bars=draw_bars([(span.sessions, 0) for span in spans], most_sessions),
        most_datapoints=most_datapoints,
        datapoint_bars=draw_bars([(span.datapoints, span.errors) for span in spans], most_datapoints),
        longest=longest,
        median_lines=draw_line([span.median for span in spans], longest),
        slowest_lines=draw_line([span.slowest for span in spans], longest),
    )
