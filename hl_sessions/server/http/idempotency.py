"""The header ``Idempotency-Key``: a request with a key is carried out once, however often it arrives."""

import re
from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from hl_sessions.server.http.access import organisation_of
from hl_sessions.server.http.body_limit import body_of
from hl_sessions.server.http.rejections import InvalidRequestError
from hl_sessions.server.records.idempotency import IdempotencyKey
from hl_sessions.server.records.refusals import RequestUnderWayError

HEADER: Final = "Idempotency-Key"
METHODS: Final = frozenset({"PATCH", "POST"})
"""The methods that may have the header. The others ignore it: repeating them changes nothing."""

PATTERN: Final = "^[A-Za-z0-9_-]{8,128}$"

_HEADER: Final = HEADER.lower().encode()
_WELL_FORMED: Final = re.compile(PATTERN.encode())
_QUICKLY_HASHED: Final = 256 * 1024
"""The longest body, in bytes, that is hashed on the event loop; longer ones are hashed on a thread."""

Result = TypeVar("Result")


class RequestsUnderWay:
    """The keys of the requests that this process is working on, so that a repeated request need not wait.

    Even without it, the database carries out no request twice.
    """

    def __init__(self) -> None:
        self._keys: set[tuple[int, str]] = set()

    async def do_alone(self, key: IdempotencyKey, do: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Carry out the request with this key, and return its result.

        Raises:
            RequestUnderWayError: When this process is already carrying it out.
        """
        if key.name in self._keys:
            raise RequestUnderWayError
        self._keys.add(key.name)
        try:
            return await do()
        finally:
            self._keys.remove(key.name)


async def idempotency_key_of(request: Request) -> IdempotencyKey | None:
    """Return the idempotency key of a request, if it has one.

    Raises:
        InvalidRequestError: When the header holds no valid key.
    """
    scope = request.scope
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if not given or scope["method"] not in METHODS:
        return None
    key = b", ".join(given)
    if not _WELL_FORMED.fullmatch(key):
        raise InvalidRequestError.at(
            ("header", HEADER), "A key is 8 to 128 characters of A-Z, a-z, 0-9, - and _"
        )
    body = body_of(scope)
    hash_ = sha256(f"{scope['method']} {scope['path']}?".encode() + scope["query_string"] + b"\n")
    if len(body) > _QUICKLY_HASHED:
        await run_in_threadpool(hash_.update, body)
    else:
        hash_.update(body)
    return IdempotencyKey(organisation_of(request), key.decode(), hash_.hexdigest())
