"""Finds the datapoints that a search must read: all that the text index cannot rule out.

A segment of the index covers datapoints with consecutive numbers, in blocks (``search_signature``). It stores
the newest time among them, so that a search for the newest matches can end before it has seen all segments.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import inf
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, insert, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from hl_sessions.server.database.search_signature import BUCKETS, bucket_of_key, buckets_of
from hl_sessions.server.database.tables import (
    logs,
    search_bits,
    search_changes,
    search_numbers,
    search_segments,
)

BUCKETS_OF_ROW: Final = 32
ROWS_OF_SEGMENT: Final = BUCKETS // BUCKETS_OF_ROW
"""How the bits are distributed over rows: small rows, which databases read directly."""

_MOST_BUCKETS: Final = 10
"""The number of buckets of a text that are read at most."""

_FEW_BLOCKS: Final = 32
"""With so few blocks left, they are read instead of further buckets."""

_FEW_DATAPOINTS: Final = 2_000
"""The number of datapoints that can be read in the time of a look-up in the index."""

_SEGMENTS_AT_ONCE: Final = 32
_LOOKED_AT_TOGETHER: Final = 1_000
"""The number of datapoints that one statement reads."""

Range: TypeAlias = tuple[int, int]
Match = TypeVar("Match", bound=tuple[Any, ...])
Value = TypeVar("Value")


@dataclass(frozen=True)
class Newest:
    """An upper limit of the times and numbers in a part.

    Args:
        at: The latest time of a datapoint.
        number: The highest number of a datapoint.
        session: The highest number of a session.
        session_at: The latest time of a session.
    """

    at: datetime
    number: int
    session: int
    session_at: datetime


@dataclass(frozen=True)
class Part:
    """Some of the datapoints to read.

    Args:
        size: Their number, approximately.
        ranges: Returns the first and the last number of each consecutive range.
        newest: The upper limit of their times and numbers; ``None`` if it is unknown.
    """

    size: int
    ranges: Callable[[], Iterable[Range]]
    newest: Newest | None = None


@dataclass(frozen=True)
class Numbers:
    """The numbers that a member of metadata may have.

    Args:
        key: The key.
        least: The least number; a somewhat greater one counts as the same, as of a large integer.
        greatest: The greatest number.
    """

    key: str
    least: float = -inf
    greatest: float = inf


class _Elements(FunctionElement[Any]):
    """The elements of a list in JSON, as a table with the column ``value``."""

    inherit_cache = True


@compiles(_Elements)
def _compile_elements(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json))"


@compiles(_Elements, "sqlite")
def _compile_elements_for_sqlite(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


def is_one_of(column: ColumnElement[int], numbers: Iterable[int]) -> ColumnElement[bool]:
    """Build the condition that a column is one of any number of numbers, passed as one parameter."""
    elements = _Elements(literal(f"[{','.join(map(str, numbers))}]")).table_valued("value")
    return column.in_(select(cast(elements.c.value, BigInteger)))


def note_changes(connection: Connection, numbers: Iterable[int]) -> None:
    """Note that the texts of datapoints have changed, so the index may be outdated for them."""
    rows = [{"log_sequence": number} for number in numbers]
    if rows:
        connection.execute(insert(search_changes), rows)


def parts_to_search(
    connection: Connection, texts: Iterable[str], datapoints: int, numbers: Numbers | None = None
) -> list[Part] | None:
    """Find the datapoints that may contain all of the texts, regardless of case.

    Args:
        connection: The connection of the transaction.
        texts: The texts.
        datapoints: The number of datapoints that the caller searches.
        numbers: The numbers of which their metadata have one; ``None``: any or none.

    Returns:
        The parts to read; ``None`` if reading all the caller's datapoints is less work.
    """
    if datapoints <= _FEW_DATAPOINTS:
        return None
    segments = read_segments(connection)
    last = connection.scalar(select(func.max(logs.c.sequence))) or 0
    changed = sorted(connection.scalars(select(search_changes.c.log_sequence).distinct()))
    unknown = [*unindexed_ranges(connection, segments, last), *((number, number) for number in changed)]
    parts = [Part(sum(last - first + 1 for first, last in unknown), lambda: unknown)]
    buckets = list(dict.fromkeys(bucket for text in texts for bucket in buckets_of(text)))
    blocks_of = _find_blocks(connection, [row.first for row in segments], buckets)
    if numbers is not None:
        blocks_of = _find_numbers(connection, blocks_of, numbers)
    starts = _Starts(connection, list(blocks_of))
    for row in segments:
        found = blocks_of.get(row.first)
        if found is not None:
            size = (row.last - row.first + 1) * found.blocks.bit_count() // found.most
            ranges = partial(_ranges_of, starts, row, found.blocks)
            newest = Newest(row.newest_at, row.last, row.newest_session, row.newest_session_at)
            parts.append(Part(size, ranges, newest))
    return parts if sum(part.size for part in parts) < datapoints else None


def newest_matches(
    parts: Sequence[Part],
    bound: Callable[[Newest], Any],
    find: Callable[[Sequence[int]], Iterable[Match]],
    wanted: int,
) -> list[Match]:
    """Read parts until no newer match can follow.

    Args:
        parts: The parts to read.
        bound: Turns the upper limit of a part into a value that no match in it exceeds.
        find: Reads the datapoints with these numbers, and returns the matches; newer ones compare greater.
        wanted: The number of matches.

    Returns:
        The newest matches, newest first: as many as are wanted, or all.
    """
    found: list[Match] = []
    unknown: list[tuple[Any, Part]] = [(None, part) for part in parts if part.newest is None]
    known = [(bound(part.newest), part) for part in parts if part.newest is not None]
    known.sort(key=itemgetter(0), reverse=True)
    numbers: list[int] = []
    for limit, part in unknown + known:
        if len(numbers) >= _LOOKED_AT_TOGETHER:
            found, numbers = _newest_of(found, find, numbers, wanted), []
        if limit is not None and len(found) == wanted and limit <= found[-1]:
            return found
        for first, last in part.ranges():
            for begin in range(first, last + 1, _LOOKED_AT_TOGETHER):
                numbers += range(begin, min(begin + _LOOKED_AT_TOGETHER, last + 1))
                if len(numbers) >= _LOOKED_AT_TOGETHER:
                    found, numbers = _newest_of(found, find, numbers, wanted), []
    return _newest_of(found, find, numbers, wanted)


def all_matches(parts: Iterable[Part], find: Callable[[Sequence[int]], Iterable[Value]]) -> set[Value]:
    """Read all of the parts.

    Args:
        parts: The parts to read.
        find: Reads the datapoints with these numbers, and returns the matches.
    """
    found: set[Value] = set()
    numbers: list[int] = []
    for part in parts:
        for first, last in part.ranges():
            for begin in range(first, last + 1, _LOOKED_AT_TOGETHER):
                numbers += range(begin, min(begin + _LOOKED_AT_TOGETHER, last + 1))
                if len(numbers) >= _LOOKED_AT_TOGETHER:
                    found.update(find(numbers))
                    numbers = []
    if numbers:
        found.update(find(numbers))
    return found


def read_segments(connection: Connection) -> Sequence[Any]:
    """Read the segments in order, with all columns except the starts of their blocks."""
    columns = (column for column in search_segments.c if column is not search_segments.c.starts)
    return connection.execute(select(*columns).order_by(search_segments.c.first)).all()


def unindexed_ranges(connection: Connection, segments: Iterable[Any], last: int) -> list[Range]:
    """Return the ranges of datapoints, up to a number, that no segment covers, in order."""
    gaps, end = [], 0
    for segment in segments:
        gaps.append((end + 1, segment.first - 1))
        end = max(end, segment.last)
    ranges = (_narrowed(connection, *gap) for gap in [*gaps, (end + 1, last)] if gap[0] <= gap[1])
    return [found for found in ranges if found is not None]


def _narrowed(connection: Connection, first: int, last: int) -> Range | None:
    """Return the part of a range from its first to its last existing datapoint, if it has any."""
    inside = logs.c.sequence.between(first, last)
    first = connection.scalar(select(func.min(logs.c.sequence)).where(inside)) or 0
    last = connection.scalar(select(func.max(logs.c.sequence)).where(inside)) or 0
    return (first, last) if first else None


def _newest_of(
    found: list[Match], find: Callable[[Sequence[int]], Iterable[Match]], numbers: Sequence[int], wanted: int
) -> list[Match]:
    if not numbers:
        return found
    return sorted({*found, *find(numbers)}, reverse=True)[:wanted]


@dataclass(frozen=True)
class _Blocks:
    """Blocks of a segment, by default all.

    Args:
        blocks: A number with the bits of these blocks.
        most: The number of blocks of the segment, or a few more.
    """

    blocks: int = -1
    most: int = 1


def _find_blocks(
    connection: Connection, segments: Sequence[int], buckets: Sequence[int]
) -> dict[int, _Blocks]:
    """Return the blocks that have these buckets, for each segment with such blocks."""
    blocks_of = dict.fromkeys(segments, _Blocks())
    for count, bucket in enumerate(buckets[:_MOST_BUCKETS], start=1):
        row_of_bucket, place = divmod(bucket, BUCKETS_OF_ROW)
        numbers = [first * ROWS_OF_SEGMENT + row_of_bucket for first in blocks_of]
        query = select(search_bits).where(is_one_of(search_bits.c.number, numbers))
        found = {}
        for number, bits in connection.execute(query).all():
            width = len(bits) // BUCKETS_OF_ROW
            first = number // ROWS_OF_SEGMENT
            blocks = int.from_bytes(bits[place * width : (place + 1) * width], "little")
            if count > 1:
                blocks &= blocks_of[first].blocks
            if blocks:
                found[first] = _Blocks(blocks, 8 * width)
        blocks_of = found
        if sum(one.blocks.bit_count() for one in found.values()) <= _FEW_BLOCKS:
            break
    return blocks_of


def _find_numbers(
    connection: Connection, blocks_of: Mapping[int, _Blocks], numbers: Numbers
) -> dict[int, _Blocks]:
    """Return those of the blocks that may have one of these numbers, for each segment with such blocks."""
    is_wanted = is_one_of(search_numbers.c.segment, blocks_of)
    query = select(search_numbers).where(is_wanted, search_numbers.c.bucket == bucket_of_key(numbers.key))
    found = {}
    for row in connection.execute(query):
        blocks = sum(
            1 << block
            for block, least, greatest in row.ranges
            if least <= numbers.greatest and greatest >= numbers.least
        )
        before = blocks_of[row.segment]
        blocks &= before.blocks
        if blocks:
            found[row.segment] = _Blocks(blocks, max(before.most, blocks.bit_length()))
    return found


class _Starts:
    """Reads the starts of the blocks of several segments at a time, as the newest are needed first."""

    def __init__(self, connection: Connection, segments: Sequence[int]) -> None:
        self._connection = connection
        self._segments = sorted(segments)
        self._starts_of: dict[int, Sequence[int]] = {}

    def of(self, segment: int) -> Sequence[int]:
        """Return the starts of the blocks of a segment."""
        if segment not in self._starts_of:
            end = bisect_right(self._segments, segment)
            some = self._segments[max(0, end - _SEGMENTS_AT_ONCE) : end]
            query = select(search_segments.c.first, search_segments.c.starts)
            rows = self._connection.execute(query.where(is_one_of(search_segments.c.first, some)))
            self._starts_of |= {row.first: row.starts for row in rows}
        return self._starts_of[segment]


def _ranges_of(starts_of: _Starts, segment: Any, blocks: int) -> Iterator[Range]:
    """Yield the ranges of the blocks of a segment whose bits are set; neighbours are merged."""
    starts = starts_of.of(segment.first)
    begin = None
    for number, start in enumerate([*starts, segment.last + 1]):
        if number < len(starts) and blocks >> number & 1:
            begin = start if begin is None else begin
        elif begin is not None:
            yield begin, start - 1
            begin = None
