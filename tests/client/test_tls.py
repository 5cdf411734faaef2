"""https: whom the client trusts, and how a handshake fails."""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trustme")

import trustme

from hl_sessions import APIConnectionError, APITimeoutError, SessionsClient
from hl_sessions.client.deadline import Deadline
from tests.client.conftest import API_KEY, Call
from tests.faults import FaultServer, Play, Wire
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE, ends_within, in_threads

TIMEOUT = 0.3  # seconds
BODY = b'{"id": "sesh_AAAAAAAAAAAAAAAAAAAA"}'


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says that the authority is trusted."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))


def speaking_tls(authority: trustme.CA, name: str) -> Play:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    def play(wire: Wire) -> None:
        wire.connection = context.wrap_socket(wire.connection, server_side=True)
        with wire.connection:
            while True:
                wire.read_request()
                wire.send(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(BODY), BODY)

    return play


def https(server: FaultServer) -> str:
    return f"https://{server.address}/v4"


@pytest.mark.usefixtures("trusted")
def test_a_trusted_server_is_talked_to(
    serve: Callable[[Play], FaultServer], call: Call, authority: trustme.CA
) -> None:
    """A certificate of an authority that the environment names is good, and the connection is kept."""
    server = serve(speaking_tls(authority, "127.0.0.1"))
    with SessionsClient(https(server), API_KEY, retries=0) as client:
        assert call(client, "create").body["id"] == "sesh_AAAAAAAAAAAAAAAAAAAA"
        assert call(client, "create").status == 201
    assert server.opened == 1
    server.wait_until_all_closed()


def test_an_unknown_authority_is_refused(
    serve: Callable[[Play], FaultServer], call: Call, authority: trustme.CA
) -> None:
    """The key is not sent to an unverified server."""
    server = serve(speaking_tls(authority, "127.0.0.1"))
    with SessionsClient(https(server), API_KEY, retries=0) as client:
        with pytest.raises(APIConnectionError, match="certificate verify failed") as failure:
            call(client, "create")
        server.wait_until_all_closed()
    assert not isinstance(failure.value, APITimeoutError)


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name_is_refused(
    serve: Callable[[Play], FaultServer], call: Call, authority: trustme.CA
) -> None:
    """The right authority does not make it the right server."""
    server = serve(speaking_tls(authority, "other.invalid"))
    with SessionsClient(https(server), API_KEY, retries=0) as client:
        with pytest.raises(APIConnectionError, match=r"127\.0\.0\.1"):
            call(client, "create")
        server.wait_until_all_closed()


def test_a_server_without_tls_is_a_connection_error(sessions_api: SessionsAPI, call: Call) -> None:
    """``https`` where ``http`` was meant fails at once, and not as a time-out."""
    base_url = sessions_api.base_url.replace("http:", "https:")
    client = SessionsClient(base_url, API_KEY, retries=0)
    with client, ends_within(0), pytest.raises(APIConnectionError, match="SSL") as failure:
        call(client, "create")
    assert not isinstance(failure.value, APITimeoutError)
    assert sessions_api.requests == []


def drip_a_record(wire: Wire) -> None:
    wire.drip(b"\x16\x03\x03\x40\x00" + bytes(0x4000))


@pytest.mark.parametrize(
    "play",
    [pytest.param(lambda wire: None, id="silent"), pytest.param(drip_a_record, id="dripping")],
)
def test_a_slow_handshake_is_a_timeout(serve: Callable[[Play], FaultServer], call: Call, play: Play) -> None:
    """The handshake is part of the time limit, and its connection is closed in the end."""
    server = serve(play)
    with SessionsClient(https(server), API_KEY, timeout=TIMEOUT, retries=0) as client:
        with ends_within(TIMEOUT), pytest.raises(APITimeoutError):
            call(client, "create")
        server.wait_until_all_closed()


def test_a_handshake_that_breaks_off_is_a_connection_error(
    serve: Callable[[Play], FaultServer], call: Call
) -> None:
    """The server goes away instead of presenting itself."""

    def play(wire: Wire) -> None:
        wire.connection.recv(1)
        wire.connection.shutdown(socket.SHUT_WR)

    server = serve(play)
    with SessionsClient(https(server), API_KEY, retries=0) as client:
        with ends_within(0), pytest.raises(APIConnectionError) as failure:
            call(client, "create")
        server.wait_until_all_closed()
    assert not isinstance(failure.value, APITimeoutError)


@pytest.mark.slow
@pytest.mark.usefixtures("trusted")
def test_an_answer_in_small_pieces_is_no_silence(
    serve: Callable[[Play], FaultServer], call: Call, authority: trustme.CA
) -> None:
    """On a kept connection, too, where a part of a TLS record has come: the request is not sent again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    answer = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY

    def play(wire: Wire) -> None:
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(received, sent, server_side=True)

        def step(function: Callable[[], object]) -> None:
            while True:
                try:
                    function()
                except ssl.SSLWantReadError:  # noqa: PERF203 - it is how TLS says so
                    wire.send(sent.read())
                    received.write(wire.connection.recv(65536))
                else:
                    return

        step(tls.do_handshake)
        step(lambda: tls.read(65536))
        tls.write(answer)
        wire.send(sent.read())
        step(lambda: tls.read(65536))
        tls.write(answer)
        wire.drip(sent.read())

    server = serve(play)
    with SessionsClient(https(server), timeout=60, retries=0) as client:
        call(client, "create")
        call(client, "create")
    assert server.opened == 1


@pytest.mark.usefixtures("trusted")
def test_nothing_is_sent_without_tls_when_a_call_is_given_up(
    serve: Callable[[Play], FaultServer], authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that another thread sends at this moment is encrypted, or not sent."""
    plain: list[bool] = []
    shutdown = socket.socket.shutdown

    def looking(self: Any, how: int) -> None:
        if isinstance(self, ssl.SSLSocket):
            # Not its version: there is none while it takes in a ticket, either.
            plain.append(self._sslobj is None)  # type: ignore[attr-defined]
        shutdown(self, how)

    started = threading.Event()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)

    def play(wire: Wire) -> None:
        wire.connection = tls.wrap_socket(wire.connection, server_side=True)
        with wire.connection:
            wire.read_request()
            started.set()
            wire.wait_until_closed()

    deadline = Deadline(PATIENCE)
    with SessionsClient(https(serve(play)), API_KEY, retries=0) as client:
        (call,) = in_threads(lambda: client.create(timeout=deadline))
        assert started.wait(PATIENCE)
        monkeypatch.setattr(socket.socket, "shutdown", looking)
        deadline.abort()
        monkeypatch.undo()
        assert isinstance(call.exception(PATIENCE), APIConnectionError)
    assert plain == [False]
