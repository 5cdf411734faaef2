"""Reading from a large database, beside the same from a small one."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measure import Effort, calls, compare, paired_medians
from benchmarks.row import OURS, SECONDS, Row, limited, within
from benchmarks.server_load import load
from benchmarks.server_process import serving
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.search_indexing import SearchIndexing
from hl_sessions.server.finding.filters import Cursor, SessionFilter
from hl_sessions.server.finding.session_search import FoundSessions, find_sessions
from hl_sessions.server.records.organisations import DEFAULT_ORGANISATION, find_or_create_organisation
from hl_sessions.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from benchmarks.measure import Run

__all__ = ["server_size_rows"]

SMALL = "small database"
_SESSIONS_OF_SMALL = 10_000
_PARTS = 50
_PAGE = 10

# Every session has a datapoint in the project of all, and one in a project of a fiftieth of them.
_FILL = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -1000000;
CREATE TEMP TABLE numbers AS
  WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {sessions})
  SELECT n FROM counted;
INSERT INTO projects (id, organisation_id, name, created_at, updated_at, datapoints_count, sessions_count)
  SELECT printf('pr_%024d', n), {organisation}, 'project ' || n, '{time}', '{time}', {sessions}, {sessions}
  FROM numbers WHERE n <= 1 + {parts};
INSERT INTO sessions (sequence, id, organisation_id, created_at, updated_at, "user", name)
  SELECT n, printf('sesh_%s%012d', hex(randomblob(6)), n), {organisation}, '{time}', '{time}',
    'user ' || n % 50000, 'Chat ' || n
  FROM numbers;
INSERT INTO logs (id, organisation_id, project_id, session_id, created_at, updated_at, save, inputs, output)
  SELECT 'data_' || hex(randomblob(12)), {organisation}, printf('pr_%024d', 1), id, '{time}', '{time}', 1,
    '{{"text": "Why is the sky blue, and the grass green? And what if they were not?"}}', 'Because.'
  FROM sessions;
INSERT INTO logs (id, organisation_id, project_id, session_id, created_at, updated_at, save, output)
  SELECT 'data_' || hex(randomblob(12)), {organisation}, printf('pr_%024d', 2 + sequence % {parts}), id,
    '{time}', '{time}', 1, 'Because it is.'
  FROM sessions;
INSERT INTO project_sessions SELECT printf('pr_%024d', 1), sequence, 1 FROM sessions;
INSERT INTO project_sessions SELECT printf('pr_%024d', 2 + sequence % {parts}), sequence, 1 FROM sessions;
INSERT INTO session_totals
  SELECT sequence, organisation_id, strftime('%s', created_at), strftime('%s', created_at),
    1, 1 << sequence % 2, 1, 1 | (2 << sequence % {parts}), 0, 0, 0, 0,
    sequence % 1000 * 1000, 1200, 2, sequence % 1000 = 0, strftime('%s', created_at), 1000, 200
  FROM sessions;
INSERT INTO labels (sequence, organisation_id, kind, value, bit)
  VALUES (1, {organisation}, 'model', 'large-1', 1), (2, {organisation}, 'model', 'small-1', 2);
INSERT INTO labels (organisation_id, kind, value, bit)
  SELECT {organisation}, 'project', id, 1 << sequence - 1 FROM projects;
INSERT INTO session_labels SELECT sequence, 1 + sequence % 2, 2 FROM sessions;
UPDATE logs SET output = 'Rayleigh scatters it: 散射.' WHERE sequence = {sessions} / 2;
UPDATE projects SET datapoints_count = {sessions} / {parts}, sessions_count = {sessions} / {parts}
  WHERE id > printf('pr_%024d', 1);
PRAGMA journal_mode = WAL;
"""

_FILTERS = {
    "those with one of two models": SessionFilter("model:large-1"),
    "those with an error, one in 1,000": SessionFilter("errors>0"),
    "those of one user": SessionFilter('user:"user 4711"'),
    "those of a user that none has": SessionFilter("user:nobody"),
    "those with a name": SessionFilter('name="Chat 4711"'),
    "those with feedback that none got": SessionFilter("feedback:rating=good"),
    # Of these, all sessions are looked at.
    "those that cost more than any": SessionFilter("cost>1000"),
    "those with both of two models, none": SessionFilter("model:large-1 model:small-1"),
    "those without the project of all, none": SessionFilter('-project:"project 1"'),
    "those with a part of a name that none has": SessionFilter("name:nobody"),
    "those sorted by cost": SessionFilter(sort="-cost"),
    "those sorted by user": SessionFilter(sort="user"),
}


