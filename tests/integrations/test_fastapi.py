"""The middleware and the dependency in FastAPI applications."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest

pytest.importorskip("fastapi")

from fastapi import BackgroundTasks, Body, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.testclient import TestClient

import hl_sessions.scopes.scope
from hl_sessions import (
    ConfigurationError,
    Session,
    SessionManager,
    acurrent_session_id,
    current_session,
    current_session_id,
)
from hl_sessions.carrying import SharedSecret
from hl_sessions.carrying.headers import SIGNATURE_HEADER
from hl_sessions.integrations.fastapi import (
    HLSessionMiddleware,
    get_session,
    header,
    json_field,
    path_param,
    session_of,
    session_scope,
)
from tests.integrations.conftest import SESSION_ID
from tests.sessions_api import SessionsAPI

BACKENDS = ["asyncio", "trio"]
HEADER = "X-Session-ID"
TheSession = Annotated[Session, Depends(get_session)]


@pytest.fixture
def app(manager: SessionManager) -> FastAPI:
    app = FastAPI()
    app.add_middleware(HLSessionMiddleware, manager, response_header=HEADER)
    return app


def client_of(app: FastAPI, backend: Any = "asyncio") -> TestClient:
    return TestClient(app, raise_server_exceptions=False, backend=backend)


class Reads:
    """Everything that FastAPI calls or iterates in a request, each reading the session ID."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def sync(self) -> None:
        self.seen.append(current_session_id())

    async def coroutine(self) -> None:
        self.seen.append(await acurrent_session_id())

    def steps(self) -> Iterator[str]:
        self.sync()
        yield "x"
        self.sync()

    async def asteps(self) -> AsyncIterator[str]:
        await self.coroutine()
        yield "x"
        await self.coroutine()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_one_session_in_dependencies_endpoint_stream_and_background(
    path: str, backend: str, app: FastAPI, sessions_api: SessionsAPI
) -> None:
    """All of them, sync and async, and what dependencies do after their ``yield``, share one session."""
    reads = Reads()
    dependencies = [Depends(each) for each in (reads.sync, reads.coroutine, reads.steps, reads.asteps)]

    def add_tasks(tasks: BackgroundTasks) -> None:
        tasks.add_task(reads.sync)
        tasks.add_task(reads.coroutine)

    @app.get("/sync", dependencies=[*dependencies, Depends(add_tasks)])
    def endpoint() -> StreamingResponse:
        reads.sync()
        return StreamingResponse(reads.steps())

    @app.get("/async", dependencies=[*dependencies, Depends(add_tasks)])
    async def aendpoint() -> StreamingResponse:
        await reads.coroutine()
        return StreamingResponse(reads.asteps())

    with client_of(app, backend) as client:
        for number in (1, 2):
            response = client.get(path)
            assert response.text == "x"
            assert reads.seen == [response.headers[HEADER]] * 11
            assert sessions_api.posts == number
            reads.seen.clear()


@pytest.mark.parametrize("backend", BACKENDS)
def test_get_session_gives_the_handle(backend: str, app: FastAPI, sessions_api: SessionsAPI) -> None:
    """It is the session of the request, in sync and async endpoints, and asking for it makes no call."""

    @app.get("/unread")
    async def unread(session: TheSession) -> bool:
        return session is current_session()

    @app.get("/sync")
    def read(session: TheSession) -> str | None:
        return session.id

    @app.get("/async")
    async def aread(session: TheSession) -> str | None:
        return await session.aid()

    with client_of(app, backend) as client:
        assert client.get("/unread").json() is True
        assert sessions_api.connections == 0
        for path in ("/sync", "/async"):
            response = client.get(path)
            assert response.json() == response.headers[HEADER]


def test_get_session_serves_websockets(app: FastAPI) -> None:
    """The dependency works where there is no request object, and every message has the one session."""

    @app.websocket("/")
    async def talk(websocket: WebSocket, session: TheSession) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            await websocket.send_json([await session.aid(), current_session_id()])

    with client_of(app).websocket_connect("/") as websocket:
        answers = []
        for _ in range(2):
            websocket.send_text("and now?")
            answers.extend(websocket.receive_json())
    assert len(answers) == 4
    assert len(set(answers)) == 1


def test_get_session_without_the_middleware_says_what_to_add() -> None:
    """The error names the middleware, with the module that it comes from."""
    app = FastAPI()

    @app.get("/")
    def endpoint(session: TheSession) -> None: ...

    with pytest.raises(RuntimeError, match=r"add hl_sessions\.integrations\.starlette\.HLSessionMiddleware"):
        TestClient(app).get("/")


