"""Signing in with a key: a signed cookie that says which key it was, and ends with that key."""

from typing import Final

from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import URL, Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hl_sessions.server.http.key_ring import KeyHolder, KeyRing
from hl_sessions.server.page.requests import is_from_script
from hl_sessions.server.page.security.local_path import SIGN_IN, STATIC

COOKIE: Final = "hl_sessions_sign_in"

MAX_AGE: Final = 14 * 24 * 60 * 60
"""How long a sign-in lasts, in seconds."""


class SignIn:
    """Makes and reads the cookies of those who are signed in.

    A cookie is signed with a secret that follows from its key, so every process of the server and the next
    one after a restart can read it, and nobody can any more once the key was revoked.

    Args:
        keys: The valid keys.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def is_needed(self) -> bool:
        """Tell whether only those who are signed in may look."""
        return not self._keys.is_open()

    def make_cookie(self, key: str) -> str | None:
        """Give the cookie for the holder of this key, or ``None`` of a key that is not valid."""
        holder = self._keys.holder_of(key)
        signer = holder and self._signer(holder.key_id)
        return signer.sign(holder.key_id).decode() if holder and signer else None

    def organisation_of(self, headers: Headers) -> int | None:
        """Give the ID of the organisation that the sender of these headers is signed in to, or ``None``."""
        if self._keys.is_open():
            return self._keys.default_organisation_id
        holder = self._holder(headers)
        return None if holder is None else holder.organisation_id

    def _holder(self, headers: Headers) -> KeyHolder | None:
        # As browsers send them: ``SimpleCookie`` gives up at one of another application that is not strict.
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if cookie is None:
            return None
        key_id = cookie.partition(".")[0]
        signer = self._signer(key_id)
        if signer is None:
            return None
        try:
            signer.unsign(cookie, MAX_AGE)
        except BadSignature:
            return None
        return self._keys.holder_with_id(key_id)

    def _signer(self, key_id: str) -> TimestampSigner | None:
        secret = self._keys.secret_with_id(key_id)
        return None if secret is None else TimestampSigner(secret, salt="sign-in to the page")


class SignInMiddleware:
    """Lets those in who are signed in, and sends the others to the form.

    Args:
        app: The pages; ``request.state.organisation_id`` tells them whose data to show.
        sign_in: Who is signed in.
    """

    def __init__(self, app: ASGIApp, sign_in: SignIn) -> None:
        self._app = app
        self._sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or answer it."""
        request = Request(scope)
        path = request.url.path
        if scope["type"] != "http" or path == SIGN_IN or path.startswith(f"{STATIC}/"):
            await self._app(scope, receive, send)
            return
        organisation_id = self._sign_in.organisation_of(request.headers)
        if organisation_id is not None:
            request.state.organisation_id = organisation_id
            await self._app(scope, receive, send)
            return
        await self._refusal(request)(scope, receive, send)

    @staticmethod
    def _refusal(request: Request) -> Response:
        if request.method != "GET" or is_from_script(request):
            return PlainTextResponse("Sign in first.", 401)
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(URL(SIGN_IN).include_query_params(next=wanted), 303)
