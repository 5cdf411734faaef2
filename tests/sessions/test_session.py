import asyncio
import contextvars
import gc
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio
import trio.testing

import hl_sessions.sessions.session
from hl_sessions import (
    HLSessionsError,
    ServerError,
    Session,
    SessionManager,
    SessionsClient,
    acurrent_session_id,
    current_session,
    current_session_id,
)
from hl_sessions.client.answers import CreatedSession, Response
from tests.forking import exit_code_of_child, forks
from tests.interpreters import traced_bytes, traces_of_memory
from tests.sessions_api import Answer, Gate, Request, SessionsAPI, create_sessions, fail
from tests.waiting import PATIENCE, in_threads, wait_until, waiting_threads

Managers = Callable[..., SessionManager]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])


async def wait_for(event: threading.Event) -> None:
    """Wait for an event of another thread without blocking the loop."""
    if "trio" in sys.modules and trio.lowlevel.in_trio_run():
        await trio.to_thread.run_sync(event.wait, 20)
    else:
        await asyncio.get_running_loop().run_in_executor(None, event.wait, 20)


class InterruptedClient(SessionsClient):
    """Its first call is interrupted, once it may be."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self.calls = 0
        self.begun, self.interrupt = threading.Event(), threading.Event()

    def create(self, **options: Any) -> Response[CreatedSession]:
        self.calls += 1
        if self.calls == 1:
            self.begun.set()
            assert self.interrupt.wait(20)
            raise KeyboardInterrupt
        return super().create(**options)


class TestOneCreation:
    def test_500_threads(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """500 threads that read at the same moment get one ID, of one POST."""
        barrier = threading.Barrier(500)

        def read() -> str | None:
            barrier.wait(PATIENCE)
            return current_session_id()

        with manager.session() as session:
            ids = {future.result(PATIENCE) for future in in_threads(read, 500)}
        assert ids == {session.peek()}
        assert session.peek() is not None
        assert sessions_api.posts == 1

    def test_threads_tasks_and_event_loops(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """Threads, the tasks of two asyncio loops and of trio, all waiting, get the one ID."""

        async def on_asyncio() -> list[str | None]:
            return await asyncio.gather(*(acurrent_session_id() for _ in range(20)))

        async def on_trio() -> list[str | None]:
            ids: list[str | None] = []

            async def read() -> None:
                ids.append(await acurrent_session_id())

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(read)
            return ids

        with manager.session() as session:
            threads = in_threads(current_session_id, 20)
            loops = in_threads(lambda: asyncio.run(on_asyncio()), 2) + in_threads(lambda: trio.run(on_trio))
            assert gate.arrived.wait(20)
            gate.opened.set()
            ids = [thread.result(20) for thread in threads]
            for loop in loops:
                ids += loop.result(20)
        assert len(ids) == 80
        assert set(ids) == {session.id}
        assert sessions_api.posts == 1

    def test_nobody_reads(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """A scope without a read makes no call, also if its other attributes are used."""
        with manager.session() as session, manager.session(key="chat") as chat:
            assert current_session_id(create=False) is None
            assert asyncio.run(acurrent_session_id(create=False)) is None
            assert session.peek() is chat.peek() is None
            assert session.reference_id
            assert chat.reference_id not in {session.reference_id, "chat"}
            session.end()
            repr(session)
        assert sessions_api.requests == []

    def test_outside(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """Outside every scope there is no session, and nothing is asked of the API."""
        assert current_session() is None
        assert current_session_id() is None
        assert asyncio.run(acurrent_session_id()) is None
        assert sessions_api.requests == []

    def test_from_memory(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """After the first read no read touches the network any more, also when the API is gone."""
        with manager.session() as session:
            first = session.id
            sessions_api.answer = fail()
            again = [session.id, session.peek(), current_session_id(), asyncio.run(session.aid())]
            again += [current_session_id(create=False), trio.run(acurrent_session_id)]
        assert first is not None
        assert set(again) == {first}
        assert session.log_params() == {"session_id": first}
        assert len(sessions_api.requests) == 1

    @pytest.mark.parametrize("how", ["thread", "task", "context", "copy in a copy"])
    def test_created_below(self, manager: SessionManager, sessions_api: SessionsAPI, how: str) -> None:
        """An ID that a child created is seen by its parent and its siblings."""

        async def in_task() -> str | None:
            return await asyncio.create_task(acurrent_session_id())

        with manager.session() as session:
            if how == "thread":
                created = in_threads(current_session_id)[0].result(20)
            elif how == "task":
                created = asyncio.run(in_task())
            elif how == "context":
                created = contextvars.copy_context().run(current_session_id)
            else:
                created = contextvars.copy_context().run(
                    lambda: contextvars.copy_context().run(current_session_id)
                )
            assert created is not None
            assert current_session_id(create=False) == created == session.peek()
        assert sessions_api.posts == 1

    def test_first_reader_is_cancelled_on_asyncio(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """If the first reader is cancelled, the waiters still get the ID, from the same POST."""

        async def main() -> list[str | None]:
            with manager.session():
                first = asyncio.create_task(acurrent_session_id())
                await wait_for(gate.arrived)
                others = [asyncio.create_task(acurrent_session_id()) for _ in range(5)]
                threads = in_threads(current_session_id, 3)
                await asyncio.sleep(0)
                first.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await first
                gate.opened.set()
                ids = await asyncio.gather(*others)
                return [*ids, *(thread.result(20) for thread in threads)]

        ids = asyncio.run(main())
        assert None not in ids
        assert len(set(ids)) == 1
        assert sessions_api.posts == 1

    def test_first_reader_is_cancelled_on_trio(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """The same on trio."""
        ids: list[str | None] = []

        async def read(scope: trio.CancelScope) -> None:
            with scope:
                ids.append(await acurrent_session_id())

        async def main() -> None:
            first = trio.CancelScope()
            with manager.session():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, first)
                    await wait_for(gate.arrived)
                    for _ in range(5):
                        nursery.start_soon(read, trio.CancelScope())
                    await trio.testing.wait_all_tasks_blocked()
                    first.cancel()
                    await trio.testing.wait_all_tasks_blocked()
                    assert first.cancelled_caught
                    gate.opened.set()

        trio.run(main)
        assert len(ids) == 5
        assert len(set(ids)) == 1
        assert None not in ids
        assert sessions_api.posts == 1

    def test_every_reader_is_cancelled(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """A creation without waiters still serves a later reader."""

        async def cancelled() -> None:
            reader = asyncio.create_task(acurrent_session_id())
            await wait_for(gate.arrived)
            reader.cancel()
            await asyncio.wait([reader])

        with manager.session() as session:
            asyncio.run(cancelled())
            later = in_threads(current_session_id)[0]
            gate.opened.set()
            assert later.result(20) == session.id is not None
        assert sessions_api.posts == 1

    @pytest.mark.parametrize("key", [None, "chat"])
    def test_creator_is_interrupted(
        self, make_manager: Managers, sessions_api: SessionsAPI, key: str | None
    ) -> None:
        """Ctrl-C reaches the creating reader; the waiters go on and get an ID."""
        with InterruptedClient(sessions_api.base_url) as client:
            manager = make_manager(base_url=None, retries=None, timeout=None, client=client)
            with manager.session(key=key) as session:
                creator = in_threads(current_session_id)[0]
                assert client.begun.wait(20)
                others = in_threads(current_session_id, 3)
                on_loop = in_threads(lambda: asyncio.run(acurrent_session_id()))
                wait_until(lambda: waiting_threads(session) == 3)
                client.interrupt.set()
                with pytest.raises(KeyboardInterrupt):
                    creator.result(20)
                ids = {other.result(20) for other in others + on_loop}
        assert ids == {session.peek()}
        assert None not in ids
        assert sessions_api.posts == 1


class TestEventLoop:
    @LOOPS
    def test_keeps_running(self, manager: SessionManager, gate: Gate, run: Callable[..., Any]) -> None:
        """The event loop goes on with other tasks while the API takes its time."""

        async def main() -> str | None:
            with manager.session():
                ids: list[str | None] = []

                async def read() -> None:
                    ids.append(await acurrent_session_id())

                async def tick() -> None:
                    await wait_for(gate.arrived)  # resumed by the loop while the API does not answer
                    assert not ids
                    gate.opened.set()

                if run is trio.run:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(read)
                        nursery.start_soon(tick)
                else:
                    await asyncio.gather(read(), tick())
                return ids[0]

        assert run(main) if run is trio.run else run(main())

    @LOOPS
    def test_blocking_read_is_said_once(
        self,
        manager: SessionManager,
        sessions_api: SessionsAPI,
        records: list[logging.LogRecord],
        monkeypatch: pytest.MonkeyPatch,
        run: Callable[..., Any],
    ) -> None:
        """A first read that blocks an event loop works, and is said once per process."""
        monkeypatch.setattr(hl_sessions.sessions.session._once, "said", False)

        async def main() -> list[str | None]:
            ids = []
            for _ in range(3):
                with manager.session(new=True):
                    ids.append(current_session_id())
            return ids

        ids = run(main) if run is trio.run else run(main())
        assert len(set(ids)) == 3
        assert None not in ids
        assert [record.levelname for record in records] == ["WARNING"]
        assert "acurrent_session_id" in records[0].getMessage()

    def test_nothing_to_say(
        self, manager: SessionManager, records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither a read outside of event loops, nor one from memory or a conversation's is said to block."""
        monkeypatch.setattr(hl_sessions.sessions.session._once, "said", False)
        with manager.session(key="chat") as chat:
            assert chat.id is not None

        async def main() -> None:
            assert chat.id == current_session_id(create=False) == await acurrent_session_id()
            with manager.session(key="chat") as again:
                assert again.id == chat.id

        with manager.session(key="chat"):
            assert current_session_id() == chat.id
            asyncio.run(main())
        assert records == []

    def test_task_and_blocking_read_of_one_loop(
        self, manager: SessionManager, sessions_api: SessionsAPI
    ) -> None:
        """A read that blocks the loop, while a task of that loop waits for the creation, gets the ID."""

        async def main() -> None:
            with manager.session():
                task = asyncio.create_task(acurrent_session_id())
                await asyncio.sleep(0)
                assert current_session_id() == await task is not None

        asyncio.run(main())
        assert sessions_api.posts == 1


