"""The errors of failed calls, without the API key."""

from __future__ import annotations

import json
import re
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Any

import requests
from urllib3.exceptions import InvalidChunkLength, InvalidHeader, MaxRetryError, NewConnectionError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from hl_sessions.client.connections import is_out_of_descriptors
from hl_sessions.client.retries import retry_after_seconds
from hl_sessions.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    HLSessionsError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServerError,
    ValidationError,
)

if TYPE_CHECKING:
    from hl_sessions.client.answers import Answer

__all__ = ["Failures"]

_VERSION = re.compile(r"/v\d+$")
_STATUSES_OF_A_WRONG_PATH = frozenset({403, 404, 405})
UNAUTHORIZED = 401
MAX_SHOWN = 200  # characters of a server's text in a message


class Failures:
    """Makes the errors for the calls of one API.

    Args:
        base_url: the URL of the API, which is in the messages.
        api_key: the key, which is in no message, attribute or ``repr``; ``None``: there is no key.
    """

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self._base_url = base_url
        is_complete = _VERSION.search(base_url) is not None
        doubt = "that of a sessions API?" if is_complete else "complete? It ends with a version, as in /v4"
        self._hint = f"is base_url={base_url!r} {doubt}"
        # The key may also stand in a repr or in JSON, with backslashes before some characters.
        self._shown_key = api_key and re.compile(r"\\*".join(map(re.escape, api_key)))

    def no_answer(self, error: Exception) -> HLSessionsError:
        """Return the error of a call without an answer, given the exception of ``requests`` or urllib3."""
        cause: Any = error
        while isinstance(cause, (requests.RequestException, MaxRetryError)):
            inner = getattr(cause, "reason", None) or next(iter(cause.args), None)
            if not isinstance(inner, Exception):
                break
            cause = inner
        text = self._scrubbed(f"{type(cause).__name__}: {cause}")
        failure = _failure_type(cause)(f"no answer from {self._base_url}: {_one_line(text)}")
        if isinstance(failure, APIConnectionError):
            failure._is_of_process = is_out_of_descriptors(cause)
        return failure

    def status(self, answer: Answer, seconds: float) -> APIStatusError:
        """Return the error of an answer with a status outside 2xx.

        Args:
            answer: the answer, whose content was read.
            seconds: the time from sending the request to the end of the answer.
        """
        text = answer.content.decode("utf-8", "replace")
        try:
            body = self._scrubbed(json.loads(text))
        except (ValueError, RecursionError):
            body = self._scrubbed(text)
        headers = requests.structures.CaseInsensitiveDict(
            {name: self._scrubbed(value) for name, value in answer.headers.items()}
        )
        kind = _status_error_type(answer.status_code)
        reason = _one_line(self._scrubbed(answer.reason or ""))
        error = kind(answer.status_code, reason, body, headers, seconds)
        if isinstance(error, (RateLimitError, ServerError)):
            error.retry_after = retry_after_seconds(headers)
        if answer.status_code in _STATUSES_OF_A_WRONG_PATH:
            error.hint = self._hint
        elif answer.status_code == UNAUTHORIZED:
            error.hint = "api_key, or HL_SESSIONS_API_KEY in the environment, is missing or wrong"
        return error

    def no_json(self, answer: Answer) -> HLSessionsError:
        """Return the error of a successful answer that is not JSON. The error does not hold the content."""
        said = (
            f"the sessions API answered {answer.status_code} with a body that is not JSON"
            f" ({len(answer.content)} bytes)"
        )
        return InvalidResponseError(f"{said}; {self._hint}")

    def _scrubbed(self, value: Any) -> Any:
        """Return a text, or decoded JSON, without the key."""
        if not self._shown_key:
            return value
        if isinstance(value, str):
            return self._shown_key.sub("***", value)
        if isinstance(value, list):
            return [self._scrubbed(item) for item in value]
        if isinstance(value, dict):
            return {self._scrubbed(name): self._scrubbed(item) for name, item in value.items()}
        return value


def _one_line(text: str) -> str:
    """Return a server's text fit for a log: short, and without line breaks or control characters."""
    short = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
    return "".join(character if character.isprintable() else "?" for character in short)


def _failure_type(cause: Any) -> type[HLSessionsError]:
    # urllib3 counts a refused connection among the time-outs.
    if isinstance(cause, NewConnectionError):
        return APIConnectionError
    if isinstance(cause, (HTTPTimeoutError, TimeoutError)):
        return APITimeoutError
    # The error inside a ProtocolError tells whether the connection broke, or the answer was malformed.
    inner = next((arg for arg in reversed(cause.args) if isinstance(arg, Exception)), cause)
    if isinstance(inner, (InvalidHeader, InvalidChunkLength)):
        return InvalidResponseError
    if isinstance(inner, HTTPException) and not isinstance(inner, (RemoteDisconnected, IncompleteRead)):
        return InvalidResponseError
    return APIConnectionError


def _status_error_type(status: int) -> type[APIStatusError]:
    if status >= 500:  # noqa: PLR2004 - what HTTP calls server errors
        return ServerError
    return {
        401: AuthenticationError,
        403: AuthenticationError,
        404: NotFoundError,
        422: ValidationError,
        429: RateLimitError,
    }.get(status, APIStatusError)
