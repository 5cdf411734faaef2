"""Keeps the members of metadata for filters.

The metadata of a session are stored member by member. Those of its datapoints, which are many, are only
noted, as are its own: each member sets some bits in the totals of the session. They rule out the sessions
without them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache, reduce
from math import isfinite
from operator import itemgetter, or_
from typing import Any, Final
from zlib import crc32

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, bindparam, delete, select, update

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import session_metadata, session_totals, sessions
from hl_sessions.server.records.frequent_members import (
    KEEP_ALL,
    FrequentMembers,
    Metadata,
    read_frequent_members,
)
from hl_sessions.server.records.labels import BITS

LONGEST: Final = 200
"""The greatest number of characters of an indexed key or value; longer ones are not found."""

_LONGEST_NOTED: Final = 32
"""The greatest number of characters of a noted value: longer ones are those of few sessions."""

_LONGEST_FRACTION: Final = 7
"""The same for a fraction: in longer ones, the text index finds enough windows of digits."""

_BITS_OF_MEMBER: Final = 4
"""The number of bits of a member. With ten members, one in 200 sessions has those of another by chance."""

_STARTS_OF_OTHERS: Final = "[{-0123456789I"
"""The characters that lists, objects and numbers begin with; ``I`` is of an infinite number."""

_COLUMNS: Final = (session_totals.c.metadata_low, session_totals.c.metadata_high)

_SESSIONS: Final = select(sessions.c.id, sessions.c.sequence, sessions.c.organisation_id).where(
    sessions.c.id.in_(bindparam("wanted", expanding=True))
)
_FORGET: Final = (
    delete(session_metadata)
    .where(
        session_metadata.c.session_sequence.in_(
            select(sessions.c.sequence).where(sessions.c.id == bindparam("session_id"))
        )
    )
    .returning(session_metadata.c.organisation_id, session_metadata.c.key, session_metadata.c.text)
)
_NOTE: Final = (
    update(session_totals)
    .where(session_totals.c.session_sequence == bindparam("session"))
    .values(
        {column.name: column.bitwise_or(bindparam(f"{column.name}_bits")) for column in _COLUMNS}
        | {
            "members": session_totals.c.members.bitwise_and(bindparam("kept_members")).bitwise_or(
                bindparam("members_bits")
            )
        }
    )
)


def keep_metadata(connection: Connection, rows: Collection[Mapping[str, Any]]) -> None:
    """Store the metadata of sessions with totals, given as rows of their table, and note them."""
    told = {row["id"]: row["metadata"] for row in rows if row.get("metadata")}
    _keep(connection, told, KEEP_ALL)


def replace_metadata(connection: Connection, session_id: str, told: Metadata) -> None:
    """Replace the metadata of a session."""
    forgotten = connection.execute(_FORGET, {"session_id": session_id}).all()
    kept = KEEP_ALL
    if forgotten:
        frequent = read_frequent_members(connection)[forgotten[0].organisation_id]
        kept = frequent.left_without({row.key: row.text for row in forgotten})
    _keep(connection, {session_id: told}, kept)


def _keep(connection: Connection, told: Mapping[str, Metadata], kept: int) -> None:
    members: list[dict[str, Any]] = []
    noted: list[dict[str, int]] = []
    frequent = read_frequent_members(connection)
    for wanted in in_parts(sorted(told)):
        for session in connection.execute(_SESSIONS, {"wanted": wanted}):
            of_session = told[session.id]
            members += _members(session.sequence, session.organisation_id, of_session)
            bits, proving_bits = metadata_bits(of_session, frequent[session.organisation_id])
            noted.append(
                {
                    "session": session.sequence,
                    **_named_columns(bits),
                    "kept_members": kept,
                    "members_bits": proving_bits,
                }
            )
    if members:
        insert_rows(connection, session_metadata, members)
    if noted:
        # In the order in which others lock them: see ``records.counts``.
        connection.execute(_NOTE, sorted(noted, key=itemgetter("session")))


def metadata_bits(told: Metadata, frequent: FrequentMembers) -> tuple[int, int]:
    """Return the bits of all members of metadata, and those of the frequent ones.

    The first ones stay in the totals when metadata change or are deleted, so they only rule out sessions.
    """
    bits = proving_bits = 0
    for key, value in told.items():
        if isinstance(value, str):
            text = value
        elif isinstance(value, (int, float)):
            text = to_json(value).decode()
        else:
            continue
        bits |= _member_bits(key, text)
        bit_of = frequent.bits.get(key)
        if bit_of is not None:
            proving_bits |= bit_of.get(text, 0)
    return bits, proving_bits


def columns_of_bits(bits: int) -> tuple[int, int]:
    """Return the values of the columns of the totals with these bits."""
    high, low = divmod(bits, 1 << BITS)
    return low, high


def may_have_members(members: Iterable[tuple[str, str]]) -> list[ColumnElement[bool]]:
    """Build the conditions on ``session_totals`` that a session may have members; they rule out most others.

    Args:
        members: Their keys and values: each value is a text, or the JSON of another value.
    """
    bits = columns_of_bits(reduce(or_, (_member_bits(key, text) for key, text in members), 0))
    wanted = [(column, some) for column, some in zip(_COLUMNS, bits, strict=True) if some]
    # The column that rules out more comes first.
    wanted.sort(key=lambda one: one[1].bit_count(), reverse=True)
    return [column.bitwise_and(some) == some for column, some in wanted]


def _named_columns(bits: int) -> dict[str, int]:
    values = zip(_COLUMNS, columns_of_bits(bits), strict=True)
    return {f"{column.name}_bits": some for column, some in values}


def _member_bits(key: str, text: str) -> int:
    """Return the bits of a member, which others may share; none if members with this text are not noted."""
    return _hashed(key, text) if len(text) <= _LONGEST_NOTED and len(key) <= LONGEST else 0


@lru_cache(4096)
def _hashed(key: str, text: str) -> int:
    noted = _as_noted(text)
    if noted is None:
        return 0
    rest = crc32(f"{key}={noted}".encode())
    bits = 0
    for _ in range(_BITS_OF_MEMBER):
        rest, place = divmod(rest, BITS * len(_COLUMNS))
        bits |= 1 << place
    return bits


def _as_noted(text: str) -> str | None:
    """Return a text as it is noted: a fraction in one way, however it is written.

    Returns:
        ``None`` when values that match the text are not noted.
    """
    if text[:1] not in _STARTS_OF_OTHERS:
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


def _members(sequence: int, organisation_id: int, told: Metadata) -> Iterator[dict[str, Any]]:
    for key, value in told.items():
        text, number = _text(value), _number(value)
        if len(key) <= LONGEST and (text is not None or number is not None):
            yield {
                "session_sequence": sequence,
                "organisation_id": organisation_id,
                "key": key,
                "text": text,
                "number": number,
            }


def _text(value: Any) -> str | None:
    text = value if isinstance(value, str) else to_json(value).decode()
    return None if value is None or len(text) > LONGEST else text


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None
