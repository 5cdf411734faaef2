"""What is started in a request and serves others in its session is told of, its background tasks are not."""

import asyncio
import contextvars
import gc
import logging
import queue
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from random import Random
from typing import Any

import pytest

from hl_sessions import (
    Session,
    SessionManager,
    acurrent_session_id,
    bind,
    current_session,
    current_session_id,
    unbound,
    with_session,
)
from hl_sessions.integrations import asgi, wsgi
from hl_sessions.process.once import Once
from hl_sessions.sessions import late_reads
from hl_sessions.sessions.opened import unobserve
from tests.interpreters import collects_at_once
from tests.isolation.conftest import CountingClient
from tests.sessions_api import SessionsAPI, create_sessions_and_logs
from tests.waiting import PATIENCE, StillClock

REQUESTS = 60
Handler = Callable[[], Awaitable[object]]
CHAT_1, CHAT_2 = ({"headers": [(b"x-chat-id", number)]} for number in (b"1", b"2"))


class Request:
    """A request, as frameworks make it of its scope."""

    def __init__(self, scope: Any) -> None:
        self.scope = scope


class WSGIRequest:
    """The same of its environment."""

    def __init__(self, environ: Any) -> None:
        self.environ = environ


request_at_hand: contextvars.ContextVar[Request | WSGIRequest] = contextvars.ContextVar("request_at_hand")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    """Time that only passes where a test says so, in a process in which nothing was told yet."""
    clock = StillClock()
    monkeypatch.setattr(late_reads, "monotonic", clock.monotonic)
    monkeypatch.setattr(late_reads, "_traffic", late_reads._Traffic())
    monkeypatch.setattr(late_reads, "_once", Once())
    late_reads._watched.clear()
    unobserve(late_reads._note_start)
    return clock


@pytest.fixture
def manager() -> Iterator[SessionManager]:
    with SessionManager(client=CountingClient()) as manager:
        yield manager


class Service:
    """An application, some of whose requests take a while.

    Attributes:
        handlers: what is done for a path.
        seen: the IDs that were read late.
        is_over: whether what was started is to end.
    """

    def __init__(self, manager: SessionManager, clock: StillClock, **options: Any) -> None:
        self.clock = clock
        self.handlers: dict[str, Handler] = {"/other": self._other}
        self.seen: list[str | None] = []
        self.is_over = False
        self._app: Any = asgi.HLSessionMiddleware(self._run, manager, **options)
        self._random = Random(1)
        self._kept: list[Any] = []

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        request_at_hand.set(Request(scope))
        await self.handlers[scope["path"]]()

    async def _other(self) -> None:
        self.take(0.02)
        await turns()

    def take(self, seconds: float) -> None:
        """Let some time pass, about so much."""
        self.clock.offset += seconds * (0.5 + self._random.random())

    def keep(self, task: Any) -> None:
        """Keep a task until the end, as an application does."""
        self._kept.append(task)

    async def request(self, path: str, **more: Any) -> None:
        """Be asked for a path."""
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"key=s3cret"}
        await self._app(scope | more, None, None)

    async def requests(self, path: str, *, apart: float = 1.0, **more: Any) -> None:
        """Be asked again and again, with time between."""
        for _ in range(REQUESTS):
            self.take(apart)
            await self.request(path, **more)
            await turns()
        self.is_over = True
        await turns()

    def read(self) -> None:
        """Read the ID of the session."""
        self.seen.append(current_session_id())


@pytest.fixture
def service(manager: SessionManager, clock: StillClock) -> Service:
    return Service(manager, clock)


async def look_at_the_key() -> None:
    """Find out the conversation, and not its ID."""
    session = current_session()
    assert session is not None
    assert session.key is not None


async def turns() -> None:
    """Let everything that is ready run, and what becomes ready by that."""
    for _ in range(10):
        await asyncio.sleep(0)


