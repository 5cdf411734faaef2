"""Gives bits to frequent members of metadata, and sets them in the totals of the sessions that have them.

A sample of the sessions shows which members many have, and whether many sessions lack a bit: because it is
new, or was forgotten with deleted datapoints. Then all sessions are read, in small steps.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial, reduce
from itertools import chain
from operator import or_
from random import Random
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, select, update

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.in_parts import in_parts_of_size
from hl_sessions.server.database.search_index import is_one_of
from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import logs, session_totals, sessions
from hl_sessions.server.records.frequent_members import (
    FrequentMembers,
    Member,
    Metadata,
    give_bits,
    members_of,
    read_all_frequent_members,
)
from hl_sessions.server.records.labels import BITS

_MANY_SESSIONS: Final = 20_000
"""The number of sessions from which on a search takes long without the bits."""

_SAMPLE: Final = 2_000
"""The number of sessions of a sample, as long as they have no more than its datapoints."""

_SAMPLED_DATAPOINTS: Final = 20_000
"""The number of datapoints of a sample, whose metadata take some 20 MB of memory."""

_FEWEST: Final = 100
"""The number of sessions of an organisation in a sample that show which members are frequent."""

_FREQUENT: Final = 0.01
"""The part of the sessions of an organisation that have a frequent member, as long as all bits are free."""

_FREQUENT_AT_LAST: Final = 0.1
"""The same for the last bit: rarer members leave some bits to later ones."""

_LACKING: Final = 0.01
"""The part of the sessions of a sample that may lack a bit."""

_SESSIONS_AT_ONCE: Final = 250
_DATAPOINTS_AT_ONCE: Final = 1_000
"""How many sessions, with how many datapoints, a step reads; a session with more datapoints is left out."""

_LONGEST_METADATA: Final = 10_000
"""The number of bytes of metadata that are read; longer ones are left out."""

_TOTALS: Final = session_totals.c
_SET: Final = (
    update(session_totals)
    .where(_TOTALS.session_sequence == bindparam("session"))
    .values(members=_TOTALS.members.bitwise_or(bindparam("bits")))
)


class _ReadSession(NamedTuple):
    """A session with its metadata and those of its datapoints.

    Args:
        sequence: Its place in the order of arrival.
        organisation_id: Its organisation.
        bits: The bits that it has.
        told: The metadata.
    """

    sequence: int
    organisation_id: int
    bits: int
    told: list[Metadata]

    def lacks(self, frequent: Mapping[int, FrequentMembers]) -> int:
        """Return the bits that it does not have yet."""
        bits = reduce(or_, map(frequent[self.organisation_id].bits_of, self.told), 0)
        return bits & ~self.bits


def note_members(database: Database) -> Iterator[None]:
    """Give bits to frequent members, and set them if many sessions lack some, in steps.

    Args:
        database: The database.
    """
    sample = database.read_now(_read_sample)
    if not sample:
        return
    frequent = database.write_now(partial(_give_bits, sample=sample))
    yield
    if sum(session.lacks(frequent) > 0 for session in sample) <= _LACKING * len(sample):
        return
    last: int | None = 0
    while last is not None:
        last = database.write_now(partial(set_some, after=last))
        yield


def _read_sample(connection: Connection) -> Sequence[_ReadSession]:
    """Read some sessions of any age; none if there are few."""
    ends = select(func.min(_TOTALS.session_sequence), func.max(_TOTALS.session_sequence))
    first, last = connection.execute(ends).one()
    if first is None or last - first < _MANY_SESSIONS:
        return []
    drawn = Random().sample(range(first, last + 1), _SAMPLE)  # noqa: S311 - nothing secret
    sizes = select(_TOTALS.session_sequence, _TOTALS.datapoints).where(
        is_one_of(_TOTALS.session_sequence, drawn), _TOTALS.datapoints <= _DATAPOINTS_AT_ONCE
    )
    datapoints_of = {row.session_sequence: row.datapoints for row in connection.execute(sizes)}
    # As drawn, so that those left out are of any age, too.
    there = ((sequence, datapoints_of[sequence]) for sequence in drawn if sequence in datapoints_of)
    some = next(in_parts_of_size(there, _SAMPLED_DATAPOINTS, count=_SAMPLE), [])
    return _read(connection, _some(some))


def _give_bits(connection: Connection, sample: Sequence[_ReadSession]) -> Mapping[int, FrequentMembers]:
    """Give bits to the frequent members of a sample, and return all members that have some."""
    frequent = read_all_frequent_members(connection)
    number_of = Counter(session.organisation_id for session in sample)
    for organisation_id, number in sorted(number_of.items()):
        if number < _FEWEST:
            continue
        told_of = (session.told for session in sample if session.organisation_id == organisation_id)
        counts = Counter(member for told in told_of for member in set(chain(*map(members_of, told))))
        wanted = list(_find_frequent(counts, number, frequent[organisation_id]))
        give_bits(connection, organisation_id, wanted)
    return read_all_frequent_members(connection)


def _find_frequent(counts: Counter[Member], number: int, known: FrequentMembers) -> Iterator[Member]:
    """Yield the members without a bit that many of a number of sessions have, the most frequent first."""
    taken = len(known)
    for member, count in counts.most_common():
        if count < number * (_FREQUENT + (_FREQUENT_AT_LAST - _FREQUENT) * taken / BITS):
            return
        if member not in known:
            yield member
            taken += 1


def set_some(connection: Connection, after: int) -> int | None:
    """Set the bits that some sessions lack, and return the last of these; ``None`` if there are no more."""
    query = select(_TOTALS.session_sequence, _TOTALS.datapoints).where(_TOTALS.session_sequence > after)
    found = connection.execute(query.order_by(_TOTALS.session_sequence).limit(_SESSIONS_AT_ONCE)).all()
    sizes = ((sequence, datapoints) for sequence, datapoints in found)
    some = next(in_parts_of_size(sizes, _DATAPOINTS_AT_ONCE), None)
    if some is None:
        return None
    # Locked before their datapoints are read, so that no member is lost in between.
    read = _read(connection, _some(some).with_for_update())
    frequent = read_all_frequent_members(connection)
    lacking = [{"session": session.sequence, "bits": session.lacks(frequent)} for session in read]
    setting = [one for one in lacking if one["bits"]]
    if setting:
        connection.execute(_SET, setting)
    return int(some[-1])


def _some(sequences: Sequence[int]) -> Select[Any]:
    return (
        select(_TOTALS.session_sequence, _TOTALS.organisation_id, _TOTALS.members)
        .where(is_one_of(_TOTALS.session_sequence, sequences), _TOTALS.datapoints <= _DATAPOINTS_AT_ONCE)
        .order_by(_TOTALS.session_sequence)
    )


def _read(connection: Connection, totals: Select[Any]) -> Sequence[_ReadSession]:
    """Read sessions with these totals, and their metadata."""
    found = {
        row.session_sequence: _ReadSession(row.session_sequence, row.organisation_id, row.members, [])
        for row in connection.execute(totals)
    }
    wanted = is_one_of(sessions.c.sequence, found)
    of_sessions = select(sessions.c.sequence, sessions.c.metadata).where(wanted)
    of_datapoints = select(sessions.c.sequence, logs.c.metadata).where(wanted)
    of_datapoints = of_datapoints.join_from(sessions, logs, logs.c.session_id == sessions.c.id)
    for query, column in ((of_sessions, sessions.c.metadata), (of_datapoints, logs.c.metadata)):
        for sequence, told in connection.execute(query.where(octets_of(column) <= _LONGEST_METADATA)):
            # An import may have other JSON.
            if isinstance(told, dict):
                found[sequence].told.append(told)
    return list(found.values())
