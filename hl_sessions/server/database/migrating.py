"""Brings the tables of a database up to date, once, however many processes start on it."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from hl_sessions.server.database.engines import for_migrating
from hl_sessions.server.database.errors import DatabaseError

SCRIPTS: Final = Path(__file__).with_name("migrations")


class DatabaseVersionError(DatabaseError):
    """A version of the program that this one does not know has used the database.

    Args:
        revision: The revision of the database.
    """

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"the database has the revision {revision!r}, which this version of hl-sessions does not know: "
            "a newer one has used it. Upgrade hl-sessions, or give another database with --db"
        )


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Create the tables, or change them to those of this version; other processes wait meanwhile.

    Returns:
        The revision of the database before, ``None`` if it was empty, and its revision now.

    Raises:
        DatabaseVersionError: When the database is newer than this program.
        sqlalchemy.exc.DBAPIError: When it cannot be opened, or is no database.
    """
    scripts = ScriptDirectory(str(SCRIPTS))
    head = scripts.get_current_head()
    if head is None:
        raise FileNotFoundError(f"there are no migrations in {SCRIPTS}")
    with engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision != head:
        with for_migrating(engine).begin() as connection:
            # Another process may have been quicker.
            revision = MigrationContext.configure(connection).get_current_revision()
            if revision is not None and revision not in {
                script.revision for script in scripts.walk_revisions()
            }:
                raise DatabaseVersionError(revision)
            command.upgrade(alembic_config(connection), "head")
    return revision, head


def alembic_config(connection: Connection) -> Config:
    """Return the configuration with which alembic's commands work on this connection."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config
