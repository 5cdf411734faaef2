"""What a log line says of the current session: what is known by then, so that no log line creates one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from hl_sessions.errors import ConfigurationError
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from hl_sessions.sessions.session import Session

__all__ = ["Fields", "SessionFields"]

Fields = Mapping[str, Literal["id", "key"]]

_READERS: dict[str, Callable[[Session], str | None]] = {
    "id": lambda session: session.peek(),
    "key": lambda session: session.key,
}


class SessionFields:
    """Reads the current session for a log line, without waiting and without any network.

    Args:
        fields: names in a log line, with what each of them holds: ``"id"``, that of the session, or
            ``"key"``, that of the conversation; ``None``: the ID as ``session_id``.

    Raises:
        ConfigurationError: ``fields`` is something else.
    """

    def __init__(self, fields: Fields | None = None) -> None:
        if fields is None:
            fields = {"session_id": "id"}
        if not isinstance(fields, Mapping):
            raise ConfigurationError(f"fields must be a mapping, not {type(fields).__name__}")
        for name, held in fields.items():
            if not isinstance(name, str) or held not in tuple(_READERS):
                raise ConfigurationError(
                    f"fields={{{name!r}: {held!r}}} must be a name with what it holds, 'id' or 'key'"
                )
        self._readers = [(name, _READERS[held]) for name, held in fields.items()]
        #: The names.
        self.names = tuple(fields)

    def read(self) -> dict[str, str | None]:
        """Return what is known by now, ``None`` for each that is not, and outside every scope for all."""
        session = current_session()
        if session is None:
            return dict.fromkeys(self.names)
        return {name: read(session) for name, read in self._readers}
