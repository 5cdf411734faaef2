"""The command ``hl-sessions demo``."""

import errno
import os
import socket
from contextlib import ExitStack
from typing import Final

import click
import requests
from sqlalchemy.exc import DBAPIError

from hl_sessions.demo.running import LockedDatabaseError, running_demo
from hl_sessions.demo.script import UnexpectedSessionsError, converse
from hl_sessions.server.run.ending import told_to_end
from hl_sessions.server.run.serving import base_url

CHAT_PORT: Final = 8643
API_PORT: Final = 8642

_HOST: Final = "127.0.0.1"
_PORT: Final = click.IntRange(0, 65535)


@click.command()
@click.option(
    "--port",
    type=_PORT,
    help=f"Port of the chat page; 0 picks a free one.  [default: {CHAT_PORT}, or a free one if it is taken]",
)
@click.option(
    "--api-port",
    type=_PORT,
    help=f"Port of the API; 0 picks a free one.  [default: {API_PORT}, or a free one if it is taken]",
)
@click.option(
    "--db",
    "database",
    type=click.Path(dir_okay=False),
    help="SQLite file to keep the sessions in.  [default: a temporary one]",
)
@click.option("--script", is_flag=True, help="Hold a conversation and print it, on free ports, then exit.")
def demo(port: int | None, api_port: int | None, database: str | None, *, script: bool) -> None:
    """Chat with a small bot, and watch the sessions it makes.

    Runs the API server and a chat application on this machine, with no key and no network.
    """
    # All traffic stays on this machine, even if the environment names a proxy.
    os.environ["no_proxy"] = _HOST
    with ExitStack() as stack:
        ending = stack.enter_context(told_to_end())
        chat_listener = stack.enter_context(_listen("--port", port, 0 if script else CHAT_PORT))
        api_listener = stack.enter_context(_listen("--api-port", api_port, 0 if script else API_PORT))
        try:
            stack.enter_context(
                running_demo(
                    chat_listener,
                    api_listener,
                    database=database,
                    seconds_per_word=0.002 if script else 0.04,
                )
            )
        except LockedDatabaseError as error:
            raise click.ClickException(str(error)) from None
        except DBAPIError as error:
            raise click.ClickException(f"cannot open the database {database}: {error.orig}") from None
        chat_url = _url(chat_listener)
        if script:
            try:
                converse(chat_url, click.echo, ending.is_told)
            except (UnexpectedSessionsError, requests.RequestException) as error:
                raise click.ClickException(str(error)) from None
            if ending.is_told():
                raise click.Abort
            return
        click.echo(f"Open {chat_url}/ in your browser. Ctrl-C ends the demo.")
        kept = database or "a temporary file until then"
        click.echo(f"The sessions API is {base_url(api_listener)}, which keeps its sessions in {kept}.")
        click.echo(f"The page of its server, {_url(api_listener)}/, shows all sessions and datapoints.")
        ending.wait()


def _listen(option: str, port: int | None, default: int) -> socket.socket:
    """Listen on the given port; without one, on the default or, if that is taken, on any free one."""
    try:
        return socket.create_server((_HOST, default if port is None else port))
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        if is_taken and port is None:
            click.echo(f"Port {default} is taken, so a free one is used ({option} chooses).", err=True)
            return socket.create_server((_HOST, 0))
        problem = "is taken" if is_taken else f"cannot be listened on ({error.strerror})"
        raise click.ClickException(f"port {port} {problem}; choose another with {option}") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"
