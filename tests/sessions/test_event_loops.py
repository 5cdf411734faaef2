"""Event loops go on while sessions are created: here it is their own tasks that let the API answer."""

import itertools
import re
import threading
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from hl_sessions import Session, SessionManager, acurrent_session_id, current_session, current_session_id
from hl_sessions.availability.circuit_breaker import FAILURES_TO_OPEN
from hl_sessions.client import deadline
from hl_sessions.process import runs
from hl_sessions.sessions import session as session_module
from hl_sessions.stores import Conversation, MemoryStore
from tests.faults import FaultServer, Play, Wire
from tests.interpreters import needs
from tests.sessions_api import Gate, SessionsAPI
from tests.waiting import PATIENCE, StillClock, in_threads, waiting_threads

if TYPE_CHECKING:
    from concurrent.futures import Future

LOOPS: list[Any] = [
    pytest.param(("asyncio", {}), id="asyncio"),
    pytest.param(
        ("asyncio", {"use_uvloop": True}),
        id="uvloop",
        marks=needs("uvloop"),
    ),
    pytest.param(("trio", {}), id="trio"),
]
pytestmark = pytest.mark.parametrize("loop", LOOPS)

Loop = tuple[str, dict[str, Any]]
READERS = 50  # more than there are worker threads


def run(main: Callable[[], Any], loop: Loop) -> Any:
    return anyio.run(main, backend=loop[0], backend_options=loop[1])


class SlowStore(MemoryStore):
    """Answers when it is told to."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        return super().get(key, max_idle=max_idle)

    def touch(self, key: str, session_id: str) -> None:
        assert self.go_on.wait(PATIENCE)
        super().touch(key, session_id)


async def until(condition: Callable[[], object]) -> None:
    """Let the other tasks run until it holds; a loop that stands still never gets there."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what other threads have done
            await anyio.sleep(0.001)


async def read_new(manager: SessionManager, ids: list[str | None]) -> None:
    """Read the ID of a new session."""
    async with manager.session(new=True) as session:
        ids.append(await session.aid())


async def ticks() -> None:
    for _ in itertools.repeat(None, 100):
        await anyio.lowlevel.checkpoint()


def test_creations(manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, loop: Loop) -> None:
    """Fifty scopes are read, entered and left while the API keeps its answers back."""
    ids: list[str | None] = []

    async def read(number: int) -> None:
        async with manager.session(key=None if number % 2 else f"chat {number}") as session:
            read_id = await session.aid() if number % 3 else await acurrent_session_id()
            assert (await session.alog_params())["session_id"] == read_id
            ids.append(read_id)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(READERS):
                group.start_soon(read, number)
            await until(gate.arrived.is_set)
            await ticks()
            assert ids == []
            gate.opened.set()

    run(main, loop)
    assert len({*ids}) == READERS
    assert None not in ids
    assert sessions_api.posts == READERS


def test_prefetch(make_manager: Callable[..., SessionManager], gate: Gate, loop: Loop) -> None:
    """So it is with prefetching, which makes its sessions beside the loop."""
    manager = make_manager(prefetch=4)
    ids: list[str | None] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(READERS):
                group.start_soon(read_new, manager, ids)
            await until(gate.arrived.is_set)
            await ticks()
            assert ids == []
            gate.opened.set()
        await until(lambda: len(manager.ready_sessions.ready) > 0)  # type: ignore[union-attr]
        gate.opened.clear()
        await read_new(manager, ids)

    run(main, loop)
    assert len({*ids}) == READERS + 1
    assert None not in ids


def test_a_store_that_takes_its_time(make_manager: Callable[..., SessionManager], loop: Loop) -> None:
    """A store is asked, and told of the end of a scope, beside the loop."""
    store = SlowStore()
    manager = make_manager(store=store, idle_timeout=60)
    ids: list[str | None] = []

    async def read() -> None:
        async with manager.session(key="chat") as session:
            ids.append(await session.aid())
            store.go_on.clear()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await until(store.asked.is_set)
            await ticks()
            assert ids == []
            store.go_on.set()
        await ticks()
        store.go_on.set()

    run(main, loop)
    assert len(ids) == 1
    assert None not in ids


