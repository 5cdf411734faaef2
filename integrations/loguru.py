"""The current session in the records of Loguru.

.. code-block:: python

    logger.configure(patcher=add_session)
    logger.add(sys.stderr, format="{extra[session_id]} {message}", enqueue=True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hl_sessions.integrations.session_fields import SessionFields

try:
    import loguru  # noqa: F401 - so that its absence gets a clear message
except ImportError as error:
    raise ImportError(
        "hl_sessions.integrations.loguru needs Loguru: pip install 'hl-sessions[loguru]'"
    ) from error

if TYPE_CHECKING:
    from loguru import Record

    from hl_sessions.integrations.session_fields import Fields

__all__ = ["SessionAdder", "add_session"]


class SessionAdder:
    """A patcher that puts the ID of the current session into the ``extra`` of a record.

    It runs in the thread and task that log, also if sinks have ``enqueue=True``. A record never creates a
    session. Values that are in ``extra`` already, such as bound ones, are not changed.

    Args:
        fields: the keys of ``extra``, each with its content: ``"id"`` for the ID of the session, ``"key"``
            for the key of the conversation. ``None``: the ID as ``session_id``.
        default: the value before the ID is known, and outside every scope.

    Raises:
        ConfigurationError: ``fields`` is not such a mapping.
    """

    def __init__(self, *, fields: Fields | None = None, default: object = "-") -> None:
        self._fields = SessionFields(fields)
        self._default = default

    def __call__(self, record: Record) -> None:
        """Patch a record."""
        for name, value in self._fields.read().items():
            record["extra"].setdefault(name, value or self._default)


#: A patcher that puts the ID of the current session in ``extra`` as ``session_id``.
add_session = SessionAdder()
