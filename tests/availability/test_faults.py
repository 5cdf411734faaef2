"""The effects of an API's faults on an application: none, or the right error, and always in time."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from typing import Any, Literal, NoReturn

import pytest
import trio

from hl_sessions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    HLSessionsError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    Session,
    SessionManager,
    ValidationError,
)
from tests.client.conftest import API_KEY
from tests.client.test_transport_faults import FAULTS, then_no_more
from tests.faults import FaultServer, Play, Wire, refusing_address
from tests.waiting import PATIENCE, ends_within, in_threads, wait_until

TIMEOUT = 0.3  # seconds, where it is to be met; elsewhere something else ends the call, on a busy machine too
SESSION_ID = "sesh_AAAAAAAAAAAAAAAAAAAA"

OnError = Literal["warn", "raise"]

pytestmark = pytest.mark.usefixtures("in_turn")


def answer(status: int, body: Any = b"", *headers: str) -> Play:
    """One answer, on each connection as often as it is asked for."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever {API_KEY}", f"Content-Length: {len(content)}", *headers, "", ""]

    def play(wire: Wire) -> None:
        while True:
            wire.read_request()
            wire.send("\r\n".join(lines).encode(), content)

    return play


def in_an_hour() -> str:
    return formatdate(usegmt=True).replace("20", "21", 1)  # in a hundred years, to be exact


STATUSES = [
    pytest.param(answer(301, b"", "Location: /v4/sessions"), APIStatusError, id="301-loop"),
    pytest.param(answer(302, b"", "Location: /v4/sessions"), APIStatusError, id="302-loop"),
    *(
        pytest.param(answer(status, {"detail": f"You sent {API_KEY}"}), expected, id=str(status))
        for status, expected in {
            400: APIStatusError,
            401: AuthenticationError,
            403: AuthenticationError,
            404: NotFoundError,
            409: APIStatusError,
            422: ValidationError,
            429: RateLimitError,
            500: ServerError,
            502: ServerError,
            503: ServerError,
            504: ServerError,
        }.items()
    ),
    pytest.param(answer(429, b"", "Retry-After: 0"), RateLimitError, id="429-now"),
    pytest.param(answer(429, b"", "Retry-After: 3600"), RateLimitError, id="429-in-an-hour"),
    pytest.param(answer(429, b"", f"Retry-After: {in_an_hour()}"), RateLimitError, id="429-at-a-date"),
    pytest.param(answer(503, b"", "Retry-After: 3600"), ServerError, id="503-in-an-hour"),
]

BODIES = {
    "empty": b"",
    "html": b"<!DOCTYPE html><title>Welcome</title>",
    "not-json": b"{'id': 1}",
    "not-text": b"\xff\xfe\x00",
    "null": b"null",
    "list": [SESSION_ID],
    "no-id": {"session_id": SESSION_ID},
    "oversized": {"id": SESSION_ID, "pad": "x" * (1 << 20)},
    "id-null": {"id": None},
    "id-number": {"id": 5},
    "id-empty": {"id": ""},
    "id-spaces": {"id": "sesh_AAAA AAAA"},
    "id-line-break": {"id": "sesh_AAAA\r\nX-Injected: 1"},
    "id-other-prefix": {"id": "data_AAAAAAAAAAAAAAAAAAAA"},
    "id-10-kB": {"id": "sesh_" + "A" * 10_000},
}
ANSWERS = [
    pytest.param(answer(status, body), InvalidResponseError, id=f"{status}-{name}")
    for status in (200, 201)
    for name, body in BODIES.items()
]

LOUD = [
    pytest.param(
        then_no_more(b"HTTP/1.1 500 " + b"\x1b[31mred\x07 " * 5000 + b"\r\n\r\n"),
        ServerError,
        id="long-reason",
    ),
    pytest.param(
        then_no_more(b"\x1b[31mred\x07\rINFO all is well" * 2000 + b"\r\n"),
        InvalidResponseError,
        id="escapes",
    ),
]


def outcome_of(read: Callable[[Session], Any], manager: SessionManager) -> tuple[Any, Session]:
    """What a read in a scope of its own gives or raises."""
    with manager.session() as session:
        try:
            return read(session), session
        except HLSessionsError as error:
            return error, session


