"""Members of metadata that many sessions have: each has a bit of its own in the totals of a session.

A session with the bit has the member, in its own metadata or in those of a datapoint. A session without it
may have it, too: a bit is given to a member that sessions already have, and is forgotten with a datapoint,
though another one may have the member. So a search looks into sessions without the bit, and is only faster
the fewer of them there are. ``records.member_noting`` gives the bits.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import starmap
from math import inf
from time import monotonic
from typing import Any, Final, TypeAlias

from pydantic_core import to_json
from sqlalchemy import Connection, select

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.tables import labels
from hl_sessions.server.records.labels import (
    BITS,
    LONGEST_VALUE,
    is_named,
    lock_organisations,
)

Metadata: TypeAlias = Mapping[str, Any]
Member: TypeAlias = tuple[str, str]
"""A key, and a value: a text, or the JSON of another value."""

KIND: Final = "member"
"""The kind of their labels."""

KEEP_ALL: Final = -1
"""All bits, as a mask."""

REFRESHED: Final = 10.0
"""Seconds after which a connection reads the frequent members again."""

_READ_MEMBERS: Final = "frequent_members"
_LONGEST_NUMBER: Final = 7
"""The greatest number of characters of a number: all databases write short ones in the same way."""

_LETTERS: Final = re.compile("[a-zA-Z]")
_FIND: Final = select(labels).where(labels.c.kind == KIND)


class FrequentMembers:
    """The frequent members of an organisation.

    Args:
        members: Each member, with its bit.

    Attributes:
        bits: Their bits, by key and text.
    """

    def __init__(self, members: Iterable[tuple[Member, int]] = ()) -> None:
        self.bits: dict[str, dict[str, int]] = {}
        self._all = 0
        for (key, text), bit in members:
            self.bits.setdefault(key, {})[text] = bit
            self._all |= bit

    def __len__(self) -> int:
        """Return their number."""
        return sum(map(len, self.bits.values()))

    def __contains__(self, member: Member) -> bool:
        """Tell whether a member has a bit."""
        key, text = member
        return text in self.bits.get(key, {})

    def bits_of(self, told: Metadata) -> int:
        """Return the bits of those that metadata have."""
        bits = 0
        for key, bit_of in self.bits.items():
            value = told.get(key)
            if isinstance(value, str):
                bits |= bit_of.get(value, 0)
            elif isinstance(value, (int, float)):
                bits |= bit_of.get(to_json(value).decode(), 0)
        return bits

    def left_without(self, told: Metadata) -> int:
        """Return the bits that a session certainly keeps when metadata are taken from it, as a mask."""
        # Members may be gone that have a bit which this connection does not know of yet.
        return self._all & ~self.bits_of(told) if told else KEEP_ALL


def members_of(told: Metadata) -> Iterator[Member]:
    """Yield the members of metadata that can be frequent ones."""
    for key, value in told.items():
        text = to_json(value).decode() if isinstance(value, (int, float)) else value
        if not isinstance(text, str) or not _is_exact(text):
            continue
        if "=" not in key and len(_label(key, text)) <= LONGEST_VALUE:
            yield key, text


def read_frequent_members(connection: Connection) -> Mapping[int, FrequentMembers]:
    """Return the frequent members by organisation; the latest ones may be missing."""
    found: Mapping[int, FrequentMembers]
    read_at, found = connection.info.get(_READ_MEMBERS, (-inf, defaultdict(FrequentMembers)))
    if monotonic() - read_at > REFRESHED:
        found = read_all_frequent_members(connection)
        connection.info[_READ_MEMBERS] = monotonic(), found
    return found


def find_bit(connection: Connection, organisation_id: int, key: str, text: str) -> int:
    """Return the bit of a member in ``members`` of ``session_totals``; 0 if it has none."""
    value = _label(key, text)
    if len(value) > LONGEST_VALUE:
        # Of a longer value, only the begin would be compared.
        return 0
    bit = select(labels.c.bit).where(*is_named(organisation_id, KIND, value))
    return connection.scalar(bit) or 0


def give_bits(connection: Connection, organisation_id: int, wanted: Sequence[Member]) -> None:
    """Give bits to members that have none, the first ones first, as long as there are any."""
    # A bit of two members would prove neither.
    lock_organisations(connection, [organisation_id])
    of_kind = (labels.c.organisation_id == organisation_id, labels.c.kind == KIND)
    known = set(connection.scalars(select(labels.c.value).where(*of_kind)))
    new = [value for value in dict.fromkeys(starmap(_label, wanted)) if value not in known]
    del new[BITS - len(known) :]
    common = {"organisation_id": organisation_id, "kind": KIND}
    rows = [{**common, "value": value, "bit": 1 << bit} for bit, value in enumerate(new, len(known))]
    if rows:
        insert_rows(connection, labels, rows)


def read_all_frequent_members(connection: Connection) -> Mapping[int, FrequentMembers]:
    """Return the frequent members by organisation, also the latest ones."""
    members: defaultdict[int, list[tuple[Member, int]]] = defaultdict(list)
    for row in connection.execute(_FIND):
        key, _, text = row.value.partition("=")
        members[row.organisation_id].append(((key, text), row.bit))
    found = {organisation_id: FrequentMembers(some) for organisation_id, some in members.items()}
    return defaultdict(FrequentMembers, found)


def _label(key: str, text: str) -> str:
    return f"{key}={text}"


def _is_exact(text: str) -> bool:
    """Tell whether no number has this text in one database, and another text in another one."""
    try:
        float(text)
    except ValueError:
        return True
    return len(text) <= _LONGEST_NUMBER and not _LETTERS.search(text)
