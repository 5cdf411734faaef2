import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import trio

import hl_sessions.conversations.telling
from hl_sessions import SessionManager, acurrent_session_id, current_session_id, with_session
from hl_sessions.availability.outage import CALM, FIRST_COOL_OFF
from hl_sessions.process.worker_threads import MAX_WORKERS
from hl_sessions.stores import MemoryStore
from hl_sessions.stores.base import FORGET_AFTER
from tests.conversations.outside_store import OutsideStore
from tests.no_threads import no_threads
from tests.sessions_api import Gate, SessionsAPI, create_sessions, fail
from tests.waiting import PATIENCE, StillClock, in_threads, wait_until, waiting_threads

Managers = Callable[..., SessionManager]


def read(manager: SessionManager, key: str) -> str:
    with manager.session(key=key) as session:
        session_id = session.id
    assert session_id is not None
    return session_id


class TestConversation:
    def test_goes_on(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """Scopes with the same key, one after the other, are one session; other keys are others."""
        assert read(manager, "a") == read(manager, "a")
        assert read(manager, "b") != read(manager, "a")
        assert sessions_api.posts == 2

    def test_without_a_call(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """A scope whose ID is not read starts no conversation."""
        with manager.session(key="a") as session:
            assert session.peek() is None
        assert sessions_api.requests == []

    def test_scopes_at_the_same_time(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """Scopes with one key, in threads and in the tasks of several loops, start one session."""

        async def on_asyncio() -> list[str | None]:
            async def one() -> str | None:
                async with manager.session(key="a"):
                    return await acurrent_session_id()

            return await asyncio.gather(*(one() for _ in range(50)))

        async def on_trio() -> list[str | None]:
            async with manager.session(key="a") as session:
                return [await session.aid()]

        threads = in_threads(lambda: [read(manager, "a")], 50)
        threads += in_threads(lambda: asyncio.run(on_asyncio()), 2)
        threads += in_threads(lambda: trio.run(on_trio))
        assert gate.arrived.wait(20)
        gate.opened.set()
        ids = [session_id for thread in threads for session_id in thread.result(20)]
        assert len(ids) == 151
        assert len(set(ids)) == 1
        assert None not in ids
        assert sessions_api.posts == 1

    def test_base_urls(self, make_manager: Managers, sessions_api: SessionsAPI) -> None:
        """The conversations of different base URLs in one store are different ones."""
        store = MemoryStore()
        host = sessions_api.base_url.removesuffix("/v4")
        original = sessions_api.answer
        sessions_api.answer = lambda request: original(
            type(request)(request.method, "/v4/sessions", *list(vars(request).values())[2:])
        )
        urls = (f"{host}/v4", f"{host}/v4/", f"{host}/v5")
        first, same, other = (read(make_manager(base_url=url, store=store), "a") for url in urls)
        assert first == same != other

    def test_failure_is_shared_and_forgotten(
        self, make_manager: Managers, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """When the session cannot be created all scopes that wait are told; the next one tries again."""
        gate._answer = fail(500)
        manager = make_manager()
        with ExitStack() as scopes:
            sessions = [scopes.enter_context(manager.session(key="a")) for _ in range(2)]
            other = make_manager(store=manager._store)
            assert other.conversations is not manager.conversations
            readers = in_threads(lambda: sessions[0].id, 4)
            wait_until(lambda: waiting_threads(sessions[0]) == 3)
            gate.opened.set()
            assert {reader.result(20) for reader in readers} == {None}
        sessions_api.answer = create_sessions
        assert read(manager, "a")
        assert sessions_api.posts == 2

    def test_two_managers_of_one_store(
        self, make_manager: Managers, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """Managers that share a store, as processes do, start one session between them."""
        store = OutsideStore()
        managers = [make_manager(store=store) for _ in range(2)]
        first = in_threads(lambda: read(managers[0], "a"))[0]
        assert gate.arrived.wait(20)
        second = in_threads(lambda: read(managers[1], "a"))[0]
        wait_until(lambda: sum(name == "claim" for name, _ in store.calls) > 2)  # it asks again and again
        gate.opened.set()
        assert first.result(20) == second.result(20)
        assert sessions_api.posts == 1

    def test_another_process_is_too_slow(
        self,
        make_manager: Managers,
        sessions_api: SessionsAPI,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A reader that waits too long for another process gets None, which is no outage of API or store."""
        store = MemoryStore()
        manager = make_manager(store=store, timeout=0.1)
        key = store.entry_key(sessions_api.base_url, "a")
        assert store.claim(key, "another process", lease=1000, max_idle=None)
        for _ in range(4):
            with manager.session(key="a") as session:
                assert session.id is None
        assert [record.getMessage() for record in caplog.records if record.name == "hl_sessions"] == [
            "another process is creating the session of the conversation"
        ]
        store.release(key, "another process")
        monkeypatch.setattr(manager._client, "timeout", PATIENCE)
        assert read(manager, "a")
        assert sessions_api.posts == 1

    def test_taken_over(self, make_manager: Managers, sessions_api: SessionsAPI, gate: Gate) -> None:
        """A creator that another process took over from, as it stood still, joins the other's session."""
        store = MemoryStore()
        manager = make_manager(store=store)
        reader = in_threads(lambda: read(manager, "a"))[0]
        assert gate.arrived.wait(20)
        key = store.entry_key(sessions_api.base_url, "a")
        store.end(key)
        assert store.claim(key, "another process", lease=10, max_idle=None)
        assert store.save(key, "another process", "sesh_other")
        gate.opened.set()
        assert reader.result(20) == "sesh_other"


class TestEnd:
    def test_next_scope(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """After end() the next scope starts a new session; the ended handle keeps its ID."""
        with manager.session(key="a") as session:
            before = session.id
            session.end()
            assert session.id == before
            assert session.log_params() == {"session_id": before}
        after = read(manager, "a")
        assert after != before
        assert read(manager, "a") == after
        assert sessions_api.posts == 2

    def test_nested_scope(self, manager: SessionManager) -> None:
        """So does one that is nested in the ended one; around it the ended one is back."""
        with manager.session(key="a") as session:
            before = session.id
            session.end()
            with manager.session(key="a") as nested:
                assert nested is not session
                assert nested.id != before
                with manager.session(key="a") as innermost:
                    assert innermost is nested
            with manager.session() as joined:
                assert joined is session
            assert current_session_id() == before
        assert read(manager, "a") == nested.id

    def test_by_another_handle(self, manager: SessionManager) -> None:
        """A scope that began before another one ended the conversation is not joined any more."""
        with manager.session(key="chat") as session:
            first = session.id
            with manager.session(key="other"), manager.session(key="chat") as again:
                assert again.id == first
                again.end()
            with manager.session(key="chat") as new:
                assert new is not session
                assert new.id != first
            assert current_session_id() == first

    @pytest.mark.parametrize("blocking", [False, True])
    def test_unread(self, make_manager: Managers, blocking: Any) -> None:
        """A handle that was ended before its first read has the session of the ended conversation."""
        manager = make_manager(store=OutsideStore() if blocking else MemoryStore())
        before, first = read(manager, "a"), read(manager, "b")
        with manager.session(key="a") as session, manager.session(key="b") as other:
            other.end()
            session.end()
            assert (session.id, other.id) == (before, first)
            with manager.session(key="a") as nested:
                after = nested.id
                assert nested.previous_id == before
        assert after not in {before, first, None}
        assert read(manager, "a") == after

    def test_what_two_threads_tell_the_store(self, make_manager: Managers) -> None:
        """The later one finds no session there any more; the ended handle has that of the conversation."""
        has_ended, has_looked, is_told = (threading.Event() for _ in range(3))

        class Store(MemoryStore):
            def end(self, key: str) -> None:
                super().end(key)
                if has_ended.is_set():
                    has_looked.set()
                    assert is_told.wait(PATIENCE)
                else:
                    has_ended.set()
                    assert has_looked.wait(PATIENCE)

        manager = make_manager(store=Store())
        before = read(manager, "a")
        with manager.session(key="a") as session:
            [ending] = in_threads(session.end)
            assert has_ended.wait(PATIENCE)
            [reading] = in_threads(lambda: read(manager, "a"))
            ending.result(PATIENCE)
            is_told.set()
            assert reading.result(PATIENCE) != before
            assert session.id == before

    @pytest.mark.parametrize("blocking", [False, True])
    def test_without_a_session(self, make_manager: Managers, blocking: Any) -> None:
        """A handle that was ended before the conversation had a session gets one of its own."""
        manager = make_manager(store=OutsideStore() if blocking else MemoryStore())
        with manager.session(key="a") as session:
            session.end()
            own = session.id
            with manager.session(key="a") as nested:
                after = nested.id
        assert own not in {after, None}
        assert read(manager, "a") == after

    @pytest.mark.parametrize("blocking", [False, True])
    def test_during_the_creation(
        self, make_manager: Managers, sessions_api: SessionsAPI, gate: Gate, blocking: Any
    ) -> None:
        """If it is ended during the creation, the waiters get that session, and the next scope does not."""
        manager = make_manager(store=OutsideStore() if blocking else MemoryStore())
        with manager.session(key="a") as session:
            readers = in_threads(lambda: session.id, 3)
            wait_until(lambda: waiting_threads(session) == 2)
            assert gate.arrived.wait(20)
            session.end()
            gate.arrived.clear()
            later = in_threads(lambda: read(manager, "a"))[0]
            assert gate.arrived.wait(20)
            gate.opened.set()
            ids = {reader.result(20) for reader in readers}
            assert len(ids) == 1
            assert ids == {session.id}
            assert later.result(20) not in ids
        assert read(manager, "a") == later.result()
        assert sessions_api.posts == 2

    def test_after_a_new_session_is_there(
        self, make_manager: Managers, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """An ended creation that is overtaken by the new session does not join that one."""
        manager = make_manager()
        slow = in_threads(lambda: read(manager, "a"))[0]
        assert gate.arrived.wait(20)
        with manager.session(key="a") as session:
            session.end()
        sessions_api.answer = create_sessions
        new = read(manager, "a")
        gate.opened.set()
        assert slow.result(20) != new == read(manager, "a")


class TestIdleTimeout:
    @pytest.fixture
    def manager(self, make_manager: Managers, clock: StillClock) -> SessionManager:
        return make_manager(idle_timeout=60)

    def test_over(self, manager: SessionManager, clock: StillClock) -> None:
        """Idle for less than the time-out a conversation goes on, for more it is over."""
        first = read(manager, "a")
        clock.offset += 59
        assert read(manager, "a") == first
        clock.offset += 59
        assert read(manager, "a") == first
        clock.offset += 61
        second = read(manager, "a")
        assert second != first
        assert read(manager, "a") == second

    def test_never(self, make_manager: Managers, clock: StillClock) -> None:
        """Without a time-out it is never over, as long as it is used now and then."""
        manager = make_manager()
        first = read(manager, "a")
        for _ in range(10):
            clock.offset += 0.9 * FORGET_AFTER
            assert read(manager, "a") == first
        clock.offset += 1.1 * FORGET_AFTER
        assert read(manager, "a") != first

    def test_late_read(self, manager: SessionManager, clock: StillClock) -> None:
        """The time of the entry of a scope counts, also if it reads late."""
        first = read(manager, "a")
        clock.offset += 50
        with manager.session(key="a") as session:
            clock.offset += 1000
            assert session.id == first
        clock.offset += 61
        with manager.session(key="a") as session:
            clock.offset += 1000
            assert session.id != first

    def test_long_scope(self, manager: SessionManager, clock: StillClock) -> None:
        """After a scope that was longer than the time-out the conversation goes on."""
        with manager.session(key="a") as session:
            first = session.id
            clock.offset += 1000
        clock.offset += 59
        assert read(manager, "a") == first

    def test_scope_that_does_not_read(self, manager: SessionManager, clock: StillClock) -> None:
        """A scope without a read does not count."""
        first = read(manager, "a")
        clock.offset += 50
        with manager.session(key="a"):
            pass
        clock.offset += 50
        assert read(manager, "a") != first

    def test_overlap(self, manager: SessionManager, clock: StillClock) -> None:
        """While a scope that has read is still there, others join it however long it has lasted."""
        outer, nested = manager.session(key="a"), manager.session(key="b")
        with outer as session, nested:
            first = session.id
            clock.offset += 1000
            assert read(manager, "a") == first
            clock.offset += 1000
            assert in_threads(lambda: read(manager, "a"))[0].result(20) == first
        clock.offset += 59
        assert read(manager, "a") == first

    def test_entered_before_the_other_left(self, manager: SessionManager, clock: StillClock) -> None:
        """A scope that was entered while another one was there goes on with its session later, too."""
        first_scope, second_scope = manager.session(key="a"), manager.session(key="a")
        entered, left = threading.Event(), threading.Event()

        def second() -> str | None:
            with second_scope as session:
                entered.set()
                assert left.wait(20)
                clock.offset += 1000
                return session.id

        reader = in_threads(second)[0]
        assert entered.wait(20)
        with first_scope as session:
            first = session.id
            clock.offset += 1000
        left.set()
        assert reader.result(20) == first

    def test_generator(self, manager: SessionManager, clock: StillClock) -> None:
        """The scope of a decorated generator lasts until that ends."""

        @with_session(key="chat", manager=manager)
        def stream(chat: str) -> Iterator[str | None]:
            yield current_session_id()
            clock.offset += 1000
            yield current_session_id()

        first, again = stream("a")
        clock.offset += 59
        assert read(manager, "a") == first == again
        clock.offset += 61
        assert read(manager, "a") != first

    def test_nothing_is_kept(self, manager: SessionManager) -> None:
        """When all scopes are left nothing but the store remembers them."""
        for number in range(100):
            read(manager, str(number))
        conversations = manager.conversations
        assert conversations._searches == {}
        assert conversations._in_use._sessions == {}
        assert conversations._teller._tellings == {}
        store: Any = manager._store
        assert store._claims == {}


class TestFailingStore:
    METHODS = ("get", "claim", "save", "release", "reference_id", "touch", "end")

    @pytest.mark.parametrize(
        "failing", [{name} for name in METHODS] + [set(METHODS)], ids=lambda names: " ".join(sorted(names))
    )
    @pytest.mark.parametrize("on_error", ["warn", "raise"])
    def test_costs_the_conversation_only(
        self,
        make_manager: Managers,
        caplog: pytest.LogCaptureFixture,
        failing: set[str],
        on_error: str,
    ) -> None:
        """A store that is down costs a scope its conversation, not its session, and is said once."""
        store = OutsideStore()
        store.failing = failing
        manager = make_manager(store=store, idle_timeout=60, on_error=on_error)

        async def main() -> None:
            for _ in range(2):
                async with manager.session(key="a") as session:
                    assert await session.aid() is not None

        for _ in range(3):
            assert read(manager, "a")
        asyncio.run(main())
        with manager.session(key="a") as session:
            assert session.id is not None
            session.end()
        with manager.session(key="b") as session:
            assert session.reference_id
        manager.workers.close()
        records = [record for record in caplog.records if record.name == "hl_sessions"]
        assert len(records) == (0 if failing == {"release"} else 1)
        for record in records:
            assert record.levelno == logging.WARNING
            assert "the conversation store fails" in record.getMessage()
            assert record.exc_info is None

    def test_ends_that_are_lost(
        self, make_manager: Managers, records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More ends than are remembered until the store is back are told of, once."""
        monkeypatch.setattr(hl_sessions.conversations.telling, "MAX_UNTOLD", 3)
        store = OutsideStore()
        store.failing = {*self.METHODS}
        manager = make_manager(store=store)
        for number in range(3):
            manager.end(f"chat {number}")
        assert ["the conversation store fails" in record.getMessage() for record in records] == [True]
        for number in range(3, 7):
            manager.end(f"chat {number}")
        assert [record.getMessage()[:62] for record in records[1:]] == [
            "more than 3 conversations were ended while the store fails: th"
        ]

    def test_store_of_this_process(
        self, make_manager: Managers, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same for a store that is asked on the event loop itself."""
        store = MemoryStore()

        def broken(*_: Any, **__: Any) -> Any:
            raise ConnectionError

        for name in self.METHODS:
            monkeypatch.setattr(store, name, broken)
        manager = make_manager(store=store)
        ids: set[str | None] = {read(manager, "a"), read(manager, "a")}
        with manager.session(key="a") as session:
            ids.add(asyncio.run(session.aid()))
        assert len(ids) == 3
        assert len([record for record in caplog.records if record.name == "hl_sessions"]) == 1

    def test_said_again(
        self, make_manager: Managers, caplog: pytest.LogCaptureFixture, outage_clock: StillClock
    ) -> None:
        """The end of an outage of the store is said, and after it the next failure again."""
        caplog.set_level(logging.INFO, "hl_sessions")
        store = OutsideStore()
        manager = make_manager(store=store)
        for number in range(2):
            store.failing = {"claim"}
            read(manager, f"failing {number}")
            store.failing = set()
            outage_clock.offset += CALM
            read(manager, f"working {number}")
        levels = [record.levelname for record in caplog.records if record.name == "hl_sessions"]
        assert levels == ["WARNING", "INFO"] * 2

    def test_an_end_is_told_when_it_is_back(self, make_manager: Managers, outage_clock: StillClock) -> None:
        """A conversation that was ended while the store was down does not go on afterwards."""
        store = OutsideStore()
        manager = make_manager(store=store)
        first = read(manager, "a")
        store.failing = set(self.METHODS)
        manager.end("a")
        store.failing = set()
        outage_clock.offset += CALM
        with manager.session(key="a") as session:
            assert session.id != first
            assert session.previous_id == first

    def end_all(
        self, manager: SessionManager, store: OutsideStore, outage_clock: StillClock
    ) -> dict[str, Any]:
        """End conversations while the store fails; return their session IDs."""
        ids = {key: read(manager, key) for key in ("a", "b", "c")}
        store.failing = set(self.METHODS)
        for key in ids:
            manager.end(key)
        outage_clock.offset += CALM
        return ids

    def test_ends_are_told_when_it_is_back_though_nobody_uses_the_conversations(
        self, make_manager: Managers, outage_clock: StillClock
    ) -> None:
        """The first use of another conversation finds that the store works again."""
        store = OutsideStore()
        manager = make_manager(store=store)
        ids = self.end_all(manager, store, outage_clock)
        store.failing = set()
        read(manager, "another")
        wait_until(lambda: [name for name, _ in store.calls].count("end") >= len(ids))
        another = make_manager(store=store)
        wait_until(lambda: all(read(another, key) != session_id for key, session_id in ids.items()))

    @pytest.mark.parametrize("is_back", [True, False])
    @pytest.mark.parametrize("end", [SessionManager.close, SessionManager._retire])
    def test_ends_that_wait_are_told_at_the_end_of_the_manager(
        self,
        make_manager: Managers,
        outage_clock: StillClock,
        records: list[logging.LogRecord],
        end: Callable[[SessionManager], None],
        is_back: bool,  # noqa: FBT001
    ) -> None:
        """Or, if the store still fails, how many conversations may go on."""
        store = OutsideStore()
        manager = make_manager(store=store)
        ids = self.end_all(manager, store, outage_clock)
        if is_back:
            store.failing = set()
        end(manager)
        store.failing = set()
        another = make_manager(store=store)
        assert [read(another, key) == session_id for key, session_id in ids.items()] == [not is_back] * 3
        said = [record.getMessage() for record in records if "were ended" in record.getMessage()]
        wanted = "conversations that were ended while the store fails, and may go on when it is back: 3"
        assert said == ([] if is_back else [wanted])

    def test_is_left_alone(self, make_manager: Managers, outage_clock: StillClock) -> None:
        """A resting store is not asked; then one reader asks it, and after a success all do."""
        store = OutsideStore()
        manager = make_manager(store=store)
        store.failing = {"get"}
        read(manager, "a")
        for _ in range(3):
            read(manager, "a")
        assert [name for name, _ in store.calls] == ["get"]
        outage_clock.offset += FIRST_COOL_OFF
        for _ in range(3):
            read(manager, "a")
        assert [name for name, _ in store.calls] == ["get", "get"]
        outage_clock.offset += 2 * FIRST_COOL_OFF
        store.failing = set()
        assert read(manager, "a") == read(manager, "a")

    @pytest.mark.parametrize("readers", [1, 16])
    def test_one_failure_is_one_rest(
        self, make_manager: Managers, outage_clock: StillClock, readers: int
    ) -> None:
        """However many readers it meets, the store is left alone for as long as after one."""
        store = OutsideStore()
        store.failing = set(self.METHODS)
        store.reachable.clear()
        manager = make_manager(store=store)
        reading = [in_threads(partial(read, manager, f"key {number}"))[0] for number in range(readers)]
        wait_until(lambda: len(store.calls) == readers)
        store.reachable.set()
        for reader in reading:
            reader.result(20)
        store.failing = set()
        outage_clock.offset += FIRST_COOL_OFF
        assert read(manager, "a") == read(manager, "a")

    def test_logs_go_together(self, make_manager: Managers, outage_clock: StillClock) -> None:
        """Scopes that the store has nothing for log by one reference ID, to the end of the scope."""
        store = OutsideStore()
        manager = make_manager(store=store)
        store.failing = {"get"}
        with manager.session(key="a") as session:
            assert session.id is not None
            params = session.log_params()
            assert params == {"session_reference_id": session.reference_id}
            with manager.session(new=True), manager.session(key="a") as another:
                assert another is not session
                assert another.log_params() == params
            store.failing = set()
            outage_clock.offset += FIRST_COOL_OFF
            with manager.session(key="a", new=False) as same:
                assert same.log_params() == params
        with manager.session(key="a") as session:
            assert session.log_params() == {"session_id": session.id}

    def test_warning_does_not_deadlock(self, make_manager: Managers) -> None:
        """A handler that waits, holding its lock, for a creation that waits for the store is no deadlock."""
        store = OutsideStore()
        manager = make_manager(store=store)
        is_emitting = threading.Event()

        class ReadingHandler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.name == "application":
                    is_emitting.set()
                    session.id  # noqa: B018

        async def end() -> None:
            session = manager.session(key="a").__enter__()
            session.end()  # on the loop: told by a thread

        handler, root = ReadingHandler(), logging.getLogger()
        root.addHandler(handler)
        try:
            store.failing = {"end"}
            store.reachable.clear()
            in_threads(lambda: asyncio.run(end()))[0].result(20)
            with manager.session(key="a") as session:
                writer = in_threads(lambda: logging.getLogger("application").warning("read"))[0]
                assert is_emitting.wait(20)
                store.reachable.set()
                writer.result(20)
                assert session.peek() is not None
        finally:
            root.removeHandler(handler)


class TestBlockingStore:
    @pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
    def test_never_blocks_the_loop(self, make_manager: Managers, run: Callable[..., Any]) -> None:
        """While the store does not answer the loop goes on: entering, ending and leaving do not wait."""
        store = OutsideStore()
        manager = make_manager(store=store, idle_timeout=60)
        first = read(manager, "a")
        store.calls.clear()
        store.reachable.clear()
        loop_threads: list[int] = []

        def open_when_asked() -> None:
            wait_until(lambda: len(store.calls) >= 2)
            store.reachable.set()

        async def main() -> None:
            loop_threads.append(threading.get_ident())
            with manager.session(key="a"):
                pass
            with manager.session(key="b") as b:
                b.end()
            async with manager.session(key="a") as a:
                opener = in_threads(open_when_asked)
                assert await a.aid() == first
                store.reachable.clear()
            await b.aid()
            opener[0].result(20)
            store.reachable.set()

        run(main) if run is trio.run else run(main())
        wait_until(lambda: {name for name, _ in store.calls} >= {"end", "get", "touch"})
        assert loop_threads[0] not in {thread for _, thread in store.calls}

    def test_an_end_is_not_replaced_by_the_leaving(self, make_manager: Managers) -> None:
        """On a loop both are told in the background, one after the other."""
        store = OutsideStore()
        manager = make_manager(store=store, idle_timeout=60)

        async def main() -> None:
            async with manager.session(key="a") as session:
                first = await session.aid()
                store.reachable.clear()
                session.end()
            store.reachable.set()
            async with manager.session(key="a") as session:
                assert await session.aid() != first
                assert session.previous_id == first

        asyncio.run(main())

    def test_however_much_there_is_to_tell(self, make_manager: Managers) -> None:
        """While the store does not answer it adds up, and is told in order afterwards."""
        store = OutsideStore()
        manager = make_manager(store=store)
        first = read(manager, "a")

        async def main() -> None:
            store.reachable.clear()
            for _ in range(3000):
                manager.end("a")
            reading = in_threads(read_next)
            assert not wait(reading, 0.3).done
            store.reachable.set()
            assert await asyncio.wrap_future(reading[0]) == first

        def read_next() -> str | None:
            with manager.session(key="a") as session:
                assert session.id != first
                return session.previous_id

        asyncio.run(main())

    def test_told_before_it_is_asked(self, make_manager: Managers) -> None:
        """A scope that follows an end() on the loop finds the conversation ended, however slow the store."""
        store = OutsideStore()
        manager = make_manager(store=store)
        first = read(manager, "a")

        async def main() -> str | None:
            with manager.session(key="a") as session:
                store.reachable.clear()
                session.end()
                with manager.session(key="a") as nested:
                    reader = asyncio.create_task(nested.aid())
                    await asyncio.sleep(0)
                    store.reachable.set()
                    return await reader

        assert asyncio.run(main()) not in {first, None}

    def test_all_workers_wait(self, make_manager: Managers) -> None:
        """Reads that wait for what is still to be told do not take all threads from the telling."""
        store = OutsideStore()
        manager = make_manager(store=store, idle_timeout=60)
        busy = threading.Event()
        keys = [str(number) for number in range(2 * MAX_WORKERS)]
        before = [read(manager, key) for key in keys]

        async def main() -> list[str | None]:
            for _ in range(MAX_WORKERS):
                manager.workers.submit(busy.wait, 30)
            sessions = [manager.session(key=key) for key in keys]
            reads = []
            for scope in sessions:
                with scope as session:
                    reads.append(asyncio.create_task(session.aid()))
            await asyncio.sleep(0)
            for key in keys:
                with manager.session(key=key) as session:
                    session.end()  # behind the reads in the queue
            busy.set()
            return await asyncio.wait_for(asyncio.gather(*reads), 20)

        after = asyncio.run(main())
        assert None not in after
        assert not set(before) & set(after)

    def test_no_thread_to_be_had(self, make_manager: Managers) -> None:
        """Conversations go on where no thread can be started that would tell the store of what is in use."""
        manager = make_manager(store=OutsideStore(), idle_timeout=60)
        with manager.session() as session:
            assert session.id is not None  # over a connection that is kept
        with no_threads():
            with manager.session(key="a") as session:
                assert session.id is not None
            with manager.session(key="a") as again:
                assert again.id == session.id

            async def end() -> None:
                manager.end("a")

            asyncio.run(end())
            with manager.session(key="a") as other:
                assert other.id not in {session.id, None}

    def test_an_end_without_threads(self, make_manager: Managers) -> None:
        """On a loop the ended conversation is read as soon as there are threads; no other session is made."""
        manager = make_manager(store=OutsideStore())
        before = read(manager, "a")

        async def main() -> None:
            async with manager.session(key="a") as session:
                with no_threads():
                    session.end()
                    assert await session.aid() in {None, before}
                assert await session.aid() == before

        asyncio.run(main())

    def test_interpreter_that_shuts_down(
        self, make_manager: Managers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Leaving and ending never raise, not even if no thread can be started any more."""
        manager = make_manager(store=OutsideStore(), idle_timeout=60)

        async def main() -> None:
            async with manager.session(key="a") as session:
                assert await session.aid() is not None
                monkeypatch.setattr(manager.workers, "submit", refuse)
                session.end()

        def refuse(*_: Any) -> None:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

        asyncio.run(main())
