"""What an operator of the server can choose."""

from dataclasses import dataclass, field

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where the server listens, where it keeps its data, and who may call it.

    Args:
        host: The address to listen on.
        port: The TCP port to listen on; 0 lets the operating system choose a free one.
        database: The path of an SQLite file, made on first use, or an SQLAlchemy URL of one.
        api_key: A key that callers may send, beside those in the database. Without any key every caller is
            let in, which is only allowed on a loopback address.

    Raises:
        ValueError: When a value cannot be served.
    """

    host: str = "127.0.0.1"
    port: int = 8642
    database: str = "hl-sessions.sqlite3"
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.api_key == "":
            raise ValueError("the API key is empty")
        if self.api_key is not None and (
            not (self.api_key.isascii() and self.api_key.isprintable())
            or self.api_key != self.api_key.strip()
        ):
            # No HTTP client could send such a key: every call would be a puzzling 401.
            raise ValueError("the API key may hold printable ASCII characters only, and no spaces around it")
        # A database that cannot be is a wrong setting too, and known before anything starts.
        _ = self.database_url

    @property
    def database_url(self) -> URL:
        """The SQLAlchemy URL of the database."""
        if "://" not in self.database:
            url = URL.create("sqlite", database=self.database)
        else:
            try:
                url = make_url(self.database)
            except ArgumentError:
                # The text may hold a password, so it is not repeated.
                raise ValueError("the database URL cannot be parsed") from None
        if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
            raise ValueError(f"the database has to be SQLite in this version, not {url.drivername!r}")
        if url.database in {None, "", ":memory:"}:
            raise ValueError("the database has to be a file")
        return url
