"""Whose key is this: answered from memory, and at most a moment behind the database."""

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
"""How long the keys are taken from memory, in seconds, before the database is asked for changes."""

LONGEST_WAIT: Final = 0.5
"""How long a call waits for changes, in seconds, before the known keys have to do."""

CONFIGURED_KEY: Final = "key_configured"
"""The ID of the key that the server was started with, which is not in the database."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyHolder:
    """Who a key belongs to.

    Args:
        key_id: The ID of the key, which opens nothing.
        organisation_id: The organisation whose data the key opens.
        name: What the key is called, if it has a name.
    """

    key_id: str
    organisation_id: int
    name: str | None = None


class KeyRing:
    """The keys that are valid now.

    Making one reads the database on the calling thread; afterwards the event loop asks it for changes, with
    one small query for all requests of a moment.

    Args:
        database: Where the keys are kept.
        api_key: The key that the server was started with, if any; it opens the default organisation.

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
        """The organisation of who calls an open server."""
        return self._default_organisation_id

    def is_open(self) -> bool:
        """Tell whether there has never been a key, so that everybody on this machine is let in."""
        made, _revoked = self._counts
        return not made and not self._configured

    def holder_of(self, key: str) -> KeyHolder | None:
        """Tell whose key this is, or ``None`` of a key that is unknown or was revoked."""
        # A look-up by a hash takes a time that tells nothing about the keys it was not.
        return self._holder_by_hash.get(hash_of_key(key))

    def holder_with_id(self, key_id: str) -> KeyHolder | None:
        """Return the holder of the key with this ID, or ``None`` when it is unknown or was revoked."""
        return next((holder for holder in self._holder_by_hash.values() if holder.key_id == key_id), None)

    def secret_with_id(self, key_id: str) -> str | None:
        """Return a secret that follows from the key with this ID, or ``None`` if that is unknown or revoked.

        All processes of the server have the same one, and it ends with the key.
        """
        return next(
            (hash_ for hash_, holder in self._holder_by_hash.items() if holder.key_id == key_id), None
        )

    def is_fresh(self) -> bool:
        """Tell whether the answers are as good as the database's, so that ``refresh`` has nothing to do."""
        return monotonic() - self._refreshed_at < FRESH

    async def refresh(self) -> None:
        """Take over what has changed in the database; while it cannot be read, the keys stay as they are."""
        if self._refreshing is None:
            self._refreshing = asyncio.ensure_future(self._take_over_changes())
        await asyncio.wait([self._refreshing], timeout=LONGEST_WAIT)

    async def _take_over_changes(self) -> None:
        try:
            await self._database.read_promptly(self._read)
        except DatabaseError as error:
            # Whoever holds a known key will be told by their call what is wrong.
            _logger.warning("the keys cannot be read, so the known ones stay: %s", type(error).__name__)
        finally:
            self._refreshed_at = monotonic()
            self._refreshing = None

    def _read(self, connection: Connection) -> None:
        counts = count_keys(connection)
        # No key is ever deleted or changed but by revoking it, so equal counts are equal keys.
        if counts != self._counts:
            self._holder_by_hash = self._configured | {
                hash_: KeyHolder(key_id, organisation_id, name)
                for key_id, hash_, organisation_id, name in valid_keys(connection)
            }
            self._counts = counts


def _open_default_organisation(database: Database) -> int:
    found = database.read_now(lambda connection: find_organisation(connection, DEFAULT_ORGANISATION))
    if found is not None:
        # A server that starts while another one writes need not wait for it.
        return found
    return database.write_now(
        lambda connection: find_or_create_organisation(connection, DEFAULT_ORGANISATION)
    )