def told(records: list[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records if "code that was started in it" in record.getMessage()]


async def loop_of_tasks(service: Service) -> None:
    """As of an MCP server of version 1, or gradio: a task for each message that a request hands over."""
    messages: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def handle(message: asyncio.Future[None]) -> None:
        service.take(0.01)
        service.read()
        message.set_result(None)

    async def serve() -> None:
        while True:
            service.keep(asyncio.create_task(handle(await messages.get())))

    async def initialize() -> None:
        service.keep(asyncio.create_task(serve()))

    async def call() -> None:
        message = asyncio.get_running_loop().create_future()
        messages.put_nowait(message)
        await message

    service.handlers |= {"/initialize": initialize, "/call": call}


async def consumer(service: Service) -> None:
    """As of a runtime of agents, which is handed a message by a request that does not wait for it."""
    messages: asyncio.Queue[int] = asyncio.Queue()

    async def consume() -> None:
        while True:
            await messages.get()
            service.read()

    async def initialize() -> None:
        service.keep(asyncio.create_task(consume()))

    async def call() -> None:
        messages.put_nowait(1)

    service.handlers |= {"/initialize": initialize, "/call": call}


async def thread_with_a_context(service: Service) -> None:
    """As of a thread that inherits the context, or was given a copy."""
    messages: queue.Queue[Future[None]] = queue.Queue()

    def consume() -> None:
        while True:
            message = messages.get()
            service.read()
            message.set_result(None)

    async def initialize() -> None:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(consume,), daemon=True).start()

    async def call() -> None:
        message: Future[None] = Future()
        messages.put(message)
        await asyncio.wait_for(asyncio.wrap_future(message), PATIENCE)

    service.handlers |= {"/initialize": initialize, "/call": call}


async def timers(service: Service) -> None:
    """As of a scheduler, which is woken by each new job, and wakes itself from then on."""
    loop = asyncio.get_running_loop()

    done: asyncio.Queue[None] = asyncio.Queue()

    async def job() -> None:
        service.read()
        done.put_nowait(None)

    def run_jobs() -> None:
        if not service.is_over:
            service.keep(loop.create_task(job()))
            loop.call_later(1e-6, run_jobs)

    async def initialize() -> None:
        loop.call_soon_threadsafe(run_jobs)

    async def call() -> None:
        service.take(0.01)
        for _ in range(3):
            await asyncio.wait_for(done.get(), PATIENCE)

    service.handlers |= {"/initialize": initialize, "/call": call}


WHERE_NO_THREAD_INHERITS = pytest.mark.skipif(
    getattr(sys.flags, "thread_inherit_context", 0) == 1, reason="a thread may be the parent of a task"
)
STARTERS = [loop_of_tasks, consumer, thread_with_a_context, timers]
FOREIGN = [*STARTERS[:-1], pytest.param(timers, marks=WHERE_NO_THREAD_INHERITS)]


@pytest.mark.parametrize("start", FOREIGN)
@pytest.mark.parametrize("options", [{}, {"key": asgi.header("X-Chat-ID")}], ids=["plain", "keyed"])
def test_what_serves_others_in_the_session_of_a_request_is_told_of_once(
    start: Callable[[Service], Awaitable[None]],
    options: dict[str, Any],
    manager: SessionManager,
    clock: StillClock,
    records: list[logging.LogRecord],
) -> None:
    """One line has the request, without its query, how long ago it ended, and the ways out."""
    service = Service(manager, clock, **options)

    async def main() -> None:
        await start(service)
        await service.request("/initialize", headers=[(b"x-chat-id", b"1")])
        await service.requests("/call")

    asyncio.run(main())
    assert len(set(service.seen)) == 1  # what is read stays what it was
    assert None not in service.seen
    assert len(told(records)) == 1
    line = told(records)[0]
    assert "'POST /initialize'" in line
    assert "s3cret" not in line
    seconds = int(line.split(" seconds ago")[0].split()[-1])
    assert 0 < seconds < clock.offset
    assert all(way in line for way in ("unbound(...)", "mcp.connect", "gradio.connect", "guide"))


@pytest.mark.parametrize("start", STARTERS[:-1])
@pytest.mark.parametrize(("chat", "is_told"), [(CHAT_1, False), (CHAT_2, True)], ids=["same chat", "other"])
@pytest.mark.parametrize("read", [acurrent_session_id, look_at_the_key])
def test_what_serves_its_own_conversation_is_not_told_of(
    *,
    start: Callable[[Service], Awaitable[None]],
    chat: dict[str, Any],
    is_told: bool,
    read: Handler,
    manager: SessionManager,
    clock: StillClock,
    records: list[logging.LogRecord],
) -> None:
    """A task for each chat, which is handed the later messages of it, has the session that it should have."""
    service = Service(manager, clock, key=asgi.header("X-Chat-ID"))

    async def main() -> None:
        await start(service)
        call = service.handlers["/call"]

        async def read_and_call() -> None:
            await read()
            await call()

        service.handlers["/call"] = read_and_call
        await service.request("/initialize", **CHAT_1)
        await service.requests("/call", **chat)
        clock.offset += late_reads.LONG_AFTER
        service.is_over = False
        await service.requests("/call", **chat)

    asyncio.run(main())
    assert len(set(service.seen)) == 1
    assert len(told(records)) == is_told


