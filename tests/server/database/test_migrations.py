"""The migrations lead to the tables of the program."""

import re
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import Engine, Table, func, insert, inspect, select

from hl_sessions.server.commands import progress
from hl_sessions.server.commands.data import db
from hl_sessions.server.commands.database_option import upgrade_database
from hl_sessions.server.commands.serve import serve
from hl_sessions.server.database import migrating
from hl_sessions.server.database.engines import for_writing, open_engine
from hl_sessions.server.database.migrating import alembic_config, upgrade
from hl_sessions.server.database.tables import (
    feedback,
    keys,
    logs,
    metadata,
    organisations,
    projects,
    session_metadata,
    sessions,
)
from hl_sessions.server.settings import ServerSettings
from tests.servers import locked_file
from tests.waiting import wait_until

REVISIONS = [
    script.revision for script in ScriptDirectory(str(migrating.SCRIPTS)).walk_revisions("base", "heads")
]
HEAD = REVISIONS[0]
BETWEEN = [pytest.param(revision, marks=pytest.mark.slow) for revision in REVISIONS[2:-1]]


def opened(database: str) -> Engine:
    return open_engine(ServerSettings(database=database).database_url)


@pytest.mark.parametrize("revision", [None, *REVISIONS[:2], *BETWEEN, REVISIONS[-1]])
def test_an_upgraded_database_has_the_tables_of_the_program(database: str, revision: str | None) -> None:
    """From any version: nothing is missing or left over, and no type or default differs."""
    engine = opened(database)
    if revision is not None:
        with for_writing(engine).begin() as connection:
            command.upgrade(alembic_config(connection), revision)
    assert upgrade(engine) == (revision, HEAD)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_an_upgraded_file_is_made_by_the_same_statements(tmp_path: Path) -> None:
    """The parts that the comparison above does not see are the same, too."""

    def statements(database: Path) -> list[list[str]]:
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        # In any order, because the order of constraints cannot be chosen.
        return sorted(sorted(re.findall(r"\w+", sql)) for (sql,) in rows if "alembic" not in sql)

    upgraded, made = opened(str(tmp_path / "upgraded")), opened(str(tmp_path / "made"))
    upgrade(upgraded)
    metadata.create_all(made)
    upgraded.dispose()
    made.dispose()
    assert statements(tmp_path / "upgraded") == statements(tmp_path / "made")


def test_processes_that_start_at_once_upgrade_once(database: str) -> None:
    """One of them creates the tables, and the others find them."""
    with ThreadPoolExecutor(4) as threads:
        engines = [opened(database) for _ in range(4)]
        found = sorted(str(before) for before, _ in threads.map(upgrade, engines))
    assert found == [HEAD, HEAD, HEAD, "None"]
    for engine in engines:
        engine.dispose()


def test_a_later_version_upgrades_and_an_earlier_one_refuses(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade is reported. A database of a later version is left alone, with a clear error."""
    engine = opened(database)
    upgrade(engine)
    scripts = tmp_path / "migrations"
    shutil.copytree(migrating.SCRIPTS, scripts)
    (scripts / "versions" / "9999_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision = '9999'\ndown_revision = '{HEAD}'\n"
        "def upgrade():\n    op.create_table('later', sa.Column('id', sa.Integer, primary_key=True))\n"
    )
    with monkeypatch.context() as later:
        later.setattr(migrating, "SCRIPTS", scripts)
        result = CliRunner().invoke(db, ["upgrade", "--db", database])
        assert result.output == f"Upgraded the database from revision {HEAD} to 9999\n"
    assert inspect(engine).has_table("later")
    engine.dispose()
    for program, arguments in ((db, ["upgrade"]), (serve, ["--port", "0"])):
        result = CliRunner().invoke(program, [*arguments, "--db", database])
        assert result.exit_code == 1
        assert result.output.startswith("Error: the database has the revision '9999', which this version")
        assert result.output.count("\n") == 1


@pytest.mark.parametrize("revision", [None, REVISIONS[-1]])
def test_a_server_that_is_refused_leaves_the_database_as_it_was(database: str, revision: str | None) -> None:
    """It has made no tables, and upgraded none: the version that uses them goes on."""
    engine = opened(database)
    if revision is not None:
        with for_writing(engine).begin() as connection:
            command.upgrade(alembic_config(connection), revision)
    result = CliRunner().invoke(serve, ["--port", "0", "--host", "0.0.0.0", "--db", database])
    assert (result.exit_code, "without an API key" in result.output) == (2, True)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == revision
        assert inspect(connection).has_table(keys.name) == (revision is not None)
    engine.dispose()


def test_an_upgrade_that_takes_long_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it goes on: nobody takes it for a server that hangs."""
    monkeypatch.setattr(progress, "_SILENT", 0)
    path = tmp_path / "earlier.sqlite3"
    engine = opened(str(path))
    with for_writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), REVISIONS[1])
    engine.dispose()
    with ThreadPoolExecutor(1) as threads:
        with locked_file(path):
            upgrading = threads.submit(upgrade_database, ServerSettings(database=str(path)).database_url)
            wait_until(lambda: "Upgrading the database" in capsys.readouterr().err)
        assert upgrading.result() == (REVISIONS[1], HEAD)
    assert capsys.readouterr().err == f"Upgraded the database from revision {REVISIONS[1]} to {HEAD}\n"


