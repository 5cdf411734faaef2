"""Reads requests to the page: whether a script has sent them, IDs in their paths, the prices."""

import re

from fastapi import HTTPException
from starlette.requests import Request

from hl_sessions.server.page.prices import Prices
from hl_sessions.server.protocol.identifiers import identifier_pattern


def is_from_script(request: Request) -> bool:
    """Tell whether a script of the page asks, which needs an answer for scripts instead of a page."""
    return request.headers.get("x-requested-with") == "fetch"


def identifier_in(request: Request, name: str, prefix: str) -> str:
    """Return an ID in the path.

    Raises:
        HTTPException: When it is malformed; some databases would refuse such a text.
    """
    identifier: str = request.path_params[name]
    if not re.match(identifier_pattern(prefix), identifier):
        raise HTTPException(404)
    return identifier


def prices_of(request: Request) -> Prices:
    """Return the prices of the called application."""
    prices: Prices = request.app.state.prices
    return prices
