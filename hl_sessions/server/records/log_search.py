"""Finds the newest datapoints of a project that hold a text."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from hl_sessions.server.database.search_index import is_one_of, newest_matches, parts_to_search
from hl_sessions.server.database.tables import logs
from hl_sessions.server.records.log_filter import LogFilter


def find_logs(
    connection: Connection, project_id: str, wanted: LogFilter, most: int, datapoints: int
) -> list[int] | None:
    """Find the newest datapoints that pass a filter which looks for texts.

    Args:
        connection: The connection of the transaction.
        project_id: The ID of their project.
        wanted: The filter.
        most: How many are wanted.
        datapoints: How many the project has.

    Returns:
        Their sequences, the newest first; ``None`` when it is less work to look at all of the project.
    """
    parts = parts_to_search(connection, wanted.texts, datapoints)
    if parts is None:
        return None
    # By an expression, which no index has: they are found by their sequences.
    passing = [logs.c.project_id.concat("") == project_id, *wanted.conditions()]

    def find(sequences: Sequence[int]) -> Iterable[tuple[datetime, int]]:
        query = select(logs.c.created_at, logs.c.sequence)
        rows = connection.execute(query.where(is_one_of(logs.c.sequence, sequences), *passing))
        return [(row.created_at, row.sequence) for row in rows]

    newest = newest_matches(parts, lambda limit: (limit.at, limit.number), find, most)
    return [sequence for _, sequence in newest]
