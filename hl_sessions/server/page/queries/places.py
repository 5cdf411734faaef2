"""Places to jump to: pages, projects, sessions and datapoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sqlalchemy import Connection, select

from hl_sessions.server.database.tables import logs, sessions
from hl_sessions.server.page.queries.project_list import name_projects

_MOST: Final = 8
_PAGES: Final = (
    ("Sessions", "/"),
    ("Judging", "/judging"),
    ("Activity", "/activity"),
    ("Projects", "/projects"),
)


@dataclass(frozen=True)
class Place:
    """A place to jump to.

    Args:
        kind: Its kind, such as ``Project``.
        name: Its name.
        path: Its path.
    """

    kind: str
    name: str
    path: str


def find_places(connection: Connection, organisation_id: int, text: str) -> list[Place]:
    """Find places by their ID, reference, or a part of their name; without a text, the first ones."""
    return list(islice(_places(connection, organisation_id, text), _MOST))


def _places(connection: Connection, organisation_id: int, text: str) -> Iterator[Place]:
    if text:
        for kind, table, path in (("Session", sessions, "/sessions"), ("Datapoint", logs, "/datapoints")):
            for column in (table.c.id, table.c.reference_id):
                query = select(table.c.id).where(table.c.organisation_id == organisation_id, column == text)
                for found in connection.scalars(query.limit(1)):
                    yield Place(kind, found, f"{path}/{found}")
    folded = text.casefold()
    for name, path in _PAGES:
        if folded in name.casefold():
            yield Place("Page", name, path)
    for project in name_projects(connection, organisation_id):
        if folded in project.name.casefold() or text == project.id:
            yield Place("Project", project.name, f"/?project={project.id}")
