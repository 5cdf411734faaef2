"""Taking a session along to where a context does not go by itself."""

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import hl_sessions
from hl_sessions import (
    Session,
    SessionManager,
    SessionThreadPoolExecutor,
    current_session,
    current_session_id,
)
from tests.sessions_api import SessionsAPI

Bind = Callable[..., Any]


@pytest.fixture(params=["function", "method"])
def bind(request: pytest.FixtureRequest) -> Bind:
    """``hl_sessions.bind``, and ``bind`` of the current session."""

    def bind_to_handle(function: Any) -> Any:
        session = current_session()
        assert session is not None
        return session.bind(function)

    return hl_sessions.bind if request.param == "function" else bind_to_handle


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """One of a thread that was started outside of every scope; where threads inherit, others stay in one."""
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(current_session).result(20) is None
        yield executor


def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a function called in a thread of its own."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function, *args, **kwargs).result(20)


class Reader:
    """A callable object, and methods of each kind."""

    def __call__(self) -> Session | None:
        return current_session()

    def method(self) -> Session | None:
        return current_session()

    @classmethod
    def of_class(cls) -> Session | None:
        return current_session()

    @staticmethod
    def static() -> Session | None:
        return current_session()


class Made:
    """Notes in which session an object of it is made."""

    def __init__(self) -> None:
        self.session = current_session()


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(current_session, id="function"),
        pytest.param(current_session, id="lambda"),
        pytest.param(Reader(), id="object"),
        pytest.param(Reader().method, id="method"),
        pytest.param(Reader.of_class, id="classmethod"),
        pytest.param(Reader.static, id="staticmethod"),
        pytest.param(functools.partial(Reader().method), id="partial"),
    ],
)
def test_each_kind_of_callable(
    manager: SessionManager, bind: Bind, executor: ThreadPoolExecutor, function: Any
) -> None:
    """Code in a thread sees the session, and the thread is clean afterwards."""
    with manager.session() as session:
        assert executor.submit(bind(function)).result(20) is session
        assert executor.submit(current_session).result(20) is None


def test_a_class(manager: SessionManager, bind: Bind) -> None:
    """A class makes its objects in the session."""
    with manager.session() as session:
        assert in_thread(bind(Made)).session is session
        assert in_thread(bind(int), "7") == 7


def test_threads_and_timers(manager: SessionManager, sessions_api: SessionsAPI, bind: Bind) -> None:
    """Thread and Timer start empty; with bind they read the one ID of the scope, also when it has ended."""
    ids: list[str | None] = []

    def read() -> None:
        ids.append(current_session_id())

    with manager.session() as session:
        targets = [
            threading.Thread(target=read),
            threading.Thread(target=bind(read)),
            threading.Timer(0, bind(read)),
        ]
    for target in targets:
        target.start()
        target.join(20)
    assert ids == [None, session.id, session.id]
    assert None not in ids[1:]
    assert sessions_api.posts == 1


def test_run_in_executor(manager: SessionManager, bind: Bind, executor: ThreadPoolExecutor) -> None:
    """The same goes for an executor of an event loop."""

    async def main() -> None:
        async with manager.session() as session:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(executor)
            assert await loop.run_in_executor(None, current_session) is None
            assert await loop.run_in_executor(None, bind(current_session)) is session
            assert await loop.run_in_executor(None, current_session) is None
            with SessionThreadPoolExecutor(1) as of_sessions:
                assert await loop.run_in_executor(of_sessions, current_session) is session

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_coroutine_functions(manager: SessionManager, bind: Bind, backend: str) -> None:
    """A coroutine that another loop runs is in the session, and the task is not afterwards."""

    async def read() -> list[Session | None]:
        before = current_session()
        await anyio.lowlevel.checkpoint()
        return [before, current_session()]

    with manager.session() as session:
        bound = bind(read)

    async def main() -> list[Session | None]:
        return [*await bound(), current_session()]

    assert inspect.iscoroutinefunction(bound)
    assert in_thread(anyio.run, main, backend=backend) == [session, session, None]


