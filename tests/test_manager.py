import asyncio
import inspect
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hl_sessions import (
    APIConnectionError,
    ConfigurationError,
    HLSessionsError,
    SessionManager,
    SessionsClient,
    configure,
    current_session,
    with_session,
)
from hl_sessions.defaults import _default, default_manager
from hl_sessions.manager import DEFAULT_BASE_URL
from hl_sessions.scopes.scope import Scope
from hl_sessions.stores import MemoryStore, SQLiteStore
from tests.faults import FaultServer, Play
from tests.sessions_api import Gate, SessionsAPI
from tests.waiting import PATIENCE, ends_within, in_threads, wait_until

Managers = Callable[..., SessionManager]
KEY = "hl_sk_secret"


@pytest.fixture(autouse=True)
def closed_default() -> Iterator[None]:
    yield
    if _default.manager is not None:
        _default.manager.close()


class TestSettings:
    def test_environment(self, monkeypatch: pytest.MonkeyPatch, sessions_api: SessionsAPI) -> None:
        """Missing settings come from the environment, given ones do not."""
        monkeypatch.setenv("HL_SESSIONS_BASE_URL", sessions_api.base_url)
        monkeypatch.setenv("HUMANLOOP_API_KEY", "vendor")
        for api_key, own, sent in [(None, "", "vendor"), (None, "own", "own"), ("given", "own", "given")]:
            monkeypatch.setenv("HL_SESSIONS_API_KEY", own)
            with SessionManager(api_key=api_key) as manager, manager.session() as session:
                assert session.id is not None
            assert sessions_api.last.headers["X-API-KEY"] == sent
        monkeypatch.setenv("HL_SESSIONS_BASE_URL", "http://127.0.0.1:9/v4")
        with SessionManager(sessions_api.base_url) as manager, manager.session() as session:
            assert session.id is not None

    def test_nothing_given(self, sessions_api: SessionsAPI) -> None:
        """The default is the bundled server; without a key no header is sent."""
        with SessionManager() as manager:
            assert repr(manager) == "SessionManager(base_url='http://127.0.0.1:8642/v4')"
            assert DEFAULT_BASE_URL in repr(manager)
        with SessionManager(sessions_api.base_url) as manager, manager.session() as session:
            assert session.id is not None
        assert "X-API-KEY" not in sessions_api.last.headers

    @pytest.mark.parametrize("on_error", ["warn", "raise"])
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"base_url": "ftp://host"}, "base_url"),
            ({"base_url": ""}, "base_url"),
            ({"base_url": 1}, "base_url"),
            ({"api_key": ""}, "api_key"),
            ({"api_key": b"x"}, "api_key"),
            ({"api_key": f"{KEY}\n"}, "api_key"),
            ({"timeout": 0}, "timeout=0"),
            ({"timeout": float("nan")}, "timeout=nan"),
            ({"timeout": "5"}, "timeout='5'"),
            ({"retries": -1}, "retries=-1"),
            ({"retries": True}, "retries=True"),
            ({"idle_timeout": -1}, "idle_timeout=-1"),
            ({"idle_timeout": True}, "idle_timeout=True"),
            ({"prefetch": -1}, "prefetch=-1"),
            ({"store": {}}, "store={}"),
            ({"store": MemoryStore}, "store="),
            ({"client": []}, "client must be a SessionsClient, not list"),
        ],
        ids=str,
    )
    def test_wrong(self, settings: dict[str, Any], message: str, on_error: Any) -> None:
        """A wrong setting is a ConfigurationError that names it, for any on_error, without the key."""
        with pytest.raises(ConfigurationError, match=f"^{message}") as raised:
            SessionManager(**settings, on_error=on_error)
        assert KEY not in str(raised.value)

    @pytest.mark.parametrize("on_error", ["ignore", None, ["warn"], True])
    def test_wrong_on_error(self, on_error: Any) -> None:
        """So is an on_error of another value, or type."""
        with pytest.raises(ConfigurationError, match="on_error="):
            SessionManager(on_error=on_error)

    def test_wrong_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So is a wrong value in the environment."""
        with monkeypatch.context() as patch:
            patch.setenv("HL_SESSIONS_BASE_URL", "host:80")
            with pytest.raises(ConfigurationError, match=r"^HL_SESSIONS_BASE_URL="):
                SessionManager()
        for variable in ("HUMANLOOP_API_KEY", "HL_SESSIONS_API_KEY"):
            monkeypatch.setenv(variable, KEY + "\n")
            with pytest.raises(ConfigurationError, match=f"^{variable} must be printable") as raised:
                SessionManager()
            assert KEY not in str(raised.value)

    @pytest.mark.parametrize("name", ["base_url", "api_key", "timeout", "retries"])
    def test_client_excludes(self, name: str) -> None:
        """A client has its own settings: giving others too is refused."""
        value: Any = {"base_url": "http://h", "api_key": "k", "timeout": 1, "retries": 0}[name]
        with (
            SessionsClient("http://127.0.0.1:9") as client,
            pytest.raises(ConfigurationError, match="client excludes"),
        ):
            SessionManager(client=client, **{name: value})

    def test_repr(self) -> None:
        """No text of a manager shows the key."""
        with SessionManager("http://127.0.0.1:9", KEY) as manager:
            assert KEY not in repr(manager)
            assert KEY not in repr(manager._client)


class TestClose:
    @pytest.mark.parametrize("on_error", ["warn", "raise"])
    def test_reads_fail(self, sessions_api: SessionsAPI, on_error: Any) -> None:
        """After close() a first read fails as when the API is down; what is in memory stays."""
        with SessionManager(sessions_api.base_url, on_error=on_error) as manager:
            scope = manager.session()
            with scope as session:
                session_id = session.id
        assert session.id == session_id is not None
        with manager.session() as session:
            if on_error == "warn":
                assert session.id is None
            else:
                with pytest.raises(APIConnectionError, match="closed"):
                    _ = session.id
        manager.close()
        assert sessions_api.posts == 1

    @pytest.mark.parametrize("on_error", ["warn", "raise"])
    def test_readers_that_wait(
        self, make_manager: Managers, gate: Gate, records: list[logging.LogRecord], on_error: Any
    ) -> None:
        """Their creation is given up: they need not wait for an API that does not answer."""
        manager = make_manager(on_error=on_error)

        async def read_async() -> str | None:
            async with manager.session(new=True) as session:
                return await session.aid()

        with manager.session() as session:
            readers = [*in_threads(lambda: session.id, 3), *in_threads(lambda: asyncio.run(read_async()))]
            assert gate.arrived.wait(20)
            wait_until(lambda: len(manager._circuit_breaker._under_way) == 2)
            with ends_within(1):
                manager.close()
                for reader in readers:
                    if on_error == "warn":
                        assert reader.result(20) is None
                    else:
                        with pytest.raises(APIConnectionError, match="its manager is closed"):
                            reader.result(20)
        assert records == []

    def test_reads_after_it_are_no_outage(
        self, make_manager: Managers, records: list[logging.LogRecord]
    ) -> None:
        """They are told of once."""
        manager = make_manager()
        manager.close()
        for _ in range(5):
            with manager.session() as session:
                assert session.id is None
                assert asyncio.run(session.aid()) is None
        (record,) = records
        assert record.levelname == "WARNING"
        assert record.getMessage() == "a session ID was read, but its manager is closed (said once)"

    def test_process_ends_while_the_api_does_not_answer(self, serve: Callable[[Play], FaultServer]) -> None:
        """It does not wait for what was begun for a task that has gone."""
        server = serve(lambda wire: None)
        code = (
            "import asyncio, hl_sessions as hl\n"
            "async def read(session):\n"
            "    try: await asyncio.wait_for(session.aid(), 0.5)\n"
            "    except asyncio.TimeoutError: print('gone', flush=True)\n"
            "with hl.configure(timeout=600).session() as session:\n"
            "    asyncio.run(read(session))\n"
        )
        environment = {**os.environ, "HL_SESSIONS_BASE_URL": server.base_url}
        command = [sys.executable, "-W", "error", "-c", code]
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=50, check=False
        )
        assert (process.returncode, process.stdout, process.stderr) == (0, "gone\n", "")

    def test_threads_end(self, make_manager: Managers, tmp_path: Path) -> None:
        """close() lets the threads of a manager end."""
        before = set(threading.enumerate())
        manager = make_manager(store=SQLiteStore(tmp_path / "store.db"))
        with manager.session(key="chat") as session:
            assert asyncio.run(session.aid())
        started = set(threading.enumerate()) - before
        threads = [thread for thread in started if thread.name.startswith("hl-sessions")]
        assert threads
        manager.close()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()

    def test_what_was_given_stays_open(self, sessions_api: SessionsAPI) -> None:
        """The manager does not close a client and a store that were given."""

        class Store(MemoryStore):
            closed = 0

            def close(self) -> None:
                self.closed += 1

        store = Store()
        with SessionsClient(sessions_api.base_url) as client:
            with SessionManager(client=client, store=store) as manager, manager.session() as session:
                assert session.id
            assert client.create().body["id"]
        assert store.closed == 0

    def test_process_that_does_not_close(self, sessions_api: SessionsAPI) -> None:
        """A process that never closes its manager ends in silence."""
        code = (
            "import asyncio, hl_sessions as hl\n"
            "async def read(session):\n"
            "    asyncio.get_running_loop().slow_callback_duration = 60  # or a busy machine is told of\n"
            "    return await session.aid()\n"
            "with hl.configure(timeout=60).session() as session:\n"
            "    print(asyncio.run(read(session)))\n"
        )
        environment = {**os.environ, "HL_SESSIONS_BASE_URL": sessions_api.base_url}
        process = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (process.returncode, process.stderr) == (0, "")
        assert process.stdout.startswith("sesh_")


class TestDefault:
    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch, sessions_api: SessionsAPI) -> None:
        """Without configure() the default manager is made on first use, once, from the environment."""

        @with_session
        def read() -> str | None:
            session = current_session()
            assert session is not None
            assert session.manager == default_manager()
            return session.id

        monkeypatch.setenv("HL_SESSIONS_BASE_URL", sessions_api.base_url)
        assert read() is not None
        barrier = threading.Barrier(16)
        monkeypatch.setattr(_default, "manager", None)

        def get() -> SessionManager:
            barrier.wait(20)
            return default_manager()

        assert len({thread.result(20) for thread in in_threads(get, 16)}) == 1

    def test_configure(self, sessions_api: SessionsAPI) -> None:
        """configure() sets and gives the default manager; scopes opened before go on."""

        @with_session
        def stream() -> Iterator[str | None]:
            session = current_session()
            assert session is not None
            yield session.id

        first = configure(sessions_api.base_url, "first")
        before = stream()
        second = configure(sessions_api.base_url, "second")
        assert default_manager() is second
        assert next(before) is not None
        assert sessions_api.last.headers["X-API-KEY"] == "first"
        assert next(stream()) is not None
        assert sessions_api.last.headers["X-API-KEY"] == "second"
        first.close()

    def test_configured_again(self, sessions_api: SessionsAPI, tmp_path: Path) -> None:
        """Nothing of the manager before stays open, although its scopes go on, and it can still be used."""
        before = {*threading.enumerate()}

        def own_threads() -> list[threading.Thread]:
            threads = {*threading.enumerate()} - before
            return [thread for thread in threads if "hl-sessions" in thread.name]

        async def read(scope: Scope) -> str | None:
            async with scope as session:
                return await session.aid()

        with SQLiteStore(tmp_path / "conversations") as store:
            first = configure(sessions_api.base_url, store=store, idle_timeout=3600, prefetch=4)
            with first.session(new=True) as unread:
                with first.session(new=True) as session, first.session(key="chat") as chat:
                    assert None not in {session.id, chat.id, asyncio.run(read(first.session(key="other")))}
                    wait_until(lambda: first.ready_sessions.ready)  # type: ignore[union-attr]
                    configure(sessions_api.base_url)
                    assert not first.ready_sessions.ready  # type: ignore[union-attr]
                    wait_until(lambda: {thread.name for thread in own_threads()} <= {"hl-sessions-keeper"})
                    assert own_threads() != []
                wait_until(lambda: own_threads() == [])  # the last scope that was in a conversation has ended
                wait_until(lambda: sessions_api.open_connections == 0)
                assert unread.id is not None
            assert asyncio.run(read(first.session(key="chat"))) == chat.id
            assert asyncio.run(read(first.session(key="new"))) is not None
            wait_until(lambda: own_threads() == [])
            wait_until(lambda: sessions_api.open_connections == 0)

    def test_configured_again_during_a_read(self, sessions_api: SessionsAPI, gate: Gate) -> None:
        """The read gets its answer, and then its connection is closed."""
        with configure(sessions_api.base_url, retries=0).session() as session:
            (reader,) = in_threads(lambda: session.id)
            assert gate.arrived.wait(PATIENCE)
            configure(sessions_api.base_url)
            gate.opened.set()
            assert reader.result(PATIENCE) is not None
        wait_until(lambda: sessions_api.open_connections == 0)

    def test_a_client_that_was_handed_in_stays_as_it_is(self, sessions_api: SessionsAPI) -> None:
        """Its connections are not those of the manager."""
        with SessionsClient(sessions_api.base_url) as client:
            with configure(client=client).session() as session:
                assert session.id is not None
            configure(sessions_api.base_url)
            client.create()
            assert sessions_api.connections == 1

    def test_wrong(self) -> None:
        """A wrong setting is refused, and the default manager stays as it was."""
        first = configure("http://127.0.0.1:9")
        with pytest.raises(HLSessionsError):
            configure("nowhere")
        assert default_manager() is first

    def test_looks(self) -> None:
        """configure takes what SessionManager takes; nothing is created before it is needed."""
        assert configure.__name__ == "configure"
        assert configure.__doc__ is not None
        assert inspect.signature(configure).parameters == inspect.signature(SessionManager).parameters
        assert _default.manager is None
