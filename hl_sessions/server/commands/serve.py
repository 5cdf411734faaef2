"""The command ``hl-sessions serve``."""

import errno
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from hl_sessions.server.application import (
    OpenServerError,
    create_application,
    create_metrics_application,
    require_out_of_reach,
)
from hl_sessions.server.commands.age import parse_age
from hl_sessions.server.commands.config_file import config_option
from hl_sessions.server.commands.database_option import (
    database_failures,
    database_option,
    is_open,
    upgrade_database,
)
from hl_sessions.server.commands.price_file import parse_prices
from hl_sessions.server.commands.text import require_utf8
from hl_sessions.server.database.place import place_of
from hl_sessions.server.http.health import METRICS
from hl_sessions.server.http.placement import parse_prefix
from hl_sessions.server.run.connections import FEWEST
from hl_sessions.server.run.descriptors import raise_limit
from hl_sessions.server.run.ending import told_to_end
from hl_sessions.server.run.serving import base_url, in_background, listen, page_url
from hl_sessions.server.run.serving import serve as run
from hl_sessions.server.run.workers import NoWorkerError, serve_with_workers
from hl_sessions.server.settings import ServerSettings


class _KeyOption(click.Option):
    """Takes an empty variable for an empty key; click would take it for no key, and leave the API open."""

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
    callback=require_utf8,
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
    help="Extra key, beside those of 'hl-sessions keys'; it opens the default organisation. Without any key, "
    "only this machine may call. Other users of it can read flags: prefer the variable or the file.",
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
    "--keep",
    envvar="HL_SESSIONS_KEEP",
    show_envvar=True,
    callback=parse_age,
    metavar="AGE",
    help="Delete sessions and datapoints that have not changed for this long, such as 90d: "
    "a number of hours (h), days (d) or weeks (w). Without it, nothing is deleted.",
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
    "--metrics-port",
    envvar="HL_SESSIONS_METRICS_PORT",
    show_envvar=True,
    type=click.IntRange(0, 65535),
    help="Separate port for /metrics, which --port then does not serve; 0 picks a free one.",
)
@click.option(
    "--workers",
    default=ServerSettings.workers,
    envvar="HL_SESSIONS_WORKERS",
    show_default=True,
    show_envvar=True,
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="Number of processes that serve.",
)
@click.option(
    "--access-log/--no-access-log",
    default=True,
    envvar="HL_SESSIONS_ACCESS_LOG",
    show_default=True,
    show_envvar=True,
    help="Write a line of JSON to the standard output for each request.",
)
@click.option(
    "--prices",
    envvar="HL_SESSIONS_PRICES",
    show_envvar=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=parse_prices,
    metavar="FILE",
    help="CSV file of prices: the columns model, input and output, in dollars for a million tokens. "
    "With it, the page computes costs that were not logged.",
)
def serve(**options: Any) -> None:
    """Serve the v4 API and the page until interrupted. Requests in progress are finished.

    A flag overrides an environment variable, which overrides the file of --config.
    """
    try:
        settings = ServerSettings(**options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    raise_limit()
    with ExitStack() as running:
        listener = running.enter_context(_listening(settings.host, settings.port, "--port"))
        page = page_url(listener, parse_prefix(settings.root_path))
        greetings = [
            f"Listening on {base_url(listener)}",
            f"Page on {page} of the database {place_of(settings.database_url)}",
        ]
        metrics_listener = None
        if settings.metrics_port is not None:
            metrics_listener = running.enter_context(
                _listening(settings.host, settings.metrics_port, "--metrics-port")
            )
            greetings.append(f"Metrics on {base_url(metrics_listener, METRICS)}")
        try:
            if settings.api_key is None and is_open(settings.database_url):
                # Before the database is made or upgraded.
                require_out_of_reach(settings)
            upgrade_database(settings.database_url)
            with database_failures(settings.database_url):
                application = create_application(settings)
        except OpenServerError as error:
            raise click.UsageError(str(error)) from None
        if metrics_listener is not None:
            # Served by this process, which outlives its workers, and for all of them.
            metrics = create_metrics_application(application)
            running.enter_context(in_background(metrics, metrics_listener, grace=1, most=FEWEST))
        if settings.workers == 1:
            run(application, listener, lambda: click.echo("\n".join(greetings)))
            return
        # Making the application has checked the settings once; each worker opens the database by itself.
        application.state.database.close()
        with told_to_end() as ending:
            click.echo("\n".join(greetings))
            try:
                serve_with_workers(settings, listener, ending)
            except NoWorkerError as error:
                raise click.ClickException(str(error)) from None


def _listening(host: str, port: int, option: str) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(
                f"port {port} of {host} is taken; choose another with {option}"
            ) from None
        raise click.ClickException(f"cannot listen on port {port} of {host}: {error.strerror}") from None
