"""Renders the templates of the page, in which every value is escaped unless it is marked as safe."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from hl_sessions.server.finding.filters import query_for
from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.page.show.columns import write_columns
from hl_sessions.server.page.show.feedback import show_feedback
from hl_sessions.server.page.show.formatting import (
    format_age,
    format_cost,
    format_count,
    format_dollars,
    format_moment,
    format_seconds,
)
from hl_sessions.server.page.show.values import show_json, show_plainly, show_text
from hl_sessions.server.records.labels import label_value


def _compact_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hl_sessions.server.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": format_age,
        "cost": format_cost,
        "count": format_count,
        "dollars": format_dollars,
        "json": _compact_json,
        "label_value": label_value,
        "moment": format_moment,
        "seconds": format_seconds,
        "show_feedback": show_feedback,
        "show_json": show_json,
        "show_plainly": show_plainly,
        "show_text": show_text,
    }
    environment.globals |= {"query_for": query_for, "write_columns": write_columns}
    return environment


_ENVIRONMENT: Final = _environment()

# No value contains it, because its characters are escaped in values.
_PLACE: Final = Markup("<!-- parts -->")


async def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Answer with a template, which is rendered on a thread, because a long session takes a while.

    Args:
        request: The request, with the sign-in of its sender.
        template: The name of the template.
        status: The status of the answer.
        **values: The values for the template, beside the time and the sign-in.
    """
    return HTMLResponse(await _fill(request, template, **values), status)


async def stream(
    request: Request, template: str, part: str, states: AsyncIterator[dict[str, Any]], **values: Any
) -> Response:
    """Answer with a template that has a place for parts, which are sent as they are ready.

    Args:
        request: The request.
        template: The name of the template, which shows ``parts`` at the place of the parts.
        part: The name of the template of a part.
        states: The values for the template of each part.
        **values: The values for both templates; a state overrides them.
    """

    async def pieces() -> AsyncIterator[str]:
        before, after = (await _fill(request, template, parts=_PLACE, **values)).split(_PLACE)
        yield before
        async for state in states:
            yield await _fill(request, part, **values | state)
        yield after

    return StreamingResponse(pieces(), media_type="text/html")


async def _fill(request: Request, template: str, **values: Any) -> str:
    prefix = prefix_of(request.scope)
    return await run_in_threadpool(
        _ENVIRONMENT.get_template(template).render,
        now=datetime.now(timezone.utc),
        prefix=prefix,
        path=request.url.path,
        reader=getattr(request.state, "reader", None),
        can_sign_out=request.app.state.sign_in.is_needed() and hasattr(request.state, "organisation_id"),
        base_url=f"{request.url.scheme}://{request.url.netloc}{prefix}/v4",
        **values,
    )
