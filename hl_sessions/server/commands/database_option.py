"""The ``--db`` option, shared by all commands, and how they open its database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.commands.progress import told_if_long
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.engines import open_engine
from hl_sessions.server.database.errors import DatabaseError, cannot_open
from hl_sessions.server.database.migrating import upgrade
from hl_sessions.server.settings import ServerSettings

database_option = click.option(
    "--db",
    "database",
    default=ServerSettings.database,
    envvar="HL_SESSIONS_DB",
    # Not True: a default from a file may hold a password.
    show_default=ServerSettings.database,
    show_envvar=True,
    metavar="PATH_OR_URL",
    help="SQLite file, made on first use, or the URL of a PostgreSQL database.",
)
"""The option ``--db``."""

_UPGRADING: Final = "Upgrading the database, which takes about a minute for a million sessions"


@contextmanager
def opened_database(database: str, *, is_made: bool = True) -> Iterator[Database]:
    """Open the database of the option for the ``with`` block.

    Args:
        database: The database, as the option has it.
        is_made: Whether a missing SQLite file is made.

    Raises:
        click.ClickException: When the database is not there, cannot be opened, or fails in the block.
    """
    url = url_of(database)
    if not is_made and _is_missing(url):
        raise click.ClickException(f"there is no database {url.database}: name another one with --db")
    upgrade_database(url)
    with database_failures(url):
        opened = Database.open(url)
        try:
            yield opened
        finally:
            opened.close()


def url_of(database: str) -> URL:
    """Return the SQLAlchemy URL of the database of the option.

    Raises:
        click.UsageError: When the value names no usable database.
    """
    try:
        return ServerSettings(database=database).database_url
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _is_missing(url: URL) -> bool:
    # SQLite's URIs are left to SQLite.
    is_path = url.get_backend_name() == "sqlite" and not str(url.database).startswith("file:")
    return is_path and not Path(str(url.database)).exists()


def upgrade_database(url: URL) -> tuple[str | None, str]:
    """Bring the tables up to date, and report on stderr an upgrade, also while it takes long.

    Returns:
        The revision of the database before, ``None`` if it was empty, and its revision now.

    Raises:
        click.ClickException: When the upgrade fails.
    """
    engine = open_engine(url)
    try:
        with database_failures(url), told_if_long(_UPGRADING):
            before, after = upgrade(engine)
    finally:
        engine.dispose()
    if before not in {None, after}:
        click.echo(f"Upgraded the database from revision {before} to {after}", err=True)
    return before, after


@contextmanager
def database_failures(url: URL) -> Iterator[None]:
    """Turn the exceptions of a database into one clear line and the exit code 1."""
    try:
        yield
    except DBAPIError as error:
        raise click.ClickException(cannot_open(url, error)) from None
    except DatabaseError as error:
        raise click.ClickException(str(error)) from None