@pytest.mark.parametrize("start", STARTERS)
def test_started_by_unbound_it_has_no_session(
    start: Callable[[Service], Awaitable[None]], service: Service, records: list[logging.LogRecord]
) -> None:
    """The way out that the line names is one."""

    async def main() -> None:
        await start(service)
        service.handlers["/initialize"] = unbound(service.handlers["/initialize"])
        await service.request("/initialize")
        await service.requests("/call")

    asyncio.run(main())
    assert set(service.seen) == {None}
    assert not told(records)


def test_datapoints_are_reads(
    make_manager: Callable[..., SessionManager],
    sessions_api: SessionsAPI,
    clock: StillClock,
    records: list[logging.LogRecord],
) -> None:
    """Code that only logs in the session of an ended request is found, too."""
    sessions_api.answer = create_sessions_and_logs
    manager = make_manager(project="support")
    service = Service(manager, clock)
    service.read = lambda: service.seen.append(  # type: ignore[method-assign]
        manager.log(source="answer", output="fine")
    )

    async def main() -> None:
        await loop_of_tasks(service)
        initialize = service.handlers["/initialize"]

        async def read_and_initialize() -> None:
            await acurrent_session_id()
            await initialize()

        service.handlers["/initialize"] = read_and_initialize
        await service.request("/initialize")
        await service.requests("/call")

    asyncio.run(main())
    assert len(told(records)) == 1


# Where requests are always served, and so reads always fall into some


async def serve_always(service: Service, step: Handler) -> None:
    """Be asked for the start, and then take steps, during another request after the first one."""
    is_over = asyncio.Event()
    service.handlers["/long"] = is_over.wait
    await service.request("/start", **CHAT_1)
    await step()
    long = asyncio.ensure_future(service.request("/long"))
    for _ in range(10):
        service.take(0.1)
        await step()
    is_over.set()
    await long


def serve_in_a_loop(service: Service) -> None:
    """As a server of MCP 1.x, whose loop sets a variable to the request that it works for."""
    messages: asyncio.Queue[tuple[Any, asyncio.Future[None]]] = asyncio.Queue()

    async def serve() -> None:
        while True:
            request, answer = await messages.get()
            token = request_at_hand.set(request)
            service.read()
            request_at_hand.reset(token)
            answer.set_result(None)

    async def start() -> None:
        service.keep(asyncio.create_task(serve()))

    async def call() -> None:
        answer = asyncio.get_running_loop().create_future()
        messages.put_nowait((request_at_hand.get(), answer))
        await answer

    async def read_and_call() -> None:
        await acurrent_session_id()
        await call()

    service.handlers |= {"/start": start, "/call": call, "/read-and-call": read_and_call}


@pytest.mark.parametrize(
    ("options", "path", "more", "is_told"),
    [
        pytest.param({}, "/call", CHAT_1, True, id="plain"),
        pytest.param({"key": asgi.header("X-Chat-ID")}, "/read-and-call", CHAT_2, True, id="other chat"),
        pytest.param({"key": asgi.header("X-Chat-ID")}, "/read-and-call", CHAT_1, False, id="same chat"),
        pytest.param({"key": asgi.header("X-Chat-ID")}, "/call", CHAT_1, False, id="same chat, not read"),
    ],
)
def test_a_loop_that_has_other_requests_at_hand(
    *,
    options: dict[str, Any],
    path: str,
    more: dict[str, Any],
    is_told: bool,
    manager: SessionManager,
    clock: StillClock,
    records: list[logging.LogRecord],
) -> None:
    """It is found on a busy server, too, but it may serve requests of its own conversation."""
    service = Service(manager, clock, **options)

    async def main() -> None:
        serve_in_a_loop(service)
        await serve_always(service, lambda: service.request(path, **more))

    asyncio.run(main())
    assert len(service.seen) == 11
    assert len(set(service.seen)) == 1
    assert len(told(records)) == is_told


async def a_bound_function(service: Service) -> None:
    async def start() -> None:
        read = bind(service.read)

        async def call() -> None:
            read()

        service.handlers["/call"] = call

    service.handlers["/start"] = start
    await serve_always(service, lambda: service.request("/call"))


