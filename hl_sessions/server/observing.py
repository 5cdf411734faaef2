"""What a database tells to whoever keeps count of it."""

from typing import Protocol

from hl_sessions.server.database_errors import DatabaseError


class DatabaseObserver(Protocol):
    """Is told what a database has done, on whatever thread; what it does then takes no time to speak of."""

    def committed(self, writes: int) -> None:
        """Note a transaction that holds the writes of so many requests."""

    def failed(self, error: DatabaseError) -> None:
        """Note a read or a write of one request that the database did not do."""