@pytest.mark.usefixtures("in_turn")
def test_an_api_that_hangs(
    serve: Callable[[Play], FaultServer],
    make_manager: Callable[..., SessionManager],
    monkeypatch: pytest.MonkeyPatch,
    loop: Loop,
) -> None:
    """The loop runs on until reads of other threads have timed out, and through the outage after that."""
    server = serve(lambda wire: None)
    manager = make_manager(base_url=server.base_url)
    ids: list[str | None] = []

    def time_out() -> None:
        monkeypatch.setattr(manager._client, "timeout", 0.1)
        for _ in range(FAILURES_TO_OPEN):
            with manager.session(new=True) as session:
                assert session.id is None

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(READERS):
                group.start_soon(read_new, manager, ids)
            await until(lambda: server.opened)
            await ticks()
            assert ids == []
            await anyio.to_thread.run_sync(time_out)
        await read_new(manager, ids)

    run(main, loop)
    assert ids == [None] * (READERS + 1)


def test_a_wait_ends_in_time_beside_longer_ones(
    serve: Callable[[Play], FaultServer], make_manager: Callable[..., SessionManager], loop: Loop
) -> None:
    """Two reads are to try again a second later: the first gets no answer, and does not hold up the other."""
    keys: list[bytes] = []

    def play(wire: Wire) -> None:
        request = wire.read_request()
        (key,) = re.findall(rb"Idempotency-Key: (\w+)", request)
        if key not in keys:
            keys.append(key)
            wire.send(
                b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n",
                b"Connection: close\r\nContent-Length: 0\r\n\r\n",
            )
            wire.say_no_more()
        elif key != keys[0]:
            wire.send(
                b"HTTP/1.1 201 Created\r\nContent-Length: 35\r\n\r\n",
                b'{"id": "sesh_AAAAAAAAAAAAAAAAAAAA"}',
            )

    manager = make_manager(base_url=serve(play).base_url, timeout=PATIENCE, retries=1)
    ids: list[str | None] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(read_new, manager, ids)
            await until(lambda: keys)
            group.start_soon(read_new, manager, ids)
            await until(lambda: ids)
            manager.close()

    run(main, loop)
    assert ids == ["sesh_AAAAAAAAAAAAAAAAAAAA", None]


@pytest.mark.usefixtures("broken_handler")
def test_a_handler_that_raises(
    serve: Callable[[Play], FaultServer],
    make_manager: Callable[..., SessionManager],
    capsys: pytest.CaptureFixture[str],
    loop: Loop,
) -> None:
    """The error is shown, and no reader waits for ever."""
    manager = make_manager(base_url=serve(lambda wire: None).base_url, timeout=0.2)
    ids: list[str | None] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(READERS):
                group.start_soon(read_new, manager, ids)

    run(main, loop)
    assert ids == [None] * READERS
    assert "the handler is broken" in capsys.readouterr().err


def test_a_timeout_of_the_application(manager: SessionManager, gate: Gate, loop: Loop) -> None:
    """A task may give up waiting whenever it likes; the creation goes on, and the next read has the ID."""

    async def main() -> str | None:
        async with manager.session() as session:
            with anyio.move_on_after(0.05) as scope:
                await session.aid()
            assert scope.cancelled_caught
            await until(gate.arrived.is_set)
            gate.opened.set()
            return await session.aid()

    assert run(main, loop) is not None


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
def test_as_many_scopes_as_there_are(
    *, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, loop: Loop, keyed: bool
) -> None:
    """Three hundred scopes at once, and an API that answers when it knows them all: each has its ID."""
    scopes = 300
    ids: set[str | None] = set()

    async def read(key: str | None) -> None:
        async with manager.session(key=key) as session:
            ids.add(await session.aid())

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(scopes):
                tasks.start_soon(read, str(number) if keyed else None)
            await until(lambda: sessions_api.posts == scopes)
            gate.opened.set()

    run(main, loop)
    assert len(ids - {None}) == scopes


def test_bursts_run_in_no_session(make_manager: Callable[..., SessionManager], loop: Loop) -> None:
    """A store is called outside of scopes, in any turn of the loop."""
    seen: list[Session | None] = []

    class Watching(MemoryStore):
        blocking = False

        def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:
            seen.append(current_session())
            return super().save(key, claimant, session_id)

    manager = make_manager(store=Watching())

    async def read(key: str) -> None:
        async with manager.session(key=key) as session:
            assert await session.aid() is not None

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(read, str(number))

    run(main, loop)
    assert len(seen) >= 300
    assert set(seen) == {None}


