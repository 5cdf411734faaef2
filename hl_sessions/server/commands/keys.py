"""The commands ``hl-sessions keys``: who may call a server."""

from typing import Final

import click

from hl_sessions.server.commands.database_option import database_option, opened_database
from hl_sessions.server.records.keys import create_key, list_keys, revoke_key
from hl_sessions.server.records.organisations import DEFAULT_ORGANISATION

_LONGEST_NAME: Final = 200


@click.group()
def keys() -> None:
    """Make, list and revoke the keys that callers of a server have to send.

    A server that has ever had a key in its database lets nobody in without one. A change is known to running
    servers within a second.
    """


def require_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """Return a name that can be shown, or raise ``click.BadParameter``."""
    # The list is made of lines, and a terminal acts on more characters than it shows.
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise click.BadParameter(f"give one line of printable text of up to {_LONGEST_NAME} characters")
    return name


@keys.command()
@click.option("--name", required=True, callback=require_name, help="What tells the key from others.")
@click.option(
    "--organisation",
    default=DEFAULT_ORGANISATION,
    show_default=True,
    callback=require_name,
    help="Whose data the key opens; made on first use.",
)
@database_option
def create(name: str, organisation: str, database: str) -> None:
    """Make a key, and show it this once: only a hash of it is kept."""
    with opened_database(database) as opened:
        click.echo(opened.write_now(lambda connection: create_key(connection, name, organisation)))


@keys.command("list")
@database_option
def list_all(database: str) -> None:
    """List the keys, without what opens anything: ID, name, organisation, and since when."""
    with opened_database(database) as opened:
        for key in opened.read_now(list_keys):
            state = f"created {key['created_at']:%Y-%m-%d %H:%M} UTC"
            if key["revoked_at"] is not None:
                state += f", revoked {key['revoked_at']:%Y-%m-%d %H:%M} UTC"
            click.echo(f"{key['id']}  {key['name']}  ({key['organisation']})  {state}")


@keys.command()
@click.argument("key_id", metavar="ID")
@database_option
def revoke(key_id: str, database: str) -> None:
    """End the key with this ID, which ``list`` shows, for good."""
    with opened_database(database) as opened:
        if not opened.write_now(lambda connection: revoke_key(connection, key_id)):
            raise click.ClickException(
                f"there is no valid key with the ID {key_id!r}; see: hl-sessions keys list"
            )
    click.echo(f"Revoked {key_id}")