def test_documentation_of_the_api_stays_the_same(app: FastAPI) -> None:
    """Neither the middleware nor the dependency shows in the OpenAPI schema."""
    bare = FastAPI()

    @bare.get("/{number}")
    def without(number: int) -> None: ...

    @app.get("/{number}")
    def with_session(number: int, session: TheSession) -> None: ...

    schema = TestClient(app).get("/openapi.json").text
    assert schema.replace("with_session", "without").replace("With Session", "Without") == (
        TestClient(bare).get("/openapi.json").text
    )


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_unhandled_error_tells_its_session(app: FastAPI, sessions_api: SessionsAPI, *, debug: bool) -> None:
    """On the first request ever the 500 has the header."""
    app.debug = debug

    @app.get("/")
    def fail(session: TheSession) -> None:
        raise LookupError(session.id)

    for number in (1, 2):
        response = client_of(app).get("/")
        assert response.status_code == 500
        assert SESSION_ID.fullmatch(response.headers[HEADER])
        assert (f"LookupError: {response.headers[HEADER]}" in response.text) == debug
        assert sessions_api.posts == number


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_error_handler_runs_once_in_the_session(app: FastAPI, *, asynchronous: bool) -> None:
    """The answer of ``exception_handler(Exception)`` has the header, and was made in the session."""
    calls: list[str | None] = []

    def handle(request: Request, error: Exception) -> JSONResponse:
        calls.append(current_session_id())
        return JSONResponse({"sorry": str(error)}, 500)

    async def ahandle(request: Request, error: Exception) -> JSONResponse:
        return handle(request, error)

    app.exception_handler(Exception)(ahandle if asynchronous else handle)

    @app.get("/")
    def fail(session: TheSession) -> None:
        raise LookupError("fail")

    response = client_of(app).get("/")
    assert response.json() == {"sorry": "fail"}
    assert calls == [response.headers[HEADER]]


def test_refusals_tell_the_session(app: FastAPI) -> None:
    """An ``HTTPException`` after the first read, and a validation error after a dependency's read."""

    async def read() -> None:
        await acurrent_session_id()

    @app.get("/refused", dependencies=[Depends(read)])
    def refuse() -> None:
        raise HTTPException(403)

    @app.get("/invalid", dependencies=[Depends(read)])
    def invalid(number: int) -> None: ...

    client = client_of(app)
    refused, invalid_ = client.get("/refused"), client.get("/invalid?number=x")
    assert (refused.status_code, invalid_.status_code) == (403, 422)
    assert SESSION_ID.fullmatch(refused.headers[HEADER])
    assert SESSION_ID.fullmatch(invalid_.headers[HEADER])


def test_dependency_sees_the_error_in_the_session(app: FastAPI) -> None:
    """The ``except`` and ``finally`` of a dependency with ``yield`` run in the session of the request."""
    seen: list[str | None] = []

    def steps() -> Iterator[None]:
        try:
            yield
        except LookupError:
            seen.append(current_session_id())
            raise
        finally:
            seen.append(current_session_id())

    @app.get("/", dependencies=[Depends(steps)])
    def fail(session: TheSession) -> None:
        raise LookupError(session.id)

    response = client_of(app).get("/")
    assert seen == [response.headers[HEADER]] * 2


def test_http_middleware_functions_share_the_session(manager: SessionManager) -> None:
    """Functions of ``app.middleware("http")`` added before ours run inside of it."""
    app = FastAPI()
    seen: list[str | None] = []

    @app.middleware("http")
    async def note(request: Request, call_next: Callable[[Request], Any]) -> Any:
        response = await call_next(request)
        seen.append(await acurrent_session_id())
        return response

    @app.get("/")
    def endpoint(session: TheSession) -> str | None:
        return session.id

    app.add_middleware(HLSessionMiddleware, manager)
    assert [client_of(app).get("/").json()] == seen


