"""Logs, the datapoints, in the database."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import BindParameter, Connection, bindparam, delete, select, update

from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.search_index import note_changes
from hl_sessions.server.database.tables import logs, projects, session_totals, sessions
from hl_sessions.server.protocol.configs import described_config
from hl_sessions.server.protocol.identifiers import CONFIG, new_identifier
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.protocol.requests import UpdateLogRequest
from hl_sessions.server.records.counts import count_deleted
from hl_sessions.server.records.idempotency import IdempotencyKey, make_once
from hl_sessions.server.records.log_filter import LogFilter
from hl_sessions.server.records.log_parts import parts_of_each_log, parts_of_log, parts_of_logs
from hl_sessions.server.records.log_search import find_logs
from hl_sessions.server.records.parts import Part, parts_of_page, read_on
from hl_sessions.server.records.refusals import UnknownLogError
from hl_sessions.server.records.session_totals import ADDED, COUNTED, MATTERING, Datapoints, change_totals
from hl_sessions.server.records.sessions import touch_sessions

PAYLOADS: Final = {
    "inputs",
    "messages",
    "output",
    "output_message",
    "judgment",
    "error",
    "stdout",
    "provider_request",
    "provider_response",
}
"""Inputs, messages and outputs, which are not stored of a datapoint logged with ``save: false``."""

_LogName: TypeAlias = tuple[int, str, str]
"""The ID of an organisation, the column that a log is named by, and its value."""

_NAMES: Final = ("id", "reference_id")
_WANTED: Final[BindParameter[Any]] = bindparam("wanted", expanding=True)
_OF_ORGANISATIONS: Final = logs.c.organisation_id.in_(bindparam("organisations", expanding=True))
_FIND: Final = select(logs.c.id).where(logs.c.reference_id.in_(_WANTED), _OF_ORGANISATIONS)
_LOCK: Final = (
    select(
        *(logs.c.id, logs.c.reference_id, logs.c.sequence, logs.c.organisation_id),
        *(logs.c.session_id, logs.c.save, logs.c.config_id),
    )
    .where(logs.c.id.in_(_WANTED), _OF_ORGANISATIONS)
    .order_by(logs.c.id)
    .with_for_update(key_share=True)
)
_COUNTED: Final = (
    select(*ADDED)
    .join(sessions, sessions.c.id == logs.c.session_id)
    .where(logs.c.sequence.in_(bindparam("sequences", expanding=True)))
)
_CHANGE: Final = update(logs).where(logs.c.sequence == bindparam("log_sequence"))


@dataclass(frozen=True)
class LogUpdate:
    """A change to one log.

    Args:
        organisation_id: The organisation of the log.
        by: The column that the log is named by.
        name: The value of this column.
        request: The change.
    """

    organisation_id: int
    by: Literal["id", "reference_id"]
    name: str
    request: UpdateLogRequest

    @property
    def named(self) -> _LogName:
        """The name of the log."""
        return self.organisation_id, self.by, self.name

    def values(self, log: Any) -> Iterator[tuple[str, Any]]:
        """Yield the new values of the changed columns, by their names."""
        for name in self.request.model_fields_set.difference(_NAMES, () if log.save else PAYLOADS):
            value = getattr(self.request, name)
            if name == "config" and value is not None:
                value = described_config(value, log.config_id or new_identifier(CONFIG))
            if value is not None:
                # An empty error takes the stored one back.
                yield name, (value or None) if name == "error" else value


def update_logs(
    connection: Connection, given: Sequence[tuple[IdempotencyKey | None, LogUpdate]]
) -> list[list[Part] | Exception]:
    """Change a log for each request, unless that was done before.

    Args:
        connection: The connection of the transaction.
        given: The change of each request, with its key, if it has one.

    Returns:
        For each request the parts of the changed log, or the reason why it was not changed.
    """
    found, outcomes = _update_once(connection, [(key, [change]) for key, change in given])
    parts_of = parts_of_each_log(connection, sorted({log.sequence for log in found.values()}))
    answers: list[list[Part] | Exception] = []
    for outcome, (_, change) in zip(outcomes, given, strict=True):
        log = found.get(change.named)
        if isinstance(outcome, Exception):
            answers.append(outcome)
        elif log is None:
            # The log was deleted after it had been changed.
            answers.append(UnknownLogError(0, change.by, change.name))
        else:
            answers.append(parts_of[log.sequence])
    return answers


def update_lists_of_logs(
    connection: Connection, given: Sequence[tuple[IdempotencyKey | None, Sequence[LogUpdate]]]
) -> list[list[str] | Exception]:
    """Make lists of changes, each as a whole or not at all.

    Returns:
        For each request the IDs of the logs, or the reason why none was changed.
    """
    found, outcomes = _update_once(connection, given)
    return [
        outcome
        if isinstance(outcome, Exception)
        else [found[change.named].id for change in changes if change.named in found]
        for outcome, (_, changes) in zip(outcomes, given, strict=True)
    ]


def _update_once(
    connection: Connection, given: Sequence[tuple[IdempotencyKey | None, Sequence[LogUpdate]]]
) -> tuple[Mapping[_LogName, Any], Sequence[Literal[True] | Exception]]:
    """Change logs, and return the existing ones; for a repeated request, only that it was done is stored."""
    found = _lock_logs(connection, [change for _, changes in given for change in changes])
    return found, make_once(partial(_update, found), connection, given)


def _update(
    found: Mapping[_LogName, Any], connection: Connection, requests: Sequence[Sequence[LogUpdate]]
) -> list[Literal[True] | Exception]:
    values_of: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    session_ids: set[str | None] = set()
    outcomes: list[Literal[True] | Exception] = []
    for changes in requests:
        unknown = next((place for place, change in enumerate(changes) if change.named not in found), None)
        if unknown is not None:
            outcomes.append(UnknownLogError(unknown, changes[unknown].by, changes[unknown].name))
            continue
        for change in changes:
            log = found[change.named]
            values_of[log.sequence].update(change.values(log))
            session_ids.add(log.session_id)
        outcomes.append(True)
    counted = [sequence for sequence, values in values_of.items() if not MATTERING.isdisjoint(values)]
    before = _read_counted(connection, counted)
    now = datetime.now(timezone.utc)
    rows_by_columns: defaultdict[Collection[str], list[dict[str, Any]]] = defaultdict(list)
    for sequence, values in values_of.items():
        rows_by_columns[frozenset(values)].append({**values, "log_sequence": sequence, "updated_at": now})
    for rows in rows_by_columns.values():
        connection.execute(_CHANGE, rows)
    note_changes(connection, values_of)
    touch_sessions(connection, {one for one in session_ids if one is not None}, now)
    change_totals(connection, before, _read_counted(connection, counted))
    return outcomes


def _read_counted(connection: Connection, sequences: Sequence[int]) -> Datapoints:
    rows = [row for some in in_parts(sequences) for row in connection.execute(_COUNTED, {"sequences": some})]
    return Datapoints.read(rows)


def _lock_logs(connection: Connection, changes: Sequence[LogUpdate]) -> Mapping[_LogName, Any]:
    organisations = sorted({change.organisation_id for change in changes})
    log_ids = {change.name for change in changes if change.by == "id"}
    references = {change.name for change in changes if change.by == "reference_id"}
    for some in in_parts(sorted(references)):
        log_ids.update(connection.scalars(_FIND, {"organisations": organisations, "wanted": some}))
    found: dict[_LogName, Any] = {}
    # By their IDs only, so that all transactions lock them in one order.
    for some in in_parts(sorted(log_ids)):
        for row in connection.execute(_LOCK, {"organisations": organisations, "wanted": some}):
            found[row.organisation_id, "id", row.id] = row
            if row.reference_id is not None:
                found[row.organisation_id, "reference_id", row.reference_id] = row
    return found


def get_logs_by_id(connection: Connection, organisation_id: int, log_ids: Sequence[str]) -> list[Part]:
    """Return a list of the organisation's logs with these IDs, in parts, without deleted ones."""
    sequences: dict[str, int] = {}
    for some in in_parts(log_ids):
        query = select(logs.c.id, logs.c.sequence).where(
            logs.c.id.in_(some), logs.c.organisation_id == organisation_id
        )
        sequences.update((row.id, row.sequence) for row in connection.execute(query))
    parts = parts_of_logs(connection, [sequences[log_id] for log_id in log_ids if log_id in sequences])
    return read_on(connection, [b"[", *parts, b"]"])


