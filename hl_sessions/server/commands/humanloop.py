"""Implements ``hl-sessions import --from humanloop`` and ``--from humanloop-v4``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
from sqlalchemy import Connection

from hl_sessions.server.commands.database_option import opened_database
from hl_sessions.server.commands.progress import progress
from hl_sessions.server.database.database import Database
from hl_sessions.server.humanloop.files import Tree, pages
from hl_sessions.server.humanloop.found import Found, UnreadableError
from hl_sessions.server.humanloop.identity import Identities
from hl_sessions.server.humanloop.importing import Imported, Source, import_sources
from hl_sessions.server.humanloop.storing import OfOthersError, store
from hl_sessions.server.records.organisations import find_or_create_organisation, find_team

_KINDS: Final = {
    "projects": "projects",
    "sessions": "sessions",
    "logs": "datapoints",
    "feedback": "judgments",
}


def import_export(database: str, organisation: str, folder: Path, *, dry_run: bool) -> None:
    """Import a folder that ``humanloop-export`` has written.

    Raises:
        click.ClickException: When the folder is no export, or something in it cannot be read or stored.
    """
    try:
        tree = Tree.of(folder)
    except UnreadableError as error:
        raise click.ClickException(str(error)) from None
    for of_file in tree.unfinished:
        _say(f"{of_file}: this file was not exported to its end: '.done' is missing")
    for problem in tree.unreadable:
        _say(problem)
    with _target(database, dry_run=dry_run) as opened:
        organisation_id, identities = _organisation(opened, organisation)
        found = Found()
        for project in tree.projects():
            found.add(project)
        stored = opened.write_now(lambda connection: store(connection, organisation_id, found))
        imported = _run(opened, organisation_id, tree.sources(identities), tree.size())
    imported.new.update(stored.new)
    imported.unreadable += len(tree.unreadable)
    not_kept = [f"{what} {count:,}" for count, what in tree.not_kept(imported.versions) if count]
    _report(imported, not_kept, dry_run=dry_run)


def import_pages(database: str, organisation: str, files: Sequence[Path], *, dry_run: bool) -> None:
    """Import saved answers of the v4 API.

    Raises:
        click.ClickException: When some of them cannot be read or stored.
    """
    with _target(database, dry_run=dry_run) as opened:
        organisation_id, identities = _organisation(opened, organisation)
        size = sum(file.stat().st_size for file in files)
        imported = _run(opened, organisation_id, pages(files, identities), size)
    _report(imported, [], dry_run=dry_run)


@contextmanager
def _target(database: str, *, dry_run: bool) -> Iterator[Database]:
    """Open the database, or for a dry run a temporary one."""
    if not dry_run:
        with opened_database(database) as opened:
            yield opened
        return
    with TemporaryDirectory(prefix="hl-sessions-") as folder, opened_database(f"{folder}/dry") as opened:
        yield opened


def _organisation(opened: Database, name: str) -> tuple[int, Identities]:
    def find(connection: Connection) -> tuple[int, str]:
        organisation_id = find_or_create_organisation(connection, name)
        return organisation_id, find_team(connection, organisation_id)

    organisation_id, team_id = opened.write_now(find)
    return organisation_id, Identities(team_id)


def _run(opened: Database, organisation_id: int, sources: Sequence[Source], size: int) -> Imported:
    with progress("Importing", size) as done:
        try:
            return import_sources(opened, organisation_id, sources, _say, done)
        except OfOthersError:
            raise click.ClickException(
                "another organisation has records with these IDs; name it by --organisation"
            ) from None


def _report(imported: Imported, not_kept: Sequence[str], *, dry_run: bool) -> None:
    counts = ", ".join(f"{kind} {imported.new[table]:,}" for table, kind in _KINDS.items())
    _say(f"There are: {counts}" if dry_run else f"Imported: {counts}; existing records are unchanged")
    if imported.orphans:
        _say(f"Not nested, because their parents are in no file: datapoints {imported.orphans:,}")
    if imported.unjudged:
        _say(
            f"Not kept as feedback, because their datapoints are in no file: judgments {imported.unjudged:,}"
        )
    if not_kept:
        _say(f"Not kept: {', '.join(not_kept)}")
    if imported.unreadable:
        raise click.ClickException(
            f"{imported.unreadable:,} entries, listed above, could not be read; all others are imported"
        )


def _say(text: str) -> None:
    click.echo(text, err=True)
