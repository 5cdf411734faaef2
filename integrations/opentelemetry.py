"""The session on the spans and log records of OpenTelemetry.

.. code-block:: python

    provider.add_span_processor(SessionSpanProcessor())
    logger_provider.add_log_record_processor(SessionLogRecordProcessor())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from hl_sessions.errors import ConfigurationError
from hl_sessions.sessions.current import current_session
from hl_sessions.sessions.opened import observe_requests, observe_scopes, unobserve

try:
    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import SpanKind, get_current_span
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.opentelemetry needs the OpenTelemetry SDK:"
        " pip install 'hl-sessions[opentelemetry]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span

    from hl_sessions.sessions.session import Session

__all__ = [
    "CONVERSATION_ID",
    "PREVIOUS_ID",
    "SESSION_ID",
    "SessionLogRecordProcessor",
    "SessionSpanProcessor",
]

# Names of OpenTelemetry's semantic conventions.
SESSION_ID = "session.id"
PREVIOUS_ID = "session.previous_id"
CONVERSATION_ID = "gen_ai.conversation.id"

_SERVER = SpanKind.SERVER  # members of enumerations are looked up slowly
MOST_RENEWED = 1000  # sessions whose first span is remembered


class SessionSpanProcessor(SpanProcessor):
    """Puts the session on each span that begins in a scope.

    ``session.id`` is set at the start of the span if the ID is known by then, else at its end. A span that
    began outside every scope, such as the server span of a request, has the session of the scope that is
    opened in it. If several scopes are opened in it one after the other, as in a batch, it has no session.
    Server spans always get the session at their end.

    In a conversation the ID is also ``gen_ai.conversation.id``. The first span after a conversation has begun
    anew has ``session.previous_id``. Attributes that a span has already are not changed.

    The processor never waits. A span creates no session, unless ``create=True``. The order of processors does
    not matter. Do not put it into a ``ConcurrentMultiSpanProcessor``, which runs processors where no session
    is current. :meth:`shutdown`, which the provider calls, stops the handling of spans around scopes.

    Args:
        names: further attributes that hold the ID, such as ``"langsmith.metadata.thread_id"``.
        create: create the session of each span in the background. Spans that end before there is an ID have
            no session. If the conversation key depends on the route, only a read of the ID creates the
            session.

    Raises:
        ConfigurationError: ``names`` are no attribute names.
    """

    def __init__(self, *, names: Iterable[str] = (), create: bool = False) -> None:
        self._names = (SESSION_ID, *_checked_names(names))
        # Not the key, which may name a person. Nor the reference ID: back ends treat this attribute and
        # session.id as one name, and a worker that knows only the ID must be in the same conversation.
        self._conversation_names = tuple(dict.fromkeys((*self._names, CONVERSATION_ID)))
        self._creates = create
        self._renewed: dict[str, None] = {}
        self._open: WeakValueDictionary[int, _OpenSpan] = WeakValueDictionary()
        observe_requests(self._note_request)
        observe_scopes(self._note_scope)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - see the base
        """Put the session on a span that begins, if its ID is known."""
        session = current_session()
        if session is not None:
            session_id = session.peek()
            if session_id is None and self._creates:
                session._begin_in_background()
                session_id = session.peek()
            # At a server span the current session may be that of the former request on the connection.
            if session_id is not None and span.kind is not _SERVER:
                if session._key:
                    begins_anew = session.previous_id is not None and session_id not in self._renewed
                    is_put = not begins_anew and _put_at_start(span, self._conversation_names, session_id)
                else:
                    is_put = _put_at_start(span, self._names, session_id)
                if not is_put:
                    self.put_missing(span, session, session_id)
                return
        parent = span.parent if session is None else None
        around = None if parent is None or parent.is_remote else self._open.get(parent.span_id)
        open_span = vars(span)["end"] = _OpenSpan(self, span, session, around)
        if session is None or span.kind is _SERVER:
            self._open[span.get_span_context().span_id] = open_span

    def shutdown(self) -> None:
        """Stop the handling of spans around scopes."""
        unobserve(self._note_request)
        unobserve(self._note_scope)

    def put_missing(self, span: Span, session: Session, session_id: str) -> None:
        """Put the session on a span that is still open."""
        names = self._conversation_names if session._key else self._names
        attributes = dict.fromkeys(names, session_id)
        previous_id = session.previous_id
        if previous_id is not None and self._is_first(session_id):
            attributes[PREVIOUS_ID] = previous_id
        present = span.attributes or {}
        span.set_attributes({name: value for name, value in attributes.items() if name not in present})

    def _is_first(self, session_id: str) -> bool:
        """Whether no span of this process has the session yet."""
        if session_id in self._renewed:
            return False
        if len(self._renewed) >= MOST_RENEWED:
            self._renewed.clear()  # in one step, as other threads may read it
        self._renewed[session_id] = None
        return True

    def _note_request(self, session: Session) -> None:
        self._note(session, is_request=True)

    def _note_scope(self, session: Session) -> None:
        self._note(session, is_request=False)

    def _note(self, session: Session, *, is_request: bool) -> None:
        """Assign the open spans around a new scope to its session."""
        # By its number, as the current span may be a wrapper of the SDK's span.
        span = self._open.get(get_current_span().get_span_context().span_id)
        is_traced = span is not None
        while span is not None and span.note(session, is_request=is_request):
            span = span.around
        if is_traced and self._creates:
            session._begin_in_background()


class _OpenSpan:
    """Replaces the method ``end`` of a span, and puts the session on the span before it ends.

    The SDK has no hook for that: processors learn of the end when the attributes are final.
    """

    __slots__ = (
        "__weakref__",
        "_end",
        "_has_begun_in",
        "_is_of_request",
        "_is_shared",
        "_processor",
        "_session",
        "_span",
        "around",
    )

    def __init__(
        self, processor: SessionSpanProcessor, span: Span, session: Session | None, around: _OpenSpan | None
    ) -> None:
        self._processor = processor
        self.around = around
        self._span = span
        self._end = span.end
        self._session = session
        self._has_begun_in = session is not None
        self._is_of_request = False
        self._is_shared = False

    def __call__(self, end_time: int | None = None) -> None:
        """End the span."""
        vars(self._span).pop("end", None)  # else the span and this object would be a reference cycle
        session_id = None if self._session is None else self._session.peek()
        if self._session is not None and session_id is not None:
            self._processor.put_missing(self._span, self._session, session_id)
        self._end(end_time)

    def note(self, session: Session, *, is_request: bool) -> bool:
        """Note a scope that is opened in the span.

        Returns:
            Whether the scope concerns the spans around this one, too.
        """
        if self._has_begun_in:
            if is_request and not self._is_of_request and self._span.kind is _SERVER:
                self._session, self._is_of_request = session, True
            return False
        if session is self._session:
            return False
        if self._session is None and not self._is_shared:
            self._session, self._is_of_request = session, is_request
            return True
        if current_session() not in (None, session) or (self._is_of_request and not is_request):
            return False  # the scope lies inside the known one, or follows a request
        self._session, self._is_shared = None, True
        return True


class SessionLogRecordProcessor(LogRecordProcessor):
    """Puts ``session.id`` on each log record that is emitted in a scope, if the ID is known.

    Records of ``logging`` that come from OpenTelemetry's handler have it, too. An existing attribute is not
    changed. A record creates no session. Add this processor before the processors that export.
    """

    def on_emit(self, log_record: Any) -> None:
        """Put the session on a record."""
        session = current_session()
        session_id = None if session is None else session.peek()
        if session_id is not None:
            log_record.log_record.attributes.setdefault(SESSION_ID, session_id)

    emit = on_emit  # its name until OpenTelemetry 1.35

    def shutdown(self) -> None:
        """Do nothing: nothing is kept."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - see the base
        """Do nothing: nothing is kept."""
        return True


def _checked_names(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise ConfigurationError(f"names={names!r} must be a tuple or list of names, not one name")
    try:
        checked = tuple(names)
    except TypeError:
        raise ConfigurationError(f"names must be names of attributes, not {type(names).__name__}") from None
    for name in checked:
        if not isinstance(name, str) or not name or not name.isprintable() or " " in name:
            raise ConfigurationError(f"names has {name!r}, which is no name of an attribute")
    return checked


def _put_at_start(span: Span, names: tuple[str, ...], session_id: str) -> bool:
    """Put the ID on a span that has just begun, without its lock and checks; return whether that worked.

    No other thread has the span yet. The lock and the checks would take longer than all other steps.
    """
    try:
        bounded: Any = span._attributes
        values: dict[str, Any] = bounded._dict
        if bounded.max_value_len is not None or len(values) + len(names) > bounded.maxlen:
            return False
    except (AttributeError, TypeError):  # there is no limit, or this SDK keeps attributes differently
        return False
    for name in names:
        if name not in values:
            values[name] = session_id
    return True