def server_size_rows(effort: Effort) -> Iterator[Row]:
    """Measure requests, one after the other, to a server on each of the databases."""
    sessions = effort.scopes
    effort = replace(effort, rounds=min(effort.rounds, 200), turn=effort.turn * 10)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clients = {}
        servers = {}
        databases = {}
        for name, number in ((SMALL, min(sessions, _SESSIONS_OF_SMALL)), (OURS, sessions)):
            database = directory / f"{number}-{name}.sqlite3"
            middle = _fill(database, number)
            opened = Database.open(ServerSettings(database=str(database)).database_url)
            databases[name] = stack.enter_context(closing(opened))
            servers[name] = stack.enter_context(serving(str(database)))
            clients[name] = (stack.enter_context(load(servers[name].address, connections=1)), middle)
        of_all, of_part = f"pr_{1:024}", f"pr_{2:024}"
        pages = {
            "first page": (f"/v4/sessions?project_id={of_all}", 2.0),
            "page 1,000": (f"/v4/sessions?project_id={of_all}&page={min(1000, sessions // _PAGE)}", 2.0),
            "page of a small project": (f"/v4/sessions?project_id={of_part}", 2.0),
            "one session": ("/v4/sessions/{middle}", 1.2),
        }
        for title, (path, times) in pages.items():
            runs = {
                name: client.requests("GET", path.format(middle=middle))
                for name, (client, middle) in clients.items()
            }
            for run in runs.values():
                run(1)  # the first one waits for the process to start
            seconds = paired_medians(compare(runs, effort), SMALL)
            yield limited(f"{sessions:,} sessions: {title}", seconds, times, reference=SMALL)
        of_page = {name: client.requests("GET", "/") for name, (client, _) in clients.items()}
        page = {name: median(rounds) for name, rounds in compare(of_page, effort).items()}
        yield within(f"{sessions:,} sessions: the page that shows them", SECONDS, page, at_most=0.2)
        for title, wanted in _FILTERS.items():
            of_filter = {name: _filtering(database, wanted) for name, database in databases.items()}
            seconds = {name: median(rounds) for name, rounds in compare(of_filter, effort).items()}
            yield within(f"{sessions:,} sessions: {title}", SECONDS, seconds, at_most=0.1)
        for script, word in (("English", "rayleigh"), ("Chinese", "%E6%95%A3%E5%B0%84")):
            address = f"/v4/logs?project_id={of_all}&search={word}"
            of_search = {name: client.requests("GET", address) for name, (client, _) in clients.items()}
            search = {name: median(rounds) for name, rounds in compare(of_search, effort).items()}
            title = f"{2 * sessions:,} datapoints: search for a word in one of them, {script}"
            yield within(title, SECONDS, search, at_most=0.05)
        if sys.platform == "linux":
            resident = {name: server.resident() / 2**20 for name, server in servers.items()}
            # What they differ in are the parts of the file that each connection keeps.
            yield within(f"{sessions:,} sessions: memory", "MiB", resident, resident[SMALL] + 100)


def _filtering(database: Database, wanted: SessionFilter) -> Run:
    """Return a run that finds the first part of the list that a filter finds."""

    def find(connection: Connection) -> FoundSessions:
        organisation_id = find_or_create_organisation(connection, DEFAULT_ORGANISATION)
        return find_sessions(connection, organisation_id, wanted, Cursor())

    return calls(lambda: database.read_now(find))


def _fill(path: Path, sessions: int) -> str:
    """Make a database with so many sessions and twice as many datapoints; return the ID of one session."""
    url = ServerSettings(database=str(path)).database_url
    database = Database.open(url)
    organisation = database.write_now(
        lambda connection: find_or_create_organisation(connection, DEFAULT_ORGANISATION)
    )
    database.close()
    script = _FILL.format(
        sessions=sessions, organisation=organisation, parts=_PARTS, time="2025-01-01 00:00:00.000000"
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        [middle] = connection.execute(
            "SELECT id FROM sessions WHERE sequence = ?", [sessions // 2]
        ).fetchone()
    database = Database.open(url)
    indexing = SearchIndexing(database)
    while indexing.step():
        pass
    database.close()
    session_id: str = middle
    return session_id
