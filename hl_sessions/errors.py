"""The errors of this package, in one tree.

.. code-block:: text

    HLSessionsError
    ├── ConfigurationError        a setting is wrong: raised where the setting is given
    ├── APIConnectionError        no answer: refused, reset, unknown host, TLS
    │   └── APITimeoutError       no complete answer within the time limit
    ├── InvalidResponseError      an answer that breaks the protocol
    └── APIStatusError            an answer with a status outside 2xx
        ├── ValidationError       422
        ├── AuthenticationError   401, 403
        ├── NotFoundError         404
        ├── RateLimitError        429
        └── ServerError           5xx

The API key is in no message, attribute or ``repr`` of an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "ConfigurationError",
    "HLSessionsError",
    "InvalidResponseError",
    "NotFoundError",
    "RateLimitError",
    "ServerError",
    "ValidationError",
]


class HLSessionsError(Exception):
    """The base of all errors of this package."""


class ConfigurationError(HLSessionsError, ValueError):
    """A setting is wrong; the message names it, its value (unless secret) and the accepted values."""


class APIConnectionError(HLSessionsError):
    """The API could not be reached, or the connection broke before the answer was complete."""

    #: Whether this process had no file descriptor or thread left, which tells nothing about the API.
    _is_of_process = False


class APITimeoutError(APIConnectionError):
    """No complete answer came within the time limit, retries included."""


class InvalidResponseError(HLSessionsError):
    """The API gave an answer that breaks the protocol."""


class APIStatusError(HLSessionsError):
    """The API answered with a status outside 2xx.

    Attributes:
        status: the HTTP status code.
        reason: the reason phrase, possibly empty.
        body: the decoded JSON body, or its text if it is not JSON.
        headers: the response headers, with case-insensitive names.
        round_trip_time: seconds from sending the request to the end of the answer.
        hint: a mistake of the caller that may have caused the error, or empty.
    """

    hint = ""

    def __init__(
        self, status: int, reason: str, body: Any, headers: Mapping[str, str], round_trip_time: float
    ) -> None:
        super().__init__(status, reason, body, headers, round_trip_time)
        self.status = status
        self.reason = reason
        self.body = body
        self.headers = headers
        self.round_trip_time = round_trip_time

    def __str__(self) -> str:
        said = f"the sessions API answered {self.status} {self.reason}".rstrip()
        return f"{said}; {self.hint}" if self.hint else said

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status}, {self.reason!r})"


class ValidationError(APIStatusError):
    """422: the API did not accept a value."""

    @property
    def detail(self) -> list[dict[str, Any]]:
        """The problems that the API names, each as ``{"loc": [...], "msg": "...", "type": "..."}``."""
        detail = self.body.get("detail") if isinstance(self.body, dict) else None
        return detail if isinstance(detail, list) else []


class AuthenticationError(APIStatusError):
    """401 or 403: the API key is missing, unknown or not allowed to do this."""


class NotFoundError(APIStatusError):
    """404: the API has no record with this ID."""


class RateLimitError(APIStatusError):
    """429: too many requests.

    Attributes:
        retry_after: seconds to wait before the next request, ``None`` if the API did not say.
    """

    retry_after: float | None = None


class ServerError(APIStatusError):
    """5xx: the API failed.

    Attributes:
        retry_after: seconds to wait before the next request, ``None`` if the API did not say.
    """

    retry_after: float | None = None
