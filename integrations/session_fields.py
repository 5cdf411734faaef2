"""The fields of a log line for the current session. A log line never creates a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from hl_sessions.errors import ConfigurationError
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from hl_sessions.sessions.session import Session

__all__ = ["Fields", "SessionFields"]

Fields = Mapping[str, Literal["id", "key"]]


def _id(session: Session) -> str | None:
    return session.peek()


def _key(session: Session) -> str | None:
    return session.key


# Functions with a name: Loguru pickles its patcher for a process that is spawned.
_READERS: dict[str, Callable[[Session], str | None]] = {"id": _id, "key": _key}


class SessionFields:
    """Reads the current session for a log line, without waiting and without any network.

    Args:
        fields: the names of the fields, each with its content: ``"id"`` for the ID of the session, ``"key"``
            for the key of the conversation. ``None``: the ID as ``session_id``.

    Raises:
        ConfigurationError: ``fields`` is not such a mapping.
    """

    def __init__(self, fields: Fields | None = None) -> None:
        if fields is None:
            fields = {"session_id": "id"}
        if not isinstance(fields, Mapping):
            raise ConfigurationError(f"fields must be a mapping, not {type(fields).__name__}")
        for name, held in fields.items():
            if not isinstance(name, str) or held not in tuple(_READERS):  # the value may not be hashable
                raise ConfigurationError(
                    f"fields={{{name!r}: {held!r}}} must be a name with its content, 'id' or 'key'"
                )
        self._readers = [(name, _READERS[held]) for name, held in fields.items()]
        #: The names of the fields.
        self.names = tuple(fields)

    def read(self) -> dict[str, str | None]:
        """Return the fields as far as they are known; unknown ones are ``None``, outside every scope all."""
        session = current_session()
        if session is None:
            return dict.fromkeys(self.names)
        return {name: read(session) for name, read in self._readers}
