"""The command ``hl-sessions serve``."""

import errno
import os
import socket
from typing import Any

import click

from hl_sessions.server.application import OpenServerError, create_application
from hl_sessions.server.commands.config_file import config_option
from hl_sessions.server.commands.database_option import database_failures, database_option, upgrade_database
from hl_sessions.server.run.ending import told_to_end
from hl_sessions.server.run.serving import base_url, listen
from hl_sessions.server.run.serving import serve as run
from hl_sessions.server.run.workers import serve_with_workers
from hl_sessions.server.settings import ServerSettings


class _KeyOption(click.Option):
    """Click takes an empty variable for none, and would leave the API open."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:  # noqa: ARG002 - click's signature
        return os.environ.get(str(self.envvar))


@click.command(context_settings={"max_content_width": 110})
@config_option
@click.option(
    "--host",
    default=ServerSettings.host,
    envvar="HL_SESSIONS_HOST",
    show_default=True,
    show_envvar=True,
    help="Address to listen on; any other than a loopback address needs a key.",
)
@click.option(
    "--port",
    default=ServerSettings.port,
    envvar="HL_SESSIONS_PORT",
    show_default=True,
    show_envvar=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@database_option
@click.option(
    "--api-key",
    cls=_KeyOption,
    metavar="KEY",
    envvar="HL_SESSIONS_API_KEY",
    show_envvar=True,
    help="Key that callers may send, beside those of 'hl-sessions keys'. Without any key: this machine only. "
    "Other users of the machine see flags, so better a variable or a file.",
)
@click.option(
    "--max-body",
    default=ServerSettings.max_body,
    envvar="HL_SESSIONS_MAX_BODY",
    show_default=True,
    show_envvar=True,
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="Longest request body that is read; a longer one is answered 413.",
)
@click.option(
    "--root-path",
    default=ServerSettings.root_path,
    envvar="HL_SESSIONS_ROOT_PATH",
    show_envvar=True,
    metavar="PATH",
    help="Path that a proxy serves this server at, such as /sessions.",
)
@click.option(
    "--workers",
    default=ServerSettings.workers,
    envvar="HL_SESSIONS_WORKERS",
    show_default=True,
    show_envvar=True,
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Processes that serve side by side.",
)
@click.option(
    "--access-log/--no-access-log",
    default=True,
    envvar="HL_SESSIONS_ACCESS_LOG",
    show_default=True,
    show_envvar=True,
    help="Write a line of JSON to the standard output for each request.",
)
def serve(**options: Any) -> None:
    """Serve the v4 API, and the page, until interrupted; what has been taken is answered.

    A setting comes from its flag, else from its variable, else from the file of --config.
    """
    try:
        settings = ServerSettings(**options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with _listening(settings) as listener:
        upgrade_database(settings.database_url)
        try:
            with database_failures(settings.database_url):
                application = create_application(settings)
        except OpenServerError as error:
            raise click.UsageError(str(error)) from None
        if settings.workers == 1:
            run(application, listener, lambda: _greet(listener))
            return
        # What can be wrong with a setting would be so for each worker.
        application.state.database.close()
        with told_to_end() as ending:
            _greet(listener)
            serve_with_workers(settings, listener, ending)


def _listening(settings: ServerSettings) -> socket.socket:
    host, port = settings.host, settings.port
    try:
        return listen(settings)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(
                f"port {port} of {host} is taken; choose another with --port"
            ) from None
        raise click.ClickException(f"cannot listen on port {port} of {host}: {error.strerror}") from None


def _greet(listener: socket.socket) -> None:
    click.echo(f"Listening on {base_url(listener)}")