def test_a_scope_in_a_sync_dependency_is_told_of(
    manager: SessionManager, records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FastAPI enters it in a copy of the context, so nothing is in it; an async dependency works."""
    monkeypatch.setattr(hl_sessions.scopes.scope._once, "said", False)
    app = FastAPI()

    def in_a_thread() -> Iterator[Session]:
        with manager.session() as session:
            yield session

    async def on_the_loop() -> AsyncIterator[Session]:
        async with manager.session() as session:
            yield session

    @app.get("/sync", dependencies=[Depends(in_a_thread)])
    async def outside() -> bool:
        return current_session() is None

    @app.get("/async", dependencies=[Depends(on_the_loop)])
    async def inside() -> bool:
        return current_session() is not None

    with client_of(app) as client:
        assert client.get("/async").json() is True
        assert records == []
        assert client.get("/sync").json() is True
    (record,) = records
    assert f"the scope at {__file__}:" in record.getMessage()


# session_scope


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_a_dependency_opens_the_scope(
    path: str, backend: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Dependencies after it, the endpoint, its stream and its background tasks share one session."""
    reads = Reads()
    handles: list[Session | None] = []
    app = FastAPI()
    scope = session_scope(manager)

    def note(request: Request, session: Annotated[Session, Depends(scope)], tasks: BackgroundTasks) -> None:
        handles.extend((session, current_session(), session_of(request)))
        tasks.add_task(reads.sync)
        tasks.add_task(reads.coroutine)

    later = [Depends(each) for each in (note, reads.sync, reads.coroutine, reads.steps, reads.asteps)]

    @app.get("/sync", dependencies=[Depends(scope), *later])
    def endpoint() -> StreamingResponse:
        reads.sync()
        return StreamingResponse(reads.steps())

    @app.get("/async", dependencies=[Depends(scope), *later])
    async def aendpoint() -> StreamingResponse:
        await reads.coroutine()
        return StreamingResponse(reads.asteps())

    @app.get("/outside")
    async def outside() -> bool:
        return current_session() is None

    with client_of(app, backend) as client:
        for number in (1, 2):
            assert client.get(path).text == "x"
            assert len(reads.seen) == 11
            assert {*reads.seen} == {each.peek() for each in handles if each is not None}
            assert len({*handles}) == 1
            assert sessions_api.posts == number
            reads.seen.clear()
            handles.clear()
        assert client.get("/outside").json() is True


def test_a_web_socket_has_the_scope_of_its_dependency(manager: SessionManager) -> None:
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(
        websocket: WebSocket, session: Annotated[Session, Depends(session_scope(manager))]
    ) -> None:
        await websocket.accept()
        await websocket.send_json(current_session() is session is session_of(websocket))
        await websocket.close()

    with client_of(app).websocket_connect("/") as websocket:
        assert websocket.receive_json() is True


@pytest.mark.parametrize(
    "key",
    [header("X-Chat"), path_param("chat"), json_field("chat"), lambda request: request.headers["X-Chat"]],
)
def test_a_dependency_finds_the_conversation(
    key: Any, manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the keys of the middleware; the scope is left once, and the body is there for the endpoint."""
    leaves: list[Any] = []
    monkeypatch.setattr(manager.conversations, "become_idle", True)
    monkeypatch.setattr(manager.conversations, "leave", leaves.append)
    app = FastAPI()
    scope = [Depends(session_scope(manager, key=key))]

    @app.post("/parsed/{chat}", dependencies=scope)
    def parsed(chat: str, body: Annotated[dict[str, str], Body()]) -> list[str | None]:
        return [body["text"], current_session_id()]

    @app.post("/raw/{chat}", dependencies=scope)
    async def raw(chat: str, request: Request) -> list[str | None]:
        return [(await request.json())["text"], await acurrent_session_id()]

    def post(place: str, chat: str) -> str:
        headers, body = {"X-Chat": chat}, {"text": "Why?", "chat": chat}
        text, session_id = client.post(f"/{place}/{chat}", headers=headers, json=body).json()
        assert text == "Why?"
        return str(session_id)

    client = client_of(app)
    assert post("parsed", "1") == post("raw", "1") != post("parsed", "2")
    assert len(leaves) == 3


def test_a_dependency_joins_a_trusted_caller(manager: SessionManager) -> None:
    """As the middleware does."""
    secret = SharedSecret("a secret of many characters")
    app = FastAPI()

    @app.get("/", dependencies=[Depends(session_scope(manager, trust=secret))])
    def endpoint() -> str | None:
        return current_session_id()

    session_id = "sesh_0123456789abcdefghij"
    headers = {HEADER: session_id, SIGNATURE_HEADER: secret.sign(session_id, "testserver")}
    assert client_of(app).get("/", headers=headers).json() == session_id
    assert client_of(app).get("/", headers={HEADER: session_id}).json() != session_id


def test_a_dependency_joins_the_middleware(app: FastAPI, manager: SessionManager) -> None:
    """And so does a second one."""
    handles: list[Session] = []

    def note(session: TheSession, scope: Annotated[Session, Depends(session_scope(manager))]) -> None:
        handles.extend((session, scope))

    @app.get("/", dependencies=[Depends(session_scope(manager)), Depends(note)])
    def endpoint() -> str | None:
        return current_session_id()

    response = client_of(app).get("/")
    assert response.json() == response.headers[HEADER] == handles[0].id
    assert handles[0] is handles[1]


def test_a_dependency_joins_nothing_else(manager: SessionManager) -> None:
    """A server may have left the session of another request in the context."""
    app = FastAPI()

    async def with_what_is_left(scope: Any, receive: Any, send: Any) -> None:
        with manager.session() as session:
            scope["left"] = session
            await app(scope, receive, send)

    @app.get("/")
    def endpoint(request: Request, session: Annotated[Session, Depends(session_scope(manager))]) -> bool:
        return session is not request.scope["left"]

    assert TestClient(with_what_is_left).get("/").json() is True


def test_a_wrong_option_of_the_dependency_is_named() -> None:
    """When it is made."""
    wrong: dict[str, Any] = {"manager": "x", "key": "chat", "trust": [], "via_proxies": ["10.0.0.1"]}
    for name, value in wrong.items():
        with pytest.raises(ConfigurationError, match=f"^{name}"):
            session_scope(**{name: value})


def test_the_dependency_needs_its_parentheses() -> None:
    """A route that lacks them is refused: FastAPI would take the arguments for parameters of the query."""
    app = FastAPI(dependencies=[Depends(session_scope)])
    with pytest.raises(
        ConfigurationError, match=r"^Depends takes session_scope\(\), not session_scope itself$"
    ):
        app.get("/")(lambda: None)
