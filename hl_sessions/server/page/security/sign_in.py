"""Signs readers in with a key: a random cookie is valid as long as the key, for a limited time."""

import secrets
from datetime import datetime, timedelta, timezone
from functools import partial
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypedDict

from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hl_sessions.server.database.database import Database
from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.key_ring import KeyRing
from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.page.requests import is_from_script
from hl_sessions.server.page.security.local_path import SIGN_IN, STATIC
from hl_sessions.server.records.sign_ins import create_sign_in, delete_sign_in, is_signed_in

MAX_AGE: Final = 14 * 24 * 60 * 60
"""The duration of a sign-in, in seconds."""

_COOKIE: Final = "hl_sessions_sign_in"


class Reader(NamedTuple):
    """A reader of the page.

    Args:
        organisation_id: The organisation whose data the reader sees.
        name: The name of the reader's key, if it has one.
    """

    organisation_id: int
    name: str | None


class SignIn:
    """Makes, checks and revokes the cookies of signed-in readers.

    A cookie is the ID of its key and a random text. The database holds a hash of the cookie and the key's own
    hash. The cookie cannot be made from it, and it fits no other key, even one with the same ID.

    Args:
        database: The database with the sign-ins.
        keys: The valid keys.
    """

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    def is_needed(self) -> bool:
        """Tell whether readers must sign in."""
        return not self._keys.is_open()

    async def begin(self, key: str) -> str | None:
        """Return a new cookie for the holder of this key, or ``None`` if the key is not valid."""
        holder = self._keys.holder_of(key)
        if holder is None:
            return None
        cookie = f"{holder.key_id}.{secrets.token_urlsafe(32)}"
        hash_ = self._hash(cookie)
        if hash_ is None:
            return None
        now = datetime.now(timezone.utc)
        expires_at = now + timedelta(seconds=MAX_AGE)
        await self._database.write(
            partial(create_sign_in, hash_=hash_, key_id=holder.key_id, now=now, expires_at=expires_at)
        )
        return cookie

    async def reader_of(self, request: Request) -> Reader | None:
        """Return the signed-in reader who has sent the request, or ``None``.

        The key of the reader is noted for the access log.
        """
        if self._keys.is_open():
            return Reader(self._keys.default_organisation_id, None)
        cookie = _cookie_in(request)
        hash_ = self._hash(cookie)
        if hash_ is None:
            return None
        now = datetime.now(timezone.utc)
        if not await self._database.read_promptly(partial(is_signed_in, hash_=hash_, now=now)):
            return None
        holder = self._keys.holder_with_id(_key_id_in(cookie))
        if holder is None:
            return None
        exchange_of(request.scope).key = holder
        return Reader(holder.organisation_id, holder.name)

    async def end(self, request: Request) -> None:
        """Revoke the cookie of this request."""
        hash_ = self._hash(_cookie_in(request))
        if hash_ is not None:
            await self._database.write(partial(delete_sign_in, hash_=hash_))

    def _hash(self, cookie: str) -> str | None:
        secret = self._keys.secret_with_id(_key_id_in(cookie))
        return None if secret is None else sha256(f"{cookie}.{secret}".encode()).hexdigest()


class SignInMiddleware:
    """Lets signed-in readers in, and sends all others to the form.

    Args:
        app: The pages; ``request.state.organisation_id`` is the organisation whose data to show, and
            ``request.state.reader`` the name of the reader, or ``None``.
        sign_in: Checks the sign-ins.
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
        reader = await self._sign_in.reader_of(request)
        if reader is not None:
            request.state.organisation_id = reader.organisation_id
            request.state.reader = reader.name
            await self._app(scope, receive, send)
            return
        await self._refusal(request)(scope, receive, send)

    @staticmethod
    def _refusal(request: Request) -> Response:
        if request.method != "GET" or is_from_script(request):
            return PlainTextResponse("Sign in first.", 401)
        prefix = prefix_of(request.scope)
        wanted = prefix + request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(URL(prefix + SIGN_IN).include_query_params(next=wanted), 303)


class CookiePlace(TypedDict):
    """The arguments that setting and deleting a cookie share, and that identify it."""

    key: str
    path: str
    secure: bool
    httponly: bool
    samesite: Literal["strict"]


def cookie_place(request: Request) -> CookiePlace:
    """Return the name and the attributes of the cookie.

    Under HTTPS the cookie has the prefix ``__Host-``, so that only this host can set it. Browsers send such a
    cookie to all paths of the host. Below a path, other applications on the host must not get it. There the
    cookie has a prefix that only needs HTTPS, and the path.
    """
    is_secure, path = request.url.scheme == "https", prefix_of(request.scope) or "/"
    kind = "" if not is_secure else "__Host-" if path == "/" else "__Secure-"
    return {"key": kind + _COOKIE, "path": path, "secure": is_secure, "httponly": True, "samesite": "strict"}


def _cookie_in(request: Request) -> str:
    # Parsed as browsers send them: ``SimpleCookie`` stops at a lax cookie of another application. The first
    # cookie has the longest path, so it is not that of another server at the root.
    wanted = cookie_place(request)["key"]
    for part in request.headers.get("cookie", "").split(";"):
        name, _, value = part.partition("=")
        if name.strip() == wanted:
            return value.strip()
    return ""


def _key_id_in(cookie: str) -> str:
    return cookie.partition(".")[0]