def test_generators(manager: SessionManager, bind: Bind) -> None:
    """Each step is in the session, the consumer between the steps is not."""

    def steps() -> Iterator[Session | None]:
        yield current_session()
        yield current_session()

    async def async_steps() -> AsyncIterator[Session | None]:
        yield current_session()
        yield current_session()

    with manager.session() as session:
        bound, async_bound = bind(steps), bind(async_steps)

    def consume() -> list[Session | None]:
        return [seen for step in bound() for seen in (step, current_session())]

    async def async_consume() -> list[Session | None]:
        return [seen async for step in async_bound() for seen in (step, current_session())]

    assert in_thread(consume) == [session, None] * 2
    assert asyncio.run(async_consume()) == [session, None] * 2


def test_the_session_is_that_of_the_binding(manager: SessionManager, bind: Bind) -> None:
    """Not that of the call, and each binding has its own; the caller's is back after the call."""
    with manager.session() as first:
        of_first = bind(current_session)
    with manager.session() as second:
        of_second = bind(current_session)
        assert of_first() is first
        assert current_session() is second
        assert bind(of_first)() is first
    assert of_second() is second
    assert current_session() is None


def test_a_call_that_raises(manager: SessionManager, bind: Bind, executor: ThreadPoolExecutor) -> None:
    """The exception passes through as it is, and the thread is clean."""
    error = LookupError("mine")

    def fail() -> None:
        raise error

    with manager.session():
        assert executor.submit(bind(fail)).exception(20) is error
        assert executor.submit(current_session).result(20) is None


def test_scopes_inside_the_call(manager: SessionManager, bind: Bind) -> None:
    """A scope in the bound call joins the session it is bound to; another one is nested in it."""

    def nested() -> list[Session | None]:
        with manager.session() as joined:
            with manager.session(new=True) as other, manager.session(key="chat") as chat:
                inner = current_session()
            return [joined, current_session(), None if other in (joined, chat) else inner, chat]

    with manager.session() as session:
        joined, after, inner, chat = in_thread(bind(nested))
    assert joined is after is session
    assert inner is chat is not None


def test_outside_of_a_scope(manager: SessionManager) -> None:
    """What is bound outside of every scope runs in no session, wherever it is called."""
    bound = hl_sessions.bind(current_session)
    made = hl_sessions.bind(Made)
    with manager.session():
        assert bound() is None
        assert made().session is None
        assert current_session() is not None


class TestUnbound:
    def test_a_call_is_in_no_session(self, manager: SessionManager) -> None:
        """What is started in a scope and outlives it is in none; around it nothing changes."""
        with manager.session() as session:
            assert hl_sessions.unbound(current_session)() is None
            assert in_thread(hl_sessions.bind(hl_sessions.unbound(current_session))) is None
            assert current_session() is session
        assert hl_sessions.unbound(current_session)() is None

    def test_a_scope_inside_of_it_is_its_own(self, manager: SessionManager) -> None:
        """A job that opens a scope joins nothing."""

        def job() -> Session | None:
            with manager.session():
                return current_session()

        with manager.session() as session:
            assert hl_sessions.unbound(job)() not in {session, None}

    def test_a_task_that_goes_on(self, manager: SessionManager) -> None:
        """The loop of a consumer keeps nothing of the scope in which it was started."""

        async def consume() -> list[Session | None]:
            seen = [current_session()]
            await asyncio.sleep(0)
            return [*seen, current_session()]

        async def main() -> list[Session | None]:
            async with manager.session() as session:
                task = asyncio.create_task(hl_sessions.unbound(consume)())
                assert current_session() is session
            return await task

        assert asyncio.run(main()) == [None, None]

    def test_a_generator(self, manager: SessionManager) -> None:
        """Each step is in no session, and the consumer between them stays in its own."""

        @hl_sessions.unbound
        def steps() -> Iterator[Session | None]:
            yield current_session()
            yield current_session()

        with manager.session() as session:
            assert [(step, current_session()) for step in steps()] == [(None, session)] * 2

    def test_what_cannot_be_called(self) -> None:
        """It is refused when it is given, as by bind."""
        with pytest.raises(TypeError, match="only functions, methods and callable objects"):
            hl_sessions.unbound("refresh")


