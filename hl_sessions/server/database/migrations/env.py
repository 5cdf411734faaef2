"""Runs scripts on the connection that it is handed in ``attributes``; loaded by alembic only."""

from typing import Any, Literal

from alembic import context

from hl_sessions.server.database.tables import UTCDateTime, metadata


def _render(_kind: str, item: Any, _context: Any) -> str | Literal[False]:
    # Scripts outlive classes, so they name the tables and columns of the database.
    return "sa.DateTime(timezone=True)" if isinstance(item, UTCDateTime) else False


context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_item=_render
)
# The caller has begun the transaction.
context.run_migrations()
