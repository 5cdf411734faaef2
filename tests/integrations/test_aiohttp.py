"""aiohttp's server and its client."""

import asyncio
import contextvars
import gzip
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from hl_sessions import ConfigurationError, SessionManager, acurrent_session_id, current_session_id
from hl_sessions.carrying import SharedSecret
from tests.integrations.conftest import SESSION_ID, Address, get_raw, headers_named, send_raw
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE, wait_until

pytest.importorskip("aiohttp")

import aiohttp
from aiohttp import web
from yarl import URL

from hl_sessions.integrations.aiohttp import (
    HLSessionMiddleware,
    SignedCookie,
    header,
    json_field,
    path_param,
    propagate,
    query,
    session_of,
)

SECRET = SharedSecret("a secret of many characters")
SESSION = "sesh_" + "1" * 32

Serve = Callable[..., Address]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.close()


@pytest.fixture
def serve(loop: asyncio.AbstractEventLoop) -> Iterator[Serve]:
    """Serves an application until the test ends, and gives the address."""
    runners: list[web.AppRunner] = []

    async def start(app: web.Application, settings: dict[str, Any]) -> Address:
        runner = web.AppRunner(app, **settings)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address: Address = runner.addresses[0]
        return address

    def serve(app: web.Application, **settings: Any) -> Address:
        return asyncio.run_coroutine_threadsafe(start(app, settings), loop).result(PATIENCE)

    yield serve
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(PATIENCE)


def application(sessions: HLSessionMiddleware, *routes: web.RouteDef, **settings: Any) -> web.Application:
    app = web.Application(middlewares=[sessions], **settings)
    app.on_response_prepare.append(sessions.add_headers)
    app.add_routes([*routes, web.get("/", answer), web.post("/", answer)])
    return app


async def answer(_: web.Request) -> web.Response:
    return web.Response(text=await acurrent_session_id())


def url(address: Address, path: str = "/") -> str:
    return f"http://{address[0]}:{address[1]}{path}"


def get(address: Address, path: str = "/", **options: Any) -> requests.Response:
    with requests.Session() as client:
        return client.get(url(address, path), timeout=PATIENCE, allow_redirects=False, **options)


