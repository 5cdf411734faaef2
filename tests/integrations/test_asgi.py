"""The ASGI middleware, without a framework."""

import contextvars
import gc
import http.client
import socket
import threading
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hl_sessions import (
    APIConnectionError,
    ConfigurationError,
    Session,
    SessionManager,
    acurrent_session_id,
    configure,
    current_session,
    current_session_id,
)
from hl_sessions.integrations.asgi import HLSessionMiddleware
from tests.integrations.conftest import SESSION_ID, ServeASGI, get_raw, headers_named, send_raw
from tests.interpreters import collects_at_once, needs
from tests.sessions_api import SessionsAPI, create_sessions_and_logs, stored_logs
from tests.waiting import PATIENCE

Message = MutableMapping[str, Any]
BACKENDS = ["asyncio", "trio"]
LOOPS = ["asyncio", pytest.param("uvloop", marks=needs("uvloop"))]


def http_scope(**more: Any) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/", "headers": [], **more}


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    pass


class Sent(list[Message]):
    """Keeps the messages that are sent."""

    async def __call__(self, message: Message) -> None:
        self.append(message)

    def headers(self, name: str) -> list[str]:
        return [value.decode() for field, value in self[0]["headers"] if field == name.encode()]


async def answer(send: Any, body: bytes = b"ok", *headers: tuple[bytes, bytes], status: int = 200) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def plain_app(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)


async def reading_app(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, (await acurrent_session_id() or "none").encode())


def run(app: Any, send: Any = send, scope: Any = None, backend: str = "asyncio") -> None:
    anyio.run(app, http_scope() if scope is None else scope, receive, send, backend=backend)


