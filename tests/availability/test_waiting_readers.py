"""Readers that wait while an outage is recognised, and readers that come later."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import pytest
import trio

import hl_sessions.availability.outage
from hl_sessions import APIConnectionError, SessionManager
from hl_sessions.availability.circuit_breaker import FAILURES_TO_OPEN, LONGEST_TRIAL, CircuitBreaker
from hl_sessions.availability.outage import CALM, FIRST_COOL_OFF, Incident
from hl_sessions.availability.reports import Reports
from hl_sessions.client.deadline import Deadline
from hl_sessions.process.waits import run_blocking
from hl_sessions.process.worker_threads import MAX_WORKERS
from tests.faults import FaultServer, Play, Wire
from tests.sessions_api import Answer, Gate, SessionsAPI, create_sessions, fail
from tests.waiting import PATIENCE, StillClock, ends_within, in_threads, wait_until

Managers = Callable[..., SessionManager]
TASKS = 40  # more than there are worker threads


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    monkeypatch.setattr(hl_sessions.availability.outage, "time", clock)
    return clock


def read(manager: SessionManager, key: str | None = None) -> str | None:
    with manager.session(new=True) if key is None else manager.session(key=key) as session:
        return session.id


async def aread(manager: SessionManager) -> str | None:
    async with manager.session(new=True) as session:
        return await session.aid()


def read_in_tasks(manager: SessionManager) -> list[str | None]:
    async def read_all() -> list[str | None]:
        return await asyncio.gather(*(aread(manager) for _ in range(TASKS)))

    return asyncio.run(read_all())


def read_in_every_way(manager: SessionManager) -> list[Future[Any]]:
    return [
        *in_threads(lambda: read(manager), 8),
        *in_threads(lambda: read(manager, "chat"), 2),
        *in_threads(lambda: read_in_tasks(manager)),
        *in_threads(lambda: trio.run(aread, manager)),
    ]


def fall(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    sessions_api.answer = fail()
    for _ in range(FAILURES_TO_OPEN):
        assert read(manager) is None


def send_then_hang(data: bytes) -> Play:
    return lambda wire: wire.send(data)


HEAD = b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n"
BACK_OFF = b"HTTP/1.1 503 Busy\r\nRetry-After: 90\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "hang",
    [
        pytest.param(send_then_hang(b""), id="for-an-answer"),
        pytest.param(send_then_hang(HEAD), id="for-headers"),
        pytest.param(send_then_hang(HEAD + b"\r\n{"), id="for-a-body"),
        pytest.param(lambda wire: wire.drip(b"HTTP/1.1 201 " + b"x" * 10_000), id="for-a-drip"),
        pytest.param(send_then_hang(BACK_OFF), id="for-another-attempt"),
    ],
)
def test_all_who_wait_are_let_go(
    serve: Callable[[Play], FaultServer],
    make_manager: Managers,
    monkeypatch: pytest.MonkeyPatch,
    hang: Play,
) -> None:
    """Waiting threads, tasks and conversations get an answer when an outage is recognised."""
    monkeypatch.setattr("hl_sessions.client.retries.RETRY_AFTER_MAX", PATIENCE)
    is_failing = threading.Event()

    def play(wire: Wire) -> None:
        wire.read_request()
        if is_failing.is_set():
            wire.send(b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        else:
            hang(wire)

    server = serve(play)
    manager = make_manager(base_url=server.base_url, retries=1)
    readers = read_in_every_way(manager)
    wait_until(lambda: server.opened >= 8 + 1 + MAX_WORKERS)
    is_failing.set()
    for _ in range(FAILURES_TO_OPEN):
        assert read(manager) is None
    with ends_within(0):
        outcomes = [reader.result(PATIENCE) for reader in readers]
    assert outcomes == [None] * 10 + [[None] * TASKS, None]
    server.wait_until_all_closed()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A name server that does not answer until it is told to."""
    go_on = threading.Event()
    getaddrinfo = socket.getaddrinfo

    def resolve(*args: Any, **options: Any) -> Any:
        if args[0] == "localhost":
            go_on.wait()
        return getaddrinfo("127.0.0.1", *args[1:], **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield go_on
    go_on.set()


def test_who_is_still_connecting_is_let_go(
    sessions_api: SessionsAPI, make_manager: Managers, resolver: threading.Event
) -> None:
    """So do readers without a connection."""
    base_url = sessions_api.base_url
    manager = make_manager(base_url=base_url.replace("127.0.0.1", "localhost"))
    readers = read_in_every_way(manager)
    breaker = manager._circuit_breaker
    wait_until(lambda: len(breaker._under_way) >= 8 + 1 + MAX_WORKERS)
    for _ in range(FAILURES_TO_OPEN):
        breaker._failed(APIConnectionError("no"), is_trial=False)
    with ends_within(0):
        assert [reader.result(PATIENCE) for reader in readers] == [None] * 10 + [[None] * TASKS, None]
    assert sessions_api.requests == []


@pytest.mark.usefixtures("in_turn")
def test_64_threads_on_a_black_hole(
    serve: Callable[[Play], FaultServer], make_manager: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads end together, when the first ones have timed out, however much time the others still have."""
    server = serve(lambda wire: None)
    manager = make_manager(base_url=server.base_url)
    readers = in_threads(lambda: read(manager), 64 - FAILURES_TO_OPEN)
    wait_until(lambda: server.opened == len(readers))
    monkeypatch.setattr(manager._client, "timeout", 0.5)
    with ends_within(0.5):
        readers += in_threads(lambda: read(manager), FAILURES_TO_OPEN)
        assert [reader.result(PATIENCE) for reader in readers] == [None] * 64


@pytest.mark.parametrize("key", [None, "chat"])
def test_tasks_need_no_free_thread(
    make_manager: Managers, sessions_api: SessionsAPI, clock: StillClock, key: str | None
) -> None:
    """During an outage a task is answered at once, though all worker threads are busy for long."""
    manager = make_manager(on_error="raise")
    released = threading.Event()
    for _ in range(MAX_WORKERS):
        manager.workers.submit(released.wait)
    sessions_api.answer = fail()
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(Exception, match="503"):
            read(manager)

    async def read_in_time() -> None:
        with manager.session(key=key) as session, pytest.raises(APIConnectionError, match="not tried"):
            await asyncio.wait_for(session.aid(), PATIENCE)

    try:
        asyncio.run(read_in_time())
    finally:
        released.set()
    assert sessions_api.posts == FAILURES_TO_OPEN


def test_a_task_that_tries_does_not_block(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock, gate: Gate
) -> None:
    """After the cool-off one task tries, in a thread, and the others of its loop are answered meanwhile."""
    fall(manager, sessions_api)
    clock.offset += FIRST_COOL_OFF
    gate._answer = create_sessions
    sessions_api.answer = gate

    async def main() -> tuple[str | None, list[str | None]]:
        trial = asyncio.create_task(aread(manager))
        await asyncio.to_thread(gate.arrived.wait, 20)
        others = await asyncio.gather(*(aread(manager) for _ in range(TASKS)))
        gate.opened.set()
        return await trial, others

    tried, others = asyncio.run(main())
    assert tried is not None
    assert others == [None] * TASKS


def test_a_lost_trial_is_not_the_last(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock, gate: Gate
) -> None:
    """A trial that hangs, or of which nothing is heard any more, holds up the others for a while only."""
    fall(manager, sessions_api)
    clock.offset += FIRST_COOL_OFF
    sessions_api.answer = gate
    trial = in_threads(lambda: read(manager))[0]
    assert gate.arrived.wait(20)
    sessions_api.answer = create_sessions
    assert read(manager) is None
    clock.offset += LONGEST_TRIAL
    assert read(manager) is not None
    gate.opened.set()
    assert trial.result(20) is not None


def test_a_call_that_was_just_admitted_is_given_up() -> None:
    """An outage that is recognised between the admission and the beginning of a call is not missed."""
    seen: list[bool] = []

    async def create(deadline: Deadline, _: Mapping[str, Any]) -> str:
        seen.append(deadline.is_aborted)
        raise APIConnectionError("no")

    reports = Reports()
    breaker = CircuitBreaker(create, reports, Incident(reports, "back after %.1f seconds"))

    class Late(set[Deadline]):
        def add(self, deadline: Deadline) -> None:
            breaker._failures = FAILURES_TO_OPEN
            super().add(deadline)

    breaker._under_way = Late()
    with pytest.raises(APIConnectionError, match="not tried"):
        run_blocking(breaker.create(Deadline(60), {}))
    assert seen == [True]


def test_an_abort_is_heard_later() -> None:
    """A wait on a deadline that was aborted before ends at once."""
    deadline = Deadline(60)
    deadline.abort()
    heard = threading.Event()
    deadline.on_abort(heard.set)
    assert heard.is_set()
    with ends_within(0):
        deadline.wait(threading.Event(), 60)


def test_single_failures_do_not_fill_the_log(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock, records: list[logging.LogRecord]
) -> None:
    """An API that fails every second call is one outage, which ends when it has not failed for a while."""
    answers = iter(range(1000))

    def every_second(request: Any) -> Answer:
        return create_sessions(request) if next(answers) % 2 else fail()(request)

    sessions_api.answer = every_second
    ids = [read(manager) for _ in range(40)]
    assert ids.count(None) == 20
    assert [record.levelname for record in records] == ["WARNING"]
    sessions_api.answer = create_sessions
    assert read(manager)
    assert len(records) == 1
    clock.offset += CALM
    assert read(manager)
    assert read(manager)
    assert [record.levelname for record in records] == ["WARNING", "INFO"]
    assert "sessions that went without an ID: 20" in records[1].getMessage()


@pytest.mark.parametrize("key", [None, "chat"])
def test_a_scope_is_counted_once(
    manager: SessionManager,
    sessions_api: SessionsAPI,
    clock: StillClock,
    records: list[logging.LogRecord],
    key: str | None,
) -> None:
    """However often and however it was read, it is one that went without an ID, and it logs one way."""
    sessions_api.answer = fail()
    with manager.session(key=key) as session:
        for _ in range(5):
            assert session.id is asyncio.run(session.aid()) is None
            reference = session.log_params()
        sessions_api.answer = create_sessions
        clock.offset += 4 * FIRST_COOL_OFF
        assert session.id is not None
        assert session.log_params() == trio.run(session.alog_params) == reference
    assert reference == {"session_reference_id": session.reference_id}
    assert "; sessions that went without an ID: 1" in records[-1].getMessage()
