"""Chooses the columns of the list of sessions."""

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.page.security.local_path import local_path
from hl_sessions.server.page.show.columns import choose, write_columns

COOKIE: Final = "hl_sessions_columns"
"""The cookie with the columns, so that they apply to the first page, and without JavaScript."""

_MAX_AGE: Final = 365 * 24 * 60 * 60


async def choose_columns(request: Request) -> Response:
    """Store the columns of the form in a cookie for a year, and go back to the list."""
    form = await request.form()
    prefix, following = prefix_of(request.scope), form.get("next")
    names = (name for name in form.getlist("column") if isinstance(name, str))
    response = RedirectResponse(local_path(following if isinstance(following, str) else None, prefix), 303)
    response.set_cookie(
        COOKIE,
        write_columns(choose(names)),
        max_age=_MAX_AGE,
        path=prefix or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response
