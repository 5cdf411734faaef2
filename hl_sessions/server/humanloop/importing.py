"""Imports saved files of any total size."""

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
"""The number of records and bytes in one transaction, for which a running server waits."""


class Entry(NamedTuple):
    """A part of a file, which may be unreadable.

    Args:
        place: Its place, for messages.
        size: Its length in bytes.
        records: Returns its records, or raises ``UnreadableError``.
    """

    place: str
    size: int
    records: Callable[[], Iterable[Record]]


Source = Callable[[], Iterator[Entry]]
"""Reads one file from its beginning."""


@dataclass
class Imported:
    """The result of an import.

    Args:
        new: The number of new records of each kind.
        orphans: The number of datapoints that are not nested, because their parent is in no file.
        unjudged: The number of judgments on datapoints that are in no file.
        unreadable: The number of entries that could not be read.
        versions: The IDs of the versions of datapoints.
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
    """Import files. Those that refer to records of later files are read once more.

    Args:
        database: The database.
        organisation_id: The organisation that gets the records.
        sources: The files.
        complain: Called with the place and the problem of each unreadable entry.
        done: Called with the number of bytes that have been read, once for each file.

    Raises:
        OfOthersError: When another organisation has some of the records.
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
    """Yield the records of a file, in parts."""
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