# Where the session is


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_session_everywhere_in_a_request(
    backend: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """A thread, child tasks, the time after an await and the stream share one session, made by one POST."""
    seen: list[str | None] = []

    async def read() -> None:
        seen.append(await acurrent_session_id())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await anyio.to_thread.run_sync(current_session_id))
        seen.append(current_session_id())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(read)
        await anyio.lowlevel.checkpoint()
        await send({"type": "http.response.start", "status": 200})
        for _ in range(2):
            seen.append(current_session_id())
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body"})
        seen.append(current_session_id())

    run(HLSessionMiddleware(app, manager), backend=backend)
    assert len(seen) == 7
    assert len(set(seen)) == 1
    assert SESSION_ID.fullmatch(str(seen[0]))
    assert sessions_api.posts == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_first_readers_at_once_make_one_post(
    backend: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Ten child tasks and ten threads that read first share the one creation."""
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def read() -> None:
            seen.append(await acurrent_session_id())

        async def read_in_thread() -> None:
            seen.append(await anyio.to_thread.run_sync(current_session_id))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(read)
                tasks.start_soon(read_in_thread)

    run(HLSessionMiddleware(app, manager), backend=backend)
    assert len(seen) == 20
    assert len(set(seen)) == 1
    assert sessions_api.posts == 1


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_scope_without_a_reader_makes_no_call(
    kind: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """There is a handle, and no call of the sessions API, with and without a response header."""
    seen: list[Session | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current_session())
        await answer(send)

    for response_header in (None, "X-Session-ID"):
        run(HLSessionMiddleware(app, manager, response_header=response_header), scope={"type": kind})
    assert all(isinstance(session, Session) for session in seen)
    assert sessions_api.connections == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", ["lifespan.shutdown.complete", "lifespan.shutdown.failed"])
def test_a_shutdown_waits_until_all_datapoints_are_sent(
    end: str, backend: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The server ends the process after it, perhaps by a signal."""
    sessions_api.answer = create_sessions_and_logs
    stored: list[list[str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        manager.log(project="p", source="last words")
        await send({"type": end})

    async def send_on(message: Any) -> None:
        stored.append([log["source"] for log in stored_logs(sessions_api)])

    async def shut_down() -> None:
        await HLSessionMiddleware(app, manager)({"type": "lifespan"}, receive, send_on)

    anyio.run(shut_down, backend=backend)
    assert stored == [["last words"]]


@pytest.mark.parametrize("response_header", [None, "X-Session-ID"])
def test_other_scopes_are_not_touched(response_header: str | None, manager: SessionManager) -> None:
    """The application gets the very objects that the server gave, unchanged, and no session."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((scope, receive, send, current_session(), dict(scope)))

    scope = {"type": "something.new", "asgi": {"version": "3.0"}}
    run(HLSessionMiddleware(app, manager, response_header=response_header), scope=scope)
    assert seen[0] is scope
    assert seen[1] is receive
    assert seen[2] is send
    assert seen[3] is None
    assert seen[4] == {"type": "something.new", "asgi": {"version": "3.0"}}


@pytest.mark.parametrize("backend", BACKENDS)
def test_requests_one_after_another_have_sessions_of_their_own(backend: str, manager: SessionManager) -> None:
    """In the same task, the next request has another session, and between them there is none."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await acurrent_session_id())

    async def serve_two() -> None:
        for _ in range(2):
            await HLSessionMiddleware(app, manager)(http_scope(), receive, send)
            seen.append(current_session())

    anyio.run(serve_two, backend=backend)
    first, between, second, after = seen
    assert first != second
    assert between is None
    assert after is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_interleaved_requests_never_see_each_other(backend: str, manager: SessionManager) -> None:
    """Two requests that take turns each keep the session that they began with."""
    seen: dict[str, list[str | None]] = {"a": [], "b": []}

    async def serve_both() -> None:
        turns = {"a": anyio.Event(), "b": anyio.Event()}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            me, other = scope["path"], "ab".replace(scope["path"], "")
            seen[me].append(await acurrent_session_id())
            turns[other].set()
            await turns[me].wait()
            seen[me].append(current_session_id())
            seen[me].append(await anyio.to_thread.run_sync(current_session_id))

        async with anyio.create_task_group() as tasks:
            for path in turns:
                tasks.start_soon(HLSessionMiddleware(app, manager), http_scope(path=path), receive, send)

    anyio.run(serve_both, backend=backend)
    assert len(set(seen["a"])) == len(set(seen["b"])) == 1
    assert seen["a"] != seen["b"]


@pytest.mark.parametrize("response_header", [None, "X-Session-ID"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_error_leaves_the_session(backend: str, response_header: str | None, manager: SessionManager) -> None:
    """The application's exception arrives as it is, and no session is current afterwards."""
    error = LookupError("of the application")
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    async def serve() -> None:
        with pytest.raises(LookupError) as caught:
            await HLSessionMiddleware(app, manager, response_header=response_header)(
                http_scope(), receive, send
            )
        seen.extend((caught.value, current_session()))

    anyio.run(serve, backend=backend)
    assert seen == [error, None]


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_request_leaves_the_session(backend: str, manager: SessionManager) -> None:
    """A cancelled request has its session up to its last step, and no later request has it."""
    seen: list[Any] = []

    async def serve() -> None:
        with anyio.CancelScope() as cancel_scope:

            async def app(scope: Any, receive: Any, send: Any) -> None:
                seen.append(current_session_id())
                try:
                    cancel_scope.cancel()
                    await anyio.sleep_forever()
                finally:
                    seen.append(current_session_id())

            await HLSessionMiddleware(app, manager)(http_scope(), receive, send)
        seen.append(current_session())

    anyio.run(serve, backend=backend)
    during, in_the_end, after = seen
    assert during == in_the_end
    assert after is None


def test_first_reader_may_be_cancelled(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """The creation that a cancelled task began still serves the others of the request."""
    arrived, go_on = threading.Event(), threading.Event()
    create = sessions_api.answer

    def answer_later(request: Any) -> Any:
        arrived.set()
        assert go_on.wait(PATIENCE)
        return create(request)

    sessions_api.answer = answer_later
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with anyio.create_task_group() as first_readers:
            first_readers.start_soon(acurrent_session_id)
            await anyio.to_thread.run_sync(arrived.wait)
            first_readers.cancel_scope.cancel()
        go_on.set()
        seen.append(await acurrent_session_id())

    run(HLSessionMiddleware(app, manager))
    assert SESSION_ID.fullmatch(str(seen[0]))
    assert sessions_api.posts == 1


@pytest.mark.parametrize("ending", ["closed", pytest.param("collected", marks=collects_at_once)])
@pytest.mark.parametrize("response_header", [None, "X-Session-ID"])
def test_request_that_nobody_finishes_ends_quietly(
    ending: str, response_header: str | None, manager: SessionManager
) -> None:
    """Closed in another context, by hand or by the garbage collector, it raises and changes nothing."""
    ended: list[bool] = []

    class Forever:
        def __await__(self) -> Any:
            yield

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await Forever()
        finally:
            ended.append(True)

    with manager.session() as surrounding:
        request = HLSessionMiddleware(app, manager, response_header=response_header)(
            http_scope(), receive, send
        )
        contextvars.copy_context().run(request.send, None)
        if ending == "closed":
            request.close()
        del request
        gc.collect()
        assert ended == [True]
        assert current_session() is surrounding


# Eager creation


@pytest.mark.parametrize("response_header", [None, "X-Session-ID"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_eager_session_is_there_before_the_application_runs(
    backend: str, response_header: str | None, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Each request makes one session, so that a plain read in async code finds it in memory."""
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current_session_id(create=False))
        await answer(send)

    scoped = HLSessionMiddleware(app, manager, response_header=response_header, eager=True)
    sent = Sent()
    for number in (1, 2):
        run(scoped, sent, backend=backend)
        assert sessions_api.posts == number
    assert sent.headers("x-session-id") == ([] if response_header is None else [seen[0]])
    assert len(set(seen)) == 2
    assert SESSION_ID.fullmatch(str(seen[0]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_eager_creation_lets_the_event_loop_run(
    backend: str, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """While the sessions API is taking its time, other tasks of the loop go on."""
    go_on = threading.Event()
    create = sessions_api.answer

    def answer_later(request: Any) -> Any:
        assert go_on.wait(PATIENCE)
        return create(request)

    sessions_api.answer = answer_later
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        order.append("application")

    async def serve() -> None:
        async def other() -> None:
            order.append("other task")
            go_on.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(HLSessionMiddleware(app, manager, eager=True), http_scope(), receive, send)
            tasks.start_soon(other)

    anyio.run(serve, backend=backend)
    assert order == ["other task", "application"]


def test_eager_creation_that_fails_is_the_applications_to_meet() -> None:
    """A request that reads nothing is served, one that reads gets what the manager's ``on_error`` says."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(APIConnectionError) as caught:
            await acurrent_session_id()
        seen.append(caught.type)

    with SessionManager("http://127.0.0.1:9/v4", retries=0, on_error="raise") as manager:
        run(HLSessionMiddleware(plain_app, manager, eager=True))
        run(HLSessionMiddleware(app, manager, eager=True))
    assert seen == [APIConnectionError]


# Several middlewares


def test_two_middlewares_are_one_session_and_one_header(
    manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The inner one joins the outer one, also through a copy of the scope."""
    sessions: list[Session | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sessions.append(current_session())
        await reading_app(scope, receive, send)

    inner = HLSessionMiddleware(app, manager, response_header="X-Session-ID")

    async def copying(scope: Any, receive: Any, send: Any) -> None:
        sessions.append(current_session())
        await inner(dict(scope), receive, send)
        sessions.append(current_session())

    sent = Sent()
    run(HLSessionMiddleware(copying, manager, response_header="x-session-id"), sent)
    assert len(sessions) == 3
    assert len(set(sessions)) == 1
    assert sent.headers("x-session-id") == [sent[1]["body"].decode()]
    assert sessions_api.posts == 1


def test_middlewares_of_two_managers_are_two_sessions(
    manager: SessionManager, other_manager: SessionManager
) -> None:
    """Each has a session and a header of its own, and a scope of either manager joins its own one."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for each in (manager, other_manager):
            with each.session() as session:
                seen.append(await session.aid())
        seen.append(current_session_id())
        await answer(send)

    inner = HLSessionMiddleware(app, other_manager, response_header="X-Inner")
    sent = Sent()
    run(HLSessionMiddleware(inner, manager, response_header="X-Outer"), sent)
    outer_id, inner_id, current_id = seen
    assert outer_id != inner_id == current_id
    assert sent.headers("x-outer") == [outer_id]
    assert sent.headers("x-inner") == [inner_id]


def test_conversation_inside_a_request_is_left_to_its_session(manager: SessionManager) -> None:
    """A scope with a key is another session, and the request's is back afterwards."""
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await acurrent_session_id())
        async with manager.session(key="chat"):
            seen.append(await acurrent_session_id())
        seen.append(await acurrent_session_id())

    run(HLSessionMiddleware(app, manager))
    assert seen[0] == seen[2] != seen[1]


def test_default_manager_is_looked_up_at_the_request(sessions_api: SessionsAPI) -> None:
    """A middleware made before ``configure`` uses what ``configure`` set."""
    app = HLSessionMiddleware(reading_app)
    sent = Sent()
    with configure(sessions_api.base_url):
        run(app, sent)
    assert sent[1]["body"].startswith(b"sesh_")
    assert sessions_api.posts == 1


# The wire


async def many_kinds(scope: Any, receive: Any, send: Any) -> None:
    """Answers by path, with and without reading the session ID."""
    kind = scope["path"].strip("/").split("/")
    if "read" in kind:
        await acurrent_session_id()
    if "error" in kind:
        raise LookupError
    if "stream" in kind:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Odd-Case", b"\xff")]})
        for chunk in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif "bare" in kind:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})
    else:
        await answer(send, b"body", (b"X-Twice", b"1"), (b"x-twice", b"2"))


@pytest.mark.parametrize("loop", LOOPS)
def test_bytes_on_the_wire_are_those_of_the_bare_application(
    loop: str, manager: SessionManager, serve_asgi: ServeASGI
) -> None:
    """Without a response header nothing changes: sized, streamed, empty, HEAD and failed responses."""
    bare = serve_asgi(many_kinds, loop=loop)
    scoped = serve_asgi(HLSessionMiddleware(many_kinds, manager), loop=loop)
    unread = serve_asgi(HLSessionMiddleware(many_kinds, manager, response_header="X-Session-ID"), loop=loop)
    for path in ("/", "/stream", "/bare", "/error"):
        for method in ("GET", "HEAD"):
            expected = get_raw(bare, path, method)
            assert expected.startswith(b"HTTP/1.1 ")
            assert get_raw(scoped, path, method) == expected
            assert get_raw(scoped, path + "/read", method) == expected
            assert get_raw(unread, path, method) == expected


@pytest.mark.parametrize("response_header", [None, "X-Session-ID"])
def test_messages_pass_through_as_they_are(response_header: str | None, manager: SessionManager) -> None:
    """Messages of extensions and of protocols to come arrive as the objects that were sent and received."""
    messages: list[Message] = [
        {"type": "http.response.debug", "info": {}},
        {"type": "http.response.push", "path": "/", "headers": []},
        {"type": "http.response.pathsend", "path": "/file"},
        {"type": "http.response.zerocopysend", "file": 1},
        {"type": "http.response.body", "body": b""},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")]},
        {"type": "something.new"},
    ]
    arriving: list[Message] = [{"type": "http.request"}, {"type": "something.else"}]
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await acurrent_session_id()
        received.extend([await receive(), await receive()])
        for message in messages:
            await send(message)

    async def receive() -> Message:
        return next(coming)

    coming = iter(arriving)
    sent = Sent()
    anyio.run(HLSessionMiddleware(app, manager, response_header=response_header), http_scope(), receive, sent)
    assert [id(message) for message in sent] == [id(message) for message in messages]
    assert [id(message) for message in received] == [id(message) for message in arriving]


def test_start_without_the_header_is_not_changed_in_place(manager: SessionManager) -> None:
    """An application may send the same message again in the next request."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await acurrent_session_id()
        await send(start)

    sent = Sent()
    for _ in range(2):
        run(HLSessionMiddleware(app, manager, response_header="X-Session-ID"), sent)
    assert start["headers"] == [(b"a", b"b")]
    first, second = (dict(message["headers"])[b"x-session-id"] for message in sent)
    assert first != second


class BodyReader:
    """An application that notes the session of each request once its body has arrived."""

    def __init__(self) -> None:
        self.sessions: list[Session | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.sessions.append(current_session())
        await answer(send)


@pytest.mark.parametrize("loop", LOOPS)
def test_large_bodies_on_one_connection_have_sessions_of_their_own(
    loop: str, manager: SessionManager, serve_asgi: ServeASGI
) -> None:
    """uvicorn, having paused for a body, runs the next request in a copy of the first one's context."""
    app = BodyReader()
    connection = http.client.HTTPConnection(*serve_asgi(HLSessionMiddleware(app, manager), loop=loop))
    for _ in range(3):
        connection.request("POST", "/", body=b"x" * 1_000_000)
        assert connection.getresponse().read() == b"ok"
    connection.close()
    assert len(set(app.sessions)) == 3


@pytest.mark.parametrize("loop", LOOPS)
def test_pipelined_requests_have_sessions_of_their_own(
    loop: str, manager: SessionManager, serve_asgi: ServeASGI
) -> None:
    """uvicorn starts the second one while the first one's session is current."""
    app = BodyReader()
    address = serve_asgi(HLSessionMiddleware(app, manager), loop=loop)
    request = "GET / HTTP/1.1\nHost: test\n\n"
    send_raw(address, request * 2 + request.replace("\n\n", "\nConnection: close\n\n"))
    assert len(set(app.sessions)) == 3


@pytest.mark.xfail(reason="uvicorn lends a request the context of the one before it", strict=True)
def test_uvicorn_starts_each_request_in_a_clean_context(serve_asgi: ServeASGI) -> None:
    """What the middleware guards against: once this passes, it may join what the context holds."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get(None))
        variable.set(1)
        await answer(send)

    request = "GET / HTTP/1.1\nHost: test\n\n"
    send_raw(serve_asgi(app), request + request.replace("\n\n", "\nConnection: close\n\n"))
    assert seen == [None, None]


def test_client_that_goes_away_leaves_nothing_behind(manager: SessionManager, serve_asgi: ServeASGI) -> None:
    """The request keeps its session until it has noticed, and the next one has another."""
    seen: list[str | None] = []
    has_ended = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await acurrent_session_id())
        if scope["path"] == "/wait":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            seen.append(current_session_id())
            has_ended.set()
        else:
            await answer(send)

    address = serve_asgi(HLSessionMiddleware(app, manager))
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: test\r\n\r\n")
        assert connection.recv(5)
    assert has_ended.wait(PATIENCE)
    get_raw(address)
    first, at_the_end, second = seen
    assert first == at_the_end != second


def test_many_requests_at_once_have_one_session_each(
    manager: SessionManager, sessions_api: SessionsAPI, serve_asgi: ServeASGI
) -> None:
    """Forty concurrent requests on kept connections make forty sessions, each in its own response."""
    host, port = serve_asgi(HLSessionMiddleware(reading_app, manager, response_header="X-Session-ID"))
    local = threading.local()

    def get(_: int) -> tuple[str, str]:
        if not hasattr(local, "http"):
            local.http = requests.Session()
        response = local.http.get(f"http://{host}:{port}/", timeout=PATIENCE)
        return response.text, response.headers["X-Session-ID"]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(get, range(40)))
        gc.collect()
    assert all(body == header for body, header in answers)
    assert len(set(answers)) == sessions_api.posts == 40


# The response header


@pytest.mark.parametrize("path", ["/read", "/stream/read", "/bare/read"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_header_tells_the_session(
    path: str, method: str, manager: SessionManager, sessions_api: SessionsAPI, serve_asgi: ServeASGI
) -> None:
    """Once, on any kind of response, and nothing else of the response changes."""
    bare = get_raw(serve_asgi(many_kinds), path, method)
    app = HLSessionMiddleware(many_kinds, manager, response_header="X-Session-ID")
    response = get_raw(serve_asgi(app), path, method)
    (session_id,) = headers_named("X-Session-ID", response)
    assert SESSION_ID.fullmatch(session_id)
    assert response.replace(f"x-session-id: {session_id}\r\n".encode(), b"") == bare


def test_header_is_left_out_when_the_session_comes_too_late(manager: SessionManager) -> None:
    """A session that is first read in the stream cannot be in the header any more."""

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await acurrent_session_id()
        await send({"type": "http.response.body", "body": b""})

    sent = Sent()
    run(HLSessionMiddleware(late, manager, response_header="X-Session-ID"), sent)
    assert sent.headers("x-session-id") == []


def test_header_is_left_out_when_there_is_no_session(
    sessions_api: SessionsAPI, serve_asgi: ServeASGI
) -> None:
    """With the sessions API down the response is that of the application."""
    with SessionManager("http://127.0.0.1:9/v4", retries=0) as manager:
        app = HLSessionMiddleware(many_kinds, manager, response_header="X-Session-ID")
        assert get_raw(serve_asgi(app), "/read") == get_raw(serve_asgi(many_kinds), "/read")


def test_header_of_the_application_has_precedence(manager: SessionManager) -> None:
    """A header of that name, in any case, is not doubled."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await acurrent_session_id()
        await answer(send, b"ok", (b"x-SESSION-id", b"mine"))

    sent = Sent()
    run(HLSessionMiddleware(app, manager, response_header="X-Session-ID"), sent)
    assert sent[0]["headers"] == [(b"content-length", b"2"), (b"x-SESSION-id", b"mine")]


@pytest.mark.parametrize("loop", LOOPS)
def test_header_is_on_the_answer_to_an_unhandled_error(
    loop: str, manager: SessionManager, serve_asgi: ServeASGI, caplog: pytest.LogCaptureFixture
) -> None:
    """On the first request ever: the status and body are those of the server, and it logs the error."""
    app = HLSessionMiddleware(many_kinds, manager, response_header="X-Session-ID")
    response, bare = (
        requests.get("http://{}:{}/read/error".format(*serve_asgi(served, loop=loop)), timeout=PATIENCE)
        for served in (app, many_kinds)
    )
    assert (response.status_code, response.reason) == (bare.status_code, bare.reason)
    assert (response.status_code, response.text) == (500, bare.text)
    assert response.headers["Content-Type"] == bare.headers["Content-Type"]
    assert SESSION_ID.fullmatch(response.headers["X-Session-ID"])
    assert [record.getMessage().strip() for record in caplog.records if record.exc_info] == [
        "Exception in ASGI application",
        "Exception in ASGI application",
    ]


def test_error_after_the_start_is_not_answered_again(manager: SessionManager) -> None:
    """A response that breaks off stays as the application left it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await acurrent_session_id()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise LookupError

    sent = Sent()
    with pytest.raises(LookupError):
        run(HLSessionMiddleware(app, manager, response_header="X-Session-ID"), sent)
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_websocket_has_one_session_and_tells_it_in_the_handshake(
    manager: SessionManager, sessions_api: SessionsAPI, serve_asgi: ServeASGI
) -> None:
    """All messages of a connection are one session, which the next connection does not have."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await acurrent_session_id()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": current_session_id()})

    address = serve_asgi(HLSessionMiddleware(app, manager, response_header="X-Session-ID"))
    seen: list[Any] = []
    for _ in range(2):
        with connect("ws://{}:{}/".format(*address)) as websocket:
            answers = set()
            for _ in range(3):
                websocket.send("and now?")
                answers.add(websocket.recv())
            assert websocket.response is not None
            assert answers == {websocket.response.headers["X-Session-ID"]}
            seen.extend(answers)
    assert len(set(seen)) == sessions_api.posts == 2


def test_denied_websocket_tells_its_session(manager: SessionManager, serve_asgi: ServeASGI) -> None:
    """The response that denies a handshake has the header too."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await acurrent_session_id()
        await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    address = serve_asgi(HLSessionMiddleware(app, manager, response_header="X-Session-ID"))
    with pytest.raises(InvalidStatus) as caught:
        connect("ws://{}:{}/".format(*address))
    assert caught.value.response.status_code == 418
    assert SESSION_ID.fullmatch(caught.value.response.headers["X-Session-ID"])


# Settings


@pytest.mark.parametrize(
    "name",
    ["", "X Session", "X-Session:", "Ünïcode", "X\r\nY", "X-Session-ID\n", 42, b"X-Session-ID"],
    ids=repr,
)
def test_bad_header_name_is_a_configuration_error(name: Any, manager: SessionManager) -> None:
    """It is refused when the middleware is made, and the message shows it."""
    with pytest.raises(ConfigurationError) as caught:
        HLSessionMiddleware(plain_app, manager, response_header=name)
    assert f"response_header={name!r}" in str(caught.value)


@pytest.mark.parametrize("manager", ["http://127.0.0.1:8642/v4", SessionManager, 0], ids=repr)
def test_what_is_no_manager_is_a_configuration_error(manager: Any) -> None:
    """It is refused when the middleware is made."""
    with pytest.raises(ConfigurationError, match="manager must be a SessionManager"):
        HLSessionMiddleware(plain_app, manager)


@pytest.mark.parametrize("eager", ["yes", 1, None], ids=repr)
def test_eager_is_true_or_false(eager: Any, manager: SessionManager) -> None:
    """Anything else is refused when the middleware is made."""
    with pytest.raises(ConfigurationError, match=rf"^eager={eager!r} must be True or False$"):
        HLSessionMiddleware(plain_app, manager, eager=eager)
