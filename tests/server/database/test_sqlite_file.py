"""The layout of the SQLite file."""

import sqlite3
from contextlib import closing
from pathlib import Path

from hl_sessions.server.database.database import Database
from hl_sessions.server.settings import ServerSettings


def test_a_new_file_has_large_pages_and_an_old_one_its_own(tmp_path: Path) -> None:
    """Datapoints of some KB fit into them with little unused space."""
    new, old = tmp_path / "new.sqlite3", tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA journal_mode = WAL")
    for path, size in ((new, 16384), (old, 4096)):
        Database.open(ServerSettings(database=str(path)).database_url).close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA page_size").fetchone() == (size,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
