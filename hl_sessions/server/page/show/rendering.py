"""The templates of the page, in which every value is text unless it was made safe on purpose."""

import json
from datetime import datetime, timezone
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.page.queries.filters import query_for
from hl_sessions.server.page.show.columns import write_columns
from hl_sessions.server.page.show.formatting import (
    format_age,
    format_cost,
    format_count,
    format_moment,
    format_seconds,
)
from hl_sessions.server.page.show.values import show_json, show_plainly, show_text


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
        "json": _compact_json,
        "moment": format_moment,
        "seconds": format_seconds,
        "show_json": show_json,
        "show_plainly": show_plainly,
        "show_text": show_text,
    }
    environment.globals |= {"query_for": query_for, "write_columns": write_columns}
    return environment


_ENVIRONMENT: Final = _environment()


async def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Answer with a template, which is filled in a worker thread: a long session takes its time.

    Args:
        request: The request, which knows whether its sender is signed in.
        template: The name of the template.
        status: The status of the answer.
        **values: What the template is given, beside the time and who is signed in.
    """
    prefix = prefix_of(request.scope)
    text = await run_in_threadpool(
        _ENVIRONMENT.get_template(template).render,
        now=datetime.now(timezone.utc),
        prefix=prefix,
        path=request.url.path,
        can_sign_out=request.app.state.sign_in.is_needed() and hasattr(request.state, "organisation_id"),
        base_url=f"{request.url.scheme}://{request.url.netloc}{prefix}/v4",
        **values,
    )
    return HTMLResponse(text, status)
