import asyncio
import contextvars
import copy
import gc
import logging
import pickle
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum, IntEnum
from typing import Any

import pytest
import trio

import hl_sessions.scopes.scope
from hl_sessions import Session, SessionManager, acurrent_session_id, current_session, current_session_id
from hl_sessions.scopes.scope import Scope
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE, in_threads

Managers = Callable[..., SessionManager]


@pytest.fixture(autouse=True)
def no_scope_is_left_over() -> Iterator[None]:
    """After every test the caller is outside of all scopes again."""
    assert current_session() is None
    yield
    assert current_session() is None


class TestNesting:
    def test_joins(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """A scope inside a scope of the same manager is the same session."""
        with manager.session() as outer, manager.session() as inner:
            assert inner is outer is current_session()
            with manager.session(new=True) as own, manager.session() as innermost:
                assert innermost is own
        assert sessions_api.requests == []

    def test_new(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """new=True never joins; the surrounding session is back afterwards."""
        with manager.session() as outer:
            with manager.session(new=True) as inner:
                assert inner is not outer
                assert inner.id != outer.id
                assert current_session() is inner
            assert current_session() is outer
        assert sessions_api.posts == 2

    def test_restores_after_errors(self, manager: SessionManager) -> None:
        """The former session is restored also after an exception, which passes through."""
        with manager.session() as outer:
            for error in (ValueError, KeyboardInterrupt, GeneratorExit):
                with pytest.raises(error), manager.session(new=True):
                    raise error
                assert current_session() is outer

        async def main() -> None:
            async with manager.session() as outer:
                with pytest.raises(ValueError, match="no"):
                    async with manager.session(new=True):
                        raise ValueError("no")
                assert current_session() is outer

        asyncio.run(main())

    def test_other_manager(self, make_manager: Managers) -> None:
        """A scope of another manager is its own session; inside it, one of the first joins the first's."""
        first, second = make_manager(), make_manager()
        with first.session() as outer, second.session() as other:
            assert other is not outer
            with first.session() as again:
                assert again is outer is current_session()
            assert current_session() is other
            with first.session(new=True) as own:
                assert own is not outer
                with second.session() as other_again:
                    assert other_again is other

    def test_three_managers(self, make_manager: Managers) -> None:
        """Each of three nested managers finds its own session."""
        managers = [make_manager() for _ in range(3)]
        with managers[0].session() as a, managers[1].session() as b, managers[2].session() as c:
            for manager, session in zip(managers, (a, b, c), strict=True):
                with manager.session() as joined:
                    assert joined is session

    def test_deep(self, manager: SessionManager) -> None:
        """New sessions nested or following one another by the thousand keep nothing of each other alive."""
        scopes = [manager.session(new=True) for _ in range(2000)]
        for scope in scopes:
            scope.__enter__()
        session = current_session()
        assert session is not None
        assert session._outer is None
        for scope in reversed(scopes):
            scope.__exit__(None, None, None)

    @pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
    def test_async(self, manager: SessionManager, sessions_api: SessionsAPI, run: Callable[..., Any]) -> None:
        """async with does the same on asyncio and trio."""

        async def main() -> None:
            async with manager.session() as outer:
                async with manager.session() as inner:
                    assert inner is outer
                    assert await acurrent_session_id() == outer.id is not None
                async with manager.session(new=True) as own:
                    assert await acurrent_session_id() != outer.id
                    assert current_session() is own
            assert current_session() is None

        run(main) if run is trio.run else run(main())
        assert sessions_api.posts == 2


class TestScopeObjects:
    def test_used_again(self, manager: SessionManager) -> None:
        """A scope may be entered again: each time is a session of its own."""
        scope = manager.session()
        with scope as first:
            pass
        with scope as second:
            assert first is not second
        asyncio.run(self.enter(scope))

    async def enter(self, scope: Scope) -> None:
        async with scope as session:
            assert current_session() is session
        assert current_session() is None

    def test_entered_inside_itself(self, manager: SessionManager) -> None:
        """A scope that is entered inside itself joins, or with new=True nests, and is left in order."""
        joining, own = manager.session(), manager.session(new=True)
        with joining as a, joining as b, joining as c:
            assert a is b is c
        with own as a:
            with own as b:
                assert b is not a
                assert current_session() is b
            assert current_session() is a

    def test_many_tasks_at_once(self, manager: SessionManager) -> None:
        """One scope entered by many tasks is a session for each, left in any order."""
        scope = manager.session()

        async def main() -> set[str | None]:
            entered = 0
            all_entered = asyncio.Event()

            async def task(number: int) -> str | None:
                nonlocal entered
                async with scope as session:
                    entered += 1
                    if entered == 20:
                        all_entered.set()
                    await all_entered.wait()
                    for _ in range(number * 7 % 5):
                        await asyncio.sleep(0)
                    assert current_session() is session
                    session_id = await session.aid()
                assert current_session() is None
                return session_id

            return set(await asyncio.gather(*(task(number) for number in range(20))))

        assert len(asyncio.run(main())) == 20

    def test_many_threads_at_once(self, manager: SessionManager) -> None:
        """The same in threads."""
        scope = manager.session()
        barrier = threading.Barrier(16)

        def enter() -> object:
            for _ in range(50):
                barrier.wait(20)
                with scope as session:
                    barrier.wait(20)
                    assert current_session() is session
                assert current_session() is None
            return session

        assert len({future.result(30) for future in in_threads(enter, 16)}) == 16

    def test_another_thread_leaves_meanwhile(self, manager: SessionManager) -> None:
        """Without a GIL a list may lose its last item between being counted and being looked into."""
        scope = manager.session()
        has_entered, may_leave = threading.Event(), threading.Event()
        leaver = threading.current_thread()

        class Entries(list[Any]):
            def __getitem__(self, index: Any) -> Any:
                position = len(self) + index
                if threading.current_thread() is leaver:
                    may_leave.set()
                    assert other.result(PATIENCE) is None
                return super().__getitem__(position)

        def enter() -> Session | None:
            with scope:
                has_entered.set()
                assert may_leave.wait(PATIENCE)
            return current_session()

        scope._entries = Entries()
        (other,) = in_threads(enter)
        assert has_entered.wait(PATIENCE)
        with scope:
            pass
        assert current_session() is None
        assert scope._entries == []


class TestGenerators:
    """With a scope in a generator the consumer is inside, but nothing stays behind."""

    def stream(self, manager: SessionManager) -> Iterator[object]:
        with manager.session(new=True) as session:
            yield session
            yield session

    async def astream(self, manager: SessionManager) -> AsyncIterator[object]:
        async with manager.session(new=True) as session:
            yield session
            yield session

    def test_stepped_in_fresh_contexts(self, manager: SessionManager) -> None:
        """A generator each of whose steps runs in a context of its own ends without an error."""
        stream = self.stream(manager)
        steps = [contextvars.copy_context().run(next, stream, None) for _ in range(4)]
        assert steps[0] is steps[1] is not None
        assert steps[2:] == [None, None]

    def test_stepped_in_threads(self, manager: SessionManager) -> None:
        """Nor does one whose steps run in the threads of a pool leave anything behind in these."""
        stream = self.stream(manager)
        with ThreadPoolExecutor(2) as pool:
            assert [pool.submit(next, stream, None).result(20) for _ in range(3)][2] is None
            assert pool.submit(current_session).result(20) is None

    @pytest.mark.parametrize("context", [contextvars.Context, contextvars.copy_context])
    def test_closed_in_another_context(
        self, manager: SessionManager, context: Callable[[], contextvars.Context]
    ) -> None:
        """One that is closed in another context, or a copy, is not current where it was started."""
        with manager.session() as outer:
            stream = self.stream(manager)
            session = next(stream)
            assert current_session() is session
            context().run(stream.close)  # type: ignore[attr-defined]
            assert current_session() is outer
            assert current_session_id() == outer.id
            with manager.session() as joined:
                assert joined is outer

    def test_collected(self, manager: SessionManager) -> None:
        """One that is dropped is closed by the garbage collector, wherever that runs."""
        next(self.stream(manager))
        gc.collect()
        assert current_session() is None
        stream = self.stream(manager)
        next(stream)
        cycle: list[object] = [stream]
        cycle.append(cycle)
        del stream, cycle
        contextvars.Context().run(gc.collect)
        assert current_session() is None
        assert current_session_id() is None

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize("end", ["exhaust", "close"])
    def test_two_interleaved(self, manager: SessionManager, order: tuple[int, int], end: str) -> None:
        """Two that are interleaved in one context may end in any order."""
        streams: list[Any] = [self.stream(manager), self.stream(manager)]
        sessions = [next(stream) for stream in streams]
        assert sessions[0] is not sessions[1]
        for number in order:
            if end == "close":
                streams[number].close()
            else:
                assert list(streams[number]) == [sessions[number]]
        assert current_session() is None

    def test_many_interleaved(self, manager: SessionManager) -> None:
        """A window of generators that slides on and on leaves nothing behind."""
        window = [self.stream(manager)]
        next(window[0])
        for _ in range(200):
            window.append(self.stream(manager))
            next(window[-1])
            list(window.pop(0))
        list(window.pop())
        assert current_session() is None

    def test_async_closed_by_the_loop(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """An async generator that is broken off, and closed by the event loop, is not joined any more."""

        async def main() -> None:
            async for session in self.astream(manager):
                assert current_session() is session
                break
            gc.collect()
            for _ in range(3):
                await asyncio.sleep(0)
            assert current_session() is None
            assert await acurrent_session_id() is None
            with manager.session() as own:
                assert own is not session

        asyncio.run(main())
        assert sessions_api.requests == []


class TestAnotherContext:
    """A scope that a framework enters in one context and leaves in another, as with a sync dependency."""

    @pytest.fixture(autouse=True)
    def unsaid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hl_sessions.scopes.scope._once, "said", False)

    def enter_and_leave(self, manager: SessionManager) -> None:
        @contextmanager
        def dependency() -> Iterator[Session]:
            with manager.session() as session:
                yield session

        held = dependency()
        contextvars.copy_context().run(held.__enter__)
        assert current_session() is None
        contextvars.copy_context().run(held.__exit__, None, None, None)

    def test_is_told_once_with_the_place(
        self, manager: SessionManager, records: list[logging.LogRecord]
    ) -> None:
        """The session was never current for the code between: the warning names the line, and the way out."""
        for _ in range(3):
            self.enter_and_leave(manager)
        (record,) = records
        assert record.levelname == "WARNING"
        assert f"the scope at {__file__}:" in record.getMessage()
        assert "async generator, or use a middleware" in record.getMessage()
        assert current_session() is None

    def test_what_took_effect_is_not_told_of(
        self, manager: SessionManager, records: list[logging.LogRecord]
    ) -> None:
        """A scope left in a copy of its context was current there; a generator may be closed anywhere."""

        def steps() -> Generator[Session, None, None]:
            with manager.session() as session:
                yield session

        scope = manager.session()
        scope.__enter__()
        contextvars.copy_context().run(scope.__exit__, None, None, None)
        generator = steps()
        contextvars.copy_context().run(next, generator)
        generator.close()
        assert records == []


class TestHandles:
    def test_copies_are_the_handle(self, manager: SessionManager) -> None:
        """A proxy that copies what it is given, a handle inside of it, goes on in the same session."""
        with manager.session() as session, manager.session(key="chat") as chat:
            for handle in (session, chat):
                assert copy.copy(handle) is copy.deepcopy({"deep": [handle]})["deep"][0] is handle

    def test_a_pickle_says_how(self, manager: SessionManager) -> None:
        """Readers of another process cannot share it, and the error names what can be handed on."""
        with manager.session() as session, pytest.raises(TypeError, match=r"hand session\.id on"):
            pickle.dumps(session)


class TestKeys:
    def test_same_key_joins(self, manager: SessionManager) -> None:
        """Inside a conversation, a scope with its key or without any joins it."""
        with manager.session(key="a") as outer:
            with manager.session(key="a") as same, manager.session() as unkeyed:
                assert same is outer is unkeyed
            assert outer.key == "a"

    def test_other_key(self, manager: SessionManager) -> None:
        """A scope with another key is that conversation; the surrounding one is back afterwards."""
        with manager.session(key="a") as a:
            a_id = a.id
            with manager.session(key="b") as b:
                assert b.id != a_id
                with manager.session(key="a") as a_again:
                    assert a_again.id == a_id
            assert current_session() is a
        with manager.session() as unkeyed, manager.session(key="b") as b_again:
            assert unkeyed is not b_again
            assert b_again.id == b.id

    def test_new_excludes_key(self, manager: SessionManager) -> None:
        """A session of its own cannot be a conversation's."""
        with pytest.raises(ValueError, match="key and new exclude each other"):
            manager.session(key="a", new=True)

    def test_int_and_uuid(self, manager: SessionManager) -> None:
        """An int and a UUID are turned into a str: 42 and "42" are one conversation."""
        number = uuid.uuid4()
        with manager.session(key=42) as a, manager.session(key="42") as b:
            assert a is b
            assert a.key == "42"
        with manager.session(key=number) as session:
            assert session.key == str(number)

    def test_enum_members(self, manager: SessionManager) -> None:
        """Members of an enum of strings or integers are these strings and integers, on every Python."""

        class Room(str, Enum):
            RED = "red"

        class Level(IntEnum):
            ONE = 1

        with manager.session(key=Room.RED) as red, manager.session(key=Level.ONE) as one:
            assert (red.key, one.key) == ("red", "1")
            assert {type(red.key), type(one.key)} == {str}

    @pytest.mark.parametrize("key", ["x" * 256, "💬" * 256, "\0", " ", 0, -1, 10**255])
    def test_accepted(self, manager: SessionManager, key: str | int) -> None:
        """A key has up to 256 characters of any kind."""
        with manager.session(key=key) as session:
            assert session.key == str(key)
            assert session.id is not None

    @pytest.mark.parametrize(
        ("key", "error"),
        [
            ("", ValueError),
            ("x" * 257, ValueError),
            (10**256, ValueError),
            (10**5000, ValueError),
            ("\ud800", ValueError),
            (True, TypeError),
            (False, TypeError),
            (1.0, TypeError),
            (b"a", TypeError),
            (["a"], TypeError),
            (object(), TypeError),
        ],
        ids=lambda value: type(value).__name__ if not isinstance(value, type) else value.__name__,
    )
    def test_refused(self, manager: SessionManager, key: Any, error: type[Exception]) -> None:
        """Anything else is an error that names the parameter, before anything is entered."""
        with pytest.raises(error, match=r"^key "):
            manager.session(key=key)
