"""The header ``Idempotency-Key``: a request that has one is done once, however often it arrives."""

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
"""Whose calls may have the header. To others it means nothing: they come to the same if they are repeated."""

PATTERN: Final = "^[A-Za-z0-9_-]{8,128}$"

_HEADER: Final = HEADER.lower().encode()
_WELL_FORMED: Final = re.compile(PATTERN.encode())
_QUICKLY_HASHED: Final = 256 * 1024
"""The longest body, in bytes, for which other requests may as well wait."""

Result = TypeVar("Result")


class RequestsUnderWay:
    """Knows which requests with keys this process is at, so that nobody waits for one to do it again.

    Whatever it knows, the database does none of them twice.
    """

    def __init__(self) -> None:
        self._keys: set[tuple[int, str]] = set()

    async def do_alone(self, key: IdempotencyKey, do: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Return what the request with this key comes to.

        Raises:
            RequestUnderWayError: When this process is at it already.
        """
        if key.name in self._keys:
            raise RequestUnderWayError
        self._keys.add(key.name)
        try:
            return await do()
        finally:
            self._keys.remove(key.name)


async def idempotency_key_of(request: Request) -> IdempotencyKey | None:
    """Return the key of a request, if it has one.

    Raises:
        InvalidRequestError: When the header holds anything else.
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
