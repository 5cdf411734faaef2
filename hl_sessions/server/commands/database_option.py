"""The ``--db`` option, shared by all commands, and how they open its database."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import click
from sqlalchemy import URL, Engine, delete, false
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.commands.progress import told_if_long
from hl_sessions.server.commands.text import require_utf8
from hl_sessions.server.database.database import Database
from hl_sessions.server.database.engines import for_reading, for_writing, open_engine
from hl_sessions.server.database.errors import DatabaseError, cannot_open, cannot_write, is_full, is_passing
from hl_sessions.server.database.migrating import upgrade
from hl_sessions.server.database.place import file_path
from hl_sessions.server.database.tables import idempotency_keys
from hl_sessions.server.records.keys import has_keys
from hl_sessions.server.settings import ServerSettings

_option: Final = partial(
    click.option,
    "--db",
    "database",
    default=ServerSettings.database,
    envvar="HL_SESSIONS_DB",
    # Not True: a default from a file may hold a password.
    show_default=ServerSettings.database,
    show_envvar=True,
    callback=require_utf8,
    metavar="PATH_OR_URL",
)

database_option = _option(help="SQLite file, made on first use, or the URL of a PostgreSQL database.")
"""The option ``--db``."""

existing_database_option = _option(help="SQLite file of a server, or the URL of a PostgreSQL database.")
"""The option ``--db`` of commands that make no SQLite file."""

_UPGRADING: Final = "Upgrading the database, which takes about a minute for a million sessions"


@contextmanager
def opened_database(database: str, *, is_made: bool = True, is_written: bool = True) -> Iterator[Database]:
    """Open the database of the option for the ``with`` block.

    Args:
        database: The database, as the option has it.
        is_made: Whether a missing SQLite file is made.
        is_written: Whether the block writes.

    Raises:
        click.ClickException: When the database is not there, cannot be opened, or fails in the block.
    """
    url = url_of(database)
    if not is_made and is_missing(url):
        raise click.ClickException(f"there is no database {url.database}: name another one with --db")
    upgrade_database(url, is_written=is_written)
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


def is_missing(url: URL) -> bool:
    """Tell whether a database is an SQLite file that is not there, or has no content."""
    path = file_path(url)
    try:
        return path is not None and path.stat().st_size == 0
    except FileNotFoundError:
        return True
    except OSError:
        return False  # SQLite says why it cannot open it


def is_open(url: URL) -> bool:
    """Tell whether there was never a key in a database, which is left as it is.

    Raises:
        click.ClickException: When the database cannot be opened.
    """
    if is_missing(url):
        return True
    engine = open_engine(url)
    try:
        with database_failures(url), for_reading(engine).connect() as connection:
            return not has_keys(connection)
    finally:
        engine.dispose()


def upgrade_database(url: URL, *, is_written: bool = True) -> tuple[str | None, str]:
    """Bring the tables up to date, and report on stderr an upgrade, also while it takes long.

    Args:
        url: The database.
        is_written: Whether to check that the database can be written to, also if it is up to date.

    Returns:
        The revision of the database before, ``None`` if it was empty, and its revision now.

    Raises:
        click.ClickException: When the upgrade fails, or the database cannot be written to.
    """
    engine = open_engine(url)
    try:
        with database_failures(url), told_if_long(_UPGRADING):
            before, after = upgrade(engine)
        if is_written:
            _check_writing(engine, url)
    finally:
        engine.dispose()
    if before not in {None, after}:
        click.echo(f"Upgraded the database from revision {before} to {after}", err=True)
    return before, after


def _check_writing(engine: Engine, url: URL) -> None:
    try:
        with for_writing(engine).begin() as connection:
            # SQLite begins a transaction on a file that is read-only, and refuses only the statement.
            connection.execute(delete(idempotency_keys).where(false()))
    except DBAPIError as error:
        if not is_passing(error) and not is_full(error):
            raise click.ClickException(cannot_write(url, error)) from None


@contextmanager
def database_failures(url: URL) -> Iterator[None]:
    """Turn the exceptions of a database into one clear line and the exit code 1."""
    try:
        yield
    except DBAPIError as error:
        raise click.ClickException(cannot_open(url, error)) from None
    except DatabaseError as error:
        raise click.ClickException(str(error)) from None
