"""Imports saved files, of whatever size they are all together."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from hl_sessions.server.database.database import Database
from hl_sessions.server.humanloop.found import Found, Record, UnreadableError
from hl_sessions.server.humanloop.storing import Stored, store

_RECORDS_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 2 * 1024 * 1024
"""How much is stored in one transaction: a server that runs waits for it."""


class Entry(NamedTuple):
    """A part of a file, which is readable or is not.

    Args:
        place: Where it stands, for people.
        size: Its length in bytes.
        records: Returns what it holds, or raises ``UnreadableError``.
    """

    place: str
    size: int
    records: Callable[[], Iterable[Record]]


Source = Callable[[], Iterator[Entry]]
"""Reads one file from its beginning."""


@dataclass
class Imported:
    """What became of the files.

    Args:
        new: How many records of each kind are new.
        orphans: How many datapoints are not nested, as the one above them is in no file.
        unjudged: How many judgments are of datapoints that are in no file.
        unreadable: How many entries could not be read.
        versions: The IDs of the versions that datapoints are of.
    """

    new: Counter[str] = field(default_factory=Counter)
    orphans: int = 0
    unjudged: int = 0
    unreadable: int = 0
    versions: set[str] = field(default_factory=set)


def import_sources(
    database: Database,
    organisation_id: int,
    sources: Sequence[Source],
    complain: Callable[[str], None],
    done: Callable[[int], None],
) -> Imported:
    """Import files. Those that refer to what came later are read once more.

    Args:
        database: Where to.
        organisation_id: Whose it becomes.
        sources: The files.
        complain: Is told of each entry that cannot be read: where it stands, and why.
        done: Is told how many bytes have been read, once for each file.

    Raises:
        OfOthersError: When another organisation has what is in them.
    """
    imported = Imported()

    def complain_and_count(problem: str) -> None:
        imported.unreadable += 1
        complain(problem)

    def run(source: Source, complain: Callable[[str], None], done: Callable[[int], None]) -> Iterator[Stored]:
        for found in _read(source, complain, done):
            stored = database.write_now(partial(store, organisation_id=organisation_id, found=found))
            imported.new.update(stored.new)
            imported.versions.update(found.versions())
            yield stored

    again = []
    for source in sources:
        parts = list(run(source, complain_and_count, done))
        if any(stored.orphans or stored.unjudged for stored in parts):
            again.append(source)
    for source in again:
        for stored in run(source, complain=lambda _: None, done=lambda _: None):
            imported.orphans += stored.orphans
            imported.unjudged += stored.unjudged
    return imported


def _read(source: Source, complain: Callable[[str], None], done: Callable[[int], None]) -> Iterator[Found]:
    """Yield what a file holds, in parts."""
    found, size = Found(), 0
    for entry in source():
        try:
            for record in entry.records():
                found.add(record)
        except UnreadableError as error:
            complain(f"{entry.place}: {error}")
        size += entry.size
        done(entry.size)
        if size >= _BYTES_AT_ONCE or len(found) >= _RECORDS_AT_ONCE:
            yield found
            found, size = Found(), 0
    if found:
        yield found