def get_log(connection: Connection, organisation_id: int, log_id: str) -> list[Part] | None:
    """Return the organisation's log with this ID, in parts, or ``None``."""
    parts = parts_of_log(connection, logs.c.id == log_id, logs.c.organisation_id == organisation_id)
    return None if parts is None else read_on(connection, parts)


def list_logs(
    connection: Connection, organisation_id: int, wanted: LogFilter, page: Page
) -> list[Part] | None:
    """Return one page of the wanted logs of a session or of a project, newest first, in parts.

    Returns:
        The page, or ``None`` when the organisation has no such session or, without a session, no such
        project.
    """
    datapoints = _count_datapoints(connection, organisation_id, wanted)
    if datapoints is None:
        return None
    conditions = [*wanted.place(), *wanted.conditions()]
    if wanted.texts:
        found = find_logs(connection, wanted, page.most_counted, datapoints)
        if found is not None:
            parts = parts_of_logs(connection, page.part_of(found))
            return read_on(connection, parts_of_page(page, parts, len(found)))
    query = select(logs.c.sequence).where(*conditions)
    newest_first = query.order_by(logs.c.created_at.desc(), logs.c.sequence.desc())
    sequences = connection.scalars(page.of(newest_first)).all()
    total = page.count_at_end(sequences)
    if total is None:
        total = datapoints if len(conditions) == 1 else connection.scalar(page.counting(query)) or 0
    return read_on(connection, parts_of_page(page, parts_of_logs(connection, sequences), total))


