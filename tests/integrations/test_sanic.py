"""Sanic on its own server."""

import asyncio
import contextvars
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from websockets.sync.client import connect

from hl_sessions import ConfigurationError, SessionManager, acurrent_session_id, current_session_id, log
from hl_sessions.carrying import SharedSecret
from tests.integrations.conftest import SESSION_ID, Address, ServeASGI, get_raw, headers_named, send_raw
from tests.sessions_api import SessionsAPI, create_sessions_and_logs, stored_logs
from tests.waiting import PATIENCE, wait_until

pytest.importorskip("sanic")

import sanic
from sanic import response
from sanic.application.constants import ServerStage
from sanic.application.state import ApplicationServerInfo

from hl_sessions.integrations import asgi
from hl_sessions.integrations.sanic import (
    SessionSanic,
    SignedCookie,
    header,
    json_field,
    path_param,
    query,
    session_of,
)

SECRET = SharedSecret("a secret of many characters")
SESSION = "sesh_" + "1" * 32


class Server:
    """Serves applications from a thread until the test ends."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers: list[Any] = []

    def serve(self, app: Any) -> Address:
        listener = socket.create_server(("127.0.0.1", 0))
        self.run(self._start(app, listener))
        address: Address = listener.getsockname()
        return address

    async def _start(self, app: Any, listener: socket.socket) -> None:
        server = await app.create_server(sock=listener, access_log=False)
        self._servers.append(server)
        await server.startup()
        # As run() notes it, for add_task().
        app.state.server_info.append(ApplicationServerInfo({}, stage=ServerStage.SERVING))
        await server.start_serving()

    def stop(self) -> None:
        while self._servers:
            self.run(self._stop(self._servers.pop()))

    async def _stop(self, server: Any) -> None:
        await server.before_stop()
        await server.close()
        for connection in list(server.connections):
            connection.abort()
        await server.after_stop()
        sanic.Sanic.unregister_app(server.app)

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    # Else the first application of a process takes what it does not need from the code of Sanic.
    monkeypatch.setattr(sanic.Sanic, "test_mode", True)
    server = Server()
    yield server
    server.close()


def application(manager: SessionManager, **options: Any) -> Any:  # its decorators are loosely typed
    app = SessionSanic(f"app-{uuid.uuid4().hex}", manager=manager, configure_logging=False, **options)
    app.add_route(answer, "/", methods=["GET", "POST"])
    return app


async def answer(_: sanic.Request) -> sanic.HTTPResponse:
    return response.text(await acurrent_session_id() or "none")


def url(address: Address, path: str = "/") -> str:
    return f"http://{address[0]}:{address[1]}{path}"


def get(address: Address, path: str = "/", **options: Any) -> requests.Response:
    return requests.get(url(address, path), timeout=PATIENCE, **options)


def test_one_session_everywhere_in_a_request(
    server: Server, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Middlewares, the handler, a thread, a task and a stream that the handler sends share one."""
    seen: list[str | None] = []
    app = application(manager)

    @app.on_request
    @app.on_response
    async def read(*_: Any) -> None:
        seen.append(await acurrent_session_id())

    async def read_and_tell(is_read: asyncio.Event) -> None:
        await read()
        is_read.set()

    @app.get("/stream")
    async def stream(request: sanic.Request) -> None:
        await asyncio.create_task(read())
        seen.append(await asyncio.to_thread(current_session_id))
        is_read = asyncio.Event()
        app.add_task(read_and_tell(is_read))
        answer = await request.respond()
        for _ in range(2):
            await read()
            await answer.send("part")
        await is_read.wait()
        await answer.eof()

    assert get(server.serve(app), "/stream").text == "partpart"
    assert len(seen) == 7
    assert len(set(seen)) == 1
    assert SESSION_ID.fullmatch(str(seen[0]))
    assert sessions_api.posts == 1


