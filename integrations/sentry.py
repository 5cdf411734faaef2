"""The current session on the errors and transactions that are sent to Sentry.

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
except ImportError:  # an older SDK has no conversations
    set_conversation_id = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from sentry_sdk import Scope

    from hl_sessions.sessions.session import Session

__all__ = ["connect", "disconnect"]

_TAG = "session.id"
_CONTEXT = "session"
_OPENED = "hl_sessions"
_CONVERSATION = "gen_ai.conversation.id"
_RQ = "sentry_sdk.integrations.rq"


class _Opened(dict[str, Any]):
    """A context of a scope of Sentry, from the entry of a scope of ours on. No event has it.

    Args:
        session: the session of the scope.
        around: the session that was current around it, and is again after the scope.
        is_one_of_many: whether the same request or job had a scope of another session before.
    """

    def __init__(self, session: Session, around: Session | None, *, is_one_of_many: bool = False) -> None:
        super().__init__()
        self.session = session
        self.around = around
        self.is_one_of_many = is_one_of_many


class _ConversationID(str):
    """The ID of a conversation. It is falsy where another session is current, so that Sentry leaves it out.

    Sentry keeps it until the request or job ends, and the scope with the key may end before.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        session = current_session()
        return session is None or (session.key is not None and _conversation_id(session.key) == self)


class _Connection:
    """The functions of this process for opened scopes and captured events."""

    def __init__(self) -> None:
        self.is_connected = self.has_processor = self.shows_key = False

    def note_request(self, session: Session) -> None:
        """Note the session of a request, so that its events have it also after the end of the scope."""
        scope = _scope_of_unit()
        if scope is not None:
            scope.set_context(_OPENED, _Opened(session, current_session()))

    def note_scope(self, session: Session) -> None:
        """Note the session of a job for its events, and the conversation for its calls of models."""
        scope = _scope_of_unit()
        if scope is None:
            return
        if current_session() in (None, session):  # else the events belong to the outer scope
            former: _Opened | None = getattr(scope, "_contexts", {}).get(_OPENED)
            is_one_of_many = former is not None and (
                former.is_one_of_many or session.key is None or session.key != former.session.key
            )
            scope.set_context(_OPENED, _Opened(session, None, is_one_of_many=is_one_of_many))
        if session.key is not None and set_conversation_id is not None:
            set_conversation_id(_ConversationID(_conversation_id(session.key)))

    def add_session(self, event: Any, _: object) -> Any:
        """Add the known data of its session to an event."""
        opened: _Opened | None = event.setdefault("contexts", {}).pop(_OPENED, None)
        if opened is not None and opened.is_one_of_many and event.get("type") == "transaction":
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
        # The key of a request may become known only with its route, or its user.
        calls = [span for span in event.get("spans", ()) if (span.get("op") or "").startswith("gen_ai.")]
        if calls and session.key is not None:
            for call in calls:
                call.setdefault("data", {}).setdefault(_CONVERSATION, _conversation_id(session.key))


def _scope_of_unit() -> Scope | None:
    """Return Sentry's scope of the request or job, ``None`` if there is none.

    Sentry's integrations make an isolation scope for each, and name it; that of RQ makes another one. Any
    other scope may live on, and its later events do not belong to the session that is opened now.
    """
    isolation_scope = sentry_sdk.get_isolation_scope()
    if getattr(isolation_scope, "_name", None) is not None:
        return isolation_scope
    scope = sentry_sdk.get_current_scope()
    # Not by its transaction: it has none if Sentry streams the spans.
    processors = getattr(scope, "_event_processors", ())
    return scope if any(processor.__module__ == _RQ for processor in processors) else None


def _conversation_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


_connection = _Connection()


def connect(*, key: bool = False) -> None:
    """Put the session on the errors and transactions that this process sends to Sentry from now on.

    Each event has the tag ``session.id`` and the context ``session``, for the scope in which it is captured.
    An event that Sentry's integrations capture after the scope of a request or job was left has the session
    of that scope; of several sessions, errors have the last one, and transactions none. An event never
    creates a session: before the ID is known, and outside every scope, nothing is added. An existing tag or
    context of that name is not changed.

    In a request or job with a key, Sentry's spans for calls of models have a hash of the key as
    ``gen_ai.conversation.id``. Calling this again replaces the setting.

    Args:
        key: whether the context has the conversation key, too. A key may be personal.
    """
    _connection.is_connected, _connection.shows_key = True, key
    if not _connection.has_processor:  # Sentry has no way to remove it
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
