"""Each message of a WebSocket connection has a session of its own, where it was asked for."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Annotated, Any

import anyio
import pytest

pytest.importorskip("fastapi")

from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.sync.client import ClientConnection, connect

from hl_sessions import (
    ConfigurationError,
    Session,
    SessionManager,
    acurrent_session_id,
    current_session,
    current_session_id,
    with_session,
)
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations import asgi, starlette
from hl_sessions.integrations.asgi import SignedCookie, header, path_param
from tests.integrations.conftest import SESSION_ID, ServeASGI
from tests.sessions_api import Gate, SessionsAPI, fail
from tests.waiting import PATIENCE

BACKENDS = ["asyncio", "trio"]
SECRET = "a secret of many characters"

# Opens a connection to the application that is served last.
Connect = Callable[..., ClientConnection]


@pytest.fixture
def connections() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def by_message(manager: SessionManager, serve_asgi: ServeASGI, connections: ExitStack) -> Any:
    """Serves an application with a session for each message, and gives what connects to it."""

    def serve(app: Any, **options: Any) -> Connect:
        module = asgi if not isinstance(app, Starlette) else starlette
        address = serve_asgi(module.HLSessionMiddleware(app, manager, websocket="message", **options))

        def connect_to(path: str = "/", **headers: str) -> ClientConnection:
            url = "ws://{}:{}".format(*address) + path
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return connections.enter_context(connect(url, additional_headers=names, open_timeout=PATIENCE))

        return connect_to

    return serve


def ask(connection: ClientConnection, text: str = "and now?") -> str:
    connection.send(text)
    answer = connection.recv(PATIENCE)
    assert isinstance(answer, str)
    return answer


async def loop(receive: Any, send: Any, answer: Callable[[str], Any]) -> None:
    """Serve a connection to its end, as applications without a framework do."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(await answer(message["text"]))})


async def read(text: str) -> str | None:
    return await acurrent_session_id()


async def reading_app(scope: Any, receive: Any, send: Any) -> None:
    await loop(receive, send, read)


def test_two_messages_are_two_sessions(by_message: Any, sessions_api: SessionsAPI) -> None:
    """All reads for a message give the same ID, those for the next one another."""

    async def read_twice(text: str) -> str:
        first = await asyncio.to_thread(current_session_id)
        assert current_session_id() == first is not None
        return first

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await loop(receive, send, read_twice)

    connection = by_message(app)()
    assert len({ask(connection) for _ in range(3)}) == sessions_api.posts == 3


def test_a_message_for_which_nobody_reads_makes_no_call(by_message: Any, sessions_api: SessionsAPI) -> None:
    """As a request that nobody reads for."""

    async def handle(text: str) -> bool:
        return current_session() is not None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await loop(receive, send, handle)

    connection = by_message(app)()
    assert [ask(connection) for _ in range(2)] == ["True", "True"]
    assert sessions_api.connections == 0


def test_connect_and_disconnect_are_of_the_connection(manager: SessionManager, serve_asgi: ServeASGI) -> None:
    """Its session is told in the handshake, and is back when the client has gone, after any messages."""
    ended = threading.Event()
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await acurrent_session_id())
        await receive()
        seen.append(current_session_id())
        await send({"type": "websocket.accept"})
        for _ in range(2):
            await receive()
            seen.append(await acurrent_session_id())
        message = await receive()
        seen.append(current_session_id())
        seen.append(message["code"])
        ended.set()

    address = serve_asgi(
        asgi.HLSessionMiddleware(app, manager, websocket="message", response_header="X-Session-ID")
    )
    with connect("ws://{}:{}/".format(*address), open_timeout=PATIENCE) as connection:
        assert connection.response is not None
        told = connection.response.headers["X-Session-ID"]
        connection.send("one")
        connection.send("two")
        connection.close(4321)
    assert ended.wait(PATIENCE)
    *sessions, code = seen
    assert sessions[0] == sessions[1] == sessions[4] == told
    assert len({*sessions}) == 3
    assert code == 4321


