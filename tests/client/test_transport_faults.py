"""Every way in which an API fails to answer ends within the time limit, as the right error."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from hl_sessions import (
    APIConnectionError,
    APITimeoutError,
    HLSessionsError,
    InvalidResponseError,
    SessionsClient,
)
from tests.client.conftest import API_KEY, Call
from tests.faults import FaultServer, Play, Resolver, Wire, refusing_address
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE, ends_within

TIMEOUT = 0.2  # seconds, where it is to be met; elsewhere something else ends the call, on a busy machine too

ID = b'{"id": "sesh_AAAAAAAAAAAAAAAAAAAA"}'
CREATED = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = CREATED + b"Transfer-Encoding: chunked\r\n\r\n"


def after_request(*parts: bytes) -> Play:
    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(*parts)

    return play


def then_no_more(*parts: bytes) -> Play:
    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(*parts)
        wire.say_no_more()

    return play


def dripping(data: bytes, *before: bytes) -> Play:
    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(*before)
        wire.drip(data)
        wire.say_no_more()

    return play


def endless(data: bytes, *before: bytes) -> Play:
    def play(wire: Wire) -> None:
        wire.read_request()
        wire.send(*before)
        wire.send_for_ever(data)

    return play


def promising_an_answer(wire: Wire) -> None:
    """Promise an answer again and again, but not as often as would be too often for newer Pythons."""
    wire.read_request()
    while not wire.server.stopped.wait(0.05):
        wire.send(CONTINUE)


FAULTS = [
    pytest.param(lambda wire: None, APITimeoutError, id="black-hole"),
    pytest.param(lambda wire: wire.reset(), APIConnectionError, id="reset-at-once"),
    pytest.param(lambda wire: wire.say_no_more(), APIConnectionError, id="closed-at-once"),
    pytest.param(then_no_more(), APIConnectionError, id="closed-before-the-headers"),
    pytest.param(then_no_more(CREATED), InvalidResponseError, id="closed-in-the-headers"),
    pytest.param(
        then_no_more(CREATED, b"Content-Length: 99\r\n\r\n", ID), APIConnectionError, id="truncated-body"
    ),
    pytest.param(then_no_more(CHUNKED, b"40\r\n", ID), APIConnectionError, id="truncated-chunk"),
    pytest.param(
        after_request(CREATED, b"Content-Length: 99\r\n\r\n"), APITimeoutError, id="body-never-comes"
    ),
    # Each of them is a whole answer, for a client that waits for the next byte only.
    pytest.param(dripping(CREATED + b"\r\n" + ID), APITimeoutError, id="dripping-headers"),
    pytest.param(
        dripping(ID, CREATED, b"Content-Length: %d\r\n\r\n" % len(ID)), APITimeoutError, id="dripping-body"
    ),
    pytest.param(dripping(ID, CREATED, b"\r\n"), APITimeoutError, id="dripping-body-of-unknown-length"),
    pytest.param(
        dripping(b"1\r\n \r\n" * 20 + b"%x\r\n%b\r\n0\r\n\r\n" % (len(ID), ID), CHUNKED),
        APITimeoutError,
        id="dripping-chunks",
    ),
    pytest.param(after_request(b"SSH-2.0-OpenSSH_9.6\r\n"), InvalidResponseError, id="garbage"),
    pytest.param(endless(b"\0" * 4096), InvalidResponseError, id="endless-garbage"),
    pytest.param(endless(b"x: y\r\n" * 64, CREATED), InvalidResponseError, id="endless-headers"),
    pytest.param(endless(b"HTTP/1.1 100 Continue\r\n\r\n"), InvalidResponseError, id="endless-100-continue"),
    pytest.param(promising_an_answer, APITimeoutError, id="slow-100-continue"),
    pytest.param(endless(b" " * 4096, CREATED, b"\r\n"), InvalidResponseError, id="endless-body"),
    pytest.param(
        endless(b" " * 4096, CREATED, b"Content-Length: 9999999999\r\n\r\n"),
        InvalidResponseError,
        id="huge-body",
    ),
    pytest.param(
        endless(b"1000\r\n%s\r\n" % (b" " * 4096), CHUNKED), InvalidResponseError, id="endless-chunks"
    ),
    pytest.param(endless(b"1" * 4096, CHUNKED), InvalidResponseError, id="endless-chunk-size"),
    pytest.param(endless(b"1\r\n \r\n" * 512, CHUNKED), InvalidResponseError, id="endless-tiny-chunks"),
    pytest.param(endless(b"x: y\r\n", CHUNKED, b"0\r\n"), InvalidResponseError, id="endless-trailers"),
    pytest.param(
        after_request(CHUNKED, b"no number\r\n"), InvalidResponseError, id="garbage-for-a-chunk-size"
    ),
    pytest.param(
        after_request(CREATED, b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        InvalidResponseError,
        id="contradictory-lengths",
    ),
    pytest.param(
        then_no_more(CREATED, b"Content-Encoding: gzip\r\n\r\n", b"\x1f\x8b\x08garbage"),
        InvalidResponseError,
        id="encoded-though-not-asked-for",
    ),
    pytest.param(
        endless(b" " * 4096, b"HTTP/1.1 503 Busy\r\n\r\n"), InvalidResponseError, id="endless-body-of-a-503"
    ),
    pytest.param(
        endless(b" " * 4096, b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n"),
        InvalidResponseError,
        id="endless-body-of-a-redirect",
    ),
]


@pytest.mark.parametrize(("play", "expected"), FAULTS)
def test_a_fault_is_an_error_of_its_class_within_the_time_limit(
    serve: Callable[[Play], FaultServer], call: Call, play: Play, expected: type[HLSessionsError]
) -> None:
    """After any fault, the call ends in time, names the fault, and leaves no connection behind."""
    server = serve(play)
    timeout = TIMEOUT if expected is APITimeoutError else PATIENCE
    with SessionsClient(server.base_url, API_KEY, timeout=timeout, retries=1) as client:
        with ends_within(TIMEOUT), pytest.raises(expected) as failure:
            call(client, "create")
        server.wait_until_all_closed()
    assert type(failure.value) is expected
    assert failure.value.__context__ is None
    assert API_KEY not in str(failure.value)


def test_a_flood_of_interim_answers_ends_within_the_time_limit(
    serve: Callable[[Play], FaultServer], call: Call
) -> None:
    """Newer Pythons give up after a hundred of them, older ones when the time is over."""
    server = serve(endless(CONTINUE))
    with SessionsClient(server.base_url, timeout=TIMEOUT, retries=1) as client:
        with ends_within(TIMEOUT), pytest.raises((APITimeoutError, InvalidResponseError)):
            call(client, "create")
        server.wait_until_all_closed()


def test_a_refused_connection_is_no_timeout(call: Call) -> None:
    """Nothing listens there: that is known at once, and said so."""
    with (
        refusing_address() as address,
        SessionsClient(f"http://{address}/v4", retries=0) as client,
        ends_within(0),
        pytest.raises(APIConnectionError, match="refused") as failure,
    ):
        call(client, "create")
    assert not isinstance(failure.value, APITimeoutError)


@pytest.fixture
def full_address() -> Iterator[str]:
    """A listener whose queue is full: further connection attempts are left without an answer."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("timeout", [TIMEOUT, (TIMEOUT, 60.0)], ids=["in-all", "to-connect"])