class TestFailures:
    def test_warn(
        self, make_manager: Managers, sessions_api: SessionsAPI, records: list[logging.LogRecord]
    ) -> None:
        """By default a failure gives None and one log record: no traceback, no API key."""
        sessions_api.answer = lambda _: Answer(401, {"detail": "hl_sk_secret is unknown"})
        manager = make_manager(api_key="hl_sk_secret")
        with manager.session() as session:
            assert session.id is None
            assert asyncio.run(session.aid()) is None
            assert session.log_params() == {"session_reference_id": session.reference_id}
        (record,) = records
        assert record.levelname == "WARNING"
        assert "401" in record.getMessage()
        assert record.exc_info is None
        assert "secret" not in record.getMessage()

    def test_raise(self, make_manager: Managers, sessions_api: SessionsAPI, gate: Gate) -> None:
        """With on_error="raise" all simultaneous readers get the error, from one POST."""
        gate._answer = fail(500)
        with make_manager(on_error="raise").session() as session:
            threads = in_threads(lambda: session.id, 10) + in_threads(session.log_params, 5)
            wait_until(lambda: waiting_threads(session) == 14)
            loops = in_threads(lambda: asyncio.run(session.aid())) + in_threads(lambda: trio.run(session.aid))
            creation = session._details.creation if session._details else None
            assert creation is not None
            wait_until(lambda: len(creation._wakers) + len(creation._tasks) == 16)
            gate.opened.set()
            for reader in threads + loops:
                with pytest.raises(ServerError):
                    reader.result(20)
        assert sessions_api.posts == 1

    @pytest.mark.parametrize("on_error", ["warn", "raise"])
    def test_is_not_remembered(
        self, make_manager: Managers, sessions_api: SessionsAPI, on_error: str
    ) -> None:
        """A later read in the same scope tries again, and may succeed."""
        sessions_api.answer = fail(500)
        with make_manager(on_error=on_error).session() as session:
            if on_error == "raise":
                with pytest.raises(HLSessionsError):
                    _ = session.id
            else:
                assert session.id is None
            sessions_api.answer = create_sessions
            assert session.id is not None
        assert sessions_api.posts == 2

    def test_no_thread_to_be_had(
        self, make_manager: Managers, sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If no thread can be started, an async read that needs one fails instead of waiting for ever."""
        manager = make_manager()

        def refuse(*_: Any) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(manager.workers, "submit", refuse)
        with manager.session(key="chat") as session:
            assert asyncio.run(session.aid()) is None
            assert session.id is not None
        with manager.session() as session:
            assert asyncio.run(session.aid()) is not None


class TestLogParams:
    def test_id(self, manager: SessionManager) -> None:
        """They hold the session ID where there is one."""
        with manager.session(key="chat") as session:
            assert session.log_params() == {"session_id": session.id}
            assert asyncio.run(session.alog_params()) == {"session_id": session.id}

    @pytest.mark.parametrize("key", [None, "chat"])
    def test_stay_with_the_reference(
        self, manager: SessionManager, sessions_api: SessionsAPI, key: str | None
    ) -> None:
        """Once they gave the reference ID they stay with it, also when the API is back and there is an ID."""
        sessions_api.answer = fail(500)
        with manager.session(key=key) as session:
            reference = session.log_params()
            sessions_api.answer = create_sessions
            assert session.id is not None
            again = [session.log_params(), asyncio.run(session.alog_params()), trio.run(session.alog_params)]
        assert reference == {"session_reference_id": session.reference_id}
        assert again == [reference] * 3

    def test_one_kind_for_all(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """While the API comes and goes, 32 threads of one scope get one and the same parameters."""

        def flicker(request: Request) -> Answer:
            return fail(500)(request) if sessions_api.posts % 2 else create_sessions(request)

        sessions_api.answer = flicker
        for _ in range(10):
            barrier = threading.Barrier(32)

            def read(barrier: threading.Barrier = barrier) -> dict[str, str]:
                barrier.wait(20)
                session = current_session()
                assert session is not None
                return session.log_params()

            with manager.session(new=True):
                params = [thread.result(20) for thread in in_threads(read, 32)]
            assert all(one == params[0] for one in params)

    def test_late_failure(self, manager: SessionManager) -> None:
        """A reader that failed, and comes after the ID was created, passes the ID on like the others."""
        with manager.session() as session:
            assert session.id is not None
            assert session._log_params(None) == {"session_id": session.id}

    def test_reference_is_one(self, manager: SessionManager) -> None:
        """Many threads that ask for the reference ID at once get the same one; other scopes, another."""
        barrier = threading.Barrier(16)
        with manager.session() as session:

            def ask() -> str:
                barrier.wait(20)
                return session.reference_id

            references = {thread.result(20) for thread in in_threads(ask, 16)}
        assert references == {session.reference_id}
        with manager.session() as another:
            assert another.reference_id not in references


class TestLogging:
    @pytest.fixture
    def reading_handler(self) -> Iterator[list[tuple[str, str | None]]]:
        """A handler of the root logger, for all levels, that reads the ID for each record."""
        seen: list[tuple[str, str | None]] = []

        class ReadingHandler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append((record.name, current_session_id()))

        handler, root = ReadingHandler(), logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        yield seen
        root.setLevel(level)
        root.removeHandler(handler)

    def test_read_by_every_record(
        self,
        manager: SessionManager,
        sessions_api: SessionsAPI,
        reading_handler: list[tuple[str, str | None]],
    ) -> None:
        """The application's record gets the ID; the creation that this starts does not recurse."""
        with manager.session() as session:
            logging.getLogger("application").debug("hello")
            logging.getLogger("application").debug("again")
        seen = [(name, value) for name, value in reading_handler if name == "application"]
        assert seen == [("application", session.peek())] * 2
        assert session.peek() is not None
        assert sessions_api.posts == 1

    def test_own_warning(
        self,
        manager: SessionManager,
        sessions_api: SessionsAPI,
        reading_handler: list[tuple[str, str | None]],
    ) -> None:
        """A read inside of our own warning gets None at once: no second call, no recursion."""
        sessions_api.answer = fail(500)
        with manager.session() as session:
            assert session.id is None
        assert ("hl_sessions", None) in reading_handler
        assert sessions_api.posts == 1

    @pytest.mark.parametrize("key", [None, "chat"])
    def test_inside_the_creation(
        self, make_manager: Managers, sessions_api: SessionsAPI, key: str | None
    ) -> None:
        """Code that runs inside the creation, and reads, gets None at once."""
        inside: list[object] = []

        class Client(SessionsClient):
            def create(self, **options: Any) -> Response[CreatedSession]:
                inside.extend([current_session_id(), current_session()])
                return super().create(**options)

        with Client(sessions_api.base_url) as client:
            manager = make_manager(base_url=None, retries=None, timeout=None, client=client)
            with manager.session(key=key) as session:
                assert session.id is not None
        assert inside == [None, session]
        assert sessions_api.posts == 1

    @pytest.mark.parametrize("key", [None, "chat"])
    def test_handler_that_waits_for_another_thread(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, key: str | None
    ) -> None:
        """A handler that holds its lock while it waits for another thread's creation is no deadlock.

        Neither for the DEBUG records of the HTTP client nor for our own warning.
        """
        gate._answer = fail(500)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.DEBUG)
        is_waiting = threading.Event()

        class ReadingHandler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.name == "application":
                    is_waiting.set()
                    current_session_id()

        handler = ReadingHandler()
        root.addHandler(handler)
        try:
            with manager.session(key=key) as session:
                creator = in_threads(current_session_id)[0]
                assert gate.arrived.wait(20)
                logger = logging.getLogger("application")
                writer = in_threads(lambda: logger.info("waits for the creator, and holds the lock"))[0]
                wait_until(lambda: waiting_threads(session) == 1)
                assert is_waiting.is_set()
                gate.opened.set()
                creator.result(20)
                writer.result(20)
        finally:
            root.setLevel(level)
            root.removeHandler(handler)


