#!/usr/bin/env bash
#
# `PRAGMA incremental_vacuum(100)` gives back 100 pages by apsw, and one by Python's sqlite3, SQLAlchemy included.
#
# Expected: up to 100 pages of the free list leave the file, whichever driver says so.
#
# Seen: with Python 3.11's `sqlite3`, `execute()` gives back one page, and so does SQLAlchemy 2.1.9 on top of it; no
# error, no warning. The statement has no columns, and the driver takes it for done after one step; SQLite frees a page
# a step. `executescript()` frees all 100, and apsw 3.46.1.0 does, by the same SQL. `execute().fetchall()` helps on
# Python 3.10 and 3.15 (100 pages), not on 3.11.7 (one).
#
# Why it hurts: a log store that deletes what is old, and asks for its space back now and then, grows for ever: a
# hundred times too little comes back, and everything looks as if it had worked.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.46.1.0 sqlalchemy==2.1.9

cat > "$folder/vacuum.py" <<'PYTHON'
import sqlite3
import sys
from pathlib import Path

import apsw
from sqlalchemy import create_engine

STATEMENT = "PRAGMA incremental_vacuum(100)"
folder = Path(sys.argv[1])


def given_back(name, vacuum):
    path = folder / f"{name}.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("CREATE TABLE logs (output)")
    connection.executemany("INSERT INTO logs VALUES (?)", [("x" * 4000,)] * 300)
    connection.execute("DELETE FROM logs")
    before = connection.execute("PRAGMA freelist_count").fetchone()[0]
    connection.close()
    vacuum(path)
    after = sqlite3.connect(path).execute("PRAGMA freelist_count").fetchone()[0]
    print(f"{name}: {before - after} pages")
    return before - after


def by_sqlalchemy(path):
    with create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(STATEMENT)


found = [
    given_back("apsw", lambda path: list(apsw.Connection(str(path)).execute(STATEMENT))),
    given_back("sqlite3", lambda path: sqlite3.connect(path, isolation_level=None).execute(STATEMENT)),
    given_back("sqlite3-script", lambda path: sqlite3.connect(path).executescript(STATEMENT)),
    given_back("sqlalchemy", by_sqlalchemy),
]
assert found == [100, 1, 100, 1], found
PYTHON
"$folder/venv/bin/python" "$folder/vacuum.py" "$folder"