def test_connections_are_never_mixed(by_message: Any) -> None:
    """While many connections receive at once, each message has its session from its beginning to its end."""
    clients, messages = 10, 5
    turn: list[asyncio.Event] = []
    waiting = 0

    async def answer(text: str) -> str:
        nonlocal waiting
        before = current_session()
        if not turn:
            turn.append(asyncio.Event())
        event = turn[0]
        waiting += 1
        if waiting == clients:  # everybody is in the middle of a message
            turn[:], waiting = [], 0
            event.set()
        await event.wait()
        assert current_session() is before
        return f"{text} {await acurrent_session_id()}"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await loop(receive, send, answer)

    connect_to = by_message(app)
    connections = [connect_to() for _ in range(clients)]
    ids = set()
    for number in range(messages):
        for client, connection in enumerate(connections):
            connection.send(f"{client}.{number}")
        for client, connection in enumerate(connections):
            text, _, session_id = str(connection.recv(PATIENCE)).partition(" ")
            assert text == f"{client}.{number}"
            ids.add(session_id)
    assert len(ids) == clients * messages


def test_tasks_keep_the_session_of_their_message(by_message: Any) -> None:
    """A task that was started for a message goes on in its session while the next ones come."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        go_on = asyncio.Event()

        async def read_late() -> str | None:
            await go_on.wait()
            return await acurrent_session_id()

        tasks = []

        async def answer(text: str) -> str:
            if text != "all":
                tasks.append(asyncio.create_task(read_late()))
                return str(await acurrent_session_id()) if text == "read" else ""
            go_on.set()
            return " ".join([*map(str, await asyncio.gather(*tasks)), str(await acurrent_session_id())])

        await loop(receive, send, answer)

    connection = by_message(app)()
    first, _ = ask(connection, "read"), ask(connection, "later")
    ids = ask(connection, "all").split()
    assert ids[0] == first
    assert len({*ids}) == 3


def test_a_task_that_serves_the_connection(by_message: Any) -> None:
    """The messages that it receives have sessions there, too."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.create_task(loop(receive, send, read))

    connection = by_message(app)()
    assert len({ask(connection) for _ in range(3)}) == 3


def test_a_task_for_a_message_that_receives_another(by_message: Any) -> None:
    """It has the session of what it has received, and the loop that goes on after it a new one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def answer(text: str) -> str | None:
            if text == "task":
                await asyncio.create_task(answer_the_next())
            return await acurrent_session_id()

        async def answer_the_next() -> None:
            await receive()
            await send({"type": "websocket.send", "text": await acurrent_session_id()})

        await loop(receive, send, answer)

    connection = by_message(app)()
    first = ask(connection)
    connection.send("task")
    inner = ask(connection)
    outer = connection.recv(PATIENCE)
    ids = [first, inner, outer, ask(connection), ask(connection)]
    assert len({*ids}) == 5


class TestScopesOfTheApplication:
    """Those that it has opened around ``receive()`` stay as they are."""

    def test_around_all_messages(self, by_message: Any, manager: SessionManager) -> None:
        """They are all of the application's session."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            with manager.session(new=True):
                await loop(receive, send, read)

        connection = by_message(app)()
        assert len({ask(connection) for _ in range(3)}) == 1

    def test_of_another_manager(self, by_message: Any, other_manager: SessionManager) -> None:
        """So is a scope of another manager, and one of a conversation."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async with other_manager.session(key="a"):
                await loop(receive, send, read)

        connection = by_message(app)()
        assert len({ask(connection) for _ in range(3)}) == 1

    def test_around_some_messages(self, by_message: Any, manager: SessionManager) -> None:
        """After it the message is back in whose scope it was opened, and then each has its own again."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def answer(text: str) -> str | None:
                if text != "dialogue":
                    return await acurrent_session_id()
                before = await acurrent_session_id()
                with manager.session(new=True):
                    for _ in range(2):
                        await receive()
                        await send({"type": "websocket.send", "text": await acurrent_session_id()})
                assert current_session_id() == before
                return before

            await loop(receive, send, answer)

        connection = by_message(app)()
        first = ask(connection)
        connection.send("dialogue")
        inner = [ask(connection), ask(connection)]
        assert inner[0] == inner[1]
        ids = [first, inner[0], connection.recv(PATIENCE), ask(connection), ask(connection)]
        assert len({*ids}) == 5

    @pytest.mark.parametrize("kind", ["scope", "decorator"])
    def test_that_joins_is_none_of_its_own(self, by_message: Any, manager: SessionManager, kind: str) -> None:
        """A scope that joins the connection's session leaves each message its own, and ends without harm."""
        ended = threading.Event()
        left: list[Session | None] = []

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if kind == "scope":
                with manager.session():
                    await loop(receive, send, read)
            else:
                await with_session(loop)(receive, send, read)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            connection = current_session()
            await serve(scope, receive, send)
            left.append(current_session())
            assert left == [connection]
            ended.set()

        connection = by_message(app)()
        assert len({ask(connection) for _ in range(3)}) == 3
        connection.close()
        assert ended.wait(PATIENCE)


