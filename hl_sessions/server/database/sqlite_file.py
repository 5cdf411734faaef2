"""The file of an SQLite database, which others may move, remove or replace while it is open."""

from pathlib import Path
from typing import Any

from hl_sessions.server.database.errors import ReplacedFileError


class SQLiteFile:
    """Knows the file that the first connection of an engine has opened.

    SQLite does not notice when its path leads to another file or to none. It goes on in the file that it has
    open, and its next connection opens the other file, or makes a new one.
    """

    def __init__(self) -> None:
        self._path = ""
        self._opened: tuple[int, int] | None = None

    def before_opening(self, _dialect: Any, _record: Any, arguments: Any, options: Any) -> None:
        """Refuse to open another file than before; for SQLAlchemy's event ``do_connect``.

        Raises:
            ReplacedFileError: When the path no longer leads to the file.
        """
        if self._opened is not None:
            self.check()
        elif not options.get("uri"):
            [self._path] = arguments

    def opened(self, path: str) -> None:
        """Note the file of the first connection.

        Args:
            path: Its path without symbolic links, which is used if it was opened by one of SQLite's URIs.
        """
        if self._opened is None:
            self._path = self._path or path
            self._opened = _identify(self._path)

    def is_replaced(self) -> bool:
        """Tell whether the path no longer leads to the file."""
        return _identify(self._path) != self._opened

    def check(self) -> None:
        """Check that the path still leads to the file.

        Raises:
            ReplacedFileError: When it leads to another file, or to none.
        """
        if self.is_replaced():
            raise ReplacedFileError(self._path)


def _identify(path: str) -> tuple[int, int] | None:
    """Return what tells a file from all others; ``None`` if there is none at the path."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
