"""The form to sign in with a key, and the way out."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.page.security.local_path import SIGN_IN, local_path
from hl_sessions.server.page.security.sign_in import COOKIE, MAX_AGE, SignIn
from hl_sessions.server.page.show.rendering import render


async def show_sign_in(request: Request) -> Response:
    """Show the form, unless there is nothing to sign in to."""
    sign_in: SignIn = request.app.state.sign_in
    wanted = local_path(request.query_params.get("next"))
    if sign_in.organisation_of(request.headers) is not None:
        return RedirectResponse(wanted, 303)
    return await render(request, "sign_in.html", next=wanted, is_refused=False)


async def sign_in(request: Request) -> Response:
    """Sign in with the key of the form."""
    form = await request.form()
    key, wanted = form.get("key"), form.get("next")
    wanted = local_path(wanted if isinstance(wanted, str) else None)
    cookie = request.app.state.sign_in.make_cookie(key.strip()) if isinstance(key, str) else None
    if cookie is None:
        return await render(request, "sign_in.html", 401, next=wanted, is_refused=True)
    response = RedirectResponse(wanted, 303)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=MAX_AGE,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


async def sign_out(request: Request) -> Response:
    """Forget who was signed in."""
    response = RedirectResponse(SIGN_IN, 303)
    response.delete_cookie(COOKIE, secure=request.url.scheme == "https", httponly=True, samesite="strict")
    return response
