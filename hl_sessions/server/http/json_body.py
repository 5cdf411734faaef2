"""JSON in and out: strict about what it reads, lean in what it writes."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic_core import from_json, to_json

from hl_sessions.server.http.rejections import InvalidRequestError

_QUICKLY_PARSED: Final = 64 * 1024
"""The longest body, in bytes, for which other requests may as well wait; ten megabytes can take a second."""


async def read_json(request: Request) -> Any:
    """Parse the body of a request, whatever its content type.

    The result is without ``provider_api_keys``: users' secrets, which the vendor's SDK adds to its bodies.

    Raises:
        InvalidRequestError: When the body is not JSON (``NaN`` and ``Infinity`` are not), is nested deeper
            than 200 levels, or holds what not every database keeps: NUL, halves of a surrogate pair, numbers
            beyond a float.
    """
    body = await request.body()
    return _parse(body) if len(body) <= _QUICKLY_PARSED else await run_in_threadpool(_parse, body)


def json_response(content: Mapping[str, Any] | Sequence[Any], status: int = 200) -> Response:
    """Make a JSON answer; a ``datetime`` in it becomes ISO 8601 with its time zone."""
    return Response(to_json(content), status, media_type="application/json")


def _parse(body: bytes) -> Any:
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        # The parser's message tells where, but may tell what as well.
        raise InvalidRequestError.at(("body",), "The body is not valid JSON", "json_invalid") from None
    problem = _clean(value)
    if problem is not None:
        raise InvalidRequestError.at(("body", *_place_of_problem(value)), problem)
    return value


def _clean(value: Any) -> str | None:
    """Drop the users' keys, and tell what cannot be stored, if anything."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            item.pop("provider_api_keys", None)
            pending.extend(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, str):
            if "\0" in item:
                return "NUL characters cannot be stored"
        elif isinstance(item, float) and not isfinite(item):
            return "A number is too large"
    return None


def _place_of_problem(value: Any) -> tuple[str | int, ...]:
    """Give the entry and the field, but nothing further inside, where names are part of the payload."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            if _clean(entry) is not None:
                return (index, *(_place_of_problem(entry) if isinstance(entry, dict) else ()))
    elif isinstance(value, dict):
        for name, field in value.items():
            if name.isidentifier() and _clean(field) is not None:
                return (name,)
    return ()
