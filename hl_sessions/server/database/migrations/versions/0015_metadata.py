"""Note metadata for filters: members as bits of sessions, and ranges of numbers in the text index."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final
from zlib import crc32

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LONGEST_KEY: Final = 200  # characters
_LONGEST: Final = 32
_LONGEST_FRACTION: Final = 7
_BITS: Final = 63  # of each of two columns
_BITS_OF_MEMBER: Final = 4
_BUCKETS: Final = 16384
_GREATEST: Final = 1e300  # of numbers: integers of JSON have any number of digits

_READ_SESSIONS: Final = sa.text(
    "SELECT sequence, sequence AS session, CAST(metadata AS TEXT) AS metadata FROM sessions"
    " WHERE metadata IS NOT NULL AND sequence > :last ORDER BY sequence LIMIT 5000"
)
# PostgreSQL would join all sessions for each of these parts.
_READ_LOGS: Final = sa.text(
    "SELECT sequence, (SELECT sequence FROM sessions WHERE id = session_id) AS session,"
    " CAST(metadata AS TEXT) AS metadata FROM logs"
    " WHERE metadata IS NOT NULL AND sequence > :last ORDER BY sequence LIMIT 5000"
)
_READ_SEGMENTS: Final = sa.text(
    "SELECT first, last, CAST(starts AS TEXT) AS starts FROM search_segments ORDER BY first"
)

# All rows are one parameter, because PostgreSQL takes several times as long with one statement for each.
_ROWS: Final = {
    "sqlite": "json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')"
    " FROM json_each(:rows)",
    "postgresql": "CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT), CAST(value ->> 2 AS BIGINT)"
    " FROM json_array_elements(CAST(:rows AS json))",
}
_NOTE: Final = (
    "INSERT INTO found_bits SELECT {rows} WHERE true ON CONFLICT (session_sequence)"
    " DO UPDATE SET low = found_bits.low | excluded.low, high = found_bits.high | excluded.high"
)

_SAME: Final = (
    "session_sequence, organisation_id, first_at, last_at, sources, models, environments, projects, feedback,"
    " nanodollars, tokens, datapoints, errors, began_at, prompt_tokens, output_tokens"
)


def upgrade() -> None:
    """Make the table of totals anew, so that its rows lie close together on each database."""
    table = op.create_table(
        "search_numbers",
        sa.Column("segment", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("bucket", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("ranges", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("segment", "bucket"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "CREATE TEMPORARY TABLE found_bits (session_sequence BIGINT PRIMARY KEY, low BIGINT, high BIGINT)"
    )
    for rows in _read(_READ_SESSIONS):
        _note(rows)
    segments = _Segments()
    for rows in _read(_READ_LOGS):
        _note(rows)
        for sequence, _, metadata in rows:
            segments.add(sequence, metadata)
    if segments.ranges:
        op.bulk_insert(table, segments.rows())
    op.execute("CREATE TEMPORARY TABLE earlier_totals AS SELECT * FROM session_totals")
    op.drop_table("session_totals")
    op.create_table(
        "session_totals",
        sa.Column("session_sequence", _SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("organisation_id", _SEQUENCE, nullable=False),
        sa.Column("first_at", sa.Float(), nullable=True),
        sa.Column("last_at", sa.Float(), nullable=True),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("sources", "models", "environments", "projects", "feedback")
        ),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("metadata_low", "metadata_high")),
        sa.Column("nanodollars", sa.Float(), nullable=False),
        sa.Column("tokens", sa.Float(), nullable=False),
        sa.Column("datapoints", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.Float(), nullable=False),
        sa.Column("prompt_tokens", sa.Float(), nullable=False),
        sa.Column("output_tokens", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.sequence"]),
        sa.ForeignKeyConstraint(["session_sequence"], ["sessions.sequence"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("session_sequence"),
    )
    op.execute(
        f"INSERT INTO session_totals ({_SAME}, metadata_low, metadata_high)"  # noqa: S608 - our names
        f" SELECT {_SAME}, coalesce(low, 0), coalesce(high, 0)"
        " FROM earlier_totals LEFT JOIN found_bits USING (session_sequence) ORDER BY session_sequence"
    )
    for name in ("earlier_totals", "found_bits"):
        op.execute(f"DROP TABLE {name}")


def _read(query: sa.TextClause) -> Iterator[list[tuple[int, int | None, Mapping[str, Any]]]]:
    """Yield some records at a time: the number of each, the number of its session, and its metadata."""
    connection, last = op.get_bind(), 0
    while rows := connection.execute(query, {"last": last}).all():
        last = rows[-1].sequence
        read = [(sequence, session, json.loads(metadata)) for sequence, session, metadata in rows]
        yield [one for one in read if isinstance(one[2], dict)]


def _note(rows: list[tuple[int, int | None, Mapping[str, Any]]]) -> None:
    found: dict[int, int] = {}
    for _, session, metadata in rows:
        if session is not None:
            found[session] = found.get(session, 0) | _bits_of(metadata)
    if found:
        noted = [(session, bits % (1 << _BITS), bits >> _BITS) for session, bits in found.items()]
        statement = _NOTE.format(rows=_ROWS[op.get_context().dialect.name])
        op.get_bind().execute(sa.text(statement), {"rows": json.dumps(noted)})


def _bits_of(metadata: Mapping[str, Any]) -> int:
    bits = 0
    for key, value in metadata.items():
        if not isinstance(value, str | int | float):
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        if len(key) <= _LONGEST_KEY and len(text) <= _LONGEST:
            bits |= _bits_of_member(key, text)
    return bits


@lru_cache(4096)
def _bits_of_member(key: str, text: str) -> int:
    noted = _as_noted(text)
    if noted is None:
        return 0
    rest = crc32(f"{key}={noted}".encode())
    bits = 0
    for _ in range(_BITS_OF_MEMBER):
        rest, place = divmod(rest, 2 * _BITS)
        bits |= 1 << place
    return bits


def _as_noted(text: str) -> str | None:
    if text[:1] not in "[{-0123456789I":
        return text
    if text.startswith(("[", "{")):
        return None
    try:
        number = repr(float(text))
    except ValueError:
        return text
    if text.removeprefix("-").isdecimal():
        return text
    return number if len(number) <= _LONGEST_FRACTION else None


class _Segments:
    """The segments of the text index, and the ranges of the numbers in their blocks."""

    def __init__(self) -> None:
        rows = op.get_bind().execute(_READ_SEGMENTS).all()
        self._blocks = [
            (start, row.first, number, row.last)
            for row in rows
            for number, start in enumerate(json.loads(row.starts))
        ]
        self._starts = [start for start, *_ in self._blocks]
        self.ranges: dict[tuple[int, int], list[tuple[int, float, float]]] = {}

    def add(self, sequence: int, metadata: Mapping[str, Any]) -> None:
        """Add the numbers in the metadata of the next datapoint."""
        place = bisect_right(self._starts, sequence) - 1
        if place < 0 or sequence > self._blocks[place][3]:
            return
        _, segment, block, _ = self._blocks[place]
        for key, value in metadata.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                number = float(min(max(value, -_GREATEST), _GREATEST))
                ranges = self.ranges.setdefault((segment, crc32(key.encode()) % _BUCKETS), [])
                least = greatest = number
                if ranges and ranges[-1][0] == block:
                    _, least, greatest = ranges.pop()
                ranges.append((block, min(least, number), max(greatest, number)))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table."""
        return [
            {"segment": segment, "bucket": bucket, "ranges": ranges}
            for (segment, bucket), ranges in self.ranges.items()
        ]
