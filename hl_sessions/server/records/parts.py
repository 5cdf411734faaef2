"""Answers in parts, most of which stay in the database until they are sent."""

from codecs import utf_8_decode
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

from pydantic_core import to_json
from sqlalchemy import Column, Connection, select

from hl_sessions.server.database.stored_text import octets_of, piece_of
from hl_sessions.server.database.tables import logs
from hl_sessions.server.protocol.long_json import LongString
from hl_sessions.server.protocol.paging import Page

AT_ONCE: Final = 2 * 1024 * 1024
"""Bytes of an answer that are in memory at a time, approximately."""


class ChangedMeanwhileError(Exception):
    """A datapoint was changed or deleted while it was answered, so the answer would mix two states."""

    def __init__(self) -> None:
        super().__init__("a datapoint was changed or deleted meanwhile")


class Unread(Protocol):
    """A part that is still in the database."""

    def read(self, connection: Connection) -> "Sequence[Part]":
        """Return the parts that it consists of; may be called again, with the same result."""


Part: TypeAlias = bytes | Unread


@dataclass(frozen=True)
class StoredBytes:
    """Some bytes of a column of a datapoint.

    Args:
        sequence: The sequence of the datapoint.
        updated_at: The time of its last change.
        column: The name of the column.
        start: The offset of the first byte.
        stop: The offset after the last byte.
        is_string: Whether they are escaped like the content of a JSON string.
    """

    sequence: int
    updated_at: datetime
    column: str
    start: int
    stop: int
    is_string: bool = False

    def as_string(self) -> "StoredBytes":
        """Return the same bytes, escaped like the content of a JSON string."""
        return replace(self, is_string=True)

    def read(self, connection: Connection) -> Sequence[Part]:
        """Return the first bytes, and the rest.

        Raises:
            ChangedMeanwhileError: When the datapoint has changed since.
        """
        piece, rest = self._divided(connection)
        return [piece] if rest is None else [piece, rest]

    def pieces(self, connection: Connection) -> Iterator[bytes]:
        """Yield all bytes, piece by piece.

        Raises:
            ChangedMeanwhileError: When the datapoint has changed since.
        """
        rest: StoredBytes | None = self
        while rest is not None:
            piece, rest = rest._divided(connection)
            yield piece

    def _divided(self, connection: Connection) -> "tuple[bytes, StoredBytes | None]":
        end = min(self.start + AT_ONCE, self.stop)
        piece = self.piece(connection, self.start, end)
        if self.is_string:
            # The last character may be incomplete.
            text, length = utf_8_decode(piece, "strict", False)  # noqa: FBT003 - there may be more
            end = self.start + length
            piece = to_json(text)[1:-1]
        return piece, None if end == self.stop else replace(self, start=end)

    def piece(self, connection: Connection, start: int, stop: int) -> bytes:
        """Return any bytes of the column.

        Raises:
            ChangedMeanwhileError: When the datapoint has changed since.
        """
        piece: bytes | None = connection.scalar(
            select(piece_of(logs.c[self.column], start, stop)).where(
                logs.c.sequence == self.sequence, logs.c.updated_at == self.updated_at
            )
        )
        if piece is None:
            raise ChangedMeanwhileError
        return piece


@dataclass(frozen=True)
class StoredStrings:
    """JSON whose long strings are in a column of a datapoint.

    Args:
        stored: The column.
        parts: The JSON, in which places in the column stand for the strings.
    """

    stored: StoredBytes
    parts: Sequence[bytes | LongString]

    def read(self, connection: Connection) -> Sequence[Part]:
        """Return the beginning, with as many strings as are close to each other, and the rest.

        Raises:
            ChangedMeanwhileError: When the datapoint has changed since.
        """
        count, start, stop = self._beginning()
        if count == 0:
            string = self.parts[0]
            assert isinstance(string, LongString)  # noqa: S101 - no bytes are too long
            return [self._alone(string), *self._from(1)]
        column = self.stored.piece(connection, start, stop) if start < stop else b""
        ready = [
            part if isinstance(part, bytes) else _string(column[part.start - start : part.stop - start], part)
            for part in self.parts[:count]
        ]
        return [b"".join(ready), *self._from(count)]

    def _beginning(self) -> tuple[int, int, int]:
        """Return the number of parts that can be read together, and their range in the column."""
        start, stop = self.stored.stop, self.stored.start
        for count, part in enumerate(self.parts):
            if isinstance(part, LongString):
                if max(stop, part.stop) - min(start, part.start) > AT_ONCE:
                    return count, start, stop
                start, stop = min(start, part.start), max(stop, part.stop)
        return len(self.parts), start, stop

    def _alone(self, string: LongString) -> StoredBytes:
        return replace(self.stored, start=string.start, stop=string.stop, is_string=string.nested)

    def _from(self, count: int) -> "Sequence[Part]":
        return [replace(self, parts=self.parts[count:])] if count < len(self.parts) else []


def find_stored(
    connection: Connection, column: Column[Any], sequences: Collection[int]
) -> dict[int, StoredBytes]:
    """Look up a whole column of datapoints as ``StoredBytes``, by their sequences."""
    if not sequences:
        return {}
    query = select(logs.c.sequence, logs.c.updated_at, octets_of(column).label("octets"))
    return {
        row.sequence: StoredBytes(row.sequence, row.updated_at, str(column.name), 0, row.octets)
        for row in connection.execute(query.where(logs.c.sequence.in_(sequences)))
    }


def parts_of_page(page: Page, records: Sequence[Part], total: int) -> list[Part]:
    """Return the answer of the protocol, made of the parts of its records and the length of the list."""
    begin, end = to_json(page.answer([], total)).split(b"[]")
    return [begin + b"[", *records, b"]" + end]


def read_on(connection: Connection, parts: Sequence[Part]) -> list[Part]:
    """Read parts from the first one on, until there are enough bytes to send.

    Returns:
        The same answer: bytes, and the parts that are not read yet.
    """
    ready: list[Part] = []
    pending = list(reversed(parts))
    size = 0
    while pending and size < AT_ONCE:
        part = pending.pop()
        if isinstance(part, bytes):
            ready.append(part)
            size += len(part)
        else:
            pending.extend(reversed(part.read(connection)))
    return ready + pending[::-1]


def _string(text: bytes, string: LongString) -> bytes:
    return to_json(text)[1:-1] if string.nested else text
