"""Conversations of the processes of one machine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hl_sessions.errors import ConfigurationError
from hl_sessions.process.fork import prepare_for_fork, renew_after_fork
from hl_sessions.process.sqlite_locks import while_locked
from hl_sessions.stores.base import (
    FORGET_AFTER,
    FORGOTTEN_AT_ONCE,
    LONGEST_CLAIM,
    USES_COUNTED,
    Claim,
    Conversation,
    ConversationStore,
    new_reference_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["SQLiteStore"]

BUSY_TIMEOUT = 2.0  # seconds to wait for another process that writes
_MAX_KEPT = 32  # idle connections that are kept open

_TABLE = """
CREATE TABLE IF NOT EXISTS conversations (
    key TEXT PRIMARY KEY,
    session_id TEXT,
    previous_id TEXT,
    last_use REAL,
    ended INTEGER NOT NULL DEFAULT 0,
    claimant TEXT,
    claim_ends REAL,
    reference_id TEXT
) WITHOUT ROWID
"""
_INDEX = "CREATE INDEX IF NOT EXISTS conversations_by_last_use ON conversations (last_use)"
# A file of the first version has no reference IDs.
_HAS_REFERENCE_IDS = "SELECT 1 FROM pragma_table_info('conversations') WHERE name = 'reference_id'"
_ADD_REFERENCE_IDS = (
    "ALTER TABLE conversations ADD COLUMN reference_id TEXT",
    "UPDATE conversations SET reference_id = lower(hex(randomblob(16)))",
)
_IS_IDLE = ":now - last_use > coalesce(:max_idle, :forget_after)"
_IS_GOING_ON = f"session_id IS NOT NULL AND NOT ended AND NOT ({_IS_IDLE})"
# A claim that would be valid for very long was made by a clock that was ahead.
_IS_CLAIMED = "(claimant IS NOT NULL AND claim_ends > :now AND claim_ends <= :now + :longest_claim)"
_IS_OVER = f"{_IS_IDLE} AND NOT {_IS_CLAIMED}"
_USE = f"""
    last_use = :now,
    reference_id = CASE WHEN {_IS_OVER} THEN :reference_id ELSE reference_id END,
    ended = CASE WHEN {_IS_OVER} THEN 1 ELSE ended END
"""
_GET = f"""
SELECT session_id, previous_id, reference_id, last_use FROM conversations WHERE key = :key AND {_IS_GOING_ON}
"""  # noqa: S608 - no value in it
_LOOK_FOR_CLAIM = f"SELECT 1 FROM conversations WHERE key = :key AND claimant != :claimant AND {_IS_CLAIMED}"  # noqa: S608 - no value in it
_CLAIM = f"""
INSERT INTO conversations (key, claimant, claim_ends, last_use, reference_id)
VALUES (:key, :claimant, :now + :lease, :now, :reference_id)
ON CONFLICT (key) DO UPDATE SET claimant = excluded.claimant, claim_ends = excluded.claim_ends, {_USE}
WHERE NOT ({_IS_GOING_ON}) AND (claimant = :claimant OR NOT {_IS_CLAIMED})
"""  # noqa: S608 - no value in it
_REFER = f"""
INSERT INTO conversations (key, last_use, reference_id) VALUES (:key, :now, :reference_id)
ON CONFLICT (key) DO UPDATE SET {_USE}
"""  # noqa: S608 - no value in it
_CLAIMED = "SELECT reference_id, session_id FROM conversations WHERE key = :key"
_REFERENCE_ID = "SELECT reference_id FROM conversations WHERE key = :key"
_FORGET_OLD = f"""
DELETE FROM conversations WHERE key IN (
    SELECT key FROM conversations WHERE last_use < :now - :forget_after AND NOT {_IS_CLAIMED}
    LIMIT :forgotten_at_once
)
"""  # noqa: S608 - no value in it
_FORGET = "DELETE FROM conversations WHERE key = :key"
_SAVE = """
UPDATE conversations SET previous_id = session_id, session_id = :session_id, last_use = :now, ended = 0,
    claimant = NULL, claim_ends = NULL
WHERE key = :key AND claimant = :claimant
"""
_RELEASE = (
    "UPDATE conversations SET claimant = NULL, claim_ends = NULL WHERE key = :key AND claimant = :claimant"
)
_TOUCH = "UPDATE conversations SET last_use = :now WHERE key = :key AND reference_id = :reference_id"
_END = """
UPDATE conversations SET ended = 1, claimant = NULL, claim_ends = NULL, last_use = :now,
    reference_id = :reference_id
