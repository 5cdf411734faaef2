"""A server that misbehaves in every way, and the three ways to make a call."""

import asyncio
import contextvars
import logging
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trio

from hl_sessions import Session, SessionManager, SessionsClient
from hl_sessions.client.deadline import Deadline
from tests.conftest import PATIENCE, Answer, Request, SessionsAPI

API_KEY = "hl_sk_top\\secret'key\"0123"  # with what a repr or JSON text shows differently
MARGIN = 20.0  # seconds that a busy machine may take beyond a time limit


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds + MARGIN


class StillClock:
    """A clock that goes on only when a test puts it forward: however busy the machine is, no time passes.

    It begins with a whole second, so that whole seconds that are added to it, and taken from it, are exact.
    """

    def __init__(self) -> None:
        self._begun = float(math.ceil(time.monotonic()))
        self.offset = 0.0

    def monotonic(self) -> float:
        return self._begun + self.offset


class Wire:
    """The server's end of one connection."""

    def __init__(self, server: "FaultServer", connection: socket.socket) -> None:
        self.server = server
        self.connection = connection

    def read_request(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            received = self.connection.recv(1)
            if not received:
                raise ConnectionResetError
            head += received
        return head

    def send(self, *parts: bytes) -> None:
        self.connection.sendall(b"".join(parts))

    def drip(self, data: bytes) -> None:
        """Each byte comes well within the time limit, all of them do not."""
        for number in range(len(data)):
            self.send(data[number : number + 1])
            if self.server.stopped.wait(0.05):
                return

    def send_for_ever(self, data: bytes) -> None:
        while not self.server.stopped.is_set():
            self.send(data)

    def say_no_more(self) -> None:
        self.connection.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def wait_until_closed(self) -> None:
        with suppress(OSError):
            while self.connection.recv(65536):
                pass


Play = Callable[[Wire], None]


def is_anybody_connecting() -> bool:
    """Whether a client has a thread that makes a connection."""
    return any(thread.name == "hl-sessions-connect" for thread in threading.enumerate())


class FaultServer:
    """Plays one and the same thing on each connection, then waits for the client to close it."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.opened = 0
        self.stopped = threading.Event()
        self._open = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def base_url(self) -> str:
        return f"http://{self.address}/v4"

    def _accept(self) -> None:
        while True:
            select.select([self._listener], [], [])
            with self._lock:  # a connection is either still to be taken, or counted
                connection, _ = self._listener.accept()
                if self.stopped.is_set():
                    connection.close()
                    return
                self.opened += 1
                self._open += 1
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        wire = Wire(self, connection)
        with suppress(OSError), connection:
            with suppress(OSError):
                self.play(wire)
            wire.wait_until_closed()
        with self._lock:
            self._open -= 1

    def wait_until_all_closed(self) -> None:
        """Wait until the client has closed every connection that it has made, or is still making."""
        wait_until(lambda: not is_anybody_connecting() and self._has_no_connection())

    def _has_no_connection(self) -> bool:
        with self._lock:
            return not self._open and not select.select([self._listener], [], [], 0)[0]

    def close(self) -> None:
        self.stopped.set()
        # The thread waits for a connection: this one wakes it up, at once and on every system.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._open)


@pytest.fixture
def serve() -> Iterator[Callable[[Play], FaultServer]]:
    """Starts servers that play what they are given."""
    servers: list[FaultServer] = []

    def start(play: Play) -> FaultServer:
        servers.append(FaultServer(play))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call counts as one that had to wait for its turn, however busy the machine is."""
    monkeypatch.setattr(Deadline, "is_late", lambda _: False)


@contextmanager
def refusing_address() -> Iterator[str]:
    """Where nobody listens, and nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


class Resolver:
    """A name server that answers when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self._getaddrinfo = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)

    def resolve(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        self.asked.set()
        self.go_on.wait()
        return self._getaddrinfo("127.0.0.1", port, *args, **options)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver(monkeypatch)
    yield resolver
    resolver.go_on.set()


@pytest.fixture
def client(sessions_api: SessionsAPI) -> Iterator[SessionsClient]:
    with SessionsClient(sessions_api.base_url, API_KEY, retries=0) as client:
        yield client


Call = Callable[..., Any]


def call_sync(client: SessionsClient, name: str, *args: Any, **options: Any) -> Any:
    result = getattr(client, name)(*args, **options)
    return list(result) if name == "iter" else result


async def _acall(client: SessionsClient, name: str, args: Any, options: Any) -> Any:
    result = getattr(client, "a" + name)(*args, **options)
    return [item async for item in result] if name == "iter" else await result


def call_asyncio(client: SessionsClient, name: str, *args: Any, **options: Any) -> Any:
    return asyncio.run(_acall(client, name, args, options))


def call_trio(client: SessionsClient, name: str, *args: Any, **options: Any) -> Any:
    return trio.run(_acall, client, name, args, options)


@pytest.fixture(params=[call_sync, call_asyncio, call_trio], ids=["sync", "asyncio", "trio"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method of a client by its name, ``create`` standing for ``acreate`` where there is a loop."""
    call: Call = request.param
    return call


class Gate:
    """Keeps the answers of a sessions API back until it is opened."""

    def __init__(self, api: SessionsAPI) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self._answer = api.answer
        api.answer = self

    def __call__(self, request: Request) -> Answer:
        self.arrived.set()
        assert self.opened.wait(PATIENCE)
        return self._answer(request)


@pytest.fixture
def gate(sessions_api: SessionsAPI) -> Iterator[Gate]:
    gate = Gate(sessions_api)
    yield gate
    gate.opened.set()


@pytest.fixture
def make_manager(sessions_api: SessionsAPI) -> Iterator[Callable[..., SessionManager]]:
    """Makes managers of the sessions API, without retries."""
    managers: list[SessionManager] = []

    def make(**settings: Any) -> SessionManager:
        settings = {"base_url": sessions_api.base_url, "retries": 0, **settings}
        managers.append(SessionManager(**settings))
        return managers[-1]

    yield make
    for manager in managers:
        manager.close()


@pytest.fixture
def manager(make_manager: Callable[..., SessionManager]) -> SessionManager:
    return make_manager()


def wait_until(condition: Callable[[], object]) -> None:
    """For what can only be observed: that a thread has begun to wait."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waiting_threads(session: Session) -> int:
    """How many threads wait for the session to be created by another one."""
    creation = session._details.creation if session._details is not None else None
    return 0 if creation is None else len(creation._wakers)


def in_threads(function: Callable[[], Any], count: int = 1) -> list[Future[Any]]:
    """Call a function in that many threads, each with a copy of the caller's context."""
    futures: list[Future[Any]] = []
    for _ in range(count):
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        target = threading.Thread(target=context.run, args=(_call_into, future, function), daemon=True)
        target.start()
        futures.append(future)
    return futures


def _call_into(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - handed to the test
        future.set_exception(error)


def fail(status: int = 503) -> Callable[[Request], Answer]:
    """What makes a sessions API fail."""
    return lambda _: Answer(status, {"detail": "down"})


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What this package logs."""
    seen: list[logging.LogRecord] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    handler = Recorder()
    logger = logging.getLogger("hl_sessions")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield seen
    logger.setLevel(level)
    logger.removeHandler(handler)
