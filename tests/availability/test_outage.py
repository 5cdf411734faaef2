import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest
import requests

import hl_sessions.availability.outage
from hl_sessions import APIConnectionError, ServerError, SessionManager, SessionsClient
from hl_sessions.availability.circuit_breaker import FAILURES_TO_OPEN
from hl_sessions.availability.outage import FIRST_COOL_OFF, LONGEST_COOL_OFF, Incident, Outage
from hl_sessions.availability.reports import Reports
from hl_sessions.process import worker_threads
from tests.sessions_api import Answer, Gate, Request, SessionsAPI, create_sessions, fail
from tests.waiting import StillClock, in_threads, wait_until

Managers = Callable[..., SessionManager]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    monkeypatch.setattr(hl_sessions.availability.outage, "time", clock)
    return clock


def read(manager: SessionManager) -> str | None:
    with manager.session(new=True) as session:
        return session.id


def fall(manager: SessionManager, sessions_api: SessionsAPI) -> None:
    """The API goes down, and that is noticed."""
    sessions_api.answer = fail()
    for _ in range(FAILURES_TO_OPEN):
        assert read(manager) is None


def test_is_remembered(manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock) -> None:
    """After three failures in a row reads are answered at once, without a call."""
    fall(manager, sessions_api)
    for _ in range(20):
        assert read(manager) is None
    with manager.session() as session:
        assert asyncio.run(session.aid()) is None
        assert session.log_params() == {"session_reference_id": session.reference_id}
    assert sessions_api.posts == FAILURES_TO_OPEN == 3


def asking_to_wait(status: int, seconds: str) -> Callable[[Request], Answer]:
    """What makes a sessions API fail, and say for how long."""
    return lambda _: Answer(status, b"", {"Retry-After": seconds})


@pytest.mark.parametrize("status", [429, 503])
def test_waits_as_long_as_the_api_asks(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock, status: int
) -> None:
    """An API that says when to come again is not asked before, for up to five minutes."""
    for asked, waited in [("120", 120), ("3600", 300)]:
        sessions_api.answer = asking_to_wait(status, asked)
        for _ in range(FAILURES_TO_OPEN):
            assert read(manager) is None
        posts = sessions_api.posts
        sessions_api.answer = create_sessions
        clock.offset += waited - 1
        assert read(manager) is None
        assert sessions_api.posts == posts
        clock.offset += 2
        assert read(manager)


def test_waits_as_long_as_any_failure_asks(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock
) -> None:
    """The wait that the first failure asks for is kept when later failures ask for none."""
    sessions_api.answer = asking_to_wait(503, "120")
    assert read(manager) is None
    clock.offset += 10
    sessions_api.answer = fail(500)
    assert read(manager) is read(manager) is None
    posts = sessions_api.posts
    clock.offset += 109
    assert read(manager) is None
    assert sessions_api.posts == posts
    sessions_api.answer = create_sessions
    clock.offset += 2
    assert read(manager)


def test_a_success_says_that_the_wait_is_over(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock
) -> None:
    """Failures after it are tried again as soon as any."""
    sessions_api.answer = asking_to_wait(429, "120")
    assert read(manager) is None
    sessions_api.answer = create_sessions
    assert read(manager)
    fall(manager, sessions_api)
    sessions_api.answer = create_sessions
    clock.offset += FIRST_COOL_OFF
    assert read(manager)


def test_only_in_a_row(manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock) -> None:
    """Failures with successes between them are no outage."""
    for _ in range(5):
        sessions_api.answer = fail()
        assert read(manager) is read(manager) is None
        sessions_api.answer = create_sessions
        assert read(manager)
    assert sessions_api.posts == 15


def test_raised(make_manager: Managers, sessions_api: SessionsAPI, clock: StillClock) -> None:
    """With on_error="raise" the error says that it was not tried, and what went wrong."""
    manager = make_manager(on_error="raise")
    sessions_api.answer = fail()
    for _ in range(3):
        with pytest.raises(ServerError):
            read(manager)
    with pytest.raises(APIConnectionError, match=r"not tried.* 3 times in a row.*ServerError.*503"):
        read(manager)
    assert sessions_api.posts == 3


def test_recovery(manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock) -> None:
    """When the cool-off has passed one read tries, and if it succeeds all others do."""
    fall(manager, sessions_api)
    sessions_api.answer = create_sessions
    assert read(manager) is None
    clock.offset += FIRST_COOL_OFF
    assert None not in {read(manager) for _ in range(5)}
    assert sessions_api.posts == 3 + 5


def test_within_a_minute(manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock) -> None:
    """However long the outage was, a read that comes 30 seconds after the API is back tries again."""
    fall(manager, sessions_api)
    tries = []
    for _ in range(3600):
        before = sessions_api.posts
        assert read(manager) is None
        if sessions_api.posts > before:
            tries.append(clock.offset)
        clock.offset += 1
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert max(pauses) <= LONGEST_COOL_OFF + 1
    assert 3600 / LONGEST_COOL_OFF <= len(tries) <= 2.5 * 3600 / LONGEST_COOL_OFF
    sessions_api.answer = create_sessions
    clock.offset += LONGEST_COOL_OFF
    assert read(manager) is not None


def test_said_once(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock, records: list[logging.LogRecord]
) -> None:
    """There is one warning at the beginning of an outage and one line at its end, for each outage."""
    for _ in range(2):
        fall(manager, sessions_api)
        for _ in range(7):
            assert read(manager) is None
        clock.offset += FIRST_COOL_OFF
        assert read(manager) is None
        sessions_api.answer = create_sessions
        clock.offset += 2 * FIRST_COOL_OFF
        assert read(manager)
        assert read(manager)
    beginning, end, *again = records
    assert [record.levelname for record in (beginning, end)] == ["WARNING", "INFO"]
    assert "503" in beginning.getMessage()
    assert "sessions that went without an ID: 11" in end.getMessage()
    assert [record.levelname for record in again] == ["WARNING", "INFO"]
    assert {record.exc_info for record in records} == {None}


