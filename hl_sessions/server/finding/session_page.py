"""The sessions that a filter finds, as a page of the API."""

from sqlalchemy import Connection

from hl_sessions.server.finding.filters import Cursor, SessionFilter
from hl_sessions.server.finding.session_search import find_sessions
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.records.parts import Part
from hl_sessions.server.records.projects import project_exists
from hl_sessions.server.records.sessions import answer_sessions


def list_found_sessions(
    connection: Connection, organisation_id: int, wanted: SessionFilter, page: Page
) -> list[Part] | None:
    """Return one page of the sessions that a filter finds, in its order, in parts.

    They are counted up to a limit: see ``Page.counting``.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation of the caller.
        wanted: The filter.
        page: The part of the list.

    Returns:
        The page, or ``None`` when the organisation has no such project.
    """
    if wanted.project_id is not None and not project_exists(connection, organisation_id, wanted.project_id):
        return None
    found = find_sessions(connection, organisation_id, wanted, Cursor(), page.most_counted).ids
    return answer_sessions(connection, page.part_of(found), page, len(found))
