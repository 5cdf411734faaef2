"""The current session on the log records of the standard library.

.. code-block:: python

    install()
    logging.basicConfig(format="%(session_id)s %(message)s")
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hl_sessions.errors import ConfigurationError
from hl_sessions.integrations.session_fields import SessionFields
from hl_sessions.sessions.current import innermost_session, not_left, strays

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.integrations.session_fields import Fields

__all__ = ["SessionFilter", "install", "uninstall"]

#: The attributes that ``logging`` itself sets on a record.
_TAKEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class _Installation:
    """A record factory of ours around the former one."""

    def __init__(self, fields: SessionFields | None, default: object) -> None:
        self._fields = fields or SessionFields()
        self._default = default
        self._previous: Callable[..., logging.LogRecord] = logging.getLogRecordFactory()
        self._factory = self._adding_id(default) if fields is None else self._adding()
        self._is_installed = True
        logging.setLogRecordFactory(self._factory)

    def remove(self) -> None:
        """Restore the former factory. If another factory wraps ours by now, ours stays."""
        self._is_installed = False
        if logging.getLogRecordFactory() is self._factory:
            logging.setLogRecordFactory(self._previous)

    def add_to(self, record: logging.LogRecord) -> None:
        """Put the attributes on a record."""
        for name, value in self._fields.read().items():
            setattr(record, name, value or self._default)

    def _adding_id(self, default: object) -> Callable[..., logging.LogRecord]:
        previous = self._previous

        # Like the factory of _adding, but without a further call, as it is on the path of every log line.
        def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = previous(*args, **kwargs) if kwargs else previous(*args)
            if self._is_installed:
                session = innermost_session()
                if strays:
                    session = not_left(session)
                record.session_id = default if session is None else session._id or default
            else:
                _add_to(record)
            return record

        return factory

    def _adding(self) -> Callable[..., logging.LogRecord]:
        def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = self._previous(*args, **kwargs)
            _add_to(record)
            return record

        return factory


def _add_to(record: logging.LogRecord) -> None:
    """Put the attributes on a record, for any factory of ours.

    A former one makes the records again if a factory that had wrapped it has restored it since.
    """
    if _installation is not None:
        _installation.add_to(record)


_installation: _Installation | None = None


def install(*, fields: Fields | None = None, default: object = "-") -> logging.Filter:
    """Put the ID of the current session on each log record that this process makes from now on.

    The ID is looked up when the record is made, so all loggers and handlers have it, also those behind a
    queue. A record never creates a session. Before the ID is known, and outside every scope, the record has
    ``default``. The former record factory still makes the records. Calling this again replaces the settings.
    ``dictConfig`` calls it for ``"filters": {"session": {"()":
    "hl_sessions.integrations.logging.install"}}``.

    ``logging`` refuses a call with an attribute of the same name in ``extra=``: then choose another name.

    Args:
        fields: the attributes of a record, each with its content: ``"id"`` for the ID of the session,
            ``"key"`` for the key of the conversation. ``None``: the ID as ``session_id``.
        default: the value of attributes without content.

    Returns:
        A filter that lets every record pass, for the handlers of a ``dictConfig``.

    Raises:
        ConfigurationError: ``fields`` is not such a mapping, or names an attribute that ``logging`` itself
            sets.
    """
    global _installation  # noqa: PLW0603 - a process has one record factory
    checked = None if fields is None else _checked(fields)
    uninstall()
    _installation = _Installation(checked, default)
    return logging.Filter()


def uninstall() -> None:
    """Undo :func:`install`.

    If another record factory wraps ours by now, it stays, and ours adds nothing any more.
    """
    global _installation  # noqa: PLW0603 - a process has one record factory
    if _installation is not None:
        _installation.remove()
        _installation = None


class SessionFilter(logging.Filter):
    """Puts the attributes of :func:`install` on the records that pass this filter.

    Add it to a handler: the filters of a logger do not see records of the loggers below it. Behind a queue it
    is too late. Attributes that a record has already are not changed, such as those of ``extra=``.

    Args:
        fields: for ``fields`` and ``default`` see :func:`install`.
        default: the value of attributes without content.

    Raises:
        ConfigurationError: as for :func:`install`.
    """

    def __init__(self, *, fields: Fields | None = None, default: object = "-") -> None:
        super().__init__()
        self._fields = _checked(fields)
        self._default = default

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        for name, value in self._fields.read().items():
            vars(record).setdefault(name, value or self._default)
        return True


def _checked(fields: Fields | None) -> SessionFields:
    checked = SessionFields(fields)
    for name in checked.names:
        if name in _TAKEN:
            raise ConfigurationError(f"fields={{{name!r}: ...}}: logging itself sets this attribute")
    return checked
