"""A request with its answer, as the access log and the metrics describe it."""

import re
from os import urandom
from time import perf_counter
from typing import TYPE_CHECKING, Final

from starlette.types import Message, Scope, Send

if TYPE_CHECKING:
    from hl_sessions.server.http.key_ring import KeyHolder
    from hl_sessions.server.records.deleting import Deleted

_STATE: Final = "exchange"
_REQUEST_ID_HEADER: Final = b"x-request-id"
# An ID from outside goes into a log and a header, so it is checked.
_SAFE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._~:=+/@-]{1,128}")


class Exchange:
    """One request and its answer. Each layer notes here what it learns.

    Args:
        request_id: The ID to be sent back with the answer.
        send: Sends the answer.

    Attributes:
        status: The status of the answer; ``None`` as long as there is none.
        sent: The bytes of the answer's body that were sent.
        session_id: The session that the call names or makes.
        key: The holder of the key that the caller has sent, or is signed in with.
        deleted: The numbers of records that the reader of a page has deleted.
        headers: Headers to be added to the answer, such as the ID of the request.
    """

    __slots__ = ("_begun", "_send", "deleted", "headers", "key", "request_id", "sent", "session_id", "status")

    def __init__(self, request_id: str, send: Send) -> None:
        self.request_id = request_id
        self.status: int | None = None
        self.sent = 0
        self.session_id: str | None = None
        self.key: KeyHolder | None = None
        self.deleted: Deleted | None = None
        self.headers: dict[bytes, bytes] = {}
        self._send = send
        self._begun = perf_counter()

    @property
    def seconds(self) -> float:
        """The time since the request has arrived."""
        return perf_counter() - self._begun

    async def send(self, message: Message) -> None:
        """Send a part of the answer with the headers of this exchange, and note its status and length."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers[_REQUEST_ID_HEADER] = self.request_id.encode()
            message["headers"] = [*message.get("headers", ()), *self.headers.items()]
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)


def begin_exchange(scope: Scope, exchange: Exchange) -> None:
    """Attach the exchange to a request, so that ``exchange_of`` finds it."""
    scope.setdefault("state", {})[_STATE] = exchange


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange of a request of this application."""
    exchange: Exchange = scope["state"][_STATE]
    return exchange


def request_id_of(scope: Scope) -> str:
    """Return the header ``X-Request-ID`` if it is 1 to 128 harmless characters, else a new ID."""
    for name, value in scope["headers"]:
        if name == _REQUEST_ID_HEADER:
            given: bytes = value
            return given.decode("ascii") if _SAFE_REQUEST_ID.fullmatch(given) else _new_request_id()
    return _new_request_id()


def _new_request_id() -> str:
    return urandom(16).hex()
