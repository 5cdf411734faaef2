"""Where the database of a URL is."""

from pathlib import Path

from sqlalchemy import URL


def file_path(url: URL) -> Path | None:
    """Return the path of an SQLite file; ``None`` for PostgreSQL, and for SQLite's URIs, left to SQLite."""
    path = str(url.database)
    return None if url.get_backend_name() != "sqlite" or path.startswith("file:") else Path(path)


def place_of(url: URL) -> str:
    """Return the path of an SQLite file, or the name and the host of a PostgreSQL database."""
    if url.get_backend_name() == "sqlite":
        path = file_path(url)
        return str(url.database if path is None else path.absolute())
    # Those that the options of the URL name, too. Without them, libpq has names of its own.
    _, options = url.get_dialect()().create_connect_args(url)
    return " on ".join(options[name] for name in ("dbname", "host") if name in options) or "PostgreSQL"
