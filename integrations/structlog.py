"""The current session in the events of structlog.

.. code-block:: python

    structlog.configure(processors=[add_session, structlog.processors.JSONRenderer()])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hl_sessions.integrations.session_fields import SessionFields

try:
    import structlog  # noqa: F401 - so that its absence gets a clear message
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.structlog needs structlog: pip install 'hl-sessions[structlog]'"
    ) from error

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

    from hl_sessions.integrations.session_fields import Fields

__all__ = ["SessionAdder", "add_session"]


class SessionAdder:
    """A processor that adds the ID of the current session to an event.

    An event never creates a session: before the ID is known, and outside every scope, nothing is added. Keys
    that the event has already are not changed.

    Args:
        fields: the keys of an event, each with its content: ``"id"`` for the ID of the session, ``"key"`` for
            the key of the conversation. ``None``: the ID as ``session_id``.

    Raises:
        ConfigurationError: ``fields`` is not such a mapping.
    """

    def __init__(self, *, fields: Fields | None = None) -> None:
        self._fields = SessionFields(fields)

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:  # noqa: ARG002 - of each processor
        """Add the fields to an event."""
        for name, value in self._fields.read().items():
            if value is not None:
                event_dict.setdefault(name, value)
        return event_dict


#: A processor that adds the ID of the current session as ``session_id``.
add_session = SessionAdder()
