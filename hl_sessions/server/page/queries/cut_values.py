"""Long values, which the page reads only as far as it can show them."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

from pydantic_core import from_json
from sqlalchemy import Connection
from typing_extensions import Self

from hl_sessions.server.protocol.long_json import LongString, outline_of, with_texts
from hl_sessions.server.records.parts import StoredBytes

MAX_SHOWN: Final = 20_000
"""The greatest number of characters of a value that are shown; the whole value is in the JSON of the
datapoint.
"""

_LONGEST_CHARACTER: Final = 6
"""The greatest number of bytes of a character in JSON, as an escape."""

_ROOM: Final = 4_000_000
"""The number of characters of long values that are shown on one page; equal values count once."""


class CutText(str):
    """The beginning of a text.

    Args:
        beginning: The part that is shown.
        size: The length of the whole text, in bytes.
        digest: A digest of the whole text.
    """

    __slots__ = ("digest", "size")
    size: int
    digest: bytes

    def __new__(cls, beginning: str, size: int, digest: bytes) -> Self:
        """Make the text, with a mark at its end."""
        self = super().__new__(cls, f"{beginning}…")
        self.size = size
        self.digest = digest
        return self

    def __eq__(self, other: object) -> bool:
        """Tell whether the other one is the beginning of the same text."""
        return isinstance(other, CutText) and self.digest == other.digest

    def __hash__(self) -> int:
        """Return the same for the same text."""
        return hash(self.digest)


class LongValues:
    """Reads the long values of one page, and keeps equal texts once: most chats repeat themselves.

    Args:
        connection: The connection of the transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._texts: dict[bytes, str] = {}
        self._room = _ROOM

    def read_json(self, stored: StoredBytes) -> Any:
        """Return a value of JSON, with its long texts cut."""
        return self._read(stored.pieces(self._connection))

    def read_text(self, stored: StoredBytes) -> str:
        """Return a text, or its beginning."""
        text: str = self._read(chain((b'"',), stored.as_string().pieces(self._connection), (b'"',)))
        return text

    def _read(self, pieces: Iterable[bytes]) -> Any:
        return with_texts(outline_of(pieces, kept=_LONGEST_CHARACTER * MAX_SHOWN), self._text_of)

    def _text_of(self, string: LongString) -> str:
        text = self._texts.get(string.digest)
        if text is None:
            text = self._texts[string.digest] = self._cut(string)
        return text

    def _cut(self, string: LongString) -> str:
        size = string.stop - string.start
        text: str = from_json(b'"' + string.beginning, allow_partial="trailing-strings")
        most = min(MAX_SHOWN, self._room)
        self._room -= min(len(text), most)
        if len(string.beginning) == size and len(text) <= most:
            return text
        return CutText(text[:most], size, string.digest)