def test_one_caller_tries(
    manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock, gate: Gate
) -> None:
    """While one caller tries, the others are answered at once."""
    gate._answer = sessions_api.answer = fail()
    fall(manager, sessions_api)
    gate._answer, sessions_api.answer = create_sessions, gate
    clock.offset += FIRST_COOL_OFF
    trial = in_threads(lambda: read(manager))[0]
    assert gate.arrived.wait(20)
    others = in_threads(lambda: [read(manager) for _ in range(5)], 8)
    assert [other.result(20) for other in others] == [[None] * 5] * 8
    gate.opened.set()
    assert trial.result(20) is not None
    assert read(manager) is not None
    assert sessions_api.posts == 3 + 2


def test_a_trial_is_interrupted(
    manager: SessionManager,
    sessions_api: SessionsAPI,
    clock: StillClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A trial that Ctrl-C ended is not the last one."""
    fall(manager, sessions_api)
    clock.offset += FIRST_COOL_OFF
    sessions_api.answer = create_sessions
    create = manager._client.create

    def interrupted(**options: Any) -> Any:
        monkeypatch.setattr(manager._client, "create", create)
        raise KeyboardInterrupt

    monkeypatch.setattr(manager._client, "create", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read(manager)
    assert read(manager) is not None


def test_simultaneous_failures(
    manager: SessionManager,
    sessions_api: SessionsAPI,
    clock: StillClock,
    gate: Gate,
    records: list[logging.LogRecord],
) -> None:
    """Many scopes that fail at the same time are one outage, which is recovered from like any other."""
    gate._answer = fail()
    readers = in_threads(lambda: read(manager), 30)
    wait_until(lambda: sessions_api.posts == 30)
    gate.opened.set()
    assert {reader.result(30) for reader in readers} == {None}
    assert [record.levelname for record in records] == ["WARNING"]
    posts = sessions_api.posts
    assert read(manager) is None
    assert sessions_api.posts == posts
    sessions_api.answer = create_sessions
    clock.offset += FIRST_COOL_OFF
    assert read(manager) is not None


def test_those_under_way_are_given_up(
    make_manager: Managers, sessions_api: SessionsAPI, clock: StillClock, gate: Gate
) -> None:
    """Reads that wait for an API that hangs are answered as soon as the outage is recognised."""
    manager = make_manager()
    hanging = in_threads(lambda: read(manager), 5)
    wait_until(lambda: sessions_api.posts == 5)
    fall(manager, sessions_api)
    assert [reader.result(20) for reader in hanging] == [None] * 5


def test_no_answer_at_all(make_manager: Managers, clock: StillClock) -> None:
    """An API without a server is an outage like any other."""
    manager = make_manager(base_url="http://127.0.0.1:9/v4")
    for _ in range(FAILURES_TO_OPEN + 1):
        assert read(manager) is None
    manager = make_manager(base_url="http://127.0.0.1:9/v4", on_error="raise")
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(APIConnectionError, match="no answer from"):
            read(manager)
    with pytest.raises(APIConnectionError, match="not tried"):
        read(manager)


def test_managers_apart(make_manager: Managers, sessions_api: SessionsAPI, clock: StillClock) -> None:
    """The outage of one manager's API is not another's."""
    fall(make_manager(), sessions_api)
    sessions_api.answer = create_sessions
    assert read(make_manager()) is not None


def test_conversations(manager: SessionManager, sessions_api: SessionsAPI, clock: StillClock) -> None:
    """In an outage a conversation that has its session goes on, others have none and try again after it."""
    with manager.session(key="old") as session:
        old = session.id
    fall(manager, sessions_api)
    with manager.session(key="old") as session:
        assert session.id == old is not None
    with manager.session(key="new") as session:
        assert session.id is None
    sessions_api.answer = create_sessions
    clock.offset += FIRST_COOL_OFF
    with manager.session(key="new") as session:
        assert session.id is not None


def test_a_burst_through_a_session_of_requests_is_no_outage(
    sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    """It waits for threads: the reads that had one too late tell nothing about the API."""
    monkeypatch.setattr(worker_threads, "MAX_WORKERS", 1)
    client = SessionsClient(sessions_api.base_url, timeout=0.3, retries=0, http_session=requests.Session())

    async def read_one() -> str | None:
        async with manager.session() as session:
            return await session.aid()

    async def read_many() -> str | None:
        reads = (read_one() for _ in range(3 * FAILURES_TO_OPEN))
        assert set(await asyncio.gather(*reads)) == {None}
        gate.opened.set()
        return await read_one()

    with client, SessionManager(client=client) as manager:
        assert asyncio.run(read_many()) is not None


def test_what_outages_of_one_cause_have_cost_is_added_up(records: list[logging.LogRecord]) -> None:
    """Sending may fail, succeed and fail again, while no session can be created."""
    reports = Reports()
    incident = Incident(reports, "back after %.0f seconds")
    creating, sending = Outage(incident), Outage(incident)
    creating.failed("down")
    for dropped in (2, 3):
        sending.failed("down")
        sending.end("dropped", dropped, is_loss=True)
    creating.end("without an ID", 0)
    reports.emit()
    assert [(record.levelname, record.getMessage()) for record in records] == [
        ("WARNING", "down"),
        ("WARNING", "back after 0 seconds; dropped: 5; without an ID: 0"),
    ]
