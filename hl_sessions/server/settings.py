"""The settings that an operator of the server can choose."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from hl_sessions.server.database.postgresql import postgresql_url
from hl_sessions.server.http.origins import is_loopback
from hl_sessions.server.http.placement import parse_prefix
from hl_sessions.server.page.prices import Prices

SHORTEST_KEY: Final = 16
"""The least length of a configured key, in characters, if other machines can try keys."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where the server listens, where it keeps its data, and which keys it accepts.

    Args:
        host: The address to listen on.
        port: The TCP port to listen on; 0 lets the operating system choose a free one.
        database: The path of an SQLite file, made on first use, or the URL of a PostgreSQL database.
        api_key: An extra key that callers may send, beside those in the database. It needs at least 16
            characters unless ``host`` is a loopback address. Without any key every caller is let in, which is
            only allowed on a loopback address.
        max_body: The longest request body that is read, in bytes.
        root_path: The path that a proxy serves this server at, such as ``/sessions``. The proxy may strip it
            from the requests or pass it on.
        keep: How long data is kept after its last change; ``None``: for ever.
        metrics_port: The TCP port that serves the metrics instead of the main port; 0 lets the operating
            system choose a free one.
        workers: The number of processes that serve.
        access_log: Whether each request is logged to the standard output.
        prices: The prices of models, from which the page computes costs that were not logged.

    Raises:
        ValueError: When a setting has a value that the server cannot use.
    """

    host: str = "127.0.0.1"
    port: int = 8642
    database: str = "hl-sessions.sqlite3"
    api_key: str | None = field(default=None, repr=False)
    max_body: int = 10 * 1024 * 1024
    root_path: str = ""
    keep: timedelta | None = None
    metrics_port: int | None = None
    workers: int = 1
    access_log: bool = False
    prices: Prices = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.api_key == "":
            raise ValueError("the API key is empty")
        if self.api_key is not None and (
            not (self.api_key.isascii() and self.api_key.isprintable())
            or self.api_key != self.api_key.strip()
        ):
            # No HTTP client could send such a key, so every call would be answered 401 without an
            # explanation.
            raise ValueError("the API key may hold printable ASCII characters only, and no spaces around it")
        if self.api_key is not None and len(self.api_key) < SHORTEST_KEY and not is_loopback(self.host):
            raise ValueError(
                f"the API key has {len(self.api_key)} characters; where other machines can call, it needs at "
                f"least {SHORTEST_KEY}, better a key made with: hl-sessions keys create"
            )
        if self.max_body < 1:
            raise ValueError(f"the longest body has to be at least 1 byte, not {self.max_body}")
        if self.keep is not None and self.keep <= timedelta(0):
            raise ValueError(f"the age to keep data for has to be longer than 0, not {self.keep}")
        if self.workers < 1:
            raise ValueError(f"at least 1 process has to serve, not {self.workers}")
        try:
            parse_prefix(self.root_path)
        except ValueError as error:
            raise ValueError(f"the root path {error}, not {self.root_path!r}") from None
        # An impossible database is a wrong setting too, so it is found before anything starts.
        _ = self.database_url

    @property
    def database_url(self) -> URL:
        """The SQLAlchemy URL of the database."""
        if "://" not in self.database:
            url = URL.create("sqlite", database=self.database)
        else:
            url = _parsed(self.database)
        if url.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
            if find_spec("psycopg") is None:
                raise ValueError("PostgreSQL needs psycopg: pip install 'hl-sessions[postgresql]'")
            return postgresql_url(url)
        if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
            raise ValueError(
                f"the database has to be a path, an sqlite:// or a postgresql:// URL, not {url.drivername!r}"
            )
        # SQLite's own URIs have other names for it.
        names = {None, "", ":memory:", "file:", "file::memory:"}
        if url.database in names or url.query.get("mode") == "memory":
            raise ValueError("the database has to be a file, or a postgresql:// URL")
        return url


def _parsed(text: str) -> URL:
    # ValueError is raised for a port that is no number.
    with suppress(ArgumentError, ValueError):
        url = make_url(text)
        # No host has this character: it belongs to the password.
        if "@" not in (url.host or ""):
            return url
    # The text may hold a password, so it is not repeated.
    raise ValueError("the database URL cannot be parsed; in a password, @ is written %40")