def test_an_unreachable_host_is_a_timeout(full_address: str, call: Call, timeout: Any) -> None:
    """Making the connection counts, in the time limit for all of it or in one of its own."""
    client = SessionsClient(f"http://{full_address}/v4", timeout=TIMEOUT, retries=0)
    with client, ends_within(TIMEOUT), pytest.raises(APITimeoutError):
        call(client, "create", timeout=timeout)


def test_an_unknown_host_is_a_connection_error(call: Call) -> None:
    """A name without an address ends within the time limit, however long the resolver tries."""
    client = SessionsClient("http://name.invalid/v4", timeout=TIMEOUT, retries=0)
    with client, ends_within(TIMEOUT), pytest.raises(APIConnectionError):
        call(client, "create")


def test_a_connection_that_comes_too_late_is_closed(
    serve: Callable[[Play], FaultServer], resolver: Resolver
) -> None:
    """A name look-up that hangs does not hold up the call; the connection it leads to is not kept."""
    server = serve(lambda wire: None)
    port = server.address.rpartition(":")[2]
    with SessionsClient(f"http://localhost:{port}/v4", timeout=TIMEOUT, retries=0) as client:
        with ends_within(TIMEOUT), pytest.raises(APITimeoutError):
            client.create()
        resolver.go_on.set()
        server.wait_until_all_closed()


def test_many_calls_at_once_end_in_time(serve: Callable[[Play], FaultServer]) -> None:
    """No async call waits for another, however many are under way."""
    server = serve(lambda wire: None)
    with SessionsClient(server.base_url, timeout=TIMEOUT, retries=0) as client:

        async def create_many() -> list[Any]:
            return await asyncio.gather(*(client.acreate() for _ in range(160)), return_exceptions=True)

        with ends_within(TIMEOUT):
            outcomes = asyncio.run(create_many())
    assert {type(outcome) for outcome in outcomes} == {APITimeoutError}


def test_the_event_loop_runs_on_during_a_call(serve: Callable[[Play], FaultServer]) -> None:
    """What the server waits for is done by another task of the same loop."""
    asked, go_on = threading.Event(), threading.Event()

    def play(wire: Wire) -> None:
        wire.read_request()
        asked.set()
        go_on.wait(10)
        wire.send(CREATED, b"Content-Length: %d\r\n\r\n" % len(ID), ID)

    async def other_task() -> None:
        await asyncio.to_thread(asked.wait)
        go_on.set()

    async def both(client: SessionsClient) -> str:
        response, _ = await asyncio.gather(client.acreate(), other_task())
        return response.body["id"]

    with SessionsClient(serve(play).base_url, retries=0) as client:
        assert asyncio.run(both(client)) == "sesh_AAAAAAAAAAAAAAAAAAAA"


def test_a_very_long_time_limit_is_none(sessions_api: SessionsAPI) -> None:
    """More seconds than a socket can count are accepted."""
    with SessionsClient(sessions_api.base_url, timeout=threading.TIMEOUT_MAX) as client:
        assert client.create().status == 201
        assert client.create(timeout=(threading.TIMEOUT_MAX, threading.TIMEOUT_MAX)).status == 201