def test_one_session_everywhere_in_a_request(
    serve: Serve, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """The handler, a thread, a task, ``on_response_prepare`` and a body made while it is sent share one."""
    seen: list[str | None] = []

    async def read() -> None:
        seen.append(await acurrent_session_id())

    async def body() -> AsyncIterator[bytes]:
        for _ in range(2):
            await read()
            yield b"part"

    async def handle(_: web.Request) -> web.Response:
        await read()
        seen.append(await asyncio.to_thread(current_session_id))
        await asyncio.create_task(read())
        return web.Response(body=body())

    async def prepare(_: web.Request, __: web.StreamResponse) -> None:
        await read()

    app = application(HLSessionMiddleware(manager), web.get("/stream", handle))
    app.on_response_prepare.append(prepare)

    assert get(serve(app), "/stream").text == "partpart"
    assert len(seen) == 6
    assert len(set(seen)) == 1
    assert SESSION_ID.fullmatch(str(seen[0]))
    assert sessions_api.posts == 1


def test_requests_of_one_connection_have_sessions_of_their_own(
    serve: Serve, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Those that came in one packet, too."""
    head = "GET / HTTP/1.1\nHost: test\n"
    received = send_raw(
        serve(application(HLSessionMiddleware(manager))), f"{head}\n{head}Connection: close\n\n"
    )
    assert len(set(SESSION_ID.findall(received.decode()))) == 2
    assert sessions_api.posts == 2


def test_without_a_read_there_is_no_call(
    serve: Serve, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """And the response is byte for byte what it is without the middleware."""

    async def fixed(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    bare = web.Application()
    bare.add_routes([web.get("/fixed", fixed)])
    ours = application(HLSessionMiddleware(manager), web.get("/fixed", fixed))
    assert get_raw(serve(ours), "/fixed") == get_raw(serve(bare), "/fixed")
    assert sessions_api.requests == []


def test_a_server_started_in_a_scope_serves_nobody_with_its_session(
    serve: Serve, manager: SessionManager, loop: asyncio.AbstractEventLoop
) -> None:
    """The session in the context of the server is not joined."""
    with manager.session() as session:
        address = serve(application(HLSessionMiddleware(manager)))
        assert get(address).text != session.id


@pytest.mark.parametrize("path", ["/redirect", "/missing", "/fails", "/slow"])
def test_what_answers_an_error_is_in_the_session(
    serve: Serve, manager: SessionManager, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """The header is on an answer that the handler has not made, and the log of the error has the ID."""
    logged: dict[str, str | None] = {}

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged[record.name] = current_session_id(create=False)

    async def redirect(_: web.Request) -> web.Response:
        await acurrent_session_id()
        raise web.HTTPFound("/")

    async def fail(_: web.Request) -> web.Response:
        await acurrent_session_id()
        raise ValueError

    async def time_out(_: web.Request) -> web.Response:
        await acurrent_session_id()
        raise asyncio.TimeoutError

    @web.middleware
    async def read(request: web.Request, handler: Any) -> web.StreamResponse:
        await acurrent_session_id()
        response: web.StreamResponse = await handler(request)
        return response

    sessions = HLSessionMiddleware(manager, response_header="X-Session-ID")
    app = application(
        sessions, web.get("/redirect", redirect), web.get("/fails", fail), web.get("/slow", time_out)
    )
    app.middlewares.append(read)
    loggers = [logging.getLogger("aiohttp.access"), logging.getLogger("aiohttp.server")]
    with caplog.at_level(logging.INFO, "aiohttp"), ExitStack() as added:
        for logger in loggers:
            logger.addHandler(reader := Reader())
            added.callback(logger.removeHandler, reader)
        response = get(serve(app), path)
        wait_until(lambda: "aiohttp.access" in logged)  # is written once the response is sent
    assert response.status_code == {"/redirect": 302, "/missing": 404, "/fails": 500, "/slow": 504}[path]
    assert SESSION_ID.fullmatch(response.headers["X-Session-ID"])
    assert {*logged.values()} == {response.headers["X-Session-ID"]}


def test_response_header_of_streams(serve: Serve, manager: SessionManager) -> None:
    """A response that the handler prepares itself has it, if there is an ID by then."""

    async def stream(request: web.Request) -> web.StreamResponse:
        if "read" in request.query:
            await acurrent_session_id()
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write((await acurrent_session_id() or "").encode())
        return response

    sessions = HLSessionMiddleware(manager, response_header="X-Session-ID")
    address = serve(application(sessions, web.get("/stream", stream)))
    response = get(address, "/stream?read")
    assert response.headers["X-Session-ID"] == response.text
    assert "X-Session-ID" not in get(address, "/stream").headers


def test_a_missing_signal_is_told_of(
    serve: Serve, manager: SessionManager, records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, with the line to add; the request is served."""
    monkeypatch.setattr("hl_sessions.integrations.aiohttp._once.said", False)
    app = web.Application(middlewares=[HLSessionMiddleware(manager, response_header="X-Session-ID")])
    app.add_routes([web.get("/", answer)])
    address = serve(app)
    for _ in range(2):
        assert SESSION_ID.fullmatch(get(address).text)
    (record,) = records
    assert "app.on_response_prepare.append(middleware.add_headers)" in record.getMessage()


def test_a_websocket_is_one_session(
    serve: Serve, manager: SessionManager, loop: asyncio.AbstractEventLoop, sessions_api: SessionsAPI
) -> None:
    """Each of its messages, and its end."""
    seen: list[str | None] = []
    ended = threading.Event()

    async def chat(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            await socket.send_str(await acurrent_session_id() or "")
        seen.append(current_session_id())
        ended.set()
        return socket

    async def talk(address: Address) -> None:
        async with aiohttp.ClientSession() as client, client.ws_connect(url(address, "/chat")) as socket:
            for _ in range(2):
                await socket.send_str("question")
                seen.append((await socket.receive()).data)

    address = serve(application(HLSessionMiddleware(manager), web.get("/chat", chat)))
    asyncio.run_coroutine_threadsafe(talk(address), loop).result(PATIENCE)
    assert ended.wait(PATIENCE)
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert sessions_api.posts == 1


def test_a_cancelled_handler_is_in_its_session(serve: Serve, manager: SessionManager) -> None:
    """What it does when its client has gone, and what it has left running."""
    seen: list[str | None] = []
    finished = threading.Event()

    async def go_on(cancelled: asyncio.Event) -> None:
        await cancelled.wait()
        seen.append(await acurrent_session_id())
        finished.set()

    async def wait(_: web.Request) -> web.Response:
        seen.append(await acurrent_session_id())
        cancelled = asyncio.Event()
        task = asyncio.create_task(go_on(cancelled))
        request_started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(await acurrent_session_id())
            cancelled.set()
            raise
        return web.Response(text=str(task))

    request_started = threading.Event()
    app = application(HLSessionMiddleware(manager), web.get("/wait", wait))
    address = serve(app, handler_cancellation=True)
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: test\r\n\r\n")
        assert request_started.wait(PATIENCE)
    assert finished.wait(PATIENCE)
    assert len(seen) == 3
    assert len(set(seen)) == 1


@pytest.mark.parametrize(
    ("key", "path", "headers"),
    [
        (header("X-Chat-ID"), "/", {"X-Chat-ID": "7"}),
        (query("chat"), "/?chat=7", {}),
        (path_param("chat"), "/chats/7", {}),
        (lambda request: request.query["chat"], "/?chat=7", {}),
    ],
    ids=["header", "query", "path", "function"],
)
def test_requests_of_a_conversation_share_a_session(
    serve: Serve, manager: SessionManager, key: Any, path: str, headers: dict[str, str]
) -> None:
    """Those with the same key, and no others."""
    app = application(HLSessionMiddleware(manager, key=key), web.get("/chats/{chat}", answer))
    address = serve(app)
    sessions = [get(address, path, headers=headers).text for _ in range(2)]
    other = get(address, path.replace("7", "8"), headers=dict.fromkeys(headers, "8")).text
    assert sessions[0] == sessions[1] != other


@pytest.mark.parametrize("size", [0, 2_000])
def test_key_from_a_json_body(serve: Serve, manager: SessionManager, size: int) -> None:
    """The handler can still read the body; one that is too long has no key."""

    async def chat(request: web.Request) -> web.Response:
        assert (await request.json())["chat"] == "7"
        return web.Response(text=await acurrent_session_id())

    sessions = HLSessionMiddleware(manager, key=json_field("chat", max_body=1_000))
    address = serve(application(sessions, web.post("/chat", chat)))
    answers = [
        requests.post(url(address, "/chat"), json={"chat": "7", "text": "x" * size}, timeout=PATIENCE).text
        for _ in range(2)
    ]
    assert len(set(answers)) == (1 if size == 0 else 2)


def test_an_application_without_a_maximum_for_bodies_has_keys(serve: Serve, manager: SessionManager) -> None:
    """For aiohttp that is a maximum of 0."""
    sessions = HLSessionMiddleware(manager, key=json_field("chat"))
    address = serve(application(sessions, client_max_size=0))
    first, again = (requests.post(url(address), json={"chat": "7"}, timeout=PATIENCE).text for _ in range(2))
    assert first == again


def test_a_compressed_body_is_left_to_the_handler(serve: Serve, manager: SessionManager) -> None:
    """It may become longer than the server reads at once, and the handler reads it in parts."""

    async def count(request: web.Request) -> web.Response:
        return web.Response(text=str(sum([len(part) async for part in request.content.iter_any()])))

    sessions = HLSessionMiddleware(manager, key=json_field("chat"))
    address = serve(application(sessions, web.post("/count", count), client_max_size=1_000))
    body = json.dumps({"chat": "7", "text": "x" * 10_000}).encode()
    answer = requests.post(
        url(address, "/count"),
        data=gzip.compress(body),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        timeout=PATIENCE,
    )
    assert answer.text == str(len(body))


def test_a_chunked_json_body_has_no_key(serve: Serve, manager: SessionManager) -> None:
    """It is left to the handler, which may have a way of its own to read what is long."""

    async def chat(request: web.Request) -> web.Response:
        assert json.loads(await request.content.read()) == {"chat": "7"}
        return web.Response(text=await acurrent_session_id())

    address = serve(
        application(HLSessionMiddleware(manager, key=json_field("chat")), web.post("/chat", chat))
    )
    answers = [
        requests.post(
            url(address, "/chat"),
            data=iter([b'{"chat": ', b'"7"}']),
            headers={"Content-Type": "application/json"},
            timeout=PATIENCE,
        ).text
        for _ in range(2)
    ]
    assert len(set(answers)) == 2


def test_a_browser_keeps_its_conversation(serve: Serve, manager: SessionManager) -> None:
    """The cookie is set once, beside one of the handler's own."""

    async def greet(_: web.Request) -> web.Response:
        response = web.Response(text=await acurrent_session_id())
        response.set_cookie("own", "1")
        return response

    sessions = HLSessionMiddleware(manager, cookie=SignedCookie("a secret of many characters"))
    address = serve(application(sessions, web.get("/greet", greet)))
    assert len(headers_named("Set-Cookie", get_raw(address, "/greet"))) == 2
    with requests.Session() as browser:
        first, second = (browser.get(url(address, "/greet"), timeout=PATIENCE) for _ in range(2))
    assert first.text == second.text
    assert len(second.headers["Set-Cookie"].split("own=")) == 2
    assert "HttpOnly" not in second.headers["Set-Cookie"]


def test_a_conversation_is_in_use_to_the_end_of_its_request(serve: Serve, sessions_api: SessionsAPI) -> None:
    """Which is that of a body made while it is sent."""
    with SessionManager(sessions_api.base_url, idle_timeout=60, retries=0) as manager:
        in_use = manager.conversations._in_use._sessions
        seen: list[list[str]] = []

        async def body() -> AsyncIterator[bytes]:
            yield (await acurrent_session_id() or "").encode()
            seen.append([*in_use])

        async def stream(_: web.Request) -> web.Response:
            return web.Response(body=body())

        sessions = HLSessionMiddleware(manager, key=query("chat"))
        get(serve(application(sessions, web.get("/stream", stream))), "/stream?chat=7")
        assert seen == [["7"]]
        wait_until(lambda: in_use == {})


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
def test_session_of_a_caller(serve: Serve, manager: SessionManager, trust: Any, joined: int) -> None:
    """It is joined where it is trusted: an unsigned one is not where there is a secret."""
    address = serve(application(HLSessionMiddleware(manager, trust=trust)))
    headers = {"baggage": f"session.id={SESSION}", "X-Caller": "front"}
    assert [get(address, headers=headers).text].count(SESSION) == joined


def test_a_peer_behind_a_forwarding_header_is_not_the_peer(serve: Serve, manager: SessionManager) -> None:
    """Unless the proxy is known, whose last hop then counts."""
    headers = {"baggage": f"session.id={SESSION}", "X-Forwarded-For": "10.0.0.1"}
    networks = ["127.0.0.1", "10.0.0.1"]
    address = serve(application(HLSessionMiddleware(manager, trust=networks)))
    assert get(address, headers=headers).text != SESSION
    address = serve(application(HLSessionMiddleware(manager, trust=networks, via_proxies=["127.0.0.1"])))
    assert get(address, headers=headers).text == SESSION


def test_the_middleware_of_an_application_below_joins(
    serve: Serve, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    """Unless it has a key, and the one above has none."""
    app = application(HLSessionMiddleware(manager))

    @web.middleware
    async def read(request: web.Request, handler: Any) -> web.Response:
        above = await acurrent_session_id()
        return web.json_response([above, (await handler(request)).text])

    app.middlewares.append(read)
    app.add_subapp("/plain", application(HLSessionMiddleware(manager)))
    app.add_subapp("/keyed", application(HLSessionMiddleware(manager, key=query("chat"))))
    address = serve(app)
    above, below = get(address, "/plain/").json()
    assert above == below
    answers = [get(address, "/keyed/?chat=7").json() for _ in range(2)]
    assert answers[0][0] != answers[1][0]
    assert answers[0][1] == answers[1][1] != answers[0][0]


def test_session_of_a_request(serve: Serve, manager: SessionManager, loop: asyncio.AbstractEventLoop) -> None:
    """For a thread, which has no context of the request; without the middleware there is none."""

    async def ask(request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        session = await loop.run_in_executor(None, contextvars.Context().run, session_of, request)
        found = None if session is None else await session.aid()
        return web.json_response([found, await acurrent_session_id()])

    found, current = get(
        serve(application(HLSessionMiddleware(manager), web.get("/ask", ask))), "/ask"
    ).json()
    assert found == current
    assert SESSION_ID.fullmatch(found)
    bare = web.Application()
    bare.add_routes([web.get("/ask", ask)])
    assert get(serve(bare), "/ask").json() == [None, None]


def test_wrong_options_are_refused() -> None:
    """When the application is put together."""
    with pytest.raises(ConfigurationError, match="key and cookie"):
        HLSessionMiddleware(key=query("chat"), cookie=SignedCookie("a secret of many characters"))
    with pytest.raises(ConfigurationError, match="manager"):
        HLSessionMiddleware("manager")  # type: ignore[arg-type]


# The client


@pytest.fixture
def call(serve: Serve, loop: asyncio.AbstractEventLoop, manager: SessionManager) -> Callable[..., Any]:
    """Calls a server that answers with the headers it got, or another one that sends there."""

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({name.lower(): value for name, value in request.headers.items()})

    async def send_on(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://localhost:{request.url.port}/")

    app = web.Application()
    app.add_routes([web.get("/", echo), web.get("/on", send_on)])
    address = serve(app)

    async def run(path: str, times: int, sent: Any, options: Any, *, in_scope: bool) -> Any:
        async with aiohttp.ClientSession() as client:
            for _ in range(times):
                assert propagate(client, **options) is client
            if not in_scope:
                return None, await (await client.get(url(address, path), headers=sent)).json()
            async with manager.session() as session:
                return await session.aid(), await (await client.get(url(address, path), headers=sent)).json()

    def call(
        path: str = "/", *, times: int = 1, sent: Any = None, in_scope: bool = True, **options: Any
    ) -> Any:
        options = {"hosts": [f"127.0.0.1:{address[1]}"], **options}
        running = run(path, times, sent, options, in_scope=in_scope)
        return asyncio.run_coroutine_threadsafe(running, loop).result(PATIENCE)

    return call


def test_a_class_without_its_parentheses_is_refused_when_the_server_starts(serve: Serve) -> None:
    """Rather than answered with 500 at each request."""

    class Sessions(HLSessionMiddleware):
        """One of the application's own."""

    for kind in (HLSessionMiddleware, Sessions):
        app = web.Application(middlewares=[kind])  # type: ignore[list-item] # the mistake
        with pytest.raises(ConfigurationError, match=rf"takes {kind.__name__}\(\), not {kind.__name__}"):
            serve(app)


@pytest.mark.parametrize("times", [1, 2])
def test_a_call_carries_the_session(call: Callable[..., Any], times: int) -> None:
    """In baggage, beside what is there, or in a header of its own; signed with a secret."""
    session_id, got = call(times=times, sent={"baggage": "user=1"})
    assert got["baggage"] == f"user=1,session.id={session_id}"
    session_id, got = call(times=times, carrier="header")
    assert got["x-session-id"] == session_id
    session_id, got = call(times=times, secret=SECRET)
    assert got["baggage"] == f"session.id={session_id}"
    assert SECRET.verify(str(session_id), got["x-session-signature"], "127.0.0.1")


def test_what_goes_elsewhere_carries_nothing(call: Callable[..., Any]) -> None:
    """Another host, a redirect to one, a call outside every scope, and one with a session of its own."""
    assert "baggage" not in call(hosts=["example.test"])[1]
    assert "baggage" not in call("/on")[1]
    assert "baggage" not in call(in_scope=False)[1]
    assert call(sent={"baggage": f"session.id={SESSION}"})[1]["baggage"] == f"session.id={SESSION}"


def test_a_request_may_be_sent_again_to_another_host(
    serve: Serve, loop: asyncio.AbstractEventLoop, manager: SessionManager
) -> None:
    """By another middleware; each listed host gets the session, signed for itself, and others get nothing."""

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({name.lower(): value for name, value in request.headers.items()})

    app = web.Application()
    app.add_routes([web.get("/", echo)])
    port = serve(app)[1]
    got: list[dict[str, str]] = []

    async def ask_both(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        got.append(await (await handler(request)).json())
        request.url = URL(f"http://localhost:{port}/")
        request.headers["Host"] = f"localhost:{port}"
        response: aiohttp.ClientResponse = await handler(request)
        got.append(await response.json())
        return response

    async def call(*hosts: str) -> str:
        async with aiohttp.ClientSession(middlewares=[ask_both]) as client, manager.session() as session:
            propagate(client, hosts=hosts, secret=SECRET)
            await client.get(f"http://127.0.0.1:{port}/", headers={"baggage": "user=1"})
            return str(await session.aid())

    for hosts in ("127.0.0.1",), ("127.0.0.1", "localhost"):
        session_id = asyncio.run_coroutine_threadsafe(call(*hosts), loop).result(PATIENCE)
        for host, headers in zip(hosts, got, strict=False):
            assert headers["baggage"] == f"user=1,session.id={session_id}"
            assert SECRET.verify(session_id, headers["x-session-signature"], host)
        if len(hosts) == 1:
            assert got[1]["baggage"] == "user=1"
            assert "x-session-signature" not in got[1]
        got.clear()


def test_only_an_aiohttp_client_propagates() -> None:
    """Others are refused by name."""
    with pytest.raises(ConfigurationError, match=r"aiohttp\.ClientSession, not Session"):
        propagate(requests.Session(), hosts=["127.0.0.1"])  # type: ignore[arg-type]
