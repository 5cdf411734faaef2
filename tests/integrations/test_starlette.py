"""The middleware in Starlette applications."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from hl_sessions import (
    Session,
    SessionManager,
    acurrent_session_id,
    current_session,
    current_session_id,
    unbound,
)
from hl_sessions.integrations import asgi
from hl_sessions.integrations.starlette import HLSessionMiddleware, first, header, path_param
from tests.integrations.conftest import SESSION_ID, ServeASGI, get_raw, headers_named
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

BACKENDS = ["asyncio", "trio"]
HEADER = "X-Session-ID"


def scoped(manager: SessionManager, **options: Any) -> Middleware:
    return Middleware(HLSessionMiddleware, manager, **options)


def client_of(app: Any, backend: Any = "asyncio") -> TestClient:
    return TestClient(app, raise_server_exceptions=False, backend=backend, follow_redirects=False)


class Seen(list[str | None]):
    """The session IDs that were read, each without creating a session where there is none."""

    def read(self) -> None:
        self.append(current_session_id())

    def the_one(self, count: int) -> str:
        assert len(self) == count
        (session_id,) = set(self)
        assert SESSION_ID.fullmatch(str(session_id))
        self.clear()
        return str(session_id)


def reading_dispatch(seen: Seen) -> Callable[..., Any]:
    async def dispatch(request: Request, call_next: Callable[[Request], Any]) -> Any:
        seen.append(await acurrent_session_id())
        response = await call_next(request)
        seen.read()
        return response

    return dispatch


# Of the last Starlette for Python 3.10, which trio complains about.
@pytest.mark.filterwarnings("ignore:Async generator 'starlette.requests.Request.stream':ResourceWarning")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_one_session_from_middleware_to_background_task(
    path: str, backend: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Inner middlewares, endpoint, streamed chunks and background tasks share it, sync and async."""
    seen = Seen()

    def stream() -> Iterator[str]:
        for _ in range(2):
            seen.read()
            yield "x"

    async def astream() -> AsyncIterator[str]:
        for _ in range(2):
            seen.append(await acurrent_session_id())
            yield "x"

    async def atask() -> None:
        seen.append(await acurrent_session_id())

    def tasks() -> BackgroundTasks:
        return BackgroundTasks([BackgroundTask(seen.read), BackgroundTask(atask)])

    def endpoint(request: Request) -> Response:
        seen.read()
        return StreamingResponse(stream(), background=tasks())

    async def aendpoint(request: Request) -> Response:
        seen.append(await acurrent_session_id())
        await run_in_threadpool(seen.read)
        return StreamingResponse(astream(), background=tasks())

    app = Starlette(
        routes=[Route("/sync", endpoint), Route("/async", aendpoint)],
        middleware=[
            scoped(manager),
            Middleware(BaseHTTPMiddleware, dispatch=reading_dispatch(seen)),
            Middleware(BaseHTTPMiddleware, dispatch=reading_dispatch(seen)),
        ],
    )
    reads = 4 + 1 + 2 + 2 + (path == "/async")
    with client_of(app, backend) as client:
        first = (client.get(path).text, seen.the_one(reads))
        second = (client.get(path).text, seen.the_one(reads))
    assert first[0] == second[0] == "xx"
    assert first[1] != second[1]
    assert sessions_api.posts == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_middleware_works_inside_of_base_http_middleware(backend: str, manager: SessionManager) -> None:
    """Outside of our middleware there is no session, in any case."""
    outside: list[Any] = []

    async def dispatch(request: Request, call_next: Callable[[Request], Any]) -> Any:
        outside.append(current_session())
        response = await call_next(request)
        outside.append(current_session())
        return response

    def endpoint(request: Request) -> Response:
        return PlainTextResponse(current_session_id())

    app = Starlette(
        routes=[Route("/", endpoint)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch), scoped(manager)],
    )
    with client_of(app, backend) as client:
        assert len({client.get("/").text, client.get("/").text}) == 2
    assert outside == [None] * 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_lifespan_has_no_session(backend: str, manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """Start and end of the application run outside of every session, with the scope that the server gave."""
    seen: list[Any] = []

    class Lifespan:
        def __init__(self, app: Any) -> None:
            pass

        async def __aenter__(self) -> None:
            seen.append(current_session())

        async def __aexit__(self, *_: object) -> None:
            seen.append(current_session())

    scopes: list[set[str]] = []

    class NoteScope:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            scopes.append({key for key in scope if "hl_sessions" in key})
            await self.app(scope, receive, send)

    app = Starlette(
        lifespan=Lifespan, middleware=[scoped(manager, response_header=HEADER), Middleware(NoteScope)]
    )
    with client_of(app, backend):
        pass
    assert seen == [None, None]
    assert scopes == [set()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_websocket_is_one_session(backend: str, manager: SessionManager) -> None:
    """All messages of one connection have it, and the handshake tells it."""

    async def endpoint(websocket: WebSocket) -> None:
        await acurrent_session_id()
        await websocket.accept()
        async for _ in websocket.iter_text():
            await websocket.send_text(current_session_id() or "none")

    app = Starlette(
        routes=[WebSocketRoute("/", endpoint)], middleware=[scoped(manager, response_header=HEADER)]
    )
    ids = []
    with client_of(app, backend) as client:
        for _ in range(2):
            with client.websocket_connect("/") as websocket:
                told = dict(websocket.extra_headers or ())[HEADER.lower().encode()].decode()
                for _ in range(2):
                    websocket.send_text("and now?")
                    assert websocket.receive_text() == told
            ids.append(told)
    assert len(set(ids)) == 2


def test_nobody_reads_nobody_calls(
    manager: SessionManager, sessions_api: SessionsAPI, serve_asgi: ServeASGI
) -> None:
    """An application that reads no ID answers as without the middleware, errors too, with no call made."""

    def fail(request: Request) -> Response:
        raise LookupError

    def app(*middleware: Middleware) -> Starlette:
        return Starlette(
            routes=[Route("/", lambda _: PlainTextResponse("hello")), Route("/fail", fail)],
            middleware=middleware,
        )

    bare = serve_asgi(app())
    for options in ({}, {"response_header": HEADER}):
        address = serve_asgi(app(scoped(manager, **options)))
        for path in ("/", "/fail", "/missing"):
            assert get_raw(address, path) == get_raw(bare, path)
    assert sessions_api.connections == 0


# The header, on responses of every kind


def read_and_redirect(request: Request) -> Response:
    return RedirectResponse(f"/{current_session_id()}")


def read_and_refuse(request: Request) -> Response:
    raise HTTPException(403, current_session_id())


def read_and_stream(request: Request) -> Response:
    return StreamingResponse(iter([current_session_id() or ""]))


@pytest.mark.parametrize("endpoint", [read_and_redirect, read_and_refuse, read_and_stream])
def test_header_is_on_every_kind_of_response(
    endpoint: Callable[[Request], Response], manager: SessionManager, serve_asgi: ServeASGI
) -> None:
    """A redirect, a refusal and a stream tell the session, each once, to HEAD as to GET."""
    app = Starlette(routes=[Route("/", endpoint)], middleware=[scoped(manager, response_header=HEADER)])
    address = serve_asgi(app)
    for method in ("GET", "HEAD"):
        response = get_raw(address, method=method)
        (session_id,) = headers_named(HEADER, response)
        assert SESSION_ID.fullmatch(session_id)
        if method == "GET":
            assert response.count(session_id.encode()) == 2


def read_and_fail(request: Request) -> Response:
    current_session_id()
    raise LookupError("of the endpoint")


async def aread_and_fail(request: Request) -> Response:
    await acurrent_session_id()
    raise LookupError("of the endpoint")


class Handlers:
    """Handlers of unhandled errors, of every form that Starlette takes."""

    def __init__(self) -> None:
        self.calls: list[str | None] = []

    def sync(self, request: Request, error: Exception) -> Response:
        self.calls.append(current_session_id())
        return PlainTextResponse(f"sorry: {error}", 500)

    async def coroutine(self, request: Request, error: Exception) -> Response:
        return self.sync(request, error)

    def form(self, name: str) -> Any:
        handlers = self

        class Awaitable:
            async def __call__(self, request: Request, error: Exception) -> Response:
                return handlers.sync(request, error)

        class Callable:
            def __call__(self, request: Request, error: Exception) -> Response:
                return handlers.sync(request, error)

        async def with_greeting(greeting: str, request: Request, error: Exception) -> Response:
            return handlers.sync(request, error)

        return {
            "function": self.sync,
            "coroutine": self.coroutine,
            "object": Callable(),
            "awaitable object": Awaitable(),
            "partial": functools.partial(with_greeting, "hello"),
            "partial of awaitable object": functools.partial(Awaitable()),
        }[name]


FORMS = ["function", "coroutine", "object", "awaitable object", "partial", "partial of awaitable object"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("caught", [500, Exception])
def test_error_handler_runs_once_in_the_session(
    form: str, caught: Any, backend: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """On the first request ever its answer carries the session ID that the endpoint and the handler read."""
    handlers = Handlers()
    app = Starlette(
        routes=[Route("/", read_and_fail)],
        middleware=[scoped(manager, response_header=HEADER)],
        exception_handlers={caught: handlers.form(form)},
    )
    with client_of(app, backend) as client:
        for number in (1, 2):
            response = client.get("/")
            assert (response.status_code, response.text) == (500, "sorry: of the endpoint")
            assert handlers.calls == [response.headers[HEADER]]
            assert sessions_api.posts == number
            handlers.calls.clear()


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("endpoint", [read_and_fail, aread_and_fail])
@pytest.mark.parametrize("way", ["in the list", "around it", "raw around it", "both"])
def test_unhandled_error_tells_its_session(
    way: str, endpoint: Callable[..., Any], manager: SessionManager, serve_asgi: ServeASGI, *, debug: bool
) -> None:
    """Only the header differs from the bare application's answer, on the first request as on later ones."""
    middleware = [scoped(manager, response_header=HEADER)] if way in {"in the list", "both"} else []
    routes = [Route("/", endpoint)]
    app: Any = Starlette(debug=debug, routes=routes, middleware=middleware)
    if way in {"around it", "both"}:
        app = HLSessionMiddleware(app, manager, response_header=HEADER)
    elif way == "raw around it":
        app = asgi.HLSessionMiddleware(app, manager, response_header=HEADER)
    address = serve_asgi(app)
    for _ in range(2):
        response = get_raw(address)
        (session_id,) = headers_named(HEADER, response)
        assert SESSION_ID.fullmatch(session_id)
        assert response.startswith(b"HTTP/1.1 500 ")
        if debug:
            assert b"LookupError: of the endpoint" in response
        else:
            without_header = response.replace(f"x-session-id: {session_id}\r\n".encode(), b"")
            assert without_header == get_raw(serve_asgi(Starlette(routes=routes)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_answered_error_leaves_the_session(backend: str, manager: SessionManager) -> None:
    """In the task that served the failed request, no session is current afterwards."""
    app = Starlette(routes=[Route("/", aread_and_fail)], middleware=[scoped(manager, response_header=HEADER)])
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def serve() -> Session | None:
        with pytest.raises(LookupError, match="of the endpoint"):
            await app({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
        return current_session()

    assert anyio.run(serve, backend=backend) is None
    assert sent[0]["status"] == 500


def test_unhandled_error_needs_no_thread(manager: SessionManager) -> None:
    """Starlette's own error response is sent also while all threads for sync endpoints are busy."""
    app = Starlette(routes=[Route("/", aread_and_fail)], middleware=[scoped(manager)])

    async def main() -> int:
        limiter = anyio.to_thread.current_default_thread_limiter()
        busy = [object() for _ in range(int(limiter.total_tokens))]
        for endpoint in busy:
            limiter.acquire_on_behalf_of_nowait(endpoint)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            status: int = (await asyncio.wait_for(client.get("/"), PATIENCE)).status_code
            return status

    assert asyncio.run(main()) == 500


def test_debug_page_shows_the_error_to_browsers(manager: SessionManager) -> None:
    """The traceback page of debug mode is still made by Starlette."""
    app = Starlette(debug=True, routes=[Route("/", read_and_fail)], middleware=[scoped(manager)])
    response = client_of(app).get("/", headers={"accept": "text/html"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Starlette Debugger</title>" in response.text


def test_error_reaches_the_server(manager: SessionManager) -> None:
    """The server sees the exception of the endpoint, to log it."""
    app = Starlette(routes=[Route("/", read_and_fail)], middleware=[scoped(manager, response_header=HEADER)])
    with pytest.raises(LookupError, match="of the endpoint"):
        TestClient(app).get("/")


def test_one_response_object_for_all_errors_tells_each_client_its_own_session(
    manager: SessionManager,
) -> None:
    """A handler may give the same object each time: no session ID stays on it."""
    always = PlainTextResponse("sorry", 500)
    app = Starlette(
        routes=[Route("/", read_and_fail)],
        middleware=[scoped(manager, response_header=HEADER)],
        exception_handlers={500: lambda request, error: always},
    )
    client = client_of(app)
    assert client.get("/").headers[HEADER] != client.get("/").headers[HEADER]
    assert HEADER not in always.headers


def test_header_of_the_error_handler_has_precedence(manager: SessionManager) -> None:
    """A header of that name is not doubled."""
    app = Starlette(
        routes=[Route("/", read_and_fail)],
        middleware=[scoped(manager, response_header=HEADER)],
        exception_handlers={500: lambda *_: PlainTextResponse("sorry", 500, {HEADER: "mine"})},
    )
    assert client_of(app).get("/").headers.get_list(HEADER) == ["mine"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_streamed_error_answer_is_in_the_session(backend: str, manager: SessionManager) -> None:
    """Chunks and background tasks of the answer to an error have the session of the request."""
    seen = Seen()

    def stream() -> Iterator[str]:
        for _ in range(2):
            seen.read()
            yield "x"

    app = Starlette(
        routes=[Route("/", read_and_fail)],
        middleware=[scoped(manager, response_header=HEADER)],
        exception_handlers={
            500: lambda *_: StreamingResponse(stream(), 500, background=BackgroundTask(seen.read))
        },
    )
    with client_of(app, backend) as client:
        response = client.get("/")
        assert response.text == "xx"
        assert seen.the_one(3) == response.headers[HEADER]


def test_first_read_in_the_error_handler_counts(manager: SessionManager) -> None:
    """A session that only the error handler reads is told as well."""

    def fail(request: Request) -> Response:
        raise LookupError

    handlers = Handlers()
    app = Starlette(
        routes=[Route("/", fail)],
        middleware=[scoped(manager, response_header=HEADER)],
        exception_handlers={500: handlers.sync},
    )
    assert [client_of(app).get("/").headers[HEADER]] == handlers.calls


def test_error_tells_the_sessions_of_two_managers(
    manager: SessionManager, other_manager: SessionManager
) -> None:
    """Each header has the ID of its own manager's session."""
    ids: list[str | None] = []

    async def endpoint(request: Request) -> Response:
        for each in (manager, other_manager):
            with each.session() as session:
                ids.append(await session.aid())
        raise LookupError

    app = Starlette(
        routes=[Route("/", endpoint)],
        middleware=[
            scoped(manager, response_header="X-Outer"),
            scoped(other_manager, response_header="X-Inner"),
        ],
    )
    response = client_of(app).get("/")
    assert [response.headers["X-Outer"], response.headers["X-Inner"]] == ids
    assert len(set(ids)) == 2


def test_error_outside_of_the_middleware_has_no_session(manager: SessionManager) -> None:
    """A middleware around ours that fails is answered without a session and without the header."""
    handlers = Handlers()

    async def fail(request: Request, call_next: Callable[[Request], Any]) -> Response:
        raise LookupError("outside")

    app = Starlette(
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=fail),
            scoped(manager, response_header=HEADER),
        ],
        exception_handlers={500: handlers.coroutine},
    )
    response = client_of(app).get("/")
    assert response.text == "sorry: outside"
    assert HEADER not in response.headers
    assert handlers.calls == [None]


@pytest.mark.parametrize("way", ["mount", "route"])
def test_middleware_of_a_part_leaves_the_rest_alone(way: str, manager: SessionManager) -> None:
    """Only the routes under it have a session, in the answer to their errors too."""
    handlers = Handlers()
    middleware = [scoped(manager, response_header=HEADER)]

    async def fail(request: Request) -> Response:
        raise LookupError("no session")

    part: BaseRoute = (
        Mount("/in", routes=[Route("/", read_and_fail)], middleware=middleware)
        if way == "mount"
        else Route("/in/", read_and_fail, middleware=middleware)
    )
    app = Starlette(routes=[part, Route("/out", fail)], exception_handlers={500: handlers.sync})
    client = client_of(app)
    for _ in range(2):
        inside = client.get("/in/")
        assert handlers.calls == [inside.headers[HEADER]]
        outside = client.get("/out")
        assert outside.text == "sorry: no session"
        assert HEADER not in outside.headers
        assert handlers.calls[1:] == [None]
        handlers.calls.clear()


@pytest.mark.parametrize("scoped_apps", [("outer",), ("inner",), ("outer", "inner")], ids="+".join)
def test_mounted_application_answers_in_the_session(
    scoped_apps: Sequence[str], manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Wherever the middleware is, at the outer or the mounted application or both, there is one session."""
    middleware = [scoped(manager, response_header=HEADER)]
    handlers = Handlers()
    inner = Starlette(
        routes=[Route("/", read_and_fail)],
        middleware=middleware if "inner" in scoped_apps else [],
        exception_handlers={500: handlers.sync},
    )
    outer = Starlette(
        routes=[Mount("/inner", inner)], middleware=middleware if "outer" in scoped_apps else []
    )
    response = client_of(outer).get("/inner/")
    assert response.headers.get_list(HEADER) == handlers.calls
    assert SESSION_ID.fullmatch(response.headers[HEADER])
    assert sessions_api.posts == 1


def test_instrumented_stack_still_tells_the_session(manager: SessionManager) -> None:
    """Instrumentations put one more layer around the stack, outside of what answers errors."""

    class Layer:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    class Instrumented(Starlette):
        def build_middleware_stack(self) -> Any:
            return Layer(super().build_middleware_stack())

    app = Instrumented(
        routes=[Route("/", read_and_fail)], middleware=[scoped(manager, response_header=HEADER)]
    )
    assert SESSION_ID.fullmatch(client_of(app).get("/").headers[HEADER])


def test_error_handler_that_fails_is_the_servers_to_answer(
    manager: SessionManager, serve_asgi: ServeASGI
) -> None:
    """Around the whole application, the header is there even then."""

    def fail_again(request: Request, error: Exception) -> Response:
        raise OSError("again")

    app = Starlette(routes=[Route("/", read_and_fail)], exception_handlers={500: fail_again})
    response = get_raw(serve_asgi(HLSessionMiddleware(app, manager, response_header=HEADER)))
    assert response.startswith(b"HTTP/1.1 500 ")
    assert SESSION_ID.fullmatch(headers_named(HEADER, response)[0])


def test_a_request_tells_its_session_where_the_context_is_lost(manager: SessionManager) -> None:
    """The request itself, and its scope; without the middleware there is none."""

    def read(request: Request) -> PlainTextResponse:
        known = unbound(
            lambda: [asgi.session_of(request), asgi.session_of(request.scope), current_session()]
        )()
        assert known == [current_session()] * 2 + [None]
        return PlainTextResponse(str(current_session_id()))

    routes = [Route("/", read)]
    assert SESSION_ID.fullmatch(
        client_of(Starlette(routes=routes, middleware=[scoped(manager)])).get("/").text
    )
    assert client_of(Starlette(routes=routes)).get("/").text == "None"


def test_a_look_at_the_key_before_the_route_is_known_decides_nothing(manager: SessionManager) -> None:
    """Later the parameter of the route comes first, as it is written."""

    async def dispatch(request: Request, call_next: Callable[[Request], Any]) -> Any:
        session = current_session()
        assert session is not None
        assert session.key == "other"
        return await call_next(request)

    async def chat(request: Request) -> Response:
        session = current_session()
        assert session is not None
        return PlainTextResponse(f"{session.key} {await session.aid()} {session.key}")

    key = first(path_param("chat"), header("X-Chat-ID"))
    middleware = [scoped(manager, key=key), Middleware(BaseHTTPMiddleware, dispatch=dispatch)]
    client = client_of(Starlette(routes=[Route("/{chat}", chat)], middleware=middleware))
    answers = [client.get("/7", headers={"X-Chat-ID": "other"}).text for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].startswith("7 ")
    assert answers[0].endswith(" 7")