def _count_datapoints(connection: Connection, organisation_id: int, wanted: LogFilter) -> int | None:
    """Return the number of datapoints of the session or, without one, of the project, if it exists."""
    if wanted.session_id is None:
        query = select(projects.c.datapoints_count).where(
            projects.c.id == wanted.project_id, projects.c.organisation_id == organisation_id
        )
    else:
        query = (
            select(session_totals.c.datapoints)
            .join(sessions, sessions.c.sequence == session_totals.c.session_sequence)
            .where(sessions.c.id == wanted.session_id, sessions.c.organisation_id == organisation_id)
        )
    datapoints: int | None = connection.scalar(query)
    return datapoints


def delete_logs(connection: Connection, organisation_id: int, log_ids: Sequence[str]) -> bool:
    """Delete the logs with these IDs and their feedback; logs nested under them stay.

    Returns:
        Whether the organisation has a log with each of the IDs. If not, none is deleted.
    """
    wanted = logs.c.id.in_(log_ids) & (logs.c.organisation_id == organisation_id)
    query = (
        select(*COUNTED, logs.c.session_id)
        .outerjoin(sessions, sessions.c.id == logs.c.session_id)
        .where(wanted)
        .order_by(logs.c.sequence)
        .with_for_update(of=logs)
    )
    found = connection.execute(query).all()
    if len(found) < len(set(log_ids)):
        return False
    connection.execute(delete(logs).where(wanted))
    touched = {log.session_id for log in found} - {None}
    touch_sessions(connection, touched, datetime.now(timezone.utc))
    count_deleted(connection, Datapoints.read(found))
    return True