WHERE key = :key
"""


class SQLiteStore(ConversationStore):
    """Keeps conversations in an SQLite file, for all processes of one machine.

    The clock is that of the machine. The file is created at the first use. It must not lie on a network file
    system. The store closes its connections before a fork, as two processes must not share one
    (https://www.sqlite.org/howtocorrupt.html).

    Args:
        path: the path of the file; its folder must exist.
        namespace: keeps the conversations of several applications in one file apart.
        hash_keys: keep only the SHA-256 hash of a key.
        forget_after: seconds after its last use until a conversation is forgotten. Default: 90 days.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str = "",
        hash_keys: bool = False,
        forget_after: float = FORGET_AFTER,
    ) -> None:
        super().__init__(namespace=namespace, hash_keys=hash_keys, forget_after=forget_after)
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
        """Wait until the connections in use are returned, and close all, as SQLite demands before a fork."""
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
            parameters = self._parameters(key=key, max_idle=max_idle)
            row = _first_row(connection, _GET, parameters)
            if row is None:
                return None
            *kept, last_use = row
            conversation = Conversation(*kept)
            is_counted = max_idle is not None
            if is_counted or parameters["now"] - last_use > self.forget_after / USES_COUNTED:
                _changes(connection, _TOUCH, {**parameters, "reference_id": conversation.reference_id})
        return conversation

    def claim(self, key: str, claimant: str, *, lease: float, max_idle: float | None) -> Claim | None:  # noqa: D102
        parameters = self._parameters(
            key=key, claimant=claimant, lease=lease, max_idle=max_idle, reference_id=new_reference_id()
        )
        with self._connection() as connection:
            # Read first: the waiters for a creation ask often, and only one connection at a time can write.
            if _first_row(connection, _LOOK_FOR_CLAIM, parameters) is not None:
                return None
            with _transaction(connection):
                if not _changes(connection, _CLAIM, parameters):
                    return None
                _changes(connection, _FORGET_OLD, parameters)
                return Claim(*_first_row(connection, _CLAIMED, parameters))

    def save(self, key: str, claimant: str, session_id: str) -> Conversation | None:  # noqa: D102
        parameters = self._parameters(key=key, claimant=claimant, session_id=session_id, max_idle=None)
        with self._connection() as connection, _transaction(connection):
            if not _changes(connection, _SAVE, parameters):
                return None
            *kept, _ = _first_row(connection, _GET, parameters)
        return Conversation(*kept)

    def release(self, key: str, claimant: str) -> None:  # noqa: D102
        self._change(_RELEASE, key=key, claimant=claimant)

    def reference_id(self, key: str, *, max_idle: float | None) -> str:  # noqa: D102
        parameters = self._parameters(key=key, max_idle=max_idle, reference_id=new_reference_id())
        with self._connection() as connection, _transaction(connection):
            _changes(connection, _REFER, parameters)
            return _reference_id(connection, key)

    def touch(self, key: str, reference_id: str) -> None:  # noqa: D102
        self._change(_TOUCH, key=key, reference_id=reference_id)

    def end(self, key: str) -> None:  # noqa: D102
        self._change(_END, key=key, reference_id=new_reference_id())

    def forget(self, key: str) -> None:  # noqa: D102
        self._change(_FORGET, key=key)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        while self._connections:
            self._connections.popleft().close()
        self._is_set_up = False

    def _change(self, statement: str, **parameters: object) -> None:
        with self._connection() as connection:
            _changes(connection, statement, self._parameters(**parameters))

    def _parameters(self, **parameters: Any) -> dict[str, Any]:
        return {
            "now": time.time(),
            "forget_after": self.forget_after,
            "longest_claim": LONGEST_CLAIM,
            "forgotten_at_once": FORGOTTEN_AT_ONCE,
            **parameters,
        }

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection to one user at a time; after a failure it is not used again."""
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
            # After a power failure the last conversations may start anew, which is not worth a sync for each.
            connection.execute("PRAGMA synchronous = NORMAL")
            if not self._is_set_up:
                self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        for statement in ("PRAGMA journal_mode = WAL", _TABLE, _INDEX):
            while_locked(partial(_first_row, connection, statement), BUSY_TIMEOUT)
        while_locked(partial(_add_reference_ids, connection), BUSY_TIMEOUT)
        self._is_set_up = True


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep other connections from writing until the end; a failure undoes all changes."""
    _first_row(connection, "BEGIN IMMEDIATE")
    with connection:
        yield


def _reference_id(connection: sqlite3.Connection, key: str) -> str:
    reference_id: str
    (reference_id,) = _first_row(connection, _REFERENCE_ID, {"key": key})
    return reference_id


def _add_reference_ids(connection: sqlite3.Connection) -> None:
    if _first_row(connection, _HAS_REFERENCE_IDS) is not None:
        return
    with _transaction(connection):
        if _first_row(connection, _HAS_REFERENCE_IDS) is not None:  # another process was faster
            return
        for statement in _ADD_REFERENCE_IDS:
            _changes(connection, statement, {})


# Every cursor is closed. An open one with rows left keeps its transaction open until it is garbage collected,
# which PyPy does late.


def _first_row(
    connection: sqlite3.Connection, statement: str, parameters: Mapping[str, Any] | None = None
) -> Any:
    with closing(connection.execute(statement, parameters or {})) as cursor:
        return cursor.fetchone()


def _changes(connection: sqlite3.Connection, statement: str, parameters: Mapping[str, Any]) -> bool:
    with closing(connection.execute(statement, parameters)) as cursor:
        return cursor.rowcount > 0
