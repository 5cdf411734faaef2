"""``on_created``: the application learns of each session that is created, once."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from hl_sessions import ConfigurationError, Session, SessionManager, configure, current_session
from hl_sessions.carrying import carried, carry
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.stores import SQLiteStore
from tests.sessions_api import Gate, SessionsAPI, create_sessions_and_logs, fail
from tests.waiting import PATIENCE, in_threads, wait_until, waiting_threads

if TYPE_CHECKING:
    from concurrent.futures import Future

Managers = Callable[..., SessionManager]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
seen: ContextVar[str | None] = ContextVar("seen", default=None)


class Created(list[Session]):
    """The sessions and the threads of the calls of ``on_created``."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __call__(self, session: Session) -> None:
        assert session.id == session.peek() is not None
        self.threads.append(threading.get_ident())
        seen.set(session.id)
        self.append(session)


def test_the_reader_calls_it(make_manager: Managers) -> None:
    """In its thread and context, before the read returns. A later read calls nothing, nor does none."""
    created = Created()
    manager = make_manager(on_created=created)
    with manager.session() as session:
        assert not created
        session_id = session.id
        assert (created, seen.get()) == ([session], session_id)
        assert session.id == session_id
    with manager.session():
        pass
    assert created.threads == [threading.get_ident()]


@LOOPS
def test_a_task_calls_it(run: Callable[[Any], Any], make_manager: Managers) -> None:
    created = Created()
    manager = make_manager(on_created=created)

    async def main() -> None:
        async with manager.session() as session:
            assert await session.aid() == seen.get() is not None
            assert await session.aid() == seen.get()

    run(main) if run is trio.run else run(main())
    assert created.threads == [threading.get_ident()]


@LOOPS
def test_a_task_that_creates_more(run: Callable[[Any], Any], make_manager: Managers) -> None:
    """On the event loop, too, it can read the ID of another scope, while others are created there."""
    ids: list[str | None] = []

    def on_created(_: Session) -> None:
        if not ids:
            ids.append(None)
            with manager.session(new=True) as another:
                ids.append(another.id)

    manager = make_manager(on_created=on_created)

    async def read() -> None:
        async with manager.session(new=True) as session:
            ids.append(await session.aid())

    async def on_asyncio() -> None:
        await asyncio.gather(*(read() for _ in range(5)))

    async def on_trio() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(read)

    trio.run(on_trio) if run is trio.run else asyncio.run(on_asyncio())
    assert len({*ids}) == 7
    assert ids.count(None) == 1


@LOOPS
def test_simultaneous_readers(run: Callable[[Any], Any], make_manager: Managers, gate: Gate) -> None:
    """Of threads and tasks that wait for one creation, one calls it."""
    created = Created()
    manager = make_manager(on_created=created)
    futures: list[Future[Any]] = []

    async def main() -> None:
        async with manager.session() as session:
            futures.extend(in_threads(lambda: session.id, 5))
            wait_until(lambda: waiting_threads(session) == 4)
            threading.Thread(target=gate.opened.set).start()
            assert await session.aid() == session.peek()

    run(main) if run is trio.run else run(main())
    assert len({future.result(PATIENCE) for future in futures}) == 1
    assert len(created) == 1


@LOOPS
def test_a_reader_that_is_cancelled(run: Callable[[Any], Any], make_manager: Managers, gate: Gate) -> None:
    """The creation goes on, and ``on_created`` is still called, in a copy of the context."""
    created, current = Created(), []
    done = threading.Event()

    def on_created(session: Session) -> None:
        created(session)
        current.append(current_session())
        done.set()

    manager = make_manager(on_created=on_created)

    async def read() -> None:
        async with manager.session() as session:
            await session.aid()

    async def on_asyncio() -> None:
        task = asyncio.ensure_future(read())
        await asyncio.to_thread(gate.arrived.wait, PATIENCE)
        task.cancel()
        await asyncio.wait([task])
        gate.opened.set()
        assert await asyncio.to_thread(done.wait, PATIENCE)

    async def on_trio() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.to_thread.run_sync(gate.arrived.wait, PATIENCE)
            nursery.cancel_scope.cancel()
        gate.opened.set()
        assert await trio.to_thread.run_sync(done.wait, PATIENCE)

    trio.run(on_trio) if run is trio.run else asyncio.run(on_asyncio())
    assert created == current != []


async def nothing(*_: Any) -> Any: ...


def test_sessions_that_are_ready(make_manager: Managers) -> None:
    """Sessions of ``prefetch`` count as created at their first read, by any reader."""
    created = Created()
    manager = make_manager(prefetch=2, on_created=created)
    ready_sessions = manager.ready_sessions
    assert ready_sessions is not None

    def read_ready(read: Callable[[], Any]) -> None:
        wait_until(lambda: ready_sessions.ready and ready_sessions.polling)
        read()

    async def ask(_scope: Any, _receive: Any, _send: Any) -> None:
        session = current_session()
        assert session is not None
        sessions.append(session)
        await session.aid()

    sessions: list[Session] = []
    with manager.session() as session:
        assert session.id
        sessions.append(session)
    for _ in range(2):
        with manager.session() as session:
            read_ready(lambda session=session: session.id)  # type: ignore[misc]
            sessions.append(session)
    with manager.session(key="chat") as session:
        read_ready(lambda: session.id)
        sessions.append(session)

    application = HLSessionMiddleware(ask, manager)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    read_ready(lambda: asyncio.run(application(scope, nothing, nothing)))
    assert created == sessions
    assert {*created.threads} == {threading.get_ident()}