@forks
class TestFork:
    def in_child(self, function: Callable[[], object]) -> None:
        """Call a function in a forked child; it must come to an end, and return something true."""

        def work() -> None:
            threading.Timer(PATIENCE, os._exit, [2]).start()
            assert function()

        assert exit_code_of_child(work) == 0

    @pytest.mark.parametrize("key", [None, "chat"])
    def test_creation_under_way(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, key: str | None
    ) -> None:
        """A child forked while its parent creates the session makes one of its own and does not wait."""
        with manager.session(key=key) as session:
            parent = in_threads(current_session_id)[0]
            assert gate.arrived.wait(20)
            in_parent = os.getpid()

            def read() -> bool:
                assert os.getpid() != in_parent
                return session.id is not None

            # The child's own request opens the gate: it is the second to arrive.
            gate.arrived.clear()

            def open_gate() -> None:
                assert gate.arrived.wait(20)
                gate.opened.set()

            opener = in_threads(open_gate)[0]
            self.in_child(read)
            opener.result(20)
            assert parent.result(20) == session.id is not None
        assert sessions_api.posts == 2

    def test_locks_of_other_threads(
        self, make_manager: Managers, sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another thread may hold any lock at the moment of the fork: the child reads and leaves."""
        from hl_sessions.defaults import _default
        from hl_sessions.sessions.creation import agreement

        monkeypatch.setenv("HL_SESSIONS_BASE_URL", sessions_api.base_url)
        manager = make_manager(idle_timeout=60)
        store: Any = manager._store
        locks = [
            agreement.lock,
            _default.lock,
            manager._circuit_breaker._lock,
            manager.conversations._lock,
            manager.conversations._in_use._lock,
            manager.conversations._teller._lock,
            manager.workers._lock,
            store._lock,
        ]
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            for lock in locks:
                lock.acquire()
            held.set()
            assert done.wait(30)
            for lock in reversed(locks):
                lock.release()

        def use() -> bool:
            from hl_sessions.defaults import default_manager

            with manager.session(key="chat") as session, default_manager().session() as other:
                ids = {session.id, asyncio.run(other.aid()), session.log_params()["session_id"]}
                session.end()
            return len(ids) == 2 and None not in ids

        holder = in_threads(hold)[0]
        assert held.wait(20)
        try:
            self.in_child(use)
        finally:
            done.set()
            holder.result(20)

    def test_inside_a_scope(self, make_manager: Managers) -> None:
        """A child forked inside a conversation's scope leaves it like its parent, with the ID it had."""
        manager = make_manager(idle_timeout=60)
        scope = manager.session(key="chat")
        session = scope.__enter__()
        in_parent = session.id

        def leave() -> bool:
            same = current_session_id() == in_parent
            scope.__exit__(None, None, None)
            with manager.session(key="chat") as again:
                return same and again.id == in_parent

        self.in_child(leave)
        scope.__exit__(None, None, None)
        assert current_session() is None


class TestSize:
    def traced(self, make: Callable[[], object], count: int) -> float:
        tracemalloc = traces_of_memory()
        keep: list[object] = [None] * count
        gc.collect()
        tracemalloc.start()
        try:
            before = traced_bytes(tracemalloc, __file__)
            for number in range(count):
                keep[number] = make()
            gc.collect()
            return (traced_bytes(tracemalloc, __file__) - before) / count
        finally:
            tracemalloc.stop()

    def test_of_a_scope(self, manager: SessionManager) -> None:
        """A scope and its handle take at most 200 bytes."""

        def make() -> tuple[Any, Session]:
            scope = manager.session()
            with scope as session:
                return scope, session

        each = self.traced(make, 2000)
        assert each - sys.getsizeof((None, None)) <= 200

    @pytest.mark.slow
    def test_of_100_000_scopes(self, make_manager: Managers) -> None:
        """100,000 scopes, with and without a key, leave nothing behind."""
        manager = make_manager(idle_timeout=60)

        def enter() -> None:
            with manager.session(), manager.session(key="chat"), manager.session(new=True):
                pass

        enter()
        assert self.traced(enter, 33_334) < 1


def test_repr(manager: SessionManager) -> None:
    """The text of a handle shows the ID, or that there is none yet, and creates nothing."""
    with manager.session() as session:
        assert repr(session) == "<Session not created>"
        assert session.id is not None
        assert repr(session) == f"<Session {session.id}>"
        assert session.key is None


def test_reads_of_an_executor(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """A thread that starts with an empty context is outside of the scope; the handle still works there."""
    with manager.session() as session, ThreadPoolExecutor(1) as executor:
        assert executor.submit(contextvars.Context().run, current_session_id).result(20) is None
        assert executor.submit(lambda: session.id).result(20) == session.id is not None
    assert sessions_api.posts == 1


def test_a_finalizer_reads_when_trio_is_ending(manager: SessionManager) -> None:
    """Trio starts nothing more then; a thread does what is left."""
    ids: list[str | None] = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            with manager.session() as session, trio.CancelScope(shield=True):
                ids.append(await session.aid())

    generator = generate()
    trio.run(generator.__anext__)
    assert ids != [None]
    assert len(ids) == 1