def test_names_of_parameters(manager: SessionManager, bind: Bind) -> None:
    """Arguments named like our own arrive, and the function looks as it did."""

    def function(self: int, fn: int, function: int = 3, *, session: int = 4) -> tuple[int, ...]:
        """A function."""
        return (self, fn, function, session)

    with manager.session():
        bound = bind(function)
        with SessionThreadPoolExecutor(1) as executor:
            assert executor.submit(function, self=1, fn=2).result(20) == (1, 2, 3, 4)
    assert bound(self=1, fn=2, function=5, session=6) == (1, 2, 5, 6)
    assert bound.__name__ == "function"
    assert bound.__doc__ == "A function."
    assert inspect.signature(bound) == inspect.signature(function)


@pytest.mark.parametrize("wrong", [None, 1, "text", []], ids=repr)
def test_what_cannot_be_called(manager: SessionManager, bind: Bind, wrong: object) -> None:
    """It is refused where it is bound, not in the thread."""
    with manager.session(), pytest.raises(TypeError, match="callable"):
        bind(wrong)


def test_a_bound_method_of_a_class_attribute(manager: SessionManager, bind: Bind) -> None:
    """A function that is bound in a class body is still a method."""
    with manager.session() as session:

        class WithBound:
            def read(self) -> tuple[Any, Session | None]:
                return self, current_session()

            bound = bind(read)

    instance = WithBound()
    assert in_thread(instance.bound) == (instance, session)


class TestExecutor:
    def test_submit(self, manager: SessionManager) -> None:
        """Each call is in the session of its submitter, and the threads are clean in between."""
        with SessionThreadPoolExecutor(1) as executor:
            sessions = []
            for _ in range(3):
                with manager.session() as session:
                    assert executor.submit(current_session).result(20) is session
                    sessions.append(session)
                assert executor.submit(current_session).result(20) is None
            assert len({*map(id, sessions)}) == 3

    def test_map(self, manager: SessionManager) -> None:
        """All calls of a map are in the session of its caller."""
        with SessionThreadPoolExecutor(4) as executor:
            with manager.session() as session:
                results = executor.map(lambda number: (number, current_session()), range(20))
            assert list(results) == [(number, session) for number in range(20)]
            with manager.session():
                assert list(executor.map(int, ["1", "2"])) == [1, 2]
                assert list(executor.map(str.upper, "ab", timeout=20)) == ["A", "B"]
            assert list(executor.map(lambda _: current_session(), range(5))) == [None] * 5

    def test_one_creation(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """All of them read the same ID, of one POST."""
        with SessionThreadPoolExecutor(8) as executor, manager.session() as session:
            ids = set(executor.map(lambda _: current_session_id(), range(50)))
        assert ids == {session.id}
        assert sessions_api.posts == 1

    def test_submitters_at_the_same_time(self, manager: SessionManager) -> None:
        """Many submitters of one executor never see each other's session."""
        with SessionThreadPoolExecutor(4) as executor, ThreadPoolExecutor(8) as submitters:

            def submit(_: int) -> bool:
                with manager.session(new=True) as session:
                    calls = [executor.submit(current_session) for _ in range(5)]
                    return all(call.result(20) is session for call in calls)

            assert all(submitters.map(submit, range(50)))

    def test_is_one(self) -> None:
        """It is a ThreadPoolExecutor with all of its parameters."""
        with SessionThreadPoolExecutor(2, "mine", initializer=lambda: None) as executor:
            assert isinstance(executor, ThreadPoolExecutor)
            name = executor.submit(lambda: threading.current_thread().name).result(20)
        assert name.startswith("mine")
        with pytest.raises(RuntimeError, match="shutdown"):
            executor.submit(print)
