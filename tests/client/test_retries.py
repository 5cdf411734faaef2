"""The failures that are tried again, how often, and for how long."""

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from hl_sessions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InvalidResponseError,
    RateLimitError,
    SessionsClient,
)
from hl_sessions.client.retries import BACKOFF_MAX, RETRY_AFTER_MAX
from hl_sessions.client.transport import Transport
from tests.client.conftest import Call
from tests.faults import FaultServer, Play, Wire
from tests.sessions_api import Answer, SessionsAPI
from tests.waiting import PATIENCE, StillClock, ends_within

SESSION_ID = "sesh_AAAAAAAAAAAAAAAAAAAA"
CREATED = b'HTTP/1.1 201 Created\r\nContent-Length: 35\r\n\r\n{"id": "%s"}' % SESSION_ID.encode()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off begins with a hundredth of a second."""
    monkeypatch.setattr("hl_sessions.client.retries.BACKOFF_START", 0.01)


def answer_in_turn(sessions_api: SessionsAPI, *answers: Answer) -> None:
    """The last one is given again and again."""
    sessions_api.answer = lambda _: answers[min(len(sessions_api.requests), len(answers)) - 1]


@pytest.mark.parametrize("retries", [0, 1, 2])
@pytest.mark.parametrize("status", [409, 429, 502, 503, 504])
def test_a_passing_failure_is_tried_again(
    sessions_api: SessionsAPI, call: Call, status: int, retries: int
) -> None:
    """There is one attempt and then as many more as ``retries`` says; the last answer is the error."""
    sessions_api.answer = lambda _: Answer(status, {"attempt": len(sessions_api.requests)})
    client = SessionsClient(sessions_api.base_url, retries=retries)
    with client, pytest.raises(APIStatusError) as failure:
        call(client, "create")
    assert failure.value.status == status
    assert failure.value.body == {"attempt": retries + 1}
    assert len(sessions_api.requests) == retries + 1
    assert sessions_api.connections == 1


def test_attempts_of_one_call_have_one_idempotency_key(sessions_api: SessionsAPI, call: Call) -> None:
    """No other call has it, nor one of another client."""
    keys: list[str | None] = []
    for _ in range(2):
        with SessionsClient(sessions_api.base_url, retries=1) as client:
            for _ in range(2):
                answer_in_turn(sessions_api, Answer(503), Answer(201, {"id": SESSION_ID}))
                call(client, "create")
                keys += [request.headers["Idempotency-Key"] for request in sessions_api.requests]
                sessions_api.requests.clear()
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == 4


def test_a_retry_that_succeeds_is_a_success(sessions_api: SessionsAPI, call: Call) -> None:
    """The caller sees nothing of the failures before."""
    answer_in_turn(sessions_api, Answer(503), Answer(429), Answer(201, {"id": SESSION_ID}))
    with SessionsClient(sessions_api.base_url, retries=2) as client:
        assert call(client, "create").body == {"id": SESSION_ID}
    assert len(sessions_api.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [
        *(pytest.param(Answer(status), id=str(status)) for status in (301, 400, 401, 404, 422, 500, 501)),
        pytest.param(Answer(413, b"", {"Retry-After": "0"}), id="413-with-retry-after"),
    ],
)
def test_a_lasting_failure_is_not_tried_again(sessions_api: SessionsAPI, answer: Answer) -> None:
    """The same request would only fail once more."""
    sessions_api.answer = lambda _: answer
    with SessionsClient(sessions_api.base_url, retries=2) as client, pytest.raises(APIStatusError):
        client.create()
    assert len(sessions_api.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b'{"id": "wrong"}'], ids=["html", "wrong-id"])
def test_an_invalid_answer_is_not_tried_again(sessions_api: SessionsAPI, body: bytes) -> None:
    """The session may have been created, and another attempt would make one more."""
    sessions_api.answer = lambda _: Answer(201, body)
    with SessionsClient(sessions_api.base_url, retries=2) as client, pytest.raises(InvalidResponseError):
        client.create()
    assert len(sessions_api.requests) == 1


@pytest.mark.parametrize("retries", [0, 2])
def test_a_reset_connection_is_tried_again(
    serve: Callable[[Play], FaultServer], call: Call, retries: int
) -> None:
    """Each attempt has a connection of its own."""

    def play(wire: Wire) -> None:
        wire.read_request()
        wire.reset()

    server = serve(play)
    client = SessionsClient(server.base_url, retries=retries)
    with client, pytest.raises(APIConnectionError) as failure:
        call(client, "create")
    assert not isinstance(failure.value, APITimeoutError)
    assert server.opened == retries + 1


def test_a_server_that_comes_back_is_reached(serve: Callable[[Play], FaultServer]) -> None:
    """A reset connection, then a closed one, then an answer: a success."""

    def play(wire: Wire) -> None:
        wire.read_request()
        if wire.server.opened == 1:
            wire.reset()
        elif wire.server.opened == 3:
            wire.send(CREATED)
        else:
            wire.say_no_more()

    server = serve(play)
    with SessionsClient(server.base_url, retries=2) as client:
        assert client.create().body == {"id": SESSION_ID}
    assert server.opened == 3


def test_a_timeout_is_not_tried_again(serve: Callable[[Play], FaultServer]) -> None:
    """A request without an answer may have been carried out, and no time is left anyway."""
    server = serve(lambda wire: None)
    with SessionsClient(server.base_url, timeout=0.2, retries=5) as client:
        with pytest.raises(APITimeoutError):
            client.create(timeout=(PATIENCE, 0.2))
        server.wait_until_all_closed()
        assert server.opened == 1
        with pytest.raises(APITimeoutError):
            client.create()
        server.wait_until_all_closed()
    assert server.opened <= 2  # a busy machine may let all of the time pass before there is a connection


def test_a_kept_connection_that_the_server_has_closed_is_no_failure(
    serve: Callable[[Play], FaultServer],
) -> None:
    """It is seen before it is used, so no retry is needed for it."""

    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(CREATED)
        wire.connection.close()

    server = serve(play)
    with SessionsClient(server.base_url, retries=0) as client:
        for _ in range(3):
            client.create()
            server.wait_until_all_closed()
    assert server.opened == 3


def test_a_kept_connection_that_ends_under_the_request_is_tried_again(
    serve: Callable[[Play], FaultServer], call: Call
) -> None:
    """The server closed it in the moment in which the request was on its way."""

    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(CREATED)
        wire.read_request()
        wire.reset()

    server = serve(play)
    with SessionsClient(server.base_url, retries=1) as client:
        call(client, "create")
        assert call(client, "create").body == {"id": SESSION_ID}
    assert server.opened == 2


def one_second() -> tuple[str, float]:
    return "1", time.time() + 1


def a_date() -> tuple[str, float]:
    then = int(time.time()) + 2
    return formatdate(then, usegmt=True), then


@pytest.mark.parametrize(
    ("status", "header"),
    [
        pytest.param(429, one_second, id="429-seconds"),
        pytest.param(503, one_second, id="503-seconds"),
        pytest.param(429, a_date, id="429-date"),
    ],
)
@pytest.mark.slow
def test_retry_after_is_waited_for(
    sessions_api: SessionsAPI, status: int, header: Callable[[], tuple[str, float]]
) -> None:
    """Where it fits into the time limit, the next attempt comes then and not before."""
    after, earliest = header()
    answer_in_turn(sessions_api, Answer(status, b"", {"Retry-After": after}), Answer(201, {"id": SESSION_ID}))
    with SessionsClient(sessions_api.base_url, retries=1) as client, ends_within(2):
        assert client.create().body == {"id": SESSION_ID}
    assert time.time() > earliest - 0.1


@pytest.mark.parametrize(
    ("after", "timeout", "longest"),
    [
        pytest.param("3600", PATIENCE, 7200, id="beyond-the-time-limit"),
        pytest.param("3600", 7200, RETRY_AFTER_MAX, id="an-hour-of-two"),
        pytest.param("9" * 300, PATIENCE, RETRY_AFTER_MAX, id="for-ever"),
        pytest.param(
            formatdate(time.time() + 3600, usegmt=True), 7200, RETRY_AFTER_MAX, id="a-date-in-an-hour"
        ),
    ],
)
def test_a_wait_too_long_is_not_begun(
    *,
    sessions_api: SessionsAPI,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    after: str,
    timeout: float,
    longest: float,
) -> None:
    """The caller gets the answer at once, and decides when to call again."""
    monkeypatch.setattr("hl_sessions.client.retries.RETRY_AFTER_MAX", longest)
    sessions_api.answer = lambda _: Answer(429, {"detail": "later"}, {"Retry-After": after})
    client = SessionsClient(sessions_api.base_url, timeout=timeout, retries=2)
    with client, ends_within(0), pytest.raises(RateLimitError) as failure:
        call(client, "create")
    assert failure.value.body == {"detail": "later"}
    assert len(sessions_api.requests) == 1


@pytest.mark.parametrize("after", ["soon", "-1", ""], ids=["text", "negative", "empty"])
def test_a_senseless_retry_after_changes_nothing(sessions_api: SessionsAPI, after: str) -> None:
    """The usual back-off is taken instead."""
    answer_in_turn(sessions_api, Answer(429, b"", {"Retry-After": after}), Answer(201, {"id": SESSION_ID}))
    with SessionsClient(sessions_api.base_url, retries=1) as client, ends_within(0):
        assert client.create().body == {"id": SESSION_ID}


@pytest.fixture
def clock_of_waits(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    """Time passes only in the waits before further attempts, which are not real."""
    clock = StillClock()
    monkeypatch.setattr("hl_sessions.client.deadline.time", clock)

    async def pause(_transport: Transport, seconds: float, *_: Any) -> None:
        clock.offset += seconds

    monkeypatch.setattr(Transport, "_pause", pause)
    return clock


@pytest.mark.parametrize("status", [None, 503], ids=["reset", "503"])
def test_the_time_limit_includes_the_waits(
    serve: Callable[[Play], FaultServer], call: Call, clock_of_waits: StillClock, status: int | None
) -> None:
    """However many retries are allowed, the last failure is given when there is no time for another wait."""

    def play(wire: Wire) -> None:
        wire.read_request()
        if status is None:
            wire.reset()
        wire.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    server = serve(play)
    client = SessionsClient(server.base_url, timeout=PATIENCE, retries=1000)
    with client, pytest.raises(APIConnectionError if status is None else APIStatusError):
        call(client, "create")
    assert PATIENCE - BACKOFF_MAX <= clock_of_waits.offset < PATIENCE
