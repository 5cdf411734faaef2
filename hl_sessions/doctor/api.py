"""Examine the API: whether it answers, and which calls it allows with the key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from hl_sessions.client.deadline import Deadline
from hl_sessions.doctor.findings import Finding, Mark
from hl_sessions.errors import (
    APIStatusError,
    AuthenticationError,
    HLSessionsError,
    InvalidResponseError,
    NotFoundError,
    ValidationError,
)
from hl_sessions.manager import DEFAULT_BASE_URL
from hl_sessions.process.waits import run_blocking
from hl_sessions.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hl_sessions.client.client import SessionsClient
    from hl_sessions.manager import SessionManager

__all__ = ["TIMEOUT", "api_key_of", "base_url_of", "examine_api", "examine_project"]

TIMEOUT: Final = 5.0  # seconds, for all calls

_KEYS: Final = ("HL_SESSIONS_API_KEY", "HUMANLOOP_API_KEY")
_MALFORMED_KEY: Final = "doctor"
"""An idempotency key that is too short: a server that knows such keys refuses it, and makes no session."""


def examine_api(manager: SessionManager, *, has_conversations: bool = False) -> Iterator[Finding]:
    """Check which calls the API of a manager allows, without creating a session.

    Args:
        manager: the manager.
        has_conversations: whether a middleware uses its conversations.
    """
    client, deadline = manager._client, Deadline(TIMEOUT)
    place = f"{client.base_url} ({_origin_of_url(client.base_url)})"
    try:
        seconds = _get(client, "/projects", deadline)
    except HLSessionsError as error:
        yield _failure(client, place, error)
    else:
        yield Finding(Mark.OK, f"{place} answers, in {max(1, round(seconds * 1000))} ms")
        yield Finding(Mark.OK, f"GET /projects is allowed {_key(client)}")
        yield _creation(client, deadline)
    yield Finding(Mark.OK, f"conversations are kept in {manager._store!r}")
    if has_conversations and isinstance(manager._store, MemoryStore):
        yield Finding(
            Mark.NOTE,
            "each process has its own conversations",
            "for several workers SessionManager(store=SQLiteStore(...)), or RedisStore(...)",
        )


def examine_project(manager: SessionManager) -> Iterator[Finding]:
    """Tell that the datapoints of a manager have no project unless they name one."""
    if manager.recorder._project is None:
        yield Finding(
            Mark.NOTE,
            "no project is set, and datapoints without one are dropped",
            "configure(project=...), or log(project=...) at each call",
        )


def base_url_of(manager: SessionManager) -> str:
    """Return the base URL of the API of a manager."""
    return manager._client.base_url


def api_key_of(manager: SessionManager) -> str:
    """Return the API key that a manager sends, empty if it sends none."""
    return str(manager._client._create_request.prepared.headers.get("X-API-KEY", ""))


def _get(client: SessionsClient, path: str, deadline: Deadline) -> float:
    """Return the seconds until the answer, which has to be JSON."""
    request = client._transport.prepare("GET", path, {"size": 1})
    return run_blocking(client._exchange(request, _unchecked, timeout=deadline)).round_trip_time


def _unchecked(body: Any) -> Any:
    return body


def _creation(client: SessionsClient, deadline: Deadline) -> Finding:
    """Find whether the key may create sessions, on a server that can tell without creating one."""
    try:
        _get(client, "/arrivals", deadline)  # a call that no other server has
    except HLSessionsError:
        return Finding(Mark.NOTE, "POST /sessions was not tried: this server would make a session")
    try:
        run_blocking(client._answer(client._create_request, deadline, key=_MALFORMED_KEY))
    except ValidationError:
        return Finding(Mark.OK, f"POST /sessions is allowed {_key(client)}; none was made")
    except AuthenticationError as error:
        return Finding(Mark.WRONG, f"POST /sessions is refused {_key(client)}: {_reason(error)}")
    except HLSessionsError as error:
        return Finding(Mark.WRONG, f"POST /sessions fails: {error}")
    return Finding(Mark.OK, f"POST /sessions is allowed {_key(client)}; one was made")


def _failure(client: SessionsClient, place: str, error: HLSessionsError) -> Finding:
    if isinstance(error, AuthenticationError):
        text = f"{place} refuses calls {_key(client)}: {_reason(error)}"
        return Finding(Mark.WRONG, text, "hl-sessions keys create makes a key, HL_SESSIONS_API_KEY sets it")
    if isinstance(error, (NotFoundError, InvalidResponseError)):
        said, _, _ = str(error).partition(";")
        hint = "the URL is that of another server, or does not end with the version, as in /v4"
        return Finding(Mark.WRONG, f"{place} is no API: {said}", hint)
    if isinstance(error, APIStatusError):
        return Finding(Mark.WRONG, f"{place} fails: {error}", "its log says more")
    reason = str(error).removeprefix(f"no answer from {client.base_url}: ")
    return Finding(
        Mark.WRONG,
        f"{place} does not answer: {reason}",
        "is the URL right? hl-sessions serve starts a server",
    )


def _reason(error: APIStatusError) -> str:
    detail = error.body.get("detail") if isinstance(error.body, dict) else None
    return f"{error.status} {detail if isinstance(detail, str) else error.reason}"


def _key(client: SessionsClient) -> str:
    """Return the words that name the key of a call."""
    key = client._create_request.prepared.headers.get("X-API-KEY")
    if key is None:
        return "without a key"
    variable = next((name for name in _KEYS if os.environ.get(name) == key), None)
    return "with the key of the application" if variable is None else f"with {variable}"


def _origin_of_url(base_url: str) -> str:
    if base_url == os.environ.get("HL_SESSIONS_BASE_URL", "").rstrip("/"):
        return "HL_SESSIONS_BASE_URL"
    return "the default" if base_url == DEFAULT_BASE_URL else "set by the application"
