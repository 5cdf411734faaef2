"""The session of a request, from the request itself."""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytest.importorskip("fastapi")

import fastapi
import flask as flask_framework
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from hl_sessions import Session, SessionManager, current_session, current_session_id
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations import asgi, flask, starlette, wsgi
from hl_sessions.integrations.asgi import SignedCookie
from tests.interpreters import collects_at_once
from tests.waiting import PATIENCE

SECRET = "a secret of many characters"


def in_a_bare_thread(function: Callable[[], Session | None]) -> Session | None:
    """Its result in a thread without the context."""
    found: list[Session | None] = []

    def run() -> None:
        assert current_session() is None
        found.append(function())

    # An empty one is asked for, as there are Pythons whose threads inherit the context.
    thread = threading.Thread(target=contextvars.Context().run, args=(run,))
    thread.start()
    thread.join(PATIENCE)
    return found[0]


def starlette_app(**options: Any) -> Any:
    def endpoint(request: Request) -> PlainTextResponse:
        session = starlette.session_of(request)
        assert in_a_bare_thread(lambda: starlette.session_of(request.scope)) is session
        assert in_a_bare_thread(lambda: asgi.session_of(request)) is session
        return PlainTextResponse(str(session and (session is current_session()) and session.id))

    middleware = [Middleware(starlette.HLSessionMiddleware, **options)] if options else []
    return Starlette(routes=[Route("/", endpoint)], middleware=middleware)


def fastapi_app(**options: Any) -> Any:
    app = fastapi.FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def endpoint(request: fastapi.Request) -> str:
        session = starlette.session_of(request)
        assert in_a_bare_thread(lambda: starlette.session_of(request)) is session
        return str(session and (session is current_session()) and await session.aid())

    if options:
        app.add_middleware(starlette.HLSessionMiddleware, **options)
    return app


def flask_app(**options: Any) -> Any:
    app = flask_framework.Flask(__name__)

    @app.get("/")
    def endpoint() -> str:
        request = flask_framework.request._get_current_object()  # type: ignore[attr-defined]
        session = flask.session_of(flask_framework.request)
        assert in_a_bare_thread(lambda: flask.session_of(request)) is session
        assert in_a_bare_thread(lambda: wsgi.session_of(request.environ)) is session
        return str(session and (session is current_session()) and session.id)

    if options:
        flask.HLSessions(app, **options)
    return app


def get(app: Any) -> str:
    if isinstance(app, flask_framework.Flask):
        with httpx2.Client(transport=httpx2.WSGITransport(app), base_url="http://test") as client:
            return str(client.get("/").text)
    return TestClient(app).get("/").text


@pytest.mark.parametrize("make_app", [starlette_app, fastapi_app, flask_app])
def test_the_request_knows_its_session(make_app: Callable[..., Any], manager: SessionManager) -> None:
    """It is that of the context, and known where that is lost."""
    app = make_app(manager=manager)
    answers = [get(app), get(app)]
    assert all(answer.startswith("sesh_") for answer in answers)
    assert answers[0] != answers[1]


@pytest.mark.parametrize("make_app", [starlette_app, fastapi_app, flask_app])
def test_without_a_middleware_there_is_none(make_app: Callable[..., Any], manager: SessionManager) -> None:
    """Neither where nothing is around the application, nor in a scope that somebody else has opened."""
    with manager.session(new=True):
        assert get(make_app()) == "None"


def test_a_web_socket_knows_its_session(manager: SessionManager) -> None:
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(starlette.session_of(websocket) is current_session()))
        await websocket.close()

    middleware = [Middleware(starlette.HLSessionMiddleware, manager)]
    app = Starlette(routes=[WebSocketRoute("/", endpoint)], middleware=middleware)
    with TestClient(app).websocket_connect("/") as websocket:
        assert websocket.receive_text() == "True"


def test_the_innermost_middleware_counts(manager: SessionManager, other_manager: SessionManager) -> None:
    """As it does for the context."""
    seen: list[Any] = []

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        seen.extend((wsgi.session_of(environ), current_session()))
        return []

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((asgi.session_of(scope), current_session()))

    nothing: Any = None
    outer = wsgi.HLSessionMiddleware(wsgi.HLSessionMiddleware(wsgi_app, other_manager), manager)
    outer({}, nothing)
    aouter = asgi.HLSessionMiddleware(asgi.HLSessionMiddleware(asgi_app, other_manager), manager)
    asyncio.run(aouter({"type": "http", "headers": []}, nothing, nothing))
    assert [session.manager for session in seen] == [other_manager] * 4
    assert seen[0] is seen[1]
    assert seen[2] is seen[3]


def test_it_is_known_after_the_response(manager: SessionManager) -> None:
    """A thread that outlives the request, and keeps it, may read then."""
    kept: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        kept.extend((environ, current_session()))
        return []

    nothing: Any = None
    wsgi.HLSessionMiddleware(app, manager)({}, nothing)
    environ, session = kept
    assert current_session_id() is None
    assert wsgi.session_of(environ) is session


@collects_at_once
@pytest.mark.parametrize(
    "options",
    [{}, {"trust": SharedSecret(SECRET)}, {"cookie": SignedCookie(SECRET)}],
    ids=["plain", "trust", "cookie"],
)
def test_a_request_that_nobody_reads_leaves_nothing_to_collect(
    manager: SessionManager, options: dict[str, Any]
) -> None:
    """The environment holds the session, which does not hold the environment."""
    sessions: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        sessions.append(weakref.ref(wsgi.session_of(environ)))
        return []

    middleware = wsgi.HLSessionMiddleware(app, manager, **options)
    nothing: Any = None
    gc.disable()
    try:
        for _ in range(2):
            middleware({"HTTP_COOKIE": "a=b", "HTTP_BAGGAGE": "a=b"}, nothing)
        assert [session() for session in sessions] == [None, None]
    finally:
        gc.enable()
