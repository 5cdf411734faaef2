"""Requests through middleware in front of an application that never reads the session."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Effort, awaits, calls, compare, net_costs, own
from benchmarks.neighbours import ASGI_MIDDLEWARE, WSGI_MIDDLEWARE, around_function
from benchmarks.row import LIMIT, OURS, Row, limited
from hl_sessions import SessionManager
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations import asgi, wsgi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["HandWrittenASGI", "asgi_rows", "wsgi_rows"]

BARE = "bare"
SECRET = "a secret of many characters"
# By name, and the limit for the middleware, as a multiple of the hand-written one.
OPTIONS: dict[str, tuple[dict[str, Any], float]] = {
    "key=header(...)": ({"key": asgi.header("X-Chat-ID")}, 3),
    "trust=SharedSecret(...)": ({"trust": SharedSecret(SECRET)}, 3),
    "cookie=SignedCookie(...)": ({"cookie": asgi.SignedCookie(SECRET)}, 5),
}
_session_id: ContextVar[str | None] = ContextVar("session_id", default=None)


class HandWrittenASGI:
    """The least that ASGI middleware can do."""

    def __init__(self, app: asgi.ASGIApplication) -> None:
        self.app = app

    async def __call__(self, scope: asgi.ASGIScope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Run the application with one context variable set."""
        token = _session_id.set("sesh_1")
        try:
            await self.app(scope, receive, send)
        finally:
            _session_id.reset(token)


class HandWrittenWSGI:
    """A minimal WSGI middleware, for applications without streamed bodies."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Run the application with one context variable set."""
        token = _session_id.set("sesh_1")
        try:
            return self.app(environ, start_response)
        finally:
            _session_id.reset(token)


def asgi_rows(effort: Effort) -> Iterator[Row]:
    """Measure the ASGI middleware."""
    with SessionManager() as manager:
        middleware: dict[str, Callable[[Any], Any]] = {
            BARE: lambda app: app,
            LIMIT: HandWrittenASGI,
            OURS: lambda app: asgi.HLSessionMiddleware(app, manager),
            **ASGI_MIDDLEWARE,
        }
        apps = around_function(middleware, _asgi_app)
        seconds = compare({name: awaits(_asgi_request(app)) for name, app in apps.items()}, effort)
        yield limited("ASGI middleware, session never read", net_costs(seconds, BARE), times=2)
        for name, (options, times) in OPTIONS.items():
            with_options = asgi.HLSessionMiddleware(own(_asgi_app), manager, **options)
            contenders = {BARE: apps[BARE], LIMIT: apps[LIMIT], OURS: with_options}
            seconds = compare({name: awaits(_asgi_request(app)) for name, app in contenders.items()}, effort)
            yield limited(f"ASGI middleware, {name}, nothing sent", net_costs(seconds, BARE), times)


async def _asgi_app(_scope: asgi.ASGIScope, _receive: asgi.Receive, send: asgi.Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def _asgi_request(app: asgi.ASGIApplication) -> Callable[[], Any]:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> asgi.Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: asgi.Message) -> None:
        pass

    return own(lambda: app(dict(scope), receive, send))


def wsgi_rows(effort: Effort) -> Iterator[Row]:
    """Measure the WSGI middleware."""
    with SessionManager() as manager:
        middleware: dict[str, Callable[[Any], Any]] = {
            BARE: lambda app: app,
            LIMIT: HandWrittenWSGI,
            OURS: lambda app: wsgi.HLSessionMiddleware(app, manager),
            **WSGI_MIDDLEWARE,
        }
        apps = around_function(middleware, _wsgi_app)
        seconds = compare({name: calls(_wsgi_request(app)) for name, app in apps.items()}, effort)
        yield limited("WSGI middleware, session never read", net_costs(seconds, BARE), times=2.5)
        for name, (options, times) in OPTIONS.items():
            with_options = wsgi.HLSessionMiddleware(own(_wsgi_app), manager, **options)
            contenders = {BARE: apps[BARE], LIMIT: apps[LIMIT], OURS: with_options}
            seconds = compare({name: calls(_wsgi_request(app)) for name, app in contenders.items()}, effort)
            yield limited(f"WSGI middleware, {name}, nothing sent", net_costs(seconds, BARE), times)


def _wsgi_app(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def _wsgi_request(app: Any) -> Callable[[], None]:
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "wsgi.url_scheme": "http",
    }

    def start_response(_status: str, _headers: list[tuple[str, str]], *_: object) -> None:
        pass

    def request() -> None:
        body = app(dict(environ), start_response)
        for _ in body:
            pass
        if hasattr(body, "close"):
            body.close()

    return own(request)
