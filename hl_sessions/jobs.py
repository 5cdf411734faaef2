"""The session of whoever sends a job, on its way to the worker that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hl_sessions.client import is_session_id
from hl_sessions.errors import HLSessionsError
from hl_sessions.session import agreement

if TYPE_CHECKING:
    from hl_sessions.session import Session, SessionSource

__all__ = ["CARRIED", "carried", "carried_session"]

#: The name under which a job holds its session.
CARRIED = "hl_sessions"

MAX_REFERENCE_LENGTH = 256  # characters, as many as a conversation key may have


def carried(session: Session) -> dict[str, str]:
    """Give what a job takes along of a session, which is created if need be.

    Returns:
        What ``session.log_params()`` gives. It never raises: where the session could not be created, the
        job is sent all the same, and logs by the reference ID as its sender does from now on.
    """
    try:
        session_id = session.id
    except HLSessionsError:
        session_id = None
    return session._log_params(session_id)


def carried_session(manager: SessionSource, carried: object) -> Session | None:
    """Give a handle of the session that a job has taken along.

    Args:
        manager: the manager of the handle.
        carried: what the job holds.

    Returns:
        A handle that has the ID, or whose ``log_params()`` give the reference ID. ``None`` if the job has
        none: it was sent outside every scope, or what it holds does not come from :func:`carried`.
    """
    if not isinstance(carried, Mapping) or len(carried) != 1:
        return None
    session_id, reference_id = carried.get("session_id"), carried.get("session_reference_id")
    if isinstance(session_id, str) and is_session_id(session_id):
        session = manager.new_session()
        with agreement.lock:
            session._keep(session_id)
        return session
    if isinstance(reference_id, str) and 0 < len(reference_id) <= MAX_REFERENCE_LENGTH:
        session = manager.new_session()
        with agreement.lock:
            session._ensure_details().reference_id = reference_id
            session._log_by_reference()
        return session
    return None
