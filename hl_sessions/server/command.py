"""The command ``hl-sessions serve``."""

import errno
import os

import click

from hl_sessions.server.application import OpenServerError, create_application
from hl_sessions.server.database_option import database_failures, database_option, upgrade_database
from hl_sessions.server.serving import base_url, listen
from hl_sessions.server.serving import serve as run
from hl_sessions.server.settings import ServerSettings


@click.command()
@click.option("--host", default=ServerSettings.host, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=ServerSettings.port,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@database_option
@click.option(
    "--api-key",
    metavar="KEY",
    # Not click's envvar: it takes an empty variable for none, and would leave the API open.
    default=lambda: os.environ.get("HL_SESSIONS_API_KEY"),
    help="Key that callers may send, beside those of 'hl-sessions keys'; else taken from "
    "HL_SESSIONS_API_KEY. Without any key: this machine only.",
)
@click.option(
    "--max-body",
    default=ServerSettings.max_body,
    show_default=True,
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="Longest request body that is read; a longer one is answered 413.",
)
def serve(host: str, port: int, database: str, api_key: str | None, max_body: int) -> None:
    """Serve the v4 API until interrupted."""
    try:
        settings = ServerSettings(host=host, port=port, database=database, api_key=api_key, max_body=max_body)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        listener = listen(settings)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(
                f"port {port} of {host} is taken; choose another with --port"
            ) from None
        raise click.ClickException(f"cannot listen on port {port} of {host}: {error.strerror}") from None
    with listener:
        upgrade_database(settings.database_url)
        try:
            with database_failures(settings.database_url):
                application = create_application(settings)
        except OpenServerError as error:
            raise click.UsageError(str(error)) from None
        click.echo(f"Listening on {base_url(listener)}")
        try:
            run(application, listener)
        except KeyboardInterrupt:
            # The server has ended gracefully by now; this is how it says why.
            return