async def a_generator(service: Service) -> None:
    @with_session
    def read() -> Iterator[None]:
        while True:
            service.read()
            yield

    async def start() -> None:
        reads = read()

        async def call() -> None:
            next(reads)

        service.handlers["/call"] = call
        service.keep(reads)

    service.handlers["/start"] = start
    await serve_always(service, lambda: service.request("/call"))


async def a_task_that_asks_its_own_application(service: Service) -> None:
    pace = Pace(service)

    async def work() -> None:
        while await pace.wait():
            await service.request("/other")
            service.read()

    async def start() -> None:
        service.keep(asyncio.create_task(work()))

    service.handlers["/start"] = start
    await serve_always(service, pace.go_on)
    await pace.go_on(goes_on=False)


class Shared:
    request: Any = None


async def a_task_beside_an_object_that_all_requests_change(service: Service) -> None:
    pace = Pace(service)
    place: contextvars.ContextVar[Any] = contextvars.ContextVar("place")
    shared = Shared()

    async def work() -> None:
        while await pace.wait():
            service.read()

    async def start() -> None:
        place.set(shared)
        service.keep(asyncio.create_task(work()))

    async def call() -> None:
        shared.request = request_at_hand.get()
        await pace.go_on()

    service.handlers |= {"/start": start, "/call": call}
    await serve_always(service, lambda: service.request("/call"))
    await pace.go_on(goes_on=False)


@pytest.mark.parametrize(
    "serve",
    [
        a_bound_function,
        a_generator,
        a_task_that_asks_its_own_application,
        a_task_beside_an_object_that_all_requests_change,
    ],
)
def test_other_requests_beside_right_code(
    serve: Callable[[Service], Awaitable[None]], service: Service, records: list[logging.LogRecord]
) -> None:
    """It is not told of, whatever else is in its context."""
    asyncio.run(serve(service))  # type: ignore[arg-type]
    assert len(service.seen) == 11
    assert len(set(service.seen)) == 1
    assert not told(records)


@collects_at_once
def test_nothing_stays_behind(service: Service, manager: SessionManager) -> None:
    """Requests whose tasks have read late are gone with these, and no longer watched."""
    handles: list[weakref.ref[Any]] = []

    async def start() -> None:
        handles.append(weakref.ref(current_session()))

        async def work() -> None:
            for _ in range(3):
                await asyncio.sleep(0)
                service.read()

        asyncio.create_task(work())  # noqa: RUF006 - it is gone when it has ended

    async def main() -> None:
        service.handlers["/start"] = start
        for _ in range(REQUESTS):
            await service.request("/start")
            service.take(20)
        await turns()
        await service.request("/other")

    asyncio.run(main())
    gc.collect()
    assert len(set(service.seen)) == REQUESTS
    assert not late_reads._watched
    assert [handle for handle in handles if handle() is not None] == []


def test_a_handle_that_somebody_holds_means_what_it_says(
    service: Service, records: list[logging.LogRecord]
) -> None:
    """Reading a handle that was kept, in the requests of others, is nothing to be told of."""
    handles: list[Session | None] = []

    async def start() -> None:
        handles.append(current_session())
        service.keep(contextvars.copy_context())
        await acurrent_session_id()

    async def read() -> None:
        assert handles[0] is not None
        service.take(0.01)
        service.seen.append(handles[0].id)

    service.handlers |= {"/start": start, "/read": read}

    async def main() -> None:
        await service.request("/start")
        await service.requests("/read")

    asyncio.run(main())
    assert len(set(service.seen)) == 1
    assert not told(records)


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_thread_is_found_behind_wsgi(
    *, is_busy: bool, manager: SessionManager, clock: StillClock, records: list[logging.LogRecord]
) -> None:
    """So it is behind the other gateway, whose bodies end when they are closed."""
    messages: queue.Queue[tuple[WSGIRequest, Future[None]]] = queue.Queue()
    random = Random(1)

    def consume() -> None:
        while True:
            request, answer = messages.get()
            if is_busy:
                request_at_hand.set(request)
            current_session_id()
            answer.set_result(None)

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        if environ["PATH_INFO"] == "/start":
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(consume,), daemon=True).start()
        yield b"begun"
        answer: Future[None] = Future()
        messages.put((WSGIRequest(environ), answer))
        answer.result(PATIENCE)

    app = wsgi.HLSessionMiddleware(application, manager)

    def call(path: str) -> Any:
        environ = {
            "REQUEST_METHOD": "PUT",
            "SCRIPT_NAME": "/api",
            "PATH_INFO": path,
            "QUERY_STRING": "s3cret",
        }
        body: Any = app(environ, lambda *_: lambda _: None)
        return body

    opened = []
    for number in range(REQUESTS):
        body = call("/called" if number else "/start")
        clock.offset += 0.01
        assert list(body) == [b"begun"]
        body.close()
        if is_busy:
            opened.append(call("/opened"))
        clock.offset += 0.5 + random.random()
    assert len(told(records)) == 1
    assert "'PUT /api/start'" in told(records)[0]


