"""The commands ``hl-sessions keys``, which decide which callers a server lets in."""

from pathlib import Path
from typing import Final

import click

from hl_sessions.server.commands.database_option import (
    database_option,
    existing_database_option,
    is_missing,
    opened_database,
    url_of,
)
from hl_sessions.server.commands.text import require_utf8
from hl_sessions.server.records.keys import create_key, list_keys, revoke_key
from hl_sessions.server.records.organisations import DEFAULT_ORGANISATION

_LONGEST_NAME: Final = 200


@click.group()
def keys() -> None:
    """Create, list and revoke the keys of callers of a server.

    Once its database has had a key, a server refuses calls without one, even if every key has been revoked.
    Running servers notice a change within a second.
    """


def require_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """Return a name if it can be printed, or raise ``click.BadParameter``."""
    # The list is made of lines, and some characters that it does not show are commands to a terminal.
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise click.BadParameter(f"give one line of printable text of up to {_LONGEST_NAME} characters")
    return name


@keys.command()
@click.option("--name", required=True, callback=require_name, help="Name of the key, for lists and logs.")
@click.option(
    "--organisation",
    default=DEFAULT_ORGANISATION,
    show_default=True,
    callback=require_name,
    help="Organisation whose data the key opens; made on first use.",
)
@database_option
def create(name: str, organisation: str, database: str) -> None:
    """Create a key and print it this once: only a hash of it is stored."""
    url = url_of(database)
    is_new = is_missing(url)
    with opened_database(database) as opened:
        key = opened.write_now(lambda connection: create_key(connection, name, organisation))
    if is_new:
        click.echo(f"Made the database {Path(str(url.database)).absolute()}", err=True)
    click.echo(key)


@keys.command("list")
@existing_database_option
def list_all(database: str) -> None:
    """List the keys: ID, name, organisation, and dates. The keys themselves are not shown."""
    with opened_database(database, is_made=False, is_written=False) as opened:
        found = opened.read_now(list_keys)
        if not found:
            click.echo("There is no key yet. One is made by: hl-sessions keys create --name NAME", err=True)
        for key in found:
            state = f"created {key['created_at']:%Y-%m-%d %H:%M} UTC"
            if key["revoked_at"] is not None:
                state += f", revoked {key['revoked_at']:%Y-%m-%d %H:%M} UTC"
            click.echo(f"{key['id']}  {key['name']}  ({key['organisation']})  {state}")


@keys.command()
@click.argument("key_id", callback=require_utf8, metavar="ID")
@existing_database_option
def revoke(key_id: str, database: str) -> None:
    """Revoke the key with this ID for good. 'list' shows the IDs."""
    with opened_database(database, is_made=False) as opened:
        if not opened.write_now(lambda connection: revoke_key(connection, key_id)):
            raise click.ClickException(
                f"there is no valid key with the ID {key_id!r}; see: hl-sessions keys list"
            )
    click.echo(f"Revoked {key_id}")