def test_conversations(make_manager: Managers, tmp_path: Path) -> None:
    """It is called for the creator of a conversation's session, not for readers that find or join it."""
    created, elsewhere = Created(), Created()
    path = tmp_path / "conversations.sqlite3"
    manager = make_manager(store=SQLiteStore(path), on_created=created)
    another = make_manager(store=SQLiteStore(path), on_created=elsewhere)
    with manager.session(key="chat") as first:
        assert first.id
        data = carry()
    for finder in (manager, another):
        with finder.session(key="chat") as session:
            assert session.id == first.id
    with carried(data, another) as session:
        assert session is not None
        assert session.id == first.id
    assert created == [first]
    assert elsewhere == []
    first.end()
    with another.session(key="chat") as session:
        assert session.id != first.id
        assert elsewhere == [session]


def test_conversations_at_once(make_manager: Managers, gate: Gate) -> None:
    """Scopes of one conversation that wait for the same session: it was created for one of them."""
    created = Created()
    manager = make_manager(on_created=created)

    def read() -> str | None:
        with manager.session(key="chat") as session:
            return session.id

    futures = in_threads(read, 5)
    assert gate.arrived.wait(PATIENCE)
    gate.opened.set()
    assert len({future.result(PATIENCE) for future in futures}) == 1
    assert len(created) == 1


def test_what_is_only_logged(make_manager: Managers, sessions_api: SessionsAPI) -> None:
    """A thread in the background calls it, where it can log, and read the ID of another scope."""
    sessions_api.answer = create_sessions_and_logs
    calls: list[tuple[Session, str | None]] = []
    done = threading.Event()

    def on_created(session: Session) -> None:
        if calls:
            return
        calls.append((session, None))
        with manager.session(new=True) as another:
            calls[0] = (session, another.id)
            manager.log(project="p", output="created")
        done.set()

    manager = make_manager(on_created=on_created)
    with manager.session() as session:
        manager.log(project="p", output="fine")
    assert manager.flush(PATIENCE)
    assert done.wait(PATIENCE)
    assert calls[0][0] is session
    assert calls[0][1] not in {None, session.id}


def test_no_reader_waits_for_it(make_manager: Managers, gate: Gate) -> None:
    """It may wait for another thread that waits for the same session: the ID is known by then."""
    others: list[Future[Any]] = []

    def on_created(session: Session) -> None:
        assert {others[0].result(PATIENCE)} == {session.id}
        others.append(others[0])

    manager = make_manager(on_created=on_created)
    with manager.session() as session:

        def read_second() -> str | None:
            assert gate.arrived.wait(PATIENCE)
            return session.id

        def open_gate() -> None:
            wait_until(lambda: waiting_threads(session) == 1)
            gate.opened.set()

        others += in_threads(read_second)
        in_threads(open_gate)
        assert session.id is not None
    assert len(others) == 2


def test_an_error_is_logged(make_manager: Managers, records: list[logging.LogRecord]) -> None:
    """With its traceback, and the same kind once a minute; the reader gets its ID."""

    def on_created(_: Session) -> None:
        raise LookupError("no such tag")

    manager = make_manager(on_created=on_created)
    for _ in range(3):
        with manager.session() as session:
            assert session.id is not None
    [record] = [record for record in records if record.levelno >= logging.WARNING]
    assert record.getMessage() == "on_created raised LookupError"
    assert "no such tag" in logging.Formatter().format(record)


@pytest.mark.usefixtures("broken_handler")
def test_an_error_that_cannot_be_logged(make_manager: Managers, capsys: pytest.CaptureFixture[str]) -> None:
    manager = make_manager(on_created=lambda _: 1 / 0)
    with manager.session() as session:
        assert session.id is not None
    assert "the handler is broken" in capsys.readouterr().err


def test_a_session_that_could_not_be_created(make_manager: Managers, sessions_api: SessionsAPI) -> None:
    created = Created()
    sessions_api.answer = fail(500)
    with make_manager(on_created=created).session() as session:
        assert session.id is None
    assert created == []


async def _coroutine_function(_: Session) -> None: ...


class _Asynchronous:
    async def __call__(self, _: Session) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("print", "must be a function, not str"),
        (_coroutine_function, "not a coroutine function"),
        (partial(_coroutine_function), "not a coroutine function"),
        (_Asynchronous(), "not a coroutine function"),
    ],
)
def test_what_cannot_be_called(wrong: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^on_created .*{says}"):
        SessionManager(on_created=wrong)
    with pytest.raises(ConfigurationError, match="on_created"):
        configure(on_created=wrong)
