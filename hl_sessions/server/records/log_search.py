"""Finds the newest datapoints of a project or a session that hold a text."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from hl_sessions.server.database.search_index import is_one_of, newest_matches, parts_to_search
from hl_sessions.server.database.tables import logs
from hl_sessions.server.records.log_filter import LogFilter


def find_logs(connection: Connection, wanted: LogFilter, most: int, datapoints: int) -> list[int] | None:
    """Find the newest datapoints that match a filter with texts.

    Args:
        connection: The connection of the transaction.
        wanted: The filter.
        most: The greatest number of results.
        datapoints: The number of datapoints of their project or session.

    Returns:
        Their sequences, newest first; ``None`` if reading the whole project or session is less work.
    """
    parts = parts_to_search(connection, wanted.texts, datapoints)
    if parts is None:
        return None
    # The sequences find the rows.
    passing = [*wanted.place(by_index=False), *wanted.conditions()]

    def find(sequences: Sequence[int]) -> Iterable[tuple[datetime, int]]:
        query = select(logs.c.created_at, logs.c.sequence)
        rows = connection.execute(query.where(is_one_of(logs.c.sequence, sequences), *passing))
        return [(row.created_at, row.sequence) for row in rows]

    newest = newest_matches(parts, lambda limit: (limit.at, limit.number), find, most)
    return [sequence for _, sequence in newest]
