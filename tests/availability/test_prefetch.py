"""Sessions that are ready before they are read."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio

import hl_sessions.availability.outage
import hl_sessions.availability.ready_sessions
import hl_sessions.sessions.session
from hl_sessions import ConfigurationError, Session, SessionManager
from hl_sessions.availability.ready_sessions import MAX_AGE
from tests.faults import FaultServer, Play, Wire
from tests.forking import exit_code_of_child, forks
from tests.sessions_api import Answer, Gate, Request, SessionsAPI, create_sessions, fail
from tests.waiting import PATIENCE, StillClock, in_threads, wait_until

Managers = Callable[..., SessionManager]
LIMIT = 8


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    monkeypatch.setattr(hl_sessions.availability.ready_sessions, "monotonic", clock.monotonic)
    monkeypatch.setattr(hl_sessions.sessions.session, "monotonic", clock.monotonic)
    monkeypatch.setattr(hl_sessions.availability.outage, "time", clock)
    return clock


@pytest.fixture
def manager(make_manager: Managers) -> SessionManager:
    return make_manager(prefetch=LIMIT)


class Made:
    """The IDs that a sessions API has given out."""

    def __init__(self, api: SessionsAPI) -> None:
        self.ids: list[str] = []
        api.answer = self

    def __call__(self, request: Request) -> Answer:
        answer = create_sessions(request)
        self.ids.append(answer.body["id"])
        return answer


@pytest.fixture
def made(sessions_api: SessionsAPI) -> Made:
    return Made(sessions_api)


def read(manager: SessionManager) -> str | None:
    with manager.session(new=True) as session:
        return session.id


def settled(manager: SessionManager) -> int:
    """How many sessions are ready once no more are being made."""
    ready_sessions: Any = manager.ready_sessions

    def is_settled() -> bool:
        with ready_sessions._condition:  # else one that was just made may be neither under way nor ready
            return not ready_sessions._missing() and not ready_sessions._under_way

    wait_until(is_settled)
    return len(ready_sessions.ready)


def read_settled(manager: SessionManager, times: int) -> list[str | None]:
    """As an application does that reads now and then."""
    ids = []
    for _ in range(times):
        ids.append(read(manager))
        settled(manager)
    return ids


def read_together(manager: SessionManager, count: int) -> list[str | None]:
    barrier = threading.Barrier(count)

    def read_at_once() -> str | None:
        barrier.wait(PATIENCE)
        return read(manager)

    return [reader.result(PATIENCE) for reader in in_threads(read_at_once, count)]


def read_at_once(manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, count: int) -> None:
    """The API answers when all ask, so that next to none of them finds one ready."""
    readers = in_threads(lambda: read(manager), count)
    wait_until(lambda: sessions_api.posts >= count)
    gate.opened.set()
    assert None not in {reader.result(PATIENCE) for reader in readers}


def threads_of_prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hl-sessions-prefetch"]


def test_nothing_before_the_first_read(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """Scopes without a read make no call and start no thread, also if their attributes are used."""
    before = {*threading.enumerate()}  # those of tests before may end meanwhile
    with manager.session() as session, manager.session(key="chat") as chat:
        assert session.peek() is chat.peek() is None
        assert session.reference_id
        chat.end()
    assert {*threading.enumerate()} <= before
    assert sessions_api.requests == []


def test_a_read_that_finds_one_ready_makes_no_call(
    manager: SessionManager, sessions_api: SessionsAPI, gate: Gate
) -> None:
    """It needs no answer of the API; neither does a task, nor a new conversation."""
    read_at_once(manager, sessions_api, gate, 30)
    assert settled(manager) >= 4
    gate.opened.clear()

    async def read_async() -> str | None:
        async with manager.session(new=True) as session:
            return await session.aid()

    with manager.session(key="chat") as chat:
        ids = {read(manager), asyncio.run(read_async()), trio.run(read_async), chat.id}
    with manager.session(key="chat") as chat:
        assert chat.id in ids
    assert len(ids) == 4
    assert None not in ids


def test_at_most_so_many(manager: SessionManager, sessions_api: SessionsAPI, gate: Gate) -> None:
    """However many read at once, no more are made than were read and may be kept."""
    read_at_once(manager, sessions_api, gate, 100)
    assert LIMIT // 2 < settled(manager) <= LIMIT
    assert 100 + LIMIT // 2 < sessions_api.posts <= 100 + LIMIT
    read_settled(manager, 10)
    assert sessions_api.posts <= 110 + LIMIT


def test_a_trickle_keeps_few(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """Reads far enough apart never need more than two, and all but the first find one."""
    read_settled(manager, 20)
    assert sessions_api.posts <= 20 + 2


def test_a_burst_keeps_as_many_as_it_needs(
    manager: SessionManager, sessions_api: SessionsAPI, gate: Gate
) -> None:
    """After many reads at once about as many are ready as may be."""
    read_at_once(manager, sessions_api, gate, 30)
    assert LIMIT // 2 < settled(manager) <= LIMIT


def test_what_is_not_needed_is_not_kept(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock
) -> None:
    """After a burst the reads become rare: what grows old is not replaced, and in the end nothing is made."""
    read_together(manager, 30)
    settled(manager)
    for _ in range(3):
        clock.offset += MAX_AGE
        read_settled(manager, 1)
    posts = sessions_api.posts
    for _ in range(20):
        clock.offset += MAX_AGE
        read_settled(manager, 1)
    assert sessions_api.posts == posts + 20


def test_reads_that_come_back_are_learned_again(
    manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, clock: StillClock
) -> None:
    """Nothing was kept for long; a burst is served as the first one was."""
    gate.opened.set()
    for _ in range(5):
        clock.offset += MAX_AGE
        read_settled(manager, 1)
    assert settled(manager) == 0
    gate.opened.clear()
    read_at_once(manager, sessions_api, gate, 30)
    assert LIMIT // 2 < settled(manager) <= LIMIT


@pytest.mark.slow
def test_readers_of_one_scope_take_one(
    manager: SessionManager, sessions_api: SessionsAPI, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are at once, and whether or not a thread has to be started after it."""
    monkeypatch.setattr(hl_sessions.availability.ready_sessions, "IDLE_TIME", 0.01)
    read_at_once(manager, sessions_api, gate, 30)
    for _ in range(5):
        before = settled(manager) - sessions_api.posts
        wait_until(lambda: not threads_of_prefetching())
        barrier = threading.Barrier(64)
        with manager.session() as session:

            def read_it(session: Session = session, barrier: threading.Barrier = barrier) -> str | None:
                barrier.wait(PATIENCE)
                return session.id

            assert {reader.result(PATIENCE) for reader in in_threads(read_it, 64)} == {session.id}
        assert settled(manager) - sessions_api.posts == before - 1


