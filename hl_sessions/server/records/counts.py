"""Counts the datapoints of projects and of sessions, in the transaction that changes them.

Parallel transactions may need the same rows. Those that log lock them in one order, so that few have to wait
for each other, and be tried again: datapoints, sessions, the organisation of a new label, the totals and the
labels of sessions, these counts of sessions, and projects, each in the order of its key. The row of a
project, which most transactions need, comes last, so that it is locked only briefly. Only idempotency keys
come after it, because two transactions hardly ever need the same one.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Insert, Select, bindparam, delete, update
from sqlalchemy.dialects import postgresql, sqlite

from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import project_sessions, projects
from hl_sessions.server.records.session_totals import (
    Datapoints,
    add_to_totals,
    find_projects_anew,
    take_from_totals,
)

_Place: TypeAlias = tuple[str, int | None]
"""The ID of the project of a datapoint, and the sequence of its session, if it has one."""


def _adding(insert: Any) -> Insert:
    adding = insert(project_sessions)
    counted = project_sessions.c.datapoints_count
    statement: Insert = adding.on_conflict_do_update(
        index_elements=project_sessions.primary_key.columns.keys(),
        set_={counted.name: counted + adding.excluded[counted.name]},
    ).returning(project_sessions)
    return statement


_ADD_TO_SESSION: Final = {"sqlite": _adding(sqlite.insert), "postgresql": _adding(postgresql.insert)}
_TAKE_FROM_SESSION: Final = (
    update(project_sessions)
    .where(
        project_sessions.c.project_id == bindparam("project"),
        project_sessions.c.session_sequence == bindparam("session"),
    )
    .values(datapoints_count=project_sessions.c.datapoints_count - bindparam("datapoints"))
)
_SESSION: Final = project_sessions.c.session_sequence
_FORGET: Final = delete(project_sessions).returning(project_sessions.c.project_id, _SESSION)
_FORGET_EMPTY: Final = _FORGET.where(
    _SESSION.in_(bindparam("sessions", expanding=True)), project_sessions.c.datapoints_count == 0
)
_ADD_TO_PROJECT: Final = (
    update(projects)
    .where(projects.c.id == bindparam("project"))
    .values(
        datapoints_count=projects.c.datapoints_count + bindparam("datapoints"),
        sessions_count=projects.c.sessions_count + bindparam("sessions"),
    )
)


def count_added(connection: Connection, datapoints: Datapoints) -> None:
    """Count new datapoints."""
    add_to_totals(connection, datapoints)
    added = Counter(_places(datapoints))
    in_sessions = _in_sessions(added)
    new_sessions: Counter[str] = Counter()
    if in_sessions:
        rows = [
            {"project_id": project_id, "session_sequence": session, "datapoints_count": n}
            for (project_id, session), n in in_sessions
        ]
        for project_id, session, n in connection.execute(_ADD_TO_SESSION[connection.dialect.name], rows):
            new_sessions[project_id] += n == added[project_id, session]
    _add_to_projects(connection, added, new_sessions)


def count_deleted(
    connection: Connection, datapoints: Datapoints, emptied: Select[tuple[int]] | None = None
) -> None:
    """Count deleted datapoints.

    Args:
        connection: The connection of the transaction.
        datapoints: The deleted datapoints.
        emptied: Finds the sequences of sessions that have no datapoints left and will be deleted, if these
            are known.
    """
    deleted = Counter(_places(datapoints))
    empty_sessions: Counter[str] = Counter()
    left = deleted.copy()
    gone: set[int] = set()
    if emptied is not None:
        for project_id, session in connection.execute(_FORGET.where(_SESSION.in_(emptied))):
            empty_sessions[project_id] += 1
            del left[project_id, session]
            gone.add(session)
    take_from_totals(connection, datapoints, gone)
    in_sessions = _in_sessions(left)
    if in_sessions:
        connection.execute(
            _TAKE_FROM_SESSION,
            [{"project": key[0], "session": key[1], "datapoints": n} for key, n in in_sessions],
        )
        # Only these sessions can have become empty.
        left_by_a_project: set[int] = set()
        for some in in_parts(sorted({session for (_, session), _ in in_sessions})):
            for project_id, session in connection.execute(_FORGET_EMPTY, {"sessions": some}):
                empty_sessions[project_id] += 1
                left_by_a_project.add(session)
        find_projects_anew(connection, left_by_a_project)
    _add_to_projects(
        connection,
        Counter({place: -n for place, n in deleted.items()}),
        Counter({project_id: -n for project_id, n in empty_sessions.items()}),
    )


def _places(datapoints: Datapoints) -> Iterator[_Place]:
    for project_id, session in zip(datapoints.project_ids, datapoints.sessions, strict=True):
        yield project_id, None if session is None else session.sequence


def _in_sessions(counted: Counter[_Place]) -> list[tuple[tuple[str, int], int]]:
    return sorted(((project, session), n) for (project, session), n in counted.items() if session is not None)


def _add_to_projects(connection: Connection, datapoints: Counter[_Place], sessions: Counter[str]) -> None:
    of_project: Counter[str] = Counter()
    for (project_id, _), n in datapoints.items():
        of_project[project_id] += n
    connection.execute(
        _ADD_TO_PROJECT,
        [
            {"project": project_id, "datapoints": n, "sessions": sessions[project_id]}
            for project_id, n in sorted(of_project.items())
        ],
    )
