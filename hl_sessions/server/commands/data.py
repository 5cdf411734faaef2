"""The commands about the whole of the data: ``db upgrade``, ``export``, ``import`` and ``prune``."""

import os
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import BinaryIO

import click
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.commands.age import parse_age
from hl_sessions.server.commands.database_option import (
    database_option,
    opened_database,
    upgrade_database,
    url_of,
)
from hl_sessions.server.commands.progress import progress
from hl_sessions.server.database.errors import is_passing
from hl_sessions.server.records.export_format import InvalidLineError, numbered
from hl_sessions.server.records.exporting import count_rows, export_lines
from hl_sessions.server.records.importing import Importer, in_transactions
from hl_sessions.server.records.pruning import Pruned, give_back
from hl_sessions.server.records.pruning import prune as prune_database


@click.group()
def db() -> None:
    """Look after the database of a server."""


@db.command("upgrade")
@database_option
def upgrade(database: str) -> None:
    """Bring the tables up to date, as 'serve' does when it starts."""
    before, after = upgrade_database(url_of(database))
    if before is None:
        click.echo(f"Made the tables, of revision {after}")
    elif before == after:
        click.echo(f"The database is up to date, at revision {after}")


@click.command("export")
@database_option
# Not when the first line is written: an empty database has none.
@click.argument("file", type=click.File("wb", lazy=False), default="-")
def export_data(database: str, file: BinaryIO) -> None:
    """Write all sessions, datapoints, feedback and projects to FILE, or to stdout, as JSON Lines.

    A server may go on meanwhile: the export is of one moment. Keys are not exported.
    """
    with opened_database(database) as opened:
        opened.read_now(lambda connection: _write(connection, file))


@click.command("import")
@database_option
@click.argument("file", type=click.File("rb"))
def import_data(database: str, file: BinaryIO) -> None:
    """Read what 'export' wrote from FILE, or from stdin as '-'.

    What the database has already is left as it is: after an interruption, run the same again. A server may
    go on meanwhile.
    """
    importer = Importer()
    read = imported = 0
    with opened_database(database) as opened, progress("Importing", _size(file)) as done:
        for some in in_transactions(numbered(file)):
            try:
                imported += opened.write_now(partial(importer.import_lines, lines=some))
            except InvalidLineError as error:
                raise click.ClickException(
                    f"{error}; what was before these lines has been imported"
                ) from None
            read += len(some)
            done(sum(len(line) for _, line in some))
    click.echo(f"Imported {imported:,} records; {read - imported:,} were there already", err=True)


@click.command()
@database_option
@click.option(
    "--older-than",
    "age",
    required=True,
    metavar="AGE",
    callback=parse_age,
    help="Such as 90d: a number of hours (h), days (d) or weeks (w).",
)
def prune(database: str, age: timedelta) -> None:
    """Delete sessions with their datapoints, and datapoints without a session, unchanged for that long.

    A server may go on meanwhile. Projects and keys stay. SQLite files become smaller; those that an earlier
    version has made keep their size, and use the space that has become free.
    """
    before = datetime.now(timezone.utc) - age
    pruned = Pruned()
    with opened_database(database) as opened:
        for step in prune_database(opened, before):
            pruned += step
        for _ in give_back(opened):
            pass
    click.echo(f"Deleted {pruned} without a change since {before:%Y-%m-%d %H:%M} UTC")


def _write(connection: Connection, file: BinaryIO) -> None:
    with progress("Exporting", count_rows(connection)) as done:
        try:
            for line in export_lines(connection):
                file.write(line)
                done(1)
        except DBAPIError as error:
            if not is_passing(error):
                raise
            # Not to be tried again: what is written cannot be taken back.
            raise click.ClickException(
                "the database broke off, and what has been written is not the whole of it: export it again"
            ) from None


def _size(file: BinaryIO) -> int:
    try:
        return os.fstat(file.fileno()).st_size
    except OSError:
        return 0
