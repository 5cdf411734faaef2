"""The sessions of the list, with the values of their rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Text, cast, func, select

from hl_sessions.server.database.epoch import read_epoch
from hl_sessions.server.database.tables import (
    labels,
    logs,
    projects,
    session_labels,
    session_totals,
    sessions,
)
from hl_sessions.server.page.queries.preview import (
    STORED_LENGTH,
    preview_inputs,
    preview_messages,
    preview_text,
)
from hl_sessions.server.records.session_totals import NANODOLLARS
from hl_sessions.server.records.sessions import find_projects_of, of_first_log, of_last_log


@dataclass(frozen=True)
class ProjectLink:
    """A project of a session: its ID and its name."""

    id: str
    name: str


@dataclass(frozen=True)
class ListedSession:
    """A session as a row of the list.

    Args:
        id: Its ID.
        reference_id: The caller's own ID for it.
        created_at: The time of its start.
        projects: The projects of its datapoints.
        first_input: The input of its first datapoint, in one line.
        last_output: The output of its last datapoint that has one and is not nested, in one line.
        last_error: The error of its last datapoint that is not nested, in one line.
        datapoints: The number of its datapoints.
        errors: The number of those with an error.
        seconds: The time from its first datapoint to the end of the last one; ``None`` without datapoints.
        active_at: The end of its last datapoint; ``None`` without datapoints.
        tokens: The number of input and output tokens.
        cost: The cost of all its datapoints, in dollars.
        user: Its user, as set by callers.
        name: Its name, as set by callers.
        models: The models of its datapoints.
    """

    id: str
    reference_id: str | None
    created_at: datetime
    projects: Sequence[ProjectLink]
    first_input: str
    last_output: str
    last_error: str
    datapoints: int
    errors: int
    seconds: float | None
    active_at: datetime | None
    tokens: int
    cost: float
    user: str | None
    name: str | None
    models: Sequence[str]


def describe_sessions(connection: Connection, session_ids: Sequence[str]) -> list[ListedSession]:
    """Read the rows of sessions, in the order of their IDs.

    Args:
        connection: The connection of the transaction.
        session_ids: The IDs of sessions that are known to belong to the reader's organisation.
    """
    # Nested datapoints begin after the answer that they are steps of.
    is_outermost = logs.c.parent_id.is_(None)
    query = select(
        sessions.c.id,
        sessions.c.reference_id,
        sessions.c.created_at,
        sessions.c.user,
        sessions.c.name,
        session_totals,
        of_first_log(_beginning(logs.c.inputs)).label("inputs"),
        of_first_log(_beginning(logs.c.messages)).label("messages"),
        of_last_log(_beginning(logs.c.output), is_outermost, logs.c.output != "").label("output"),
        of_last_log(_beginning(logs.c.error), is_outermost).label("error"),
    ).where(sessions.c.id.in_(session_ids), session_totals.c.session_sequence == sessions.c.sequence)
    rows = {row.id: row for row in connection.execute(query)}
    projects_of = find_projects_of(connection, session_ids, projects.c.name)
    models_of = _models_of(connection, session_ids)
    return [
        _listed(rows[session_id], projects_of[session_id], models_of[session_id])
        for session_id in session_ids
    ]


def _listed(row: Any, of_projects: Sequence[tuple[str, str]], models: Sequence[str]) -> ListedSession:
    inputs = preview_inputs(row.inputs or "{}")
    return ListedSession(
        id=row.id,
        reference_id=row.reference_id,
        created_at=row.created_at,
        projects=[ProjectLink(project_id, name) for project_id, name in of_projects],
        first_input=inputs or preview_messages(row.messages or "[]"),
        last_output=preview_text(row.output or ""),
        last_error=preview_text(row.error or ""),
        datapoints=row.datapoints,
        errors=row.errors,
        seconds=None if row.first_at is None else row.last_at - row.first_at,
        active_at=None if row.last_at is None else read_epoch(row.last_at),
        tokens=int(row.tokens),
        cost=row.nanodollars / NANODOLLARS,
        user=row.user,
        name=row.name,
        models=models,
    )


def _beginning(column: Column[Any]) -> ColumnElement[str]:
    return func.substr(cast(column, Text), 1, STORED_LENGTH)


def _models_of(connection: Connection, session_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
    query = (
        select(sessions.c.id, labels.c.value)
        .join(session_labels, session_labels.c.session_sequence == sessions.c.sequence)
        .join(labels, labels.c.sequence == session_labels.c.label_sequence)
        .where(sessions.c.id.in_(session_ids), labels.c.kind == "model")
        .order_by(labels.c.value)
    )
    models_of: dict[str, list[str]] = defaultdict(list)
    for session_id, name in connection.execute(query):
        models_of[session_id].append(name)
    return models_of
