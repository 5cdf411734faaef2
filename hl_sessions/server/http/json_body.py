"""Parses JSON bodies strictly, and writes JSON answers compactly."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic_core import to_json

from hl_sessions.server.http.body_encoding import decompress, in_utf_8, is_compressed
from hl_sessions.server.http.body_limit import body_of
from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.rejections import InvalidRequestError
from hl_sessions.server.protocol.storable import parse_storable

_REPLACED_CHARACTERS: Final = b"x-replaced-characters"

_LIMITS: Final = {
    "recursion limit exceeded": "The body is nested deeper than 200 levels",
    "number out of range": "A number has more than 4300 digits",
}
"""The limits of the parser, by the beginning of its message."""

_QUICKLY_PARSED: Final = 256 * 1024
"""The longest body, in bytes, that is parsed on the event loop; ten megabytes can take a second."""


async def read_json(request: Request) -> Any:
    """Parse the body of a request, regardless of its content type.

    ``provider_api_keys`` is removed from the result: the vendor's SDK adds these secrets of users to its
    bodies. Characters that no database can store, NUL and halves of surrogate pairs, are replaced by U+FFFD.
    A header of the answer has their number.

    Raises:
        HTTPException: When the body has another encoding than gzip, or is too long when it is decoded.
        InvalidRequestError: When the body is not JSON (``NaN`` and ``Infinity`` are not), is nested deeper
            than 200 levels, or holds a number beyond a float.
    """
    body = body_of(request.scope)
    if is_compressed(request):
        # Decompression may turn a short body into a long one.
        value, replaced = await run_in_threadpool(_parse_compressed, body, request.app.state.max_body)
    elif len(body) > _QUICKLY_PARSED:
        value, replaced = await run_in_threadpool(_parse, body)
    else:
        value, replaced = _parse(body)
    if replaced:
        exchange_of(request.scope).headers[_REPLACED_CHARACTERS] = b"%d" % replaced
    return value


def json_response(content: Mapping[str, Any] | Sequence[Any], status: int = 200) -> Response:
    """Make a JSON answer; a ``datetime`` in it becomes ISO 8601 with its time zone."""
    return _JSON(content, status)


class _JSON(Response):
    def __init__(self, content: Mapping[str, Any] | Sequence[Any], status: int) -> None:
        # Only these headers are set: the framework's own response takes three times as long.
        self.status_code = status
        self.background = None
        self.body = to_json(content)
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]


def _parse_compressed(body: bytearray, limit: int) -> tuple[Any, int]:
    return _parse(decompress(body, limit))


def _parse(body: bytes | bytearray) -> tuple[Any, int]:
    """Return the value, and the number of replaced characters."""
    try:
        json, replaced_halves = in_utf_8(body)
        value, replaced = parse_storable(json)
    except ValueError as error:
        raise InvalidRequestError.at(("body",), _problem_of(error), "json_invalid") from None
    if not _clean(value):
        raise InvalidRequestError.at(("body", *_place_of_problem(value)), "A number is too large")
    return value, replaced_halves + replaced


def _problem_of(error: ValueError) -> str:
    """Return what is wrong with a body. The parser's own message may have parts of it."""
    message = str(error)
    exceeded = (problem for begin, problem in _LIMITS.items() if message.startswith(begin))
    return next(exceeded, "The body is not valid JSON")


def _clean(value: Any) -> bool:
    """Remove the users' keys, and tell whether all numbers can be stored."""
    pending = [value]
    # The list grows during the loop. The parser makes exactly these types, and no subclasses.
    for item in pending:
        kind = type(item)
        if kind is dict:
            item.pop("provider_api_keys", None)
            pending += item.values()
        elif kind is list:
            pending += item
        elif kind is float and not isfinite(item):
            return False
    return True


def _place_of_problem(value: Any) -> tuple[str | int, ...]:
    """Return the entry and the field, but nothing below them, where names are part of the payload."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            if not _clean(entry):
                return (index, *(_place_of_problem(entry) if isinstance(entry, dict) else ()))
    elif isinstance(value, dict):
        for name, field in value.items():
            if name.isidentifier() and not _clean(field):
                return (name,)
    return ()