class TestConversations:
    """The messages of a connection are of its conversation."""

    def test_key(self, by_message: Any) -> None:
        """The one that its request names; without one each message has a session of its own."""
        connect_to = by_message(reading_app, key=header("X-Chat-ID"))
        one, other = connect_to(X_Chat_ID="1"), connect_to(X_Chat_ID="2")
        again = connect_to(X_Chat_ID="1")
        ids = [ask(one), ask(one), ask(again), ask(other)]
        assert ids[0] == ids[1] == ids[2] != ids[3]
        keyless = connect_to()
        assert len({ask(keyless), ask(keyless), *ids}) == 4

    def test_async_key(self, by_message: Any) -> None:
        """It was awaited once, for the connection."""
        asked: list[Any] = []

        async def key(scope: Any) -> str:
            asked.append(scope)
            return str(scope["path"])

        connect_to = by_message(reading_app, key=key)
        one, other = connect_to("/1"), connect_to("/2")
        ids = [ask(one), ask(one), ask(other)]
        assert ids[0] == ids[1] != ids[2]
        assert len(asked) == 2

    def test_path_param(self, by_message: Any) -> None:
        """The route is known when the first message comes."""

        async def chat(websocket: WebSocket) -> None:
            await websocket.accept()
            async for _ in websocket.iter_text():
                await websocket.send_text(str(await acurrent_session_id()))

        connect_to = by_message(Starlette(routes=[WebSocketRoute("/{chat}", chat)]), key=path_param("chat"))
        one, again, other = connect_to("/1"), connect_to("/1"), connect_to("/2")
        ids = [ask(one), ask(one), ask(again), ask(other)]
        assert ids[0] == ids[1] == ids[2] != ids[3]

    def test_cookie(self, by_message: Any) -> None:
        """A browser that brings no cookie has one conversation all the same, which it is told."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await acurrent_session_id()
            await loop(receive, send, read)

        connect_to = by_message(app, cookie=SignedCookie(SECRET))
        first = connect_to()
        cookie = first.response.headers["Set-Cookie"].partition(";")[0]
        again = connect_to(Cookie=cookie)
        assert len({ask(first), ask(first), ask(again), ask(again)}) == 1
        assert ask(connect_to()) != ask(first)

    def test_cookie_that_is_not_told(self, by_message: Any) -> None:
        """Where nobody reads in time for the handshake, the messages are one conversation nevertheless."""
        connection = by_message(reading_app, cookie=SignedCookie(SECRET))()
        assert "Set-Cookie" not in connection.response.headers
        assert ask(connection) == ask(connection)

    def test_that_ends(self, by_message: Any) -> None:
        """The next message begins a new session, as the next scope does."""

        async def answer(text: str) -> str | None:
            session_id = await acurrent_session_id()
            if text == "/new":
                current_session().end()  # type: ignore[union-attr]
            return session_id

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await loop(receive, send, answer)

        connection = by_message(app, key=header("X-Chat-ID"))(X_Chat_ID="1")
        ids = [ask(connection, text) for text in ("a", "/new", "b", "c")]
        assert ids[0] == ids[1] != ids[2] == ids[3]

    def test_a_trusted_caller(self, by_message: Any, sessions_api: SessionsAPI) -> None:
        """All messages of its connection are of the session that it has named."""
        session_id, secret = "sesh_0123456789abcdefghij", SharedSecret(SECRET)
        connect_to = by_message(reading_app, trust=secret)
        signature = secret.sign(session_id, "127.0.0.1")
        trusted = connect_to(X_Session_ID=session_id, X_Session_Signature=signature)
        assert {ask(trusted), ask(trusted)} == {session_id}
        assert sessions_api.posts == 0
        stranger = connect_to(X_Session_ID=session_id)
        assert len({ask(stranger), ask(stranger), session_id}) == 3

    def test_each_scope_is_left_once(self, make_manager: Any, serve_asgi: ServeASGI) -> None:
        """When the connection has ended no scope is in the conversation any more."""
        manager = make_manager(idle_timeout=PATIENCE)
        ended = threading.Event()
        in_use: list[int] = []

        async def answer(text: str) -> str | None:
            session_id = await acurrent_session_id()
            in_use.append(len(manager.conversations._in_use._sessions["1"]))
            return session_id

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await loop(receive, send, answer)

        async def outermost(scope: Any, receive: Any, send: Any) -> None:
            middleware = asgi.HLSessionMiddleware(
                app, manager, key=header("X-Chat-ID"), websocket="message", eager=scope["path"] == "/eager"
            )
            await middleware(scope, receive, send)
            ended.set()

        address = serve_asgi(outermost)
        for path, most in (("/", 1), ("/eager", 2)):
            in_use.clear()
            ended.clear()
            url = "ws://{}:{}".format(*address) + path
            with connect(url, additional_headers={"X-Chat-ID": "1"}, open_timeout=PATIENCE) as connection:
                assert len({ask(connection) for _ in range(3)}) == 1
            assert ended.wait(PATIENCE)
            assert in_use == [most] * 3
            assert manager.conversations._in_use._sessions == {}


class TestEager:
    """The session of each message is created before the application has it."""

    def test_a_plain_read_gives_it(self, by_message: Any, sessions_api: SessionsAPI) -> None:
        """It never blocks."""

        async def peek(text: str) -> str | None:
            return current_session_id(create=False)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await loop(receive, send, peek)

        connection = by_message(app, eager=True)()
        ids = {ask(connection) for _ in range(2)}
        assert len(ids) == 2
        assert all(SESSION_ID.fullmatch(each) for each in ids)

    def test_while_the_api_is_down(self, by_message: Any, sessions_api: SessionsAPI) -> None:
        """The message comes all the same."""
        sessions_api.answer = fail()
        connection = by_message(reading_app, eager=True)()
        assert ask(connection) == "None"

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_who_gives_up_waiting_loses_no_message(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, backend: str
    ) -> None:
        """It is received the next time."""
        messages = [{"type": "websocket.receive", "text": str(number)} for number in range(2)]
        texts: list[str] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            sessions_api.answer = gate
            async with anyio.create_task_group() as tasks:

                async def give_up() -> None:
                    await anyio.to_thread.run_sync(gate.arrived.wait, PATIENCE)
                    tasks.cancel_scope.cancel()

                tasks.start_soon(give_up)
                await receive()
            gate.opened.set()
            for _ in range(2):
                texts.append((await receive())["text"])
                assert current_session_id(create=False) is not None

        async def serve() -> None:
            middleware: Any = asgi.HLSessionMiddleware(app, manager, websocket="message", eager=True)
            await middleware({"type": "websocket", "headers": []}, receive, None)

        sessions_api.answer = gate._answer  # the session of the connection is created at once
        anyio.run(serve, backend=backend)
        assert texts == ["0", "1"]


@pytest.mark.parametrize("backend", BACKENDS)
class TestFrameworks:
    """Whose own loops receive in the task of the handler."""

    def test_starlette_functions(self, manager: SessionManager, backend: str) -> None:
        """Both ways to receive, and a time limit around one."""

        async def endpoint(websocket: WebSocket) -> None:
            await websocket.accept()
            with anyio.fail_after(PATIENCE):
                await websocket.receive_json()
            await websocket.send_text(str(await acurrent_session_id()))
            async for _ in websocket.iter_text():
                await websocket.send_text(str(await acurrent_session_id()))

        self.check(Starlette(routes=[WebSocketRoute("/", endpoint)]), manager, backend)

    def test_starlette_endpoints(self, manager: SessionManager, backend: str) -> None:
        """Each call of on_receive has a session of its own, and on_disconnect that of the connection."""
        outside: list[Any] = []

        class Endpoint(WebSocketEndpoint):
            encoding = "text"

            async def on_connect(self, websocket: WebSocket) -> None:
                outside.append(current_session())
                await websocket.accept()

            async def on_receive(self, websocket: WebSocket, data: Any) -> None:
                await websocket.send_text(str(await acurrent_session_id()))

            async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
                outside.extend((current_session(), close_code))

        self.check(Starlette(routes=[WebSocketRoute("/", Endpoint)]), manager, backend)
        assert outside[0] is outside[1] is not None
        assert outside[2] == 3001

    def test_fastapi(self, manager: SessionManager, backend: str) -> None:
        """The dependency gives the session of the connection, what is read that of the message."""
        app = FastAPI()
        ended: list[Any] = []

        @app.websocket("/")
        async def talk(
            websocket: WebSocket, session: Annotated[Session, Depends(starlette.get_session)]
        ) -> None:
            await websocket.accept()
            try:
                while True:
                    await websocket.receive_text()
                    assert current_session() is not session
                    await websocket.send_text(str(await acurrent_session_id()))
            except WebSocketDisconnect as end:
                ended.extend((current_session() is session, end.code))

        self.check(app, manager, backend)
        assert ended == [True, 3001]

    def check(self, app: Starlette, manager: SessionManager, backend: Any) -> None:
        app.add_middleware(starlette.HLSessionMiddleware, manager, websocket="message")
        with TestClient(app, backend=backend) as client, client.websocket_connect("/") as websocket:
            ids = set()
            for _ in range(3):
                websocket.send_text("1")
                ids.add(websocket.receive_text())
            websocket.close(3001)
        assert len(ids) == 3


def test_requests_are_as_ever(manager: SessionManager) -> None:
    """The option is about WebSockets."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        before = current_session()
        await receive()
        assert current_session() is before is not None
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    client = TestClient(asgi.HLSessionMiddleware(app, manager, websocket="message"))
    assert client.post("/", content=b"x").status_code == 200


def test_where_it_is_not_asked_for_nothing_is_in_between(manager: SessionManager) -> None:
    """The application receives from the server itself."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(receive)

    async def receive() -> Any: ...

    every: list[dict[str, Any]] = [{}, {"websocket": "connection"}]
    for options in every:
        middleware: Any = asgi.HLSessionMiddleware(app, manager, **options)
        asyncio.run(middleware({"type": "websocket", "headers": []}, receive, None))
    assert seen == [receive] * 2


@pytest.mark.parametrize("value", ["messages", True, None, ["message"]], ids=repr)
def test_wrong_value(value: Any, manager: SessionManager) -> None:
    """It is a ConfigurationError that names the option, the value and the way out."""
    for module in (asgi, starlette):
        with pytest.raises(ConfigurationError) as caught:
            module.HLSessionMiddleware(reading_app, manager, websocket=value)
        assert f"websocket={value!r} must be 'connection'" in str(caught.value)
        assert "or 'message' for one for each" in str(caught.value)
