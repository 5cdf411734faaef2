"""The reference ID of a conversation without a session: one opaque ID for all its scopes."""

import asyncio
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

import hl_sessions.sessions.session
from hl_sessions import SessionManager, current_session
from hl_sessions.availability.outage import CALM
from hl_sessions.integrations.asgi import HLSessionMiddleware, header
from hl_sessions.stores import ConversationStore, MemoryStore
from tests.conversations.outside_store import OutsideStore
from tests.sessions_api import Gate, SessionsAPI, create_sessions, fail
from tests.waiting import PATIENCE, StillClock, in_threads, wait_until

Managers = Callable[..., SessionManager]

OPAQUE = r"[0-9a-f]{32,64}"
LOOPS = pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
METHODS = {"get", "claim", "save", "release", "reference_id", "touch", "end"}


def reference(manager: SessionManager, key: str = "a") -> str:
    with manager.session(key=key) as session:
        return session.reference_id


def logged(manager: SessionManager, key: str = "a") -> dict[str, str]:
    with manager.session(key=key) as session:
        return session.log_params()


def run_on(run: Callable[..., Any], main: Callable[[], Any]) -> Any:
    return run(main) if run is trio.run else run(main())


class TestConversation:
    @pytest.mark.parametrize("hash_keys", [False, True])
    @pytest.mark.parametrize(
        "key", ["alice@example.com", "a\0b", "\N{SNOWMAN}", "k" * 256, "0123456789abcdef0123456789abcdef"]
    )
    def test_is_opaque(
        self, make_manager: Managers, sessions_api: SessionsAPI, key: str, *, hash_keys: bool
    ) -> None:
        """It tells nothing of the key, is the same in all scopes, and comes without a call of the API."""
        manager = make_manager(store=MemoryStore(hash_keys=hash_keys))
        first = reference(manager, key)
        assert re.fullmatch(OPAQUE, first)
        assert first != key
        with manager.session(key=key) as session, manager.session() as joined:
            assert joined.reference_id == session.reference_id == first
        assert {thread.result(20) for thread in in_threads(lambda: reference(manager, key), 16)} == {first}
        assert sessions_api.requests == []

    def test_stays_with_the_session(self, manager: SessionManager) -> None:
        """Before and after its session is created, in any order of reads."""
        first = reference(manager)
        with manager.session(key="a") as session:
            assert session.id
            assert session.reference_id == first
        with manager.session(key="b") as session:
            assert session.id
        assert reference(manager, "b") == session.reference_id != first

    def test_differs(self, make_manager: Managers, sessions_api: SessionsAPI, clock: StillClock) -> None:
        """By key, namespace and base URL, after an end and idle time, and once it was forgotten."""
        store = MemoryStore(forget_after=120)
        manager = make_manager(store=store, idle_timeout=60)
        other_url = sessions_api.base_url.replace("127.0.0.1", "localhost")
        seen = [
            reference(manager, "b"),
            reference(make_manager(store=store, base_url=other_url)),
            reference(manager),
        ]
        store._namespace = "another"
        seen.append(reference(manager))
        manager.end("a")
        seen.append(reference(manager))
        clock.offset += 61
        seen.append(reference(manager))
        manager.end("b")  # which is nothing to it
        assert reference(manager) == seen[-1]
        store.forget(store.entry_key(sessions_api.base_url, "a"))
        seen.append(reference(manager))
        unlimited = make_manager(store=store)
        clock.offset += 119
        assert reference(unlimited) == seen[-1]
        clock.offset += 121
        seen.append(reference(unlimited))
        assert len({*seen}) == len(seen) == 8

    @pytest.mark.parametrize("had_a_session", [False, True])
    def test_idle_time(self, make_manager: Managers, clock: StillClock, *, had_a_session: bool) -> None:
        """It runs from the end of the last scope that read to the entry of the next, session or not."""
        manager = make_manager(idle_timeout=60)
        with manager.session(key="a") as session:
            first = session.reference_id
            if had_a_session:
                assert session.id
            clock.offset += 1000
            assert reference(manager) == first
        clock.offset += 59
        with manager.session(key="a") as session:
            clock.offset += 1000
            assert session.reference_id == first
        clock.offset += 61
        with manager.session(key="a") as session:
            second = session.reference_id
            assert second != first
            assert session.id
            assert (session.previous_id is not None) == had_a_session
        assert reference(manager) == second

    def test_end(self, manager: SessionManager) -> None:
        """Scopes of the ended conversation keep its ID, read or not; later scopes get another one."""
        with manager.session(key="a") as one, manager.session(new=True), manager.session(key="a") as two:
            assert one.id == two.id
            two.end()
            with manager.session(key="a") as nested:
                assert nested.reference_id not in {one.reference_id, two.reference_id}
            assert one.reference_id == two.reference_id
        assert reference(manager) == nested.reference_id

    def test_end_of_a_handle_that_was_not_read(self, manager: SessionManager) -> None:
        """It has a session of its own, and so a reference ID of its own."""
        before = reference(manager)
        with manager.session(key="a") as session:
            session.end()
            own = session.reference_id
        assert len({before, own, reference(manager)}) == 3

    def test_end_during_the_creation(
        self, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """The session that comes of it is of what was ended."""
        before = reference(manager)
        with manager.session(key="a") as session:
            reader = in_threads(lambda: session.id)[0]
            assert gate.arrived.wait(20)
            manager.end("a")
            gate.opened.set()
            assert reader.result(20) == session.id
            assert session.reference_id == before
        assert reference(manager) != before

    def test_scope_of_a_request(self, manager: SessionManager) -> None:
        """It is that of the key which the request has when it is asked for."""
        found: list[str] = []

        async def application(*_: Any) -> None:
            session = current_session()
            assert session is not None
            found.append(session.reference_id)

        middleware = HLSessionMiddleware(application, manager, key=header("X-Chat-ID"))
        for headers in [(b"x-chat-id", b"a")], [], []:
            scope = {"type": "http", "headers": headers}
            asyncio.run(middleware(scope, never_called, never_called))
        assert found[0] == reference(manager)
        assert len(set(found)) == 3


async def never_called(*_: Any) -> Any:
    raise AssertionError


class TestOutageOfTheAPI:
    @pytest.mark.parametrize("make_store", [MemoryStore, OutsideStore])
    def test_logs(
        self, make_manager: Managers, sessions_api: SessionsAPI, make_store: Callable[[], ConversationStore]
    ) -> None:
        """All scopes of a conversation log by one reference ID, until its end."""
        sessions_api.answer = fail()
        store = make_store()
        managers = [make_manager(store=store) for _ in range(2)]
        with managers[0].session(key="a") as session:
            before = session.log_params()
            assert before == {"session_reference_id": session.reference_id}
            assert [logged(manager) for manager in 3 * managers] == 6 * [before]
            managers[0].end("a")
            after = logged(managers[0])
            assert after != before
            assert logged(managers[1]) == after
            assert session.log_params() == before
            sessions_api.answer = create_sessions
            assert session.log_params() == before

    def test_idle_time(self, make_manager: Managers, sessions_api: SessionsAPI, clock: StillClock) -> None:
        """A conversation that grew idle logs by another one, which stays however often a read fails."""
        manager = make_manager(idle_timeout=60)
        with manager.session(key="a") as session:
            before = session.id
        clock.offset += 61
        sessions_api.answer = fail()
        first = logged(manager)
        clock.offset += 59
        assert logged(manager) == first
        clock.offset += 61
        second = logged(manager)
        assert [*first] == [*second] == ["session_reference_id"]
        assert second != first
        sessions_api.answer = create_sessions
        with manager.session(key="a") as session:
            wait_until(lambda: session.id)
            assert session.id != before
            assert session.previous_id == before
            assert session.reference_id == second["session_reference_id"]

    def test_keys_stay_here(self, make_manager: Managers, sessions_api: SessionsAPI) -> None:
        """No request holds the key, and no parameter."""
        sessions_api.answer = fail()
        params = logged(make_manager(), "alice@example.com")
        assert "alice" not in repr(params)
        assert "alice" not in "".join(
            f"{request.target} {request.headers.items()} {request.body!r}"
            for request in sessions_api.requests
        )


class TestOutageOfTheStore:
    @pytest.fixture
    def manager(self, make_manager: Managers) -> SessionManager:
        return make_manager(store=OutsideStore())

    def fail(self, manager: SessionManager, *, namespace: str = "") -> None:
        store: Any = manager._store
        store._namespace = namespace
        store.failing = METHODS

    def recover(self, manager: SessionManager, outage_clock: StillClock) -> None:
        store: Any = manager._store
        store.failing = set()
        outage_clock.offset += CALM

    def test_all_processes_agree(self, make_manager: Managers, sessions_api: SessionsAPI) -> None:
        """On a hash of namespace, base URL and key, with the API or without it."""
        settings: list[dict[str, Any]] = [{}, {}, {"base_url": sessions_api.base_url.replace("v4", "v5")}]
        managers = [make_manager(store=OutsideStore(), **each) for each in settings]
        for manager in managers:
            self.fail(manager)
        bot = make_manager(store=OutsideStore())
        self.fail(bot, namespace="another-bot")
        first, same, other_url, other_bot = (logged(manager) for manager in (*managers, bot))
        assert first == same
        assert len({each["session_reference_id"] for each in (first, other_url, other_bot)}) == 3
        sessions_api.answer = fail()
        assert logged(managers[0]) == first
        assert re.fullmatch(OPAQUE, reference(managers[1]))

    def test_end(self, manager: SessionManager, outage_clock: StillClock) -> None:
        """In this process what comes after an end is another conversation, in later outages, too."""
        kept = reference(manager)
        self.fail(manager)
        before = reference(manager)
        manager.end("a")
        after = reference(manager)
        assert reference(manager) == after != before
        self.recover(manager, outage_clock)
        asked = reference(manager)
        assert asked not in {kept, before, after}
        self.fail(manager)
        manager.end("b")
        assert reference(manager) == after
        manager.end("a")
        assert reference(manager) not in {kept, before, after, asked}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
    def test_end_before_a_fork(self) -> None:
        """The child does not fall back either."""
        code = (
            "import os\n"
            "from hl_sessions import SessionManager\n"
            "from hl_sessions.stores import RedisStore\n"
            "manager = SessionManager(store=RedisStore('redis://127.0.0.1:1/0'))\n"
            "def show():\n"
            "    with manager.session(key='a') as session: print(session.reference_id, flush=True)\n"
            "show(); manager.end('a'); show()\n"
            "if not os.fork(): show(); os._exit(0)\n"
            "os.wait()\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE, check=True)
        before, after, in_child = run.stdout.split()
        assert before != after == in_child

    def test_is_said(self, manager: SessionManager, records: list[logging.LogRecord]) -> None:
        """At once, and once; a scope stays with what it was given."""
        self.fail(manager)
        with manager.session(key="a") as session:
            given = session.reference_id
            assert [record.getMessage()[:28] for record in records] == ["the conversation store fails"]
            store: Any = manager._store
            store.failing = set()
            assert session.reference_id == given
        assert len(records) == 1

    def test_interruption(self, manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
        """The exception of a signal handler goes to the caller, and the next reader gets an answer."""

        def interrupt(*_: Any, **__: Any) -> str:
            raise KeyboardInterrupt

        with manager.session(key="a") as session:
            with monkeypatch.context() as patch:
                patch.setattr(manager._store, "reference_id", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    _ = session.reference_id
            assert session.reference_id == reference(manager)


class TestEventLoop:
    @LOOPS
    def test_log_params_do_not_block(
        self, make_manager: Managers, sessions_api: SessionsAPI, run: Callable[..., Any]
    ) -> None:
        """While the store takes its time to tell, the loop goes on."""
        sessions_api.answer = fail()
        store = OutsideStore()
        manager = make_manager(store=store)
        expected = logged(manager)
        store.calls.clear()
        store.reachable.clear()
        on_loop: list[int] = []

        async def main() -> list[dict[str, str]]:
            on_loop.append(threading.get_ident())
            opener = in_threads(open_whenever_asked)
            async with manager.session(key="a") as session:
                params = [await session.alog_params() for _ in range(2)]
                assert session.log_params() == params[0]
            opener[0].result(20)
            return params

        def open_whenever_asked() -> None:
            wait_until(lambda: store.calls)
            store.reachable.set()

        assert run_on(run, main) == [expected, expected]
        assert on_loop[0] not in {thread for _, thread in store.calls}
        assert [name for name, _ in store.calls].count("reference_id") == 1

    @LOOPS
    def test_a_bare_read_is_said_to_block(
        self,
        make_manager: Managers,
        records: list[logging.LogRecord],
        monkeypatch: pytest.MonkeyPatch,
        run: Callable[..., Any],
    ) -> None:
        """Of a store outside of the process, once; one in memory answers at once."""
        monkeypatch.setattr(hl_sessions.sessions.session._once, "said", False)

        async def main() -> None:
            for store in (MemoryStore(), OutsideStore(), OutsideStore()):
                with make_manager(store=store).session(key="a") as session:
                    assert session.reference_id
                    said.append(len(records))

        said: list[int] = []
        run_on(run, main)
        assert said == [0, 1, 1]
        assert "alog_params" in records[0].getMessage()

    def test_end_that_is_still_to_be_told(self, make_manager: Managers, sessions_api: SessionsAPI) -> None:
        """A scope that follows an end() on the loop logs by another one, however slow the store."""
        sessions_api.answer = fail()
        store = OutsideStore()
        manager = make_manager(store=store)
        before = logged(manager)

        async def main() -> dict[str, str]:
            async with manager.session(key="a") as session:
                store.reachable.clear()
                session.end()
            async with manager.session(key="a") as session:
                asking = asyncio.create_task(session.alog_params())
                await asyncio.sleep(0)
                store.reachable.set()
                return await asking

        after = asyncio.run(main())
        assert [*after] == ["session_reference_id"]
        assert after != before

    def test_interpreter_that_shuts_down(
        self, make_manager: Managers, sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If no thread can be started any more, there is still an answer."""
        sessions_api.answer = fail()
        manager = make_manager(store=OutsideStore())
        expected = logged(manager)

        def refuse(*_: Any) -> None:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

        async def main() -> dict[str, str]:
            monkeypatch.setattr(manager.workers, "submit", refuse)
            async with manager.session(key="a") as session:
                return await session.alog_params()

        assert asyncio.run(main()) == expected


def test_a_handler_that_asks_while_the_store_logs(make_manager: Managers) -> None:
    """The store is not asked once more for what it logs while it is asked."""
    logger = logging.getLogger("store of somebody")

    class LoggingStore(OutsideStore):
        def _do(self, name: str, *args: Any, **options: Any) -> Any:
            logger.warning("asked for %s", name)
            return super()._do(name, *args, **options)

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            session = current_session()
            asked.append("outside" if session is None else session.reference_id)

    asked: list[str] = []
    store = LoggingStore()
    manager = make_manager(store=store)
    handler = Asking()
    logger.addHandler(handler)
    try:
        with manager.session(key="a") as session:
            assert session.id
            assert session.reference_id == asked[0]
    finally:
        logger.removeHandler(handler)
    assert "reference_id" not in {name for name, _ in store.calls}