def test_the_time_of_a_read_includes_its_wait_for_a_turn(
    make_manager: Callable[..., SessionManager],
    sessions_api: SessionsAPI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loop: Loop,
) -> None:
    """A read whose time is over by then makes no call, which is no outage."""
    clock = StillClock()
    monkeypatch.setattr(deadline, "time", clock)
    monkeypatch.setattr(session_module, "monotonic", clock.monotonic)
    manager = make_manager(timeout=60)
    ids: list[str | None] = []

    async def wait_long(_: object) -> None:
        clock.offset += 100

    with monkeypatch.context() as patch:
        patch.setattr(runs._Asyncio, "turn", wait_long)
        patch.setattr(runs._Trio, "turn", wait_long)
        for _ in range(FAILURES_TO_OPEN):
            run(partial(read_new, manager, ids), loop)
    assert ids == [None] * FAILURES_TO_OPEN
    assert sessions_api.posts == 0
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "a session could not be created, as many were being created at once"
    ]
    run(partial(read_new, manager, ids), loop)
    assert ids[-1] is not None


def test_scopes_that_are_cancelled_before_it_is_their_turn(
    manager: SessionManager, sessions_api: SessionsAPI, loop: Loop
) -> None:
    """Nobody else waits for them; the others go on."""
    scopes = 300
    ids: set[str | None] = set()

    async def read(number: int) -> None:
        with anyio.CancelScope() as scope:
            if number % 2:
                cancelled.append(scope)
            async with manager.session() as session:
                ids.add(await session.aid())

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(scopes):
                tasks.start_soon(read, number)
            await until(lambda: len(cancelled) == scopes / 2)
            for scope in cancelled:
                scope.cancel()

    cancelled: list[anyio.CancelScope] = []
    run(main, loop)
    assert scopes / 2 <= len(ids - {None}) == len(ids)
    assert len(ids) <= sessions_api.posts <= scopes


@pytest.mark.parametrize("key", [None, "chat"])
def test_a_blocking_read_where_a_task_creates(
    *, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, loop: Loop, key: str | None
) -> None:
    """The read keeps the loop from going on, so it does the rest of the work; there is one session."""
    ids: list[str | None] = []

    async def main() -> None:
        with manager.session(key=key):
            async with anyio.create_task_group() as tasks:

                async def read() -> None:
                    ids.append(await acurrent_session_id())

                tasks.start_soon(read)
                await until(gate.arrived.is_set)
                threading.Timer(0.01, gate.opened.set).start()
                if key is not None:  # by another handle, which waits for the first one
                    with manager.session(new=True), manager.session(key=key):
                        ids.append(current_session_id())
                ids.append(current_session_id())
            with manager.session(new=True) as another:  # the loop is in order
                ids.append(await another.aid())

    run(main, loop)
    assert len(set(ids[:-1])) == 1
    assert ids[0] is not None
    assert ids[-1] not in {None, ids[0]}
    assert sessions_api.posts == 2


def test_the_loop_ends_while_a_thread_waits(
    manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, loop: Loop
) -> None:
    """The thread that waits for a task finishes what the task has begun; so does a later reader."""
    readers: list[Future[str | None]] = []

    async def main(session: Session) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.aid)
            await until(gate.arrived.is_set)
            readers.extend(in_threads(lambda: session.id))
            await until(lambda: waiting_threads(session))
            tasks.cancel_scope.cancel()

    with manager.session() as session:
        run(partial(main, session), loop)
        readers.extend(in_threads(lambda: session.id))
        readers.extend(in_threads(lambda: run(session.aid, loop)))
        gate.opened.set()
        assert {reader.result(PATIENCE) for reader in readers} == {session.peek()} != {None}
    assert sessions_api.posts == 1


@pytest.mark.parametrize("key", [None, "chat"])
def test_the_loop_ends_while_another_waits(
    *, manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, loop: Loop, key: str | None
) -> None:
    """A task that waits on another loop has what the first loop has begun finished; there is one session."""
    waiting = threading.Event()
    readers: list[Future[str | None]] = []

    async def wait() -> str | None:
        # By the same handle, or by another one of the conversation, which waits for the first one.
        with manager.session(key=key) if key is not None else nullcontext(session) as joined:
            async with anyio.create_task_group() as tasks:
                ids: list[str | None] = []

                async def read() -> None:
                    ids.append(await joined.aid())

                tasks.start_soon(read)
                await anyio.lowlevel.checkpoint()
                waiting.set()
            return ids[0]

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.aid)
            await until(gate.arrived.is_set)
            # In an empty context, as this one says that a loop is running.
            readers.extend(Context().run(in_threads, lambda: run(wait, loop)))
            await until(waiting.is_set)
            tasks.cancel_scope.cancel()

    with manager.session(key=key) as session:
        run(main, loop)
        gate.opened.set()
        assert readers[0].result(PATIENCE) is not None
    assert sessions_api.posts == 1
