"""The page of the differences between two datapoints."""

import re

from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from hl_sessions.server.finding.filters import InvalidFilterError
from hl_sessions.server.http.reading import read_for
from hl_sessions.server.page.queries.pair import read_pair
from hl_sessions.server.page.requests import identifier_in, prices_of
from hl_sessions.server.page.show.comparison import compare
from hl_sessions.server.page.show.rendering import render
from hl_sessions.server.protocol.identifiers import LOG, identifier_pattern


async def show_comparison(request: Request) -> Response:
    """Show a datapoint beside another one, by default one of the same source."""
    log_id = identifier_in(request, "log_id", LOG)
    parameters = request.query_params
    other_id = parameters.get("id", "").strip() or parameters.get("with") or None
    if other_id is not None and not re.match(identifier_pattern(LOG), other_id):
        raise InvalidFilterError("id has to be the ID of a datapoint, such as data_...")
    pair = await read_for(request, read_pair, log_id, other_id, prices_of(request))
    if pair is None:
        raise HTTPException(404)
    comparison = None if pair.other is None else await run_in_threadpool(compare, *pair.in_order)
    return await render(request, "comparison.html", pair=pair, comparison=comparison)
