"""The current session on the errors and transactions that go to Sentry.

.. code-block:: python

    sentry_sdk.init(dsn=...)
    connect()
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from hl_sessions.sessions.current import current_session
from hl_sessions.sessions.opened import observe_requests, scope_observers, unobserve

try:
    import sentry_sdk
    from sentry_sdk.scope import add_global_event_processor
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.sentry needs the SDK of Sentry: pip install 'hl-sessions[sentry]'"
    ) from error

try:
    from sentry_sdk.ai.utils import set_conversation_id
except ImportError:  # an older one has no conversations
    set_conversation_id = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from sentry_sdk import Scope

    from hl_sessions.sessions.session import Session

__all__ = ["connect", "disconnect"]

_TAG = "session.id"
_CONTEXT = "session"
_CONVERSATION = "gen_ai.conversation.id"


class _Opened(dict[str, Any]):
    """What an isolation scope of Sentry has as context, from the entry of a scope of ours.

    It is empty. What is known of the session when an event is captured takes its place in that event.

    Args:
        session: the session of the scope.
        around: what was current around it, which is again when the scope is left.
    """

    def __init__(self, session: Session, around: Session | None) -> None:
        super().__init__()
        self.session = session
        self.around = around


class _Connection:
    """What this process does when scopes are opened and events are captured."""

    def __init__(self) -> None:
        self.is_connected = self.has_processor = self.shows_key = False

    def note_request(self, session: Session) -> None:
        """Have the events of a request find its session, also when its scope has been left."""
        isolation_scope = _isolation_scope()
        if isolation_scope is not None:
            isolation_scope.set_context(_CONTEXT, _Opened(session, current_session()))

    def note_scope(self, session: Session) -> None:
        """Have those of a job find its session, and the calls of models their conversation."""
        isolation_scope = _isolation_scope()
        if isolation_scope is None:
            return
        if current_session() in (None, session):  # else the events are those of the scope around
            isolation_scope.set_context(_CONTEXT, _Opened(session, None))
        if session.key is not None and set_conversation_id is not None:
            set_conversation_id(_conversation_id(session.key))

    def add_session(self, event: Any, _: object) -> Any:
        """Add to an event what is known of its session."""
        contexts = event.setdefault("contexts", {})
        opened = contexts.get(_CONTEXT)
        if isinstance(opened, _Opened):
            del contexts[_CONTEXT]
        else:
            opened = None
        if self.is_connected:
            session = current_session()
            if opened is not None and (session is None or session is opened.around):
                session = opened.session
            if session is not None:
                self._describe(session, event)
        return event

    def _describe(self, session: Session, event: Any) -> None:
        session_id = session.peek()
        if session_id is not None:
            event.setdefault("tags", {}).setdefault(_TAG, session_id)
            known = {"id": session_id}
            if self.shows_key and session.key is not None:
                known["key"] = session.key
            event["contexts"].setdefault(_CONTEXT, known)
        # The key of a request may not be known before its route is, or its user.
        calls = [span for span in event.get("spans", ()) if (span.get("op") or "").startswith("gen_ai.")]
        if calls and session.key is not None:
            for call in calls:
                call.setdefault("data", {}).setdefault(_CONVERSATION, _conversation_id(session.key))


def _isolation_scope() -> Scope | None:
    """Return the isolation scope of the request or the job, ``None`` where there is none.

    Sentry's integrations make one for each, and name it. Any other may live on, and what is captured in it
    later has nothing to do with the session that is opened now.
    """
    isolation_scope = sentry_sdk.get_isolation_scope()
    return None if getattr(isolation_scope, "_name", None) is None else isolation_scope


def _conversation_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


_connection = _Connection()


def connect(*, key: bool = False) -> None:
    """Put the session on the errors and transactions that this process sends to Sentry from now on.

    They have the tag ``session.id`` and the context ``session``. It is the session of the scope in which an
    event is captured. What the integrations of Sentry capture when the scope of the request or the job has
    been left, has the session of that scope. An event never creates a session: as long as nobody has read the
    ID, and outside every scope, nothing is added. A tag or context of that name that is there already stays.

    In a request or job with a key, the spans of Sentry for calls of models have a hash of the key as
    ``gen_ai.conversation.id``. Calling this again replaces the setting.

    Args:
        key: whether the context has the conversation key, too, which may be personal.
    """
    _connection.is_connected, _connection.shows_key = True, key
    if not _connection.has_processor:  # Sentry has no way to take it away
        _connection.has_processor = True
        add_global_event_processor(_connection.add_session)
    observe_requests(_connection.note_request)
    if _connection.note_scope not in scope_observers:
        scope_observers.append(_connection.note_scope)


def disconnect() -> None:
    """Undo :func:`connect`."""
    _connection.is_connected = False
    unobserve(_connection.note_request)
    unobserve(_connection.note_scope)
