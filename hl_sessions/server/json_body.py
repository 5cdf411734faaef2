"""JSON in and out: strict about what it reads, lean in what it writes."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from fastapi import Request, Response
from pydantic_core import from_json, to_json

from hl_sessions.server.rejections import InvalidRequestError


async def read_json(request: Request) -> Any:
    """Parse the body of a request, whatever its content type.

    The result is without ``provider_api_keys``: users' secrets, which the vendor's SDK adds to its bodies.

    Raises:
        InvalidRequestError: When the body is not JSON (``NaN`` and ``Infinity`` are not), is nested deeper
            than 200 levels, or holds what not every database keeps: NUL, halves of a surrogate pair, numbers
            beyond a float.
    """
    try:
        value = from_json(await request.body(), allow_inf_nan=False)
    except ValueError:
        # The parser's message tells where, but may tell what as well.
        raise InvalidRequestError.at(("body",), "The body is not valid JSON", "json_invalid") from None
    _clean(value)
    return value


def json_response(content: Mapping[str, Any] | Sequence[Any], status: int = 200) -> Response:
    """Make a JSON answer; a ``datetime`` in it becomes ISO 8601 with its time zone."""
    return Response(to_json(content), status, media_type="application/json")


def _clean(value: Any) -> None:
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
                raise InvalidRequestError.at(("body",), "NUL characters cannot be stored")
        elif isinstance(item, float) and not isfinite(item):
            raise InvalidRequestError.at(("body",), "A number is too large")
