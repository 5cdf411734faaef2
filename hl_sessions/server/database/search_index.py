"""Which datapoints a search looks at: those that the text index cannot rule out, and those not in it yet.

A segment of the index is about datapoints that are numbered in a row, in blocks (``search_signature``). It
tells how new they are at most, so that a search for the newest ones can end before it has seen them all.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import Boolean, ColumnElement, Connection, bindparam, func, insert, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from hl_sessions.server.database.search_signature import BUCKETS, buckets_of
from hl_sessions.server.database.tables import logs, search_bits, search_changes, search_segments

BUCKETS_OF_ROW: Final = 32
ROWS_OF_SEGMENT: Final = BUCKETS // BUCKETS_OF_ROW
"""How the bits are spread over rows: small ones, which databases read without a detour."""

_MOST_BUCKETS: Final = 12
"""How many buckets of a text are looked at; more hardly rule out more."""

_LOOKED_AT_TOGETHER: Final = 1_000
"""How many datapoints one statement looks at."""

Range: TypeAlias = tuple[int, int]
Match = TypeVar("Match", bound=tuple[Any, ...])


@dataclass(frozen=True)
class Newest:
    """What nothing in a part is newer than.

    Args:
        at: The time of a datapoint.
        number: The number of a datapoint.
        session: The number of a session.
        session_at: The time of a session.
    """

    at: datetime
    number: int
    session: int
    session_at: datetime


@dataclass(frozen=True)
class Part:
    """Some of the datapoints to look at.

    Args:
        ranges: The first and the last number of those in a row.
        newest: How new they are at most; ``None`` when nobody knows.
    """

    ranges: Sequence[Range]
    newest: Newest | None = None

    @property
    def size(self) -> int:
        """How many datapoints it has at most."""
        return sum(last - first + 1 for first, last in self.ranges)


class _IsOneOf(FunctionElement[bool]):
    """Tells whether its first argument is in the second one, a list of integers as JSON."""

    type = Boolean()
    inherit_cache = True


def is_one_of(column: ColumnElement[int], numbers: Iterable[int]) -> ColumnElement[bool]:
    """Build the condition that a column is one of any number of numbers: they are one parameter."""
    return _IsOneOf(column, bindparam(None, f"[{','.join(map(str, numbers))}]"))


@compiles(_IsOneOf)
def _compile_is_one_of(element: _IsOneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, numbers = (compiler.process(part, **options) for part in element.clauses)
    return (
        f"{column} IN (SELECT CAST(one.value AS bigint) "  # noqa: S608 - our own names
        f"FROM json_array_elements_text(CAST({numbers} AS json)) AS one)"
    )


@compiles(_IsOneOf, "sqlite")
def _compile_is_one_of_for_sqlite(element: _IsOneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, numbers = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({numbers}))"  # noqa: S608 - as above


def note_changes(connection: Connection, numbers: Iterable[int]) -> None:
    """Note that the texts of datapoints have changed, of which the index may say what they were before."""
    rows = [{"log_sequence": number} for number in numbers]
    if rows:
        connection.execute(insert(search_changes), rows)


def parts_to_search(connection: Connection, texts: Iterable[str]) -> list[Part]:
    """Find the datapoints that may hold all of the texts, in upper or lower case."""
    segments = read_segments(connection)
    last = connection.scalar(select(func.max(logs.c.sequence))) or 0
    changed = sorted(connection.scalars(select(search_changes.c.log_sequence).distinct()))
    unknown = [*unindexed_ranges(connection, segments, last), *((number, number) for number in changed)]
    buckets = list(dict.fromkeys(bucket for text in texts for bucket in buckets_of(text)))
    if not buckets:
        return [Part(unknown), *(Part([(row.first, row.last)], _newest(row)) for row in segments)]
    blocks_of = _find_blocks(connection, [row.first for row in segments], buckets[:_MOST_BUCKETS])
    query = select(search_segments).where(is_one_of(search_segments.c.first, blocks_of))
    return [Part(unknown)] + [
        Part(list(_ranges_of(blocks_of[row.first], [*row.starts, row.last + 1])), _newest(row))
        for row in connection.execute(query)
    ]


def newest_matches(
    parts: Sequence[Part],
    bound: Callable[[Newest], Any],
    find: Callable[[Sequence[int]], Iterable[Match]],
    wanted: int,
) -> list[Match]:
    """Look into parts until nothing can follow that is newer than what was found.

    Args:
        parts: Where to look.
        bound: Makes of how new something is what a match in there is at most.
        find: Looks at datapoints of these numbers, and returns matches, the greater the newer.
        wanted: How many matches are wanted.

    Returns:
        The newest ones, the newest first: so many, or all.
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
        for first, last in part.ranges:
            for begin in range(first, last + 1, _LOOKED_AT_TOGETHER):
                numbers += range(begin, min(begin + _LOOKED_AT_TOGETHER, last + 1))
                if len(numbers) >= _LOOKED_AT_TOGETHER:
                    found, numbers = _newest_of(found, find, numbers, wanted), []
    return _newest_of(found, find, numbers, wanted)


def read_segments(connection: Connection) -> Sequence[Any]:
    """Read all about the segments but where their blocks begin, in their order."""
    columns = (column for column in search_segments.c if column is not search_segments.c.starts)
    return connection.execute(select(*columns).order_by(search_segments.c.first)).all()


def unindexed_ranges(connection: Connection, segments: Iterable[Any], last: int) -> list[Range]:
    """Return the ranges of datapoints up to a number that are in none of the segments, in their order."""
    gaps, end = [], 0
    for segment in segments:
        gaps.append((end + 1, segment.first - 1))
        end = max(end, segment.last)
    ranges = (_narrowed(connection, *gap) for gap in [*gaps, (end + 1, last)] if gap[0] <= gap[1])
    return [found for found in ranges if found is not None]


def _narrowed(connection: Connection, first: int, last: int) -> Range | None:
    """Return the part of a range from its first to its last datapoint, if it has any: many are deleted."""
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


def _newest(row: Any) -> Newest:
    return Newest(row.newest_at, row.last, row.newest_session, row.newest_session_at)


def _find_blocks(connection: Connection, segments: Sequence[int], buckets: Sequence[int]) -> dict[int, int]:
    """Return the blocks with all of these buckets, as the bits of a number, for each segment with any."""
    blocks_of = dict.fromkeys(segments, -1)
    for bucket in buckets:
        row_of_bucket, place = divmod(bucket, BUCKETS_OF_ROW)
        numbers = [first * ROWS_OF_SEGMENT + row_of_bucket for first in blocks_of]
        query = select(search_bits).where(is_one_of(search_bits.c.number, numbers))
        found = {}
        for number, bits in connection.execute(query).all():
            width = len(bits) // BUCKETS_OF_ROW
            first = number // ROWS_OF_SEGMENT
            blocks = int.from_bytes(bits[place * width : (place + 1) * width], "little") & blocks_of[first]
            if blocks:
                found[first] = blocks
        blocks_of = found
    return blocks_of


def _ranges_of(blocks: int, starts: Sequence[int]) -> Iterator[Range]:
    """Yield the ranges of the blocks whose bits are set; those that follow one another are one."""
    first = None
    for number in range(len(starts)):
        if blocks >> number & 1:
            if first is None:
                first = starts[number]
        elif first is not None:
            yield first, starts[number] - 1
            first = None
