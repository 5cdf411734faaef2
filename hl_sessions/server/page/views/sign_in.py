"""The form to sign in with a key, and signing out."""

from math import ceil

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.page.security.local_path import SIGN_IN, local_path
from hl_sessions.server.page.security.sign_in import MAX_AGE, SignIn, cookie_place
from hl_sessions.server.page.show.rendering import render


async def show_sign_in(request: Request) -> Response:
    """Show the form, unless no sign-in is needed."""
    sign_in: SignIn = request.app.state.sign_in
    wanted = local_path(request.query_params.get("next"), prefix_of(request.scope))
    if await sign_in.reader_of(request) is not None:
        return RedirectResponse(wanted, 303)
    return await render(request, "sign_in.html", next=wanted, refusal=None)


async def sign_in(request: Request) -> Response:
    """Sign in with the key of the form."""
    attempts = request.app.state.attempts
    peer = request.client.host if request.client is not None else ""
    form = await request.form()
    key, wanted = form.get("key"), form.get("next")
    wanted = local_path(wanted if isinstance(wanted, str) else None, prefix_of(request.scope))
    seconds = ceil(attempts.seconds_to_wait(peer))
    if seconds:
        refusal = f"Too many wrong keys came from your address: try again in {seconds} seconds."
        answer = await render(request, "sign_in.html", 429, next=wanted, refusal=refusal)
        answer.headers["Retry-After"] = str(seconds)
        return answer
    cookie = await request.app.state.sign_in.begin(key.strip()) if isinstance(key, str) else None
    if cookie is None:
        attempts.failed(peer)
        refusal = "This key is not valid, or was revoked."
        return await render(request, "sign_in.html", 401, next=wanted, refusal=refusal)
    response = RedirectResponse(wanted, 303)
    response.set_cookie(value=cookie, max_age=MAX_AGE, **cookie_place(request))
    return response


async def sign_out(request: Request) -> Response:
    """End the sign-in, also for copies of the cookie."""
    await request.app.state.sign_in.end(request)
    response = RedirectResponse(prefix_of(request.scope) + SIGN_IN, 303)
    response.delete_cookie(**cookie_place(request))
    return response