# What goes on for its own request


class Pace:
    """Lets a background task go on at times that have nothing to do with requests, or all with the clock."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._next: asyncio.Future[asyncio.Future[bool]] = asyncio.get_running_loop().create_future()

    async def wait(self) -> bool:
        """Wait for the next time, and return whether there is one."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._next.set_result(future)
        return await future

    async def go_on(self, *, goes_on: bool = True) -> None:
        """Let it go on once, and come back, unless it is to end."""
        future = await asyncio.wait_for(self._next, PATIENCE)
        self._next = asyncio.get_running_loop().create_future()
        future.set_result(goes_on)
        if goes_on:
            await asyncio.wait_for(asyncio.shield(self._next), PATIENCE)


BACKGROUND: dict[str, Callable[[Service, Pace], Awaitable[object]]] = {}


def background(function: Callable[[Service, Pace], Awaitable[object]]) -> Any:
    BACKGROUND[function.__name__] = function
    return function


@background
async def a_task(service: Service, pace: Pace) -> None:
    async def work() -> None:
        while await pace.wait():
            service.read()

    service.keep(asyncio.create_task(work()))


@background
async def a_task_with_subtasks(service: Service, pace: Pace) -> None:
    async def read() -> None:
        await asyncio.sleep(0)
        service.read()

    async def work() -> None:
        while await pace.wait():
            await asyncio.gather(read(), asyncio.to_thread(service.read), read())

    service.keep(asyncio.create_task(work()))


@background
async def a_task_that_starts_the_next(service: Service, pace: Pace) -> None:
    async def work() -> None:
        if await pace.wait():
            service.read()
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: service.keep(loop.create_task(work())))

    service.keep(asyncio.create_task(work()))


@background
async def a_bound_thread(service: Service, pace: Pace) -> None:
    loop = asyncio.get_running_loop()

    async def read() -> None:
        service.read()

    def work() -> None:
        while asyncio.run_coroutine_threadsafe(pace.wait(), loop).result():
            asyncio.run_coroutine_threadsafe(read(), loop).result()

    threading.Thread(target=bind(work)).start()


async def at_any_time(service: Service, pace: Pace) -> None:
    """Requests now and then, and reads now and then: some of them come together."""
    random = Random(2)
    for _ in range(REQUESTS):
        request = asyncio.ensure_future(service.request("/other"))
        if random.random() < 0.5:
            await turns()
        await pace.go_on()
        await request
        service.take(random.choice([0.01, 1]))
        for _ in range(random.randrange(3)):
            await pace.go_on()
            service.take(1)


async def by_the_clock(service: Service, pace: Pace) -> None:
    """A probe asks once in ten seconds, and as often something reads, always just after it."""
    random = Random(3)

    async def probed() -> None:
        service.clock.offset += 0.005 + random.random() * 1e-3
        await pace.go_on()

    service.handlers["/probe"] = probed
    begun = service.clock.offset
    for number in range(REQUESTS):
        service.clock.offset = begun + 10.0 * number
        await service.request("/probe")


async def on_a_busy_server(service: Service, pace: Pace) -> None:
    """There is no time at which no request is served."""
    go_on = asyncio.Event()

    async def long() -> None:
        await go_on.wait()

    service.handlers["/long"] = long
    for _ in range(REQUESTS):
        former, go_on = go_on, asyncio.Event()
        service.keep(asyncio.ensure_future(service.request("/long")))
        await turns()
        service.take(0.5)
        former.set()
        await pace.go_on()
        service.take(0.5)
    go_on.set()
    await turns()


async def beside_a_websocket(service: Service, pace: Pace) -> None:
    """A connection is open all the time."""
    ended = asyncio.Event()

    async def chat() -> None:
        await ended.wait()

    service.handlers["/chat"] = chat
    connection = asyncio.ensure_future(service.request("/chat", type="websocket"))
    await turns()
    for _ in range(REQUESTS):
        await pace.go_on()
        service.take(1)
    ended.set()
    await connection