def test_ratings_of_earlier_pages_can_still_be_taken_back(database: str) -> None:
    """They had a user of their own, and now count as given on the page. Others stay as they are."""
    engine = opened(database)
    with for_writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), REVISIONS[REVISIONS.index("0010") + 1])
        moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
        times = {"created_at": moment, "updated_at": moment}
        rows: list[tuple[Table, dict[str, Any]]] = [
            (organisations, {"sequence": 1, "team_id": "tm_1", "name": "o", "created_at": moment}),
            (projects, {"id": "pr_1", "organisation_id": 1, "name": "p", **times}),
            (logs, {"id": "data_1", "organisation_id": 1, "project_id": "pr_1", "save": True, **times}),
        ]
        rows += [
            (feedback, {"id": f"ann_{n}", "log_id": "data_1", "type": kind, "user": user, **given})
            for n, (kind, user) in enumerate([("rating", "page"), ("rating", "anna"), ("note", "page")])
            for given in [{"value": "good", "created_at": moment}]
        ]
        for table, row in rows:
            connection.execute(insert(table).values(row))
    upgrade(engine)
    with engine.connect() as connection:
        query = select(feedback.c.user, feedback.c.from_page, feedback.c.value).order_by(feedback.c.id)
        found = [tuple(row) for row in connection.execute(query)]
    assert found == [(None, True, "good"), ("anna", None, "good"), ("page", None, "good")]
    engine.dispose()


def test_sessions_of_before_are_found_by_their_metadata(database: str) -> None:
    """The members of their metadata are stored one by one, like those of new ones."""
    engine = opened(database)
    told = {"customer": "acme", "score": 4.5, "vip": True, "nothing": None, "huge": 10**400, "k" * 201: "x"}
    with for_writing(engine).begin() as connection:
        command.upgrade(alembic_config(connection), REVISIONS[REVISIONS.index("0011") + 1])
        moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
        organisation = {"sequence": 1, "team_id": "tm_1", "name": "o", "created_at": moment}
        connection.execute(insert(organisations).values(organisation))
        for number, metadata_of in enumerate([None, told, {}]):
            row = {"id": f"sesh_{number}", "organisation_id": 1, "created_at": moment, "updated_at": moment}
            connection.execute(insert(sessions).values({**row, "metadata": metadata_of}))
    upgrade(engine)
    with engine.connect() as connection:
        columns = (session_metadata.c.key, session_metadata.c.text, session_metadata.c.number)
        of_session = session_metadata.c.session_sequence == sessions.c.sequence
        query = select(*columns).join(sessions, of_session).where(sessions.c.id == "sesh_1")
        found = {tuple(row) for row in connection.execute(query)}
        assert connection.scalar(select(func.count()).select_from(session_metadata)) == len(found)
    assert found == {("customer", "acme", None), ("score", "4.5", 4.5), ("vip", "true", None)}
    engine.dispose()
