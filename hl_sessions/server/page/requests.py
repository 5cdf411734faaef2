"""What a request to the page tells: whether a script has sent it, the ID in its path, the prices."""

import re

from fastapi import HTTPException
from starlette.requests import Request

from hl_sessions.server.page.prices import Prices
from hl_sessions.server.protocol.identifiers import identifier_pattern


def is_from_script(request: Request) -> bool:
    """Tell whether a script of the page asks, which cannot do anything with a page in place of an answer."""
    return request.headers.get("x-requested-with") == "fetch"


def identifier_in(request: Request, name: str, prefix: str) -> str:
    """Return an ID that is part of the path.

    Raises:
        HTTPException: When it cannot be one, which not every database would take as the text that it is.
    """
    identifier: str = request.path_params[name]
    if not re.match(identifier_pattern(prefix), identifier):
        raise HTTPException(404)
    return identifier


def prices_of(request: Request) -> Prices:
    """Return the prices that the operator has given to the application that is called."""
    prices: Prices = request.app.state.prices
    return prices
