"""Looks up keys in memory, at most a moment behind the database."""

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic
from typing import Final

from sqlalchemy import Connection

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.records.keys import count_keys, hash_of_key, valid_keys
from hl_sessions.server.records.organisations import (
    DEFAULT_ORGANISATION,
    find_or_create_organisation,
    find_organisation,
)

FRESH: Final = 0.5
"""Seconds for which the keys in memory are used before the database is asked for changes."""

LONGEST_WAIT: Final = 0.5
"""Seconds that a call waits for changes before it uses the known keys."""

CONFIGURED_KEY: Final = "key_configured"
"""The ID of the key from the settings, which is not in the database."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyHolder:
    """The owner of a key.

    Args:
        key_id: The ID of the key, which opens nothing.
        organisation_id: The organisation whose data the key opens.
        name: The name of the key, if it has one.
    """

    key_id: str
    organisation_id: int
    name: str | None = None


class KeyRing:
    """The keys that are valid now.

    The constructor reads the database on the calling thread. Afterwards the event loop asks it for changes,
    with one small query for all requests of a moment.

    Args:
        database: Where the keys are stored.
        api_key: The key from the settings, if any; it opens the default organisation.

    Raises:
        DatabaseError: When the database cannot be read.
    """

    def __init__(self, database: Database, api_key: str | None) -> None:
        self._database = database
        self._default_organisation_id = _open_default_organisation(database)
        self._configured: dict[str, KeyHolder] = {}
        if api_key is not None:
            self._configured[hash_of_key(api_key)] = KeyHolder(CONFIGURED_KEY, self._default_organisation_id)
        self._counts = (0, 0)
        self._holder_by_hash = self._configured
        self._refreshed_at = monotonic()
        self._refreshing: asyncio.Future[None] | None = None
        database.read_now(self._read)

    @property
    def default_organisation_id(self) -> int:
        """The organisation of the callers of an open server."""
        return self._default_organisation_id

    def is_open(self) -> bool:
        """Tell whether there has never been a key, so that every caller on this machine is let in."""
        made, _revoked = self._counts
        return not made and not self._configured

    def holder_of(self, key: str) -> KeyHolder | None:
        """Return the holder of this key, or ``None`` if it is unknown or revoked."""
        # The time of a look-up by a hash reveals nothing about other keys.
        return self._holder_by_hash.get(hash_of_key(key))

    def holder_with_id(self, key_id: str) -> KeyHolder | None:
        """Return the holder of the key with this ID, or ``None`` if it is unknown or revoked."""
        return next((holder for holder in self._holder_by_hash.values() if holder.key_id == key_id), None)

    def secret_with_id(self, key_id: str) -> str | None:
        """Return a secret that is derived from the key with this ID, or ``None`` if it is unknown or revoked.

        All processes of the server derive the same one, and it is valid as long as the key.
        """
        return next(
            (hash_ for hash_, holder in self._holder_by_hash.items() if holder.key_id == key_id), None
        )

    def is_fresh(self) -> bool:
        """Tell whether the keys in memory are up to date, so that ``refresh`` has nothing to do."""
        return monotonic() - self._refreshed_at < FRESH

    async def refresh(self) -> None:
        """Read the changes from the database. If it cannot be read, keep the known keys."""
        if self._refreshing is None:
            self._refreshing = asyncio.ensure_future(self._take_over_changes())
        await asyncio.wait([self._refreshing], timeout=LONGEST_WAIT)

    async def _take_over_changes(self) -> None:
        try:
            await self._database.read_promptly(self._read)
        except DatabaseError as error:
            # A call with a known key will get the database's error itself.
            _logger.warning("the keys cannot be read, so the known ones stay: %s", type(error).__name__)
        finally:
            self._refreshed_at = monotonic()
            self._refreshing = None

    def _read(self, connection: Connection) -> None:
        counts = count_keys(connection)
        # Keys are never deleted, and the only change is to revoke one, so equal counts mean equal keys.
        if counts != self._counts:
            self._holder_by_hash = self._configured | {
                hash_: KeyHolder(key_id, organisation_id, name)
                for key_id, hash_, organisation_id, name in valid_keys(connection)
            }
            self._counts = counts


def _open_default_organisation(database: Database) -> int:
    found = database.read_now(lambda connection: find_organisation(connection, DEFAULT_ORGANISATION))
    if found is not None:
        # A server that starts while another process writes need not wait for it.
        return found
    return database.write_now(
        lambda connection: find_or_create_organisation(connection, DEFAULT_ORGANISATION)
    )