def reads(on_error: OnError) -> list[Callable[[Session], Any]]:
    """Simultaneous ones, which with those that raise nothing are fewer than the circuit opens at."""
    if on_error == "raise":
        return [lambda session: session.id, lambda session: asyncio.run(session.aid())]
    return [
        lambda session: session.log_params(),
        lambda session: trio.run(session.alog_params),
    ]


def check(base_url: str, on_error: OnError, expected: type[Any], caplog: pytest.LogCaptureFixture) -> None:
    """What is the same for every fault."""
    caplog.set_level(logging.DEBUG)
    timeout = TIMEOUT if expected is APITimeoutError else PATIENCE
    manager = SessionManager(base_url, API_KEY, timeout=timeout, retries=1, on_error=on_error)
    with manager, ends_within(TIMEOUT):
        futures = [in_threads(partial(outcome_of, read, manager))[0] for read in reads(on_error)]
        outcomes = [future.result(PATIENCE) for future in futures]
    for outcome, session in outcomes:
        assert session.peek() is None
        if on_error == "raise":
            assert type(outcome) is expected
            assert API_KEY not in str(outcome) + repr(outcome) + repr(vars(outcome))
        else:
            assert outcome == {"session_reference_id": session.reference_id}
    # A worker thread may answer the task before it logs.
    wait_until(lambda: any(record.name == "hl_sessions" for record in caplog.records))
    ours = [record for record in caplog.records if record.name == "hl_sessions"]
    assert [record.levelname for record in ours] == ["WARNING"]
    message = ours[0].getMessage()
    assert expected.__name__ in message
    assert message.isprintable()
    assert len(message) < 500
    for record in caplog.records:
        assert API_KEY not in record.getMessage() + repr(vars(record))


@pytest.mark.parametrize("on_error", ["warn", "raise"])
@pytest.mark.parametrize(("play", "expected"), [*FAULTS, *STATUSES, *ANSWERS, *LOUD])
def test_a_fault_of_the_server(
    serve: Callable[[Play], FaultServer],
    caplog: pytest.LogCaptureFixture,
    on_error: OnError,
    play: Play,
    expected: type[HLSessionsError],
) -> None:
    """A thread and a task get the reference, or the error, in time, with one warning and without the key.

    No connection outlives the manager.
    """
    server = serve(play)
    check(server.base_url, on_error, expected, caplog)
    server.wait_until_all_closed()


@pytest.fixture
def full_listener() -> Iterator[str]:
    """Its queue is full: connection attempts are left without an answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(8)]
        for connection in waiting:
            connection.settimeout(0)
            connection.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v4"
        for connection in waiting:
            connection.close()


@pytest.mark.parametrize("on_error", ["warn", "raise"])
class TestNoConnection:
    def test_refused(self, caplog: pytest.LogCaptureFixture, on_error: OnError) -> None:
        """The same is true where no server listens."""
        with refusing_address() as address:
            check(f"http://{address}/v4", on_error, APIConnectionError, caplog)

    def test_unreachable(
        self, full_listener: str, caplog: pytest.LogCaptureFixture, on_error: OnError
    ) -> None:
        """The same goes where connection attempts get no answer."""
        check(full_listener, on_error, APITimeoutError, caplog)

    def test_unknown_name(
        self, caplog: pytest.LogCaptureFixture, on_error: OnError, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same goes for a name without an address."""

        def getaddrinfo(*_: object, **__: object) -> NoReturn:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        check("http://sessions.invalid/v4", on_error, APIConnectionError, caplog)


def test_an_endless_answer_takes_no_memory(serve: Callable[[Play], FaultServer]) -> None:
    """Of an endless body no more than the limit is kept, with any time limit."""

    sent = 0

    def play(wire: Wire) -> None:
        nonlocal sent
        wire.read_request()
        wire.send(b"HTTP/1.1 201 Created\r\n\r\n")
        while not wire.server.stopped.is_set():
            wire.send(b" " * 65536)
            sent += 65536

    server = serve(play)
    with SessionManager(server.base_url, retries=0) as manager, manager.session() as session:
        assert session.id is None
    server.wait_until_all_closed()
    assert sent < 32 << 20
