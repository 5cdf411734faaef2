"""The effects of failing https on an application, which are those of every other fault."""

from collections.abc import Callable

import pytest

pytest.importorskip("trustme")

import trustme

from hl_sessions import APIConnectionError, APITimeoutError, HLSessionsError
from tests.availability.test_faults import OnError, check
from tests.client.test_tls import drip_a_record, speaking_tls
from tests.faults import FaultServer, Play

pytestmark = pytest.mark.usefixtures("in_turn")


@pytest.mark.parametrize("on_error", ["warn", "raise"])
@pytest.mark.parametrize(
    ("play", "expected"),
    [
        pytest.param(lambda wire: None, APITimeoutError, id="silent"),
        pytest.param(drip_a_record, APITimeoutError, id="dripping"),
        # Not at once: before the handshake Python itself leaves the socket to the garbage collection.
        pytest.param(lambda wire: (wire.connection.recv(1), wire.reset()), APIConnectionError, id="reset"),
        pytest.param(lambda wire: wire.send(b"HTTP/1.1 400\r\n\r\n"), APIConnectionError, id="no-tls"),
        pytest.param(speaking_tls(trustme.CA(), "127.0.0.1"), APIConnectionError, id="unknown-authority"),
    ],
)
def test_a_fault_of_tls(
    serve: Callable[[Play], FaultServer],
    caplog: pytest.LogCaptureFixture,
    on_error: OnError,
    play: Play,
    expected: type[HLSessionsError],
) -> None:
    """A thread and a task get the reference, or the error, in time, with one warning."""
    server = serve(play)
    check(f"https://{server.address}/v4", on_error, expected, caplog)
    server.wait_until_all_closed()
