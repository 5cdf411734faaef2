"""The commands for the data as a whole: ``db upgrade``, ``export``, ``import`` and ``prune``."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, BinaryIO, Final

import click
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from hl_sessions.server.commands.age import parse_age, parse_moment
from hl_sessions.server.commands.database_option import (
    database_option,
    existing_database_option,
    opened_database,
    upgrade_database,
    url_of,
)
from hl_sessions.server.commands.humanloop import import_export, import_pages
from hl_sessions.server.commands.keys import require_name
from hl_sessions.server.commands.progress import progress
from hl_sessions.server.commands.text import require_utf8
from hl_sessions.server.database.errors import is_passing
from hl_sessions.server.records.deleting import Deleted
from hl_sessions.server.records.export_format import InvalidLineError, numbered, parse_line
from hl_sessions.server.records.exporting import (
    CSV,
    JSON_LINES,
    OTLP_JSON,
    ExportFormat,
    Selection,
    count_records,
    export_records,
)
from hl_sessions.server.records.importing import Importer, in_transactions
from hl_sessions.server.records.organisations import DEFAULT_ORGANISATION
from hl_sessions.server.records.projects import is_project_name
from hl_sessions.server.records.pruning import give_back
from hl_sessions.server.records.pruning import prune as prune_database

_FORMATS: Final = {"jsonl": JSON_LINES, "csv": CSV, "otlp-json": OTLP_JSON}


@click.group()
def db() -> None:
    """Manage the database of a server."""


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
@existing_database_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(_FORMATS)),
    help="JSON Lines of all records, which 'import' reads; CSV with a row for each datapoint; or, with "
    "otlp-json, JSON Lines of requests to a collector of OpenTelemetry, with the datapoints as spans. By "
    "default CSV if the name of FILE ends in .csv, else JSON Lines.",
)
@click.option(
    "--project",
    callback=require_utf8,
    help="Only the datapoints of the project with this name, and their sessions.",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=parse_moment,
    help="Only records created since then: an age such as 7d, or a time (UTC) such as 2026-11-22T10:30.",
)
@click.argument("file", type=click.File("wb", lazy=True), default="-")
def export_data(
    database: str, format_: str | None, project: str | None, since: datetime | None, file: BinaryIO
) -> None:
    """Write sessions, datapoints and other records to FILE or stdout.

    A server may keep running: the export shows one moment. Keys are not exported. In CSV, an apostrophe is
    put before a text that a spreadsheet would take for a formula.
    """
    if format_ is None:
        format_ = "csv" if file.name.lower().endswith(".csv") else "jsonl"
    selection = Selection.of_datapoints(project, since)
    with opened_database(database, is_made=False, is_written=False) as opened:
        if project is not None and not opened.read_now(partial(is_project_name, name=project)):
            raise click.BadParameter(f"there is no project {project!r}", param_hint="--project")
        with _file_failures(file):
            opened.read_now(lambda connection: _write(connection, selection, _FORMATS[format_], file))
            file.flush()


@click.command("import")
@database_option
@click.option(
    "--from",
    "origin",
    type=click.Choice(["hl-sessions", "humanloop", "humanloop-v4"]),
    default="hl-sessions",
    show_default=True,
    help="Origin of the data: a file of 'export', a folder of Humanloop's tool 'humanloop-export', or any "
    "number of files with saved answers of the v4 API (GET /logs, /sessions and /projects).",
)
@click.option(
    "--organisation",
    default=DEFAULT_ORGANISATION,
    show_default=True,
    callback=require_name,
    help="Organisation that gets the data of Humanloop; made on first use.",
)
@click.option("--dry-run", is_flag=True, help="Count the records of Humanloop without importing any.")
@click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path, allow_dash=True),
)
def import_data(
    database: str, origin: str, organisation: str, paths: Sequence[Path], *, dry_run: bool
) -> None:
    """Read a file of 'export' (stdin as '-'), or data of Humanloop.

    Records that the database has already stay as they are: after an interruption, run the same command again.
    A server may keep running.
    """
    if origin != "hl-sessions" and Path("-") in paths:
        raise click.UsageError(f"with --from {origin}, give a path rather than '-'")
    if origin == "humanloop-v4":
        import_pages(database, organisation, paths, dry_run=dry_run)
        return
    if len(paths) > 1:
        raise click.UsageError(f"give one path with --from {origin}, rather than {len(paths)}")
    if origin == "humanloop":
        import_export(database, organisation, paths[0], dry_run=dry_run)
        return
    if dry_run:
        raise click.UsageError("--dry-run is for data of Humanloop only: see --from")
    if paths[0].is_dir():
        raise click.UsageError(
            f"{paths[0]} is a folder, and 'export' writes a file: for a folder of Humanloop's tool, "
            "give --from humanloop"
        )
    with click.open_file(str(paths[0]), "rb") as file:
        _import_lines(database, file)


@click.command()
@existing_database_option
@click.option(
    "--older-than",
    "age",
    required=True,
    metavar="AGE",
    callback=parse_age,
    help="Time since the last change, such as 90d: a number of hours (h), days (d) or weeks (w).",
)
def prune(database: str, age: timedelta) -> None:
    """Delete records that have not changed for some time.

    These are sessions with their datapoints, and datapoints without a session. Projects and keys stay. A
    server may keep running. SQLite files become smaller. Files made by an earlier version keep their size,
    and reuse the freed space.
    """
    before = datetime.now(timezone.utc) - age
    pruned = Deleted()
    with opened_database(database, is_made=False) as opened:
        for step in prune_database(opened, before):
            pruned += step
        for _ in give_back(opened):
            pass
    click.echo(f"Deleted {pruned} without a change since {before:%Y-%m-%d %H:%M} UTC")


def _import_lines(database: str, file: IO[bytes]) -> None:
    lines = numbered(file)
    first = list(islice(lines, 1))
    importer = Importer()
    read = imported = last = 0
    try:
        for number, line in first:
            # A file that is no export is refused before a database is made.
            parse_line(number, line)
        with opened_database(database) as opened, progress("Importing", _size(file)) as done:
            for some in in_transactions(chain(first, lines)):
                imported += opened.write_now(partial(importer.import_lines, lines=some))
                read += len(some)
                last, _ = some[-1]
                done(sum(len(line) for _, line in some))
    except InvalidLineError as error:
        until = f"the lines up to {last} have been imported" if last else "nothing has been imported"
        raise click.ClickException(f"{error}; {until}") from None
    click.echo(f"Imported {imported:,} records; {read - imported:,} were there already", err=True)


def _write(connection: Connection, selection: Selection, format_: ExportFormat, file: BinaryIO) -> None:
    with progress("Exporting", count_records(connection, selection, format_)) as done:
        # This makes or empties the file: later than any refusal, which leaves an earlier export in it, and
        # not by the first line, which an empty database does not have.
        file.write(b"")
        try:
            for written, count in export_records(connection, selection, format_):
                file.write(written)
                done(count)
        except DBAPIError as error:
            if not is_passing(error):
                raise
            # Not retried: the lines already written cannot be taken back.
            raise click.ClickException(
                "the database broke off, so the output is incomplete: export again"
            ) from None


@contextmanager
def _file_failures(file: BinaryIO) -> Iterator[None]:
    """Turn the errors of a file that is written, such as that of a full disk, into one clear line."""
    try:
        yield
    except BrokenPipeError:
        raise  # its reader has gone, and is told nothing
    except OSError as error:
        with suppress(OSError):
            file.close()  # or else the rest is written at the end, and fails again
        name = "the standard output" if file.name == "-" else file.name
        raise click.ClickException(
            f"cannot write to {name}: {error.strerror}; the output is incomplete"
        ) from None


def _size(file: IO[bytes]) -> int:
    try:
        return os.fstat(file.fileno()).st_size
    except OSError:
        return 0