def test_a_stream_that_sanic_calls_is_in_the_session(server: Server, manager: SessionManager) -> None:
    """That of a ``ResponseStream``, and of a file."""
    app = application(manager)

    @app.get("/stream")
    async def stream(_: sanic.Request) -> Any:
        async def send(answer: Any) -> None:
            for _ in range(2):
                await answer.write(await acurrent_session_id())

        await acurrent_session_id()
        return response.ResponseStream(send)

    @app.get("/file")
    async def file(_: sanic.Request) -> Any:
        return await response.file_stream(__file__)

    address = server.serve(app)
    sent = get(address, "/stream").text
    assert sent[:37] == sent[37:]
    assert SESSION_ID.fullmatch(sent[:37])
    assert "ResponseStream" in get(address, "/file").text


def test_requests_of_one_connection_have_sessions_of_their_own(
    server: Server, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Those that came in one packet, too; one that is malformed is answered in none."""
    seen: list[str | None] = []
    app = application(manager)

    @app.exception(sanic.exceptions.BadRequest)
    async def refuse(*_: Any) -> sanic.HTTPResponse:
        seen.append(current_session_id())
        return response.text("bad", 400)

    head = "GET / HTTP/1.1\nHost: test\n\n"
    received = send_raw(server.serve(app), f"{head}{head}GET\n\n")
    assert len(set(SESSION_ID.findall(received.decode()))) == 2
    assert sessions_api.posts == 2
    assert seen == [None]


def test_without_a_read_there_is_no_call(
    server: Server, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """And the response is byte for byte what it is without us."""

    async def fixed(_: sanic.Request) -> sanic.HTTPResponse:
        return response.text("ok")

    bare: Any = sanic.Sanic(f"bare-{uuid.uuid4().hex}", configure_logging=False)
    ours = application(manager)
    for app in (bare, ours):
        app.add_route(fixed, "/fixed")
    assert get_raw(server.serve(ours), "/fixed") == get_raw(server.serve(bare), "/fixed")
    assert sessions_api.requests == []


def test_a_server_started_in_a_scope_serves_nobody_with_its_session(
    server: Server, manager: SessionManager
) -> None:
    """The session in the context of the server is not joined."""
    with manager.session() as session:
        assert get(server.serve(application(manager))).text != session.id


@pytest.mark.parametrize(("path", "status"), [("/fails", 500), ("/missing", 404), ("/slow", 503)])
def test_what_answers_an_error_is_in_the_session(
    server: Server, manager: SessionManager, path: str, status: int
) -> None:
    """Also to a handler that took too long; it carries the header."""
    seen: list[str | None] = []
    app = application(manager, response_header="X-Session-ID")
    app.config.RESPONSE_TIMEOUT = 0.05 if path == "/slow" else PATIENCE

    @app.get("/fails")
    async def fail(_: sanic.Request) -> None:
        seen.append(await acurrent_session_id())
        raise ValueError

    @app.get("/slow")
    async def wait(_: sanic.Request) -> None:
        seen.append(await acurrent_session_id())
        await asyncio.Event().wait()

    @app.exception(Exception)
    async def show(_: sanic.Request, __: Exception) -> sanic.HTTPResponse:
        return response.text(await acurrent_session_id() or "none", status)

    answer = get(server.serve(app), path)
    assert answer.status_code == status
    assert SESSION_ID.fullmatch(answer.text)
    assert answer.headers["X-Session-ID"] == answer.text
    assert seen in ([], [answer.text])


def test_response_header_of_streams(server: Server, manager: SessionManager) -> None:
    """It is there if there is an ID when the response begins."""
    app = application(manager, response_header="X-Session-ID")

    @app.get("/stream")
    async def stream(request: sanic.Request) -> None:
        if request.args:
            await acurrent_session_id()
        answer = await request.respond()
        await answer.send(await acurrent_session_id())
        await answer.eof()

    address = server.serve(app)
    answered = get(address, "/stream?read=1")
    assert answered.headers["X-Session-ID"] == answered.text
    assert "X-Session-ID" not in get(address, "/stream").headers


def test_a_websocket_is_one_session(
    server: Server, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Each of its messages, and its end."""
    seen: list[Any] = []
    app = application(manager)

    @app.websocket("/chat")
    async def chat(_: sanic.Request, socket: Any) -> None:
        try:
            async for _ in socket:
                await socket.send(await acurrent_session_id())
        finally:
            seen.append(current_session_id())

    with connect(url(server.serve(app), "/chat").replace("http", "ws"), proxy=None) as client:
        for _ in range(2):
            client.send("question")
            seen.append(client.recv(PATIENCE))
    wait_until(lambda: len(seen) == 3)
    assert len(set(seen)) == 1
    assert sessions_api.posts == 1


@pytest.mark.parametrize(
    ("key", "path", "headers"),
    [
        (header("X-Chat-ID"), "/", {"X-Chat-ID": "7"}),
        (query("chat"), "/?chat=7", {}),
        (path_param("chat"), "/chats/7", {}),
        (lambda request: request.args.get("chat"), "/?chat=7", {}),
    ],
    ids=["header", "query", "path", "function"],
)
def test_requests_of_a_conversation_share_a_session(
    server: Server, manager: SessionManager, key: Any, path: str, headers: dict[str, str]
) -> None:
    """Those with the same key, and no others."""
    app = application(manager, key=key)

    @app.get("/chats/<chat>")
    async def show(request: sanic.Request, chat: str) -> sanic.HTTPResponse:
        return await answer(request)

    address = server.serve(app)
    sessions = [get(address, path, headers=headers).text for _ in range(2)]
    other = get(address, path.replace("7", "8"), headers=dict.fromkeys(headers, "8")).text
    assert sessions[0] == sessions[1] != other


def test_key_from_a_json_body(server: Server, manager: SessionManager) -> None:
    """One that is too long has none, and so has what is no JSON."""
    address = server.serve(application(manager, key=json_field("chat", max_body=1_000)))

    def post(**body: Any) -> str:
        return requests.post(url(address), timeout=PATIENCE, **body).text

    assert post(json={"chat": "7"}) == post(json={"chat": "7"})
    assert post(json={"chat": "7", "text": "x" * 1_000}) != post(json={"chat": "7"})
    for body in (b"{", b"[" * 100_000, b"7"):
        headers = {"Content-Type": "application/json"}
        assert SESSION_ID.fullmatch(post(data=body, headers=headers))


def test_a_browser_keeps_its_conversation(server: Server, manager: SessionManager) -> None:
    """The cookie is set once, beside one of the handler's own."""
    app = application(manager, cookie=SignedCookie("a secret of many characters"))

    @app.get("/greet")
    async def greet(request: sanic.Request) -> sanic.HTTPResponse:
        answered = await answer(request)
        answered.add_cookie("own", "1")
        return answered

    address = server.serve(app)
    assert len(headers_named("Set-Cookie", get_raw(address, "/greet"))) == 2
    with requests.Session() as browser:
        first, second = (browser.get(url(address, "/greet"), timeout=PATIENCE) for _ in range(2))
    assert first.text == second.text
    assert second.headers["Set-Cookie"].startswith("own=")


@pytest.mark.parametrize("make_response", [response.text, response.json])
@pytest.mark.parametrize(
    "option", [{"response_header": "X-Session-ID"}, {"cookie": SignedCookie("a secret of many characters")}]
)
def test_a_response_that_many_are_answered_with_tells_each_of_its_own_session(
    make_response: Callable[..., Any], option: Any, server: Server, manager: SessionManager
) -> None:
    """Nobody gets the session of another one, nor the conversation of another browser."""
    app = application(manager, **option)
    shared: sanic.HTTPResponse = make_response("pong", headers={"X-Own": "1"})
    shared.add_cookie("own", "1")

    @app.get("/ping")
    async def ping(_: sanic.Request) -> sanic.HTTPResponse:
        await acurrent_session_id()
        return shared

    @app.on_response(priority=1)
    async def add(_: sanic.Request, answered: sanic.HTTPResponse) -> None:
        answered.headers["X-Another"] = "1"

    address = server.serve(app)
    answers = [get(address, "/ping") for _ in range(2)]
    told = [answer.headers.get("X-Session-ID") or answer.cookies["hl_session"] for answer in answers]
    assert len(set(told)) == 2
    for answer in answers:
        assert "pong" in answer.text
        assert answer.headers["X-Own"] == answer.headers["X-Another"] == answer.cookies["own"] == "1"


@pytest.mark.parametrize(
    ("trust", "joined"),
    [
        (["127.0.0.1"], 1),
        (["10.0.0.0/8"], 0),
        (lambda request: request.headers["X-Caller"] == "front", 1),
        (SECRET, 0),
    ],
    ids=["network", "other network", "function", "secret"],
)
def test_session_of_a_caller(server: Server, manager: SessionManager, trust: Any, joined: int) -> None:
    """It is joined where it is trusted: an unsigned one is not where there is a secret."""
    address = server.serve(application(manager, trust=trust))
    headers = {"baggage": f"session.id={SESSION}", "X-Caller": "front"}
    assert [get(address, headers=headers).text].count(SESSION) == joined


@pytest.mark.parametrize("options", [{}, {"key": header("X-Chat-ID")}])
def test_a_middleware_around_the_application_is_joined(
    options: dict[str, Any], serve_asgi: ServeASGI, manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an ASGI server, where there may be one."""
    monkeypatch.setattr(sanic.Sanic, "test_mode", True)
    app = application(manager, **options)
    around = asgi.HLSessionMiddleware(app, manager, response_header="X-Session-ID", **options)
    address = serve_asgi(around, lifespan="on")
    answers = [get(address, headers={"X-Chat-ID": "7"}) for _ in range(2)]
    assert all(answer.headers["X-Session-ID"] == answer.text for answer in answers)
    assert len({answer.text for answer in answers}) == (1 if options else 2)


def test_a_peer_behind_a_forwarding_header_is_not_the_peer(server: Server, manager: SessionManager) -> None:
    """As a proxy on the same machine would else be trusted with what it passes on."""
    address = server.serve(application(manager, trust=["127.0.0.1"]))
    headers = {"baggage": f"session.id={SESSION}", "X-Forwarded-For": "10.0.0.1"}
    assert get(address, headers=headers).text != SESSION


def test_a_conversation_is_in_use_to_the_end_of_its_request(
    server: Server, sessions_api: SessionsAPI
) -> None:
    """Which is that of its stream."""
    with SessionManager(sessions_api.base_url, idle_timeout=60, retries=0) as manager:
        in_use = manager.conversations._in_use._sessions
        seen: list[list[str]] = []
        app = application(manager, key=query("chat"))

        @app.get("/stream")
        async def stream(request: sanic.Request) -> None:
            answer = await request.respond()
            await answer.send(await acurrent_session_id())
            seen.append([*in_use])
            await answer.eof()

        get(server.serve(app), "/stream?chat=7")
        assert seen == [["7"]]
        wait_until(lambda: in_use == {})


def test_session_of_a_request(server: Server, manager: SessionManager) -> None:
    """For a thread, which has no context of the request; without us there is none."""

    async def ask(request: sanic.Request) -> sanic.HTTPResponse:
        loop = asyncio.get_running_loop()
        session = await loop.run_in_executor(None, contextvars.Context().run, session_of, request)
        found = None if session is None else await session.aid()
        return response.json([found, await acurrent_session_id()])

    ours = application(manager)
    bare: Any = sanic.Sanic(f"bare-{uuid.uuid4().hex}", configure_logging=False)
    for app in (ours, bare):
        app.add_route(ask, "/ask")
    found, current = get(server.serve(ours), "/ask").json()
    assert found == current
    assert SESSION_ID.fullmatch(found)
    assert get(server.serve(bare), "/ask").json() == [None, None]


def test_datapoints_are_sent_when_the_server_stops(
    server: Server, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """As workers that were forked end without Python's own end."""
    sessions_api.answer = create_sessions_and_logs
    app = application(manager)

    @app.get("/log")
    async def write(_: sanic.Request) -> sanic.HTTPResponse:
        log(project="shop", source="test", output="fine")
        return response.empty()

    get(server.serve(app), "/log")
    server.stop()
    assert [datapoint["output"] for datapoint in stored_logs(sessions_api)] == ["fine"]


def test_wrong_options_are_refused() -> None:
    """When the application is made."""
    with pytest.raises(ConfigurationError, match="key and cookie"):
        SessionSanic("shop", key=query("chat"), cookie=SignedCookie("a secret of many characters"))
    with pytest.raises(ConfigurationError, match="manager"):
        SessionSanic("shop", manager="manager")  # type: ignore[arg-type]