async def with_a_request_for_each_step(service: Service, pace: Pace) -> None:
    """A page asks for the next step of the task, which is answered once there is one, and asks again."""
    random = Random(4)
    for _ in range(REQUESTS):
        has_come = asyncio.Event()
        service.handlers["/next"] = has_come.wait
        service.clock.offset += 0.2
        request = asyncio.ensure_future(service.request("/next"))
        await turns()
        service.clock.offset += 0.2 + random.random()
        await pace.go_on()
        has_come.set()
        await request


async def begin(name: str, service: Service) -> Pace:
    """Begin in a request what goes on after it."""
    pace = Pace(service)

    async def start() -> None:
        await BACKGROUND[name](service, pace)

    service.handlers["/start"] = start
    await service.request("/start")
    return pace


TRAFFIC = [at_any_time, by_the_clock, on_a_busy_server, beside_a_websocket, with_a_request_for_each_step]


@pytest.mark.parametrize("traffic", TRAFFIC)
@pytest.mark.parametrize("name", list(BACKGROUND))
def test_what_goes_on_for_its_own_request_is_not_told_of(
    name: str,
    traffic: Callable[[Service, Pace], Awaitable[None]],
    service: Service,
    records: list[logging.LogRecord],
) -> None:
    """A background task may read for long and often, while other requests are served."""

    async def main() -> None:
        pace = await begin(name, service)
        await turns()
        await traffic(service, pace)
        await pace.go_on(goes_on=False)

    asyncio.run(main())
    assert len(service.seen) > 10
    assert len(set(service.seen)) == 1
    assert not told(records)


@pytest.mark.parametrize("name", list(BACKGROUND))
def test_a_background_task_is_soon_left_alone(name: str, service: Service) -> None:
    """When it is clear that it is one, requests take what they took before, and its reads hardly more."""

    async def main() -> None:
        pace = await begin(name, service)
        await pace.go_on()
        assert late_reads._watched
        for _ in range(REQUESTS):
            await service.request("/other")
            service.take(1)
            await pace.go_on()
        assert not late_reads._watched
        await pace.go_on(goes_on=False)

    asyncio.run(main())
    assert len(service.seen) > REQUESTS


@pytest.mark.parametrize("name", list(BACKGROUND))
@pytest.mark.parametrize(("after", "is_told"), [(3590, False), (3610, True)])
@pytest.mark.parametrize("is_alone", [False, True])
def test_what_reads_an_hour_later_while_others_are_served_is_told_of(
    name: str,
    after: float,
    service: Service,
    records: list[logging.LogRecord],
    *,
    is_alone: bool,
    is_told: bool,
) -> None:
    """Such as a scheduler whose jobs run by the clock, which looks like a background task."""

    async def main() -> None:
        pace = await begin(name, service)
        await pace.go_on()
        for _ in range(REQUESTS):
            if not is_alone:  # then it is soon left alone
                await service.request("/other")
            service.clock.offset += 1
            await pace.go_on()
        assert bool(late_reads._watched) is is_alone
        service.clock.offset = after
        await pace.go_on()
        assert not told(records)  # nobody else is served
        await service.request("/other")
        service.clock.offset = after + 1
        await pace.go_on()
        await pace.go_on(goes_on=False)

    asyncio.run(main())
    assert len(told(records)) == is_told
    assert all("'POST /start', which ended 3611 seconds ago" in line for line in told(records))
    assert all("goes on, and may serve others" in line for line in told(records))


def test_nothing_is_watched_any_more_once_it_was_told(
    service: Service, records: list[logging.LogRecord]
) -> None:
    """Also what begins to read only then."""

    async def main() -> None:
        paces = [await begin("a_task", service) for _ in range(2)]
        for _ in range(2):
            await paces[0].go_on()
            service.clock.offset += late_reads.LONG_AFTER
            await service.request("/other")
        for pace in paces:
            await pace.go_on()
            await pace.go_on()
            assert not late_reads._watched
            await pace.go_on(goes_on=False)

    asyncio.run(main())
    assert len(told(records)) == 1


def test_threads_that_read_at_the_same_time_get_their_answers(
    manager: SessionManager, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with manager.session() as session:
        session_id = session.id
        late_reads.note_end(session, "GET", "/")
        late_reads._once.is_first()
        read_in_a_thread = threading.Thread(target=bind(current_session_id))

        def monotonic() -> float:
            if read_in_a_thread.ident is None:  # the first reader is overtaken here
                read_in_a_thread.start()
                read_in_a_thread.join(PATIENCE)
            return clock.monotonic()

        monkeypatch.setattr(late_reads, "monotonic", monotonic)
        assert current_session_id() == session_id