@pytest.mark.parametrize("limit", [1, LIMIT, 64])
def test_nobody_gets_the_same(make_manager: Managers, limit: int) -> None:
    """500 threads that read at once in 500 scopes have 500 sessions."""
    manager = make_manager(prefetch=limit)
    read_settled(manager, 3)
    ids = read_together(manager, 500)
    assert len({*ids}) == 500
    assert None not in ids


def test_an_old_one_is_not_handed_out(manager: SessionManager, made: Made, clock: StillClock) -> None:
    """Sessions made a few minutes ago are dropped, one just young enough is not."""
    read_together(manager, 30)
    settled(manager)
    old = set(made.ids)
    clock.offset += MAX_AGE - 30
    assert read(manager) in old
    settled(manager)
    clock.offset += 31
    for _ in range(LIMIT + 1):
        assert read(manager) not in old


def test_an_outage_is_left_alone(
    manager: SessionManager,
    sessions_api: SessionsAPI,
    clock: StillClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is made while the API is down, and it is not asked more often; afterwards all goes on."""
    # Counted here: one that is given up may reach the API later.
    calls: list[Any] = []
    create = manager._client.create

    def counted(**options: Any) -> Any:
        calls.append(options)
        return create(**options)

    monkeypatch.setattr(manager._client, "create", counted)
    read_settled(manager, 1)
    sessions_api.answer = fail()
    while read(manager) is not None:
        pass
    for _ in range(5):
        read(manager)
        settled(manager)
    before = len(calls)
    assert {read_settled(manager, 20)[number] for number in range(20)} == {None}
    assert len(calls) == before
    sessions_api.answer = create_sessions
    clock.offset += 2
    read_settled(manager, 3)
    assert None not in read_settled(manager, 5)
    assert settled(manager) >= 1


@pytest.mark.slow
def test_threads_end_when_idle(manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reads the threads end; the next read starts one again."""
    monkeypatch.setattr(hl_sessions.availability.ready_sessions, "IDLE_TIME", 0.01)
    for _ in range(2):
        assert None not in read_together(manager, 10)
        settled(manager)
        wait_until(lambda: not threads_of_prefetching())


def test_threads_end_with_the_manager(manager: SessionManager, sessions_api: SessionsAPI, gate: Gate) -> None:
    """close() ends them, also those that create a session, and ready sessions are not handed out."""
    gate.opened.set()
    read_settled(manager, 2)
    gate.opened.clear()
    posts = sessions_api.posts
    assert read(manager) is not None
    wait_until(lambda: sessions_api.posts > posts)
    manager.close()
    gate.opened.set()
    wait_until(lambda: not threads_of_prefetching())
    assert read(manager) is None


@pytest.mark.parametrize("step", ["__init__", "start"])
def test_no_thread_to_be_had(manager: SessionManager, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Where no thread can be started the reads go on without it, and prefetching goes on when one can.

    In an isolated interpreter a daemon thread cannot even be made.
    """
    do = getattr(threading.Thread, step)

    def refuse(thread: threading.Thread, **options: Any) -> None:
        if "hl-sessions-prefetch" in {options.get("name"), getattr(thread, "_name", None)}:
            raise RuntimeError("daemon threads are disabled in this interpreter")
        do(thread, **options)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, step, refuse)
        assert None not in {read(manager) for _ in range(10)}
    assert read(manager) is not None
    assert settled(manager) > 0


def test_the_interpreter_exits_at_once(serve: Callable[[Play], FaultServer]) -> None:
    """It does not wait for sessions that are being made by an API that hangs."""

    def play(wire: Wire) -> None:
        wire.read_request()
        if wire.server.opened <= 2:
            body = b'{"id": "sesh_AAAA"}'
            wire.send(b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 19\r\n\r\n", body)
            wire.say_no_more()

    server = serve(play)
    code = (
        "import time, hl_sessions as hl\n"
        "manager = hl.configure(prefetch=8, timeout=600)\n"
        "with manager.session() as session: print(session.id, flush=True)\n"
        "while not manager.ready_sessions.ready: time.sleep(0.001)\n"
        "with manager.session() as session: print(session.id, flush=True)\n"
        "input()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", code],
        env={**os.environ, "HL_SESSIONS_BASE_URL": server.base_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: server.opened >= 3 or process.poll() is not None)
    assert process.communicate("\n", timeout=PATIENCE) == ("sesh_AAAA\n" * 2, "")
    assert process.returncode == 0


@forks
class TestFork:
    def test_a_child_has_its_own(
        self, manager: SessionManager, made: Made, sessions_api: SessionsAPI, gate: Gate
    ) -> None:
        """A child hands out nothing that its parent has ready, and makes some of its own."""
        read_at_once(manager, sessions_api, gate, 30)
        settled(manager)
        of_parent = set(made.ids)

        def work() -> None:
            ids = {read(manager) for _ in range(2 * LIMIT)}
            assert len(ids) == 2 * LIMIT
            assert None not in ids
            assert not ids & of_parent
            assert settled(manager) > 0
            assert threads_of_prefetching()

        assert exit_code_of_child(work) == 0
        posts = len(made.ids)
        assert posts >= len(of_parent) + 2 * LIMIT
        assert {read(manager) for _ in range(3)} <= of_parent

    def test_a_child_of_a_closed_one(self, manager: SessionManager, sessions_api: SessionsAPI) -> None:
        """A fork opens nothing again."""
        read_settled(manager, 1)
        manager.close()
        posts = sessions_api.posts

        def work() -> None:
            assert read(manager) is None
            assert not threads_of_prefetching()

        assert exit_code_of_child(work) == 0
        assert sessions_api.posts == posts


@pytest.mark.parametrize("wrong", [-1, True, "8", 1.0, None], ids=repr)
def test_a_wrong_number_is_refused(wrong: Any) -> None:
    """It is a whole number, 0 for none."""
    with pytest.raises(ConfigurationError, match=f"^prefetch={wrong!r}"):
        SessionManager(prefetch=wrong)


def test_readers_while_one_is_made(manager: SessionManager, gate: Gate) -> None:
    """Many readers of one scope that has none ready wait for the one creation."""
    with manager.session() as session, ThreadPoolExecutor(20) as pool:
        readers = [pool.submit(lambda: session.id) for _ in range(20)]
        assert gate.arrived.wait(20)
        gate.opened.set()
        assert len({reader.result(20) for reader in readers}) == 1
    settled(manager)
