"""Stores new logs, those of many requests with a few statements."""

from collections.abc import Sequence
from datetime import datetime, timezone

from sqlalchemy import Connection

from hl_sessions.server.database.bulk_insert import insert_columns, insert_rows
from hl_sessions.server.database.tables import logs, projects, sessions
from hl_sessions.server.protocol.identifiers import CONFIG, LOG, new_identifiers
from hl_sessions.server.protocol.requests import LogRequest
from hl_sessions.server.records.counts import count_added
from hl_sessions.server.records.feedback import insert_feedback
from hl_sessions.server.records.log_additions import Adding, Additions
from hl_sessions.server.records.log_columns import columns_of
from hl_sessions.server.records.log_references import look_up
from hl_sessions.server.records.refusals import InvalidEntryError
from hl_sessions.server.records.session_totals import Datapoints, TotalledSession
from hl_sessions.server.records.sessions import find_sequences, touch_sessions


def create_logs(
    connection: Connection, requests: Sequence[tuple[int, Sequence[LogRequest]]]
) -> list[list[dict[str, str]] | InvalidEntryError]:
    """Store logs, with the projects and sessions that they name first.

    Args:
        connection: The connection of the transaction.
        requests: The ID of the organisation and the logs of each request.

    Returns:
        For each request the IDs of each log, of its project and, if it has one, its session, in the order of
        the logs; or the problem of a request of which nothing was stored.
    """
    now = datetime.now(timezone.utc)
    known = look_up(connection, requests)
    count = sum(len(given) for _, given in requests)
    identifiers = zip(new_identifiers(LOG, count), new_identifiers(CONFIG, count), strict=True)
    added = Additions()
    answers: list[list[dict[str, str]] | InvalidEntryError] = []
    for organisation_id, given in requests:
        adding = Adding(organisation_id, known, identifiers, now)
        try:
            answers.append([adding.add(index, request) for index, request in enumerate(given)])
        except InvalidEntryError as error:
            answers.append(error)
        else:
            known.add(adding.additions.records)
            added.add(adding.additions)
    if added.logs:
        _store(connection, added, now)
    return answers


def _store(connection: Connection, added: Additions, now: datetime) -> None:
    times = {"created_at": now, "updated_at": now}
    if new_projects := added.records.projects:
        insert_rows(
            connection,
            projects,
            [
                {"id": project.id, "organisation_id": project.organisation_id, "name": project.name, **times}
                for project in new_projects.values()
            ],
        )
    if new_sessions := added.records.sessions:
        insert_rows(
            connection,
            sessions,
            [
                {
                    "id": session.id,
                    "organisation_id": session.organisation_id,
                    "reference_id": session.reference_id,
                    **times,
                }
                for session in new_sessions.values()
            ],
        )
        for session_id, sequence in find_sequences(connection, list(new_sessions)):
            session = new_sessions[session_id]
            session.stored = TotalledSession(sequence, session.organisation_id, now)
    columns = columns_of(added.logs, now)
    insert_columns(connection, logs, columns)
    touched = {log.session.id for log in added.logs if log.session is not None} - new_sessions.keys()
    if touched:
        touch_sessions(connection, touched, now)
    count_added(
        connection,
        Datapoints(
            project_ids=[log.project.id for log in added.logs],
            sessions=[None if log.session is None else log.session.stored for log in added.logs],
            columns={**columns, "model": [config.get("model") for config in columns["config"]]},
        ),
    )
    # After the totals of new sessions, in which it is noted.
    if added.feedback:
        insert_feedback(connection, added.feedback)
