"""Conversations of the processes of one machine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hl_sessions.errors import ConfigurationError
from hl_sessions.process.fork import prepare_for_fork, renew_after_fork
from hl_sessions.process.sqlite_locks import while_locked
from hl_sessions.stores.base import Conversation, ConversationStore

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SQLiteStore"]

BUSY_TIMEOUT = 2.0  # seconds to wait for another process that writes
_MAX_KEPT = 32  # connections kept open while nobody uses them

_TABLE = """
CREATE TABLE IF NOT EXISTS conversations (
    key TEXT PRIMARY KEY,
    session_id TEXT,
    previous_id TEXT,
    last_use REAL,
    ended INTEGER NOT NULL DEFAULT 0,
    claimant TEXT,
    claim_ends REAL
) WITHOUT ROWID
"""
_IS_GOING_ON = "session_id IS NOT NULL AND NOT ended AND (:max_idle IS NULL OR :now - last_use <= :max_idle)"
_GET = f"SELECT session_id, previous_id FROM conversations WHERE key = :key AND {_IS_GOING_ON}"  # noqa: S608 - no value in it
_IS_CLAIMED = "SELECT 1 FROM conversations WHERE key = :key AND claimant != :claimant AND claim_ends > :now"
_CLAIM = f"""
INSERT INTO conversations (key, claimant, claim_ends) VALUES (:key, :claimant, :now + :lease)
ON CONFLICT (key) DO UPDATE SET claimant = excluded.claimant, claim_ends = excluded.claim_ends
WHERE NOT ({_IS_GOING_ON}) AND (claimant IS NULL OR claimant = :claimant OR claim_ends <= :now)
"""  # noqa: S608 - as above
_SAVE = """
UPDATE conversations SET previous_id = session_id, session_id = :session_id, last_use = :now, ended = 0,
    claimant = NULL, claim_ends = NULL
WHERE key = :key AND claimant = :claimant
"""
_RELEASE = (
    "UPDATE conversations SET claimant = NULL, claim_ends = NULL WHERE key = :key AND claimant = :claimant"
)
_TOUCH = (
    "UPDATE conversations SET last_use = :now WHERE key = :key AND session_id = :session_id AND NOT ended"
)
_END = "UPDATE conversations SET ended = 1, claimant = NULL, claim_ends = NULL WHERE key = :key"


class SQLiteStore(ConversationStore):
    """Keeps conversations in an SQLite file, for all processes of one machine.

    The clock is the machine's. The file is made on first use, and must not lie on a network file system.
    Before a fork its connections are closed, as SQLite cannot have them in two processes
    (https://www.sqlite.org/howtocorrupt.html).

    Args:
        path: of the file; its folder must exist.
        namespace: keeps the conversations of applications apart that share the file.
        hash_keys: keep the SHA-256 hash of a key only.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(self, path: str | os.PathLike[str], *, namespace: str = "", hash_keys: bool = False) -> None:
        super().__init__(namespace=namespace, hash_keys=hash_keys)
        if not isinstance(path, (str, os.PathLike)):
            raise ConfigurationError(f"path must be a str or a Path, not {type(path).__name__}")
        if str(path) in {"", ":memory:"} or "\0" in str(path):
            raise ConfigurationError(f"path={str(path)!r} must be that of a file; in memory is a MemoryStore")
        self._path = Path(path).absolute()
        if not self._path.parent.is_dir():
            raise ConfigurationError(f"path={str(path)!r}: there is no folder {str(self._path.parent)!r}")
        if self._path.is_dir():
            raise ConfigurationError(f"path={str(path)!r} is a folder, not a file")
        self._renew_after_fork()
        self._is_set_up = False
        renew_after_fork(self)
        prepare_for_fork(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    def __del__(self) -> None:
        if hasattr(self, "_connections"):
            self.close()

    def _renew_after_fork(self) -> None:
        self._connections: deque[sqlite3.Connection] = deque()
        self._returned = threading.Condition()
        self._lent = 0
        self._is_forking = False

    def _prepare_for_fork(self) -> None:
        """Close all connections, as SQLite wants it, when those who use one have returned it."""
        with self._returned:
            self._is_forking = True
            self._returned.wait_for(lambda: not self._lent, 2 * BUSY_TIMEOUT)
            self.close()

    def _go_on_after_fork(self) -> None:
        with self._returned:
            self._is_forking = False
            self._returned.notify_all()

    def get(self, key: str, *, max_idle: float | None) -> Conversation | None:  # noqa: D102 - the contract's
        with self._connection() as connection:
            parameters = {"key": key, "max_idle": max_idle, "now": time.time()}
            row = connection.execute(_GET, parameters).fetchone()
            if row is not None and max_idle is not None:
                connection.execute(_TOUCH, {**parameters, "session_id": row[0]})
        return row and Conversation(*row)

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> bool:  # noqa: D102
        with self._connection() as connection:
            # A look first: those who wait for a creation ask often, and only one at a time can write.
            if connection.execute(
                _IS_CLAIMED, {"key": key, "claimant": claimant, "now": time.time()}
            ).fetchone():
                return False
        return self._changes(_CLAIM, key=key, claimant=claimant, lease=lease, max_idle=max_idle)

    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:  # noqa: D102
        parameters = {"key": key, "claimant": claimant, "session_id": session_id, "now": time.time()}
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute(_SAVE, parameters).rowcount:
                connection.execute("ROLLBACK")
                return None
            parameters["max_idle"] = None
            row = connection.execute(_GET, parameters).fetchone()
            connection.execute("COMMIT")
        return Conversation(*row)

    def release(self, key: str, claimant: str) -> None:  # noqa: D102
        self._changes(_RELEASE, key=key, claimant=claimant)

    def touch(self, key: str, session_id: str) -> None:  # noqa: D102
        self._changes(_TOUCH, key=key, session_id=session_id)

    def end(self, key: str) -> None:  # noqa: D102
        self._changes(_END, key=key)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        while self._connections:
            self._connections.popleft().close()
        self._is_set_up = False

    def _changes(self, statement: str, **parameters: object) -> bool:
        with self._connection() as connection:
            return connection.execute(statement, {**parameters, "now": time.time()}).rowcount > 0

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that nobody else uses; one that failed is not used again."""
        with self._returned:
            self._returned.wait_for(lambda: not self._is_forking, BUSY_TIMEOUT)
            self._lent += 1
            connection = self._connections.pop() if self._connections else None
        is_usable = False
        try:
            if connection is None:
                connection = self._connect()
            yield connection
            is_usable = True
        finally:
            with self._returned:
                self._lent -= 1
                if not is_usable:
                    self._is_set_up = False  # the file may have been removed
                if is_usable and connection is not None and len(self._connections) < _MAX_KEPT:
                    self._connections.append(connection)
                    connection = None
                self._returned.notify_all()
            if connection is not None:
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            # A power failure may cost the last conversations, which then start anew: not worth a sync each.
            connection.execute("PRAGMA synchronous = NORMAL")
            if not self._is_set_up:
                self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        for statement in ("PRAGMA journal_mode = WAL", _TABLE):
            while_locked(partial(connection.execute, statement), BUSY_TIMEOUT)
        self._is_set_up = True
