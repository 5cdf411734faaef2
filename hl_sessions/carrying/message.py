"""Carry a session in a message to another process, such as a job of a queue.

.. code-block:: python

    queue.send({"text": text, "session": carry()})

    with carried(message["session"]):  # in the worker
        ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import hl_sessions.client.transport  # noqa: F401 - loaded here, not again in each process forked for a job
from hl_sessions.client.answers import is_session_id
from hl_sessions.datapoints.recorder import open_datapoint
from hl_sessions.defaults import manager_of_calls
from hl_sessions.errors import HLSessionsError
from hl_sessions.manager import checked_manager
from hl_sessions.scopes.scope import Entered
from hl_sessions.sessions.current import current_session, enter_session
from hl_sessions.sessions.opened import note_scope, scope_observers

if TYPE_CHECKING:
    from hl_sessions.manager import SessionManager
    from hl_sessions.sessions.session import Session

__all__ = ["CARRIED", "CarriedScope", "acarry", "carried", "carry"]

#: The name under which a message of a queue holds the result of :func:`carry`.
CARRIED = "hl_sessions"

_ID = "session_id"
_REFERENCE = "session_reference_id"
_PARENT = "parent_reference_id"

MAX_REFERENCE_LENGTH = 256  # characters, more than our reference IDs have


def carry() -> dict[str, str]:
    """Return a small dictionary that names the current session, fit for JSON, headers and message metadata.

    Reads the ID as ``session.id`` does, but never raises. If the session cannot be created, the dictionary
    has the reference ID, and the sender logs by that reference ID from now on.

    Returns:
        ``session_id``; ``session_reference_id`` if the sender logs by it; ``parent_reference_id`` if a
        datapoint is open, under which those of the receiver are nested. Empty outside every scope.
    """
    session = current_session()
    if session is None:
        return {}
    session_id = session.peek()
    if session_id is None and not session._logs_by_reference():
        try:
            session_id = session.id
        except HLSessionsError:
            pass
    return _named(session, session_id)


async def acarry() -> dict[str, str]:
    """Return the result of :func:`carry`, while the event loop (asyncio or trio) keeps running."""
    session = current_session()
    if session is None:
        return {}
    session_id = session.peek()
    if session_id is None and not session._logs_by_reference():
        try:
            session_id = await session.aid()
        except HLSessionsError:
            pass
    if session_id is None or session._logs_by_reference():
        await session._alearn_reference_id()
    return _named(session, session_id)


def carried(data: object, manager: SessionManager | None = None) -> CarriedScope:
    """Return a scope in the session that a message names.

    The data is not signed: any sender can choose the session. So the queue has to be as trusted as the
    database.

    Args:
        data: the result of :func:`carry`. Other names beside its own are ignored.
        manager: the manager of the session; ``None``: the one of :func:`hl_sessions.configure`.

    Returns:
        A scope for ``with`` and ``async with``, which yields a handle with the ID. Its ``log_params()``
        return the reference ID if those of the sender do. If ``data`` is empty, malformed or too long, the
        scope yields ``None``, and its code runs outside every scope.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
    """
    return CarriedScope(_session(data, checked_manager(manager)))


class CarriedScope(Entered):
    """The scope that :func:`carried` returns. It can be entered more than once."""

    __slots__ = ("_session",)

    def __init__(self, session: Session | None) -> None:
        self._entries = []
        self._session = session

    def __enter__(self) -> Session | None:
        session = self._session
        if scope_observers and session is not None:
            note_scope(session)
        self._entries.append((session, False, enter_session(session)))
        return session

    async def __aenter__(self) -> Session | None:
        return self.__enter__()


def _named(session: Session, session_id: str | None) -> dict[str, str]:
    params = session._log_params(session_id)
    if session_id is not None:
        params[_ID] = session_id
    parent = open_datapoint(session)
    if parent is not None:
        parent._recorder.hurry()  # a datapoint of the receiver may arrive soon, and must find it
    nested_under = session._nested_under if parent is None else parent._reference_id
    if nested_under is not None and _is_reference_id(nested_under):
        params[_PARENT] = nested_under
    return params


def _session(data: object, manager: SessionManager | None) -> Session | None:
    if not isinstance(data, Mapping) or not data:
        return None
    session_id, reference_id, parent = data.get(_ID), data.get(_REFERENCE), data.get(_PARENT)
    if session_id is None and reference_id is None:
        return None
    if not (
        (session_id is None or is_session_id(session_id))
        and (reference_id is None or _is_reference_id(reference_id))
        and (parent is None or _is_reference_id(parent))
    ):
        return None
    session = (manager or manager_of_calls()).new_session()  # no other thread has it yet: no lock is needed
    if session_id is not None:
        session._keep(session_id)
    if reference_id is not None:
        session._ensure_details().reference_id = reference_id
        session._log_by_reference()
    if parent is not None:
        session._nested_under = parent
    return session


def _is_reference_id(value: object) -> bool:
    # Neither half of a surrogate pair nor the zero character can be logged or kept.
    return isinstance(value, str) and 0 < len(value) <= MAX_REFERENCE_LENGTH and value.isprintable()
