"""The session of whoever sends a job, on its way to the worker that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import hl_sessions.client.transport  # noqa: F401 - loaded here, and not anew in each process that is forked for a job
from hl_sessions.client.answers import is_session_id
from hl_sessions.client.client import DEFAULT_TIMEOUT
from hl_sessions.datapoints.recorder import open_datapoint
from hl_sessions.datapoints.sender import flush_all
from hl_sessions.errors import HLSessionsError
from hl_sessions.sessions.creation import agreement

if TYPE_CHECKING:
    from hl_sessions.sessions.session import Session, SessionSource

__all__ = ["CARRIED", "carried", "carried_session", "send_datapoints"]

#: The name under which a job holds its session.
CARRIED = "hl_sessions"

_PARENT = "parent_reference_id"

MAX_REFERENCE_LENGTH = 256  # characters, more than any of ours has


def send_datapoints() -> None:
    """Send what was logged, as the process may end without Python's own end, as those of Celery and RQ do."""
    flush_all(DEFAULT_TIMEOUT)


def carried(session: Session) -> dict[str, str]:
    """Give what a job takes along of a session, which is created if need be.

    Returns:
        The ID, where ``session.log_params()`` gives it the reference ID, and the reference ID of the open
        datapoint, which those of the job are nested under, unless it is too long. It never raises: where the
        session could not be created, the job is sent all the same, and logs by the reference ID as its sender
        does from now on.
    """
    try:
        session_id = session.peek() if session._logs_by_reference() else session.id
    except HLSessionsError:
        session_id = None
    params = session._log_params(session_id)
    if session_id is not None:
        params = {"session_id": session_id, **params}
    parent = open_datapoint(session)
    nested_under = session._nested_under if parent is None else parent._reference_id
    if nested_under is not None and _is_reference_id(nested_under):
        params = {**params, _PARENT: nested_under}
    return params


def carried_session(manager: SessionSource, carried: object) -> Session | None:
    """Give a handle of the session that a job has taken along.

    Args:
        manager: the manager of the handle.
        carried: what the job holds.

    Returns:
        A handle that has the ID, and whose ``log_params()`` give the reference ID where the sender's do.
        ``None`` if the job has none: it was sent outside every scope, or what it holds does not come from
        :func:`carried`.
    """
    if not isinstance(carried, Mapping) or not carried:
        return None
    if not all(name in _IS_VALID and _IS_VALID[name](value) for name, value in carried.items()):
        return None
    session = manager.new_session()
    with agreement.lock:
        if "session_id" in carried:
            session._keep(carried["session_id"])
        if "session_reference_id" in carried:
            session._ensure_details().reference_id = carried["session_reference_id"]
            session._log_by_reference()
        session._nested_under = carried.get(_PARENT)
    return session


def _is_id(value: object) -> bool:
    return isinstance(value, str) and is_session_id(value)


def _is_reference_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_REFERENCE_LENGTH


_IS_VALID = {
    "session_id": _is_id,
    "session_reference_id": _is_reference_id,
    _PARENT: _is_reference_id,
}
