"""Sessions in the database."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import to_json
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    case,
    cast,
    select,
    update,
)

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.stored_text import octets_of
from hl_sessions.server.database.tables import logs, project_sessions, projects, session_totals, sessions
from hl_sessions.server.protocol.identifiers import SESSION, new_identifiers
from hl_sessions.server.protocol.paging import Page
from hl_sessions.server.records.feedback import feedback_on
from hl_sessions.server.records.parts import Part, find_stored, parts_of_page, read_on
from hl_sessions.server.records.projects import project_exists
from hl_sessions.server.records.refusals import InvalidEntryError
from hl_sessions.server.records.session_metadata import keep_metadata, replace_metadata
from hl_sessions.server.records.session_totals import create_totals

_LONG: Final = 16 * 1024
"""The length, in bytes, from which on the inputs or the output of a session are not read with it."""

_MOST_COUNTED: Final = 10_000
"""How far all sessions are counted on any page; an index alone tells their number, in a millisecond."""

_TOLD: Final = ("name", "user", "metadata", "ended_at", "previous_id")
_SHORT: Final = ("id", "reference_id", "datapoints_count", "created_at", "updated_at", *_TOLD)

_IS_WANTED: Final = sessions.c.id.in_(bindparam("wanted", expanding=True))
_SEQUENCES: Final = select(sessions.c.id, sessions.c.sequence).where(_IS_WANTED)
# Locked in order: see ``records.counts``.
_LOCKED: Final = (
    select(sessions.c.id).where(_IS_WANTED).order_by(sessions.c.id).with_for_update(key_share=True)
)
_BY_REFERENCE: Final = select(sessions.c.organisation_id, sessions.c.reference_id, sessions.c.id).where(
    # The index is of both.
    sessions.c.organisation_id.in_(bindparam("organisations", expanding=True)),
    sessions.c.reference_id.in_(bindparam("references", expanding=True)),
)
_TOUCH: Final = update(sessions).where(sessions.c.id.in_(_LOCKED)).values(updated_at=bindparam("now"))


class NewSession(NamedTuple):
    """A session to be created.

    Args:
        organisation_id: Its organisation.
        told: The values that the caller sets, by the names of the columns.
    """

    organisation_id: int
    told: Mapping[str, Any]


def create_sessions(connection: Connection, wanted: Sequence[NewSession]) -> list[str]:
    """Create sessions and return their IDs; for a known reference ID, that of the existing session."""
    now = datetime.now(timezone.utc)
    session_ids = new_identifiers(SESSION, len(wanted))
    by_reference = _find_by_reference(connection, wanted)
    rows = []
    for place, (organisation_id, told) in enumerate(wanted):
        reference_id = told.get("reference_id")
        if reference_id is not None:
            name = (organisation_id, reference_id)
            known = by_reference.setdefault(name, session_ids[place])
            if known != session_ids[place]:
                session_ids[place] = known
                continue
        row = {"id": session_ids[place], "organisation_id": organisation_id, **told}
        rows.append({**row, "created_at": now, "updated_at": now})
    if rows:
        insert_sessions(connection, rows)
    return session_ids


def insert_sessions(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert at least one session, with the totals and the metadata of each."""
    insert_rows(connection, sessions, rows)
    create_totals(connection, [row["id"] for row in rows])
    keep_metadata(connection, rows)


def update_session(
    connection: Connection,
    organisation_id: int,
    by: Literal["id", "reference_id"],
    name: str,
    told: Mapping[str, Any],
) -> str | InvalidEntryError | None:
    """Change a session that is named by one of its IDs.

    Returns:
        Its ID, ``None`` if there is none, or an error if it would come before itself.
    """
    is_named = (sessions.c[by] == name, sessions.c.organisation_id == organisation_id)
    if "previous_id" in told:
        is_itself = select(sessions.c.id).where(*is_named, sessions.c.id == told["previous_id"])
        if connection.scalar(is_itself) is not None:
            return InvalidEntryError(0, "previous_id", "It has to be the ID of another session")
    changed = update(sessions).where(*is_named).values(**told, updated_at=datetime.now(timezone.utc))
    session_id: str | None = connection.scalar(changed.returning(sessions.c.id))
    if session_id is not None and "metadata" in told:
        replace_metadata(connection, session_id, told["metadata"])
    return session_id


def _find_by_reference(connection: Connection, wanted: Sequence[NewSession]) -> dict[tuple[int, str], str]:
    """Look up the IDs of the existing sessions, by organisation and reference ID."""
    names = {
        (organisation_id, told["reference_id"]) for organisation_id, told in wanted if "reference_id" in told
    }
    organisation_ids = sorted({organisation_id for organisation_id, _ in names})
    found: dict[tuple[int, str], str] = {}
    for references in in_parts(sorted({reference_id for _, reference_id in names})):
        parameters = {"organisations": organisation_ids, "references": references}
        for row in connection.execute(_BY_REFERENCE, parameters):
            if (row.organisation_id, row.reference_id) in names:
                found[row.organisation_id, row.reference_id] = row.id
    return found


def find_sequences(connection: Connection, session_ids: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield the ID and the sequence of each of these sessions."""
    for wanted in in_parts(session_ids):
        for row in connection.execute(_SEQUENCES, {"wanted": wanted}):
            yield row.id, row.sequence


def touch_sessions(connection: Connection, session_ids: Collection[str], now: datetime) -> None:
    """Note that something in these sessions has changed."""
    for touched in in_parts(sorted(session_ids)):
        connection.execute(_TOUCH, {"wanted": touched, "now": now})


def get_session(connection: Connection, organisation_id: int, session_id: str) -> list[Part] | None:
    """Return the organisation's session with this ID, in parts, or ``None``."""
    query = _described_sessions().where(
        sessions.c.id == session_id, sessions.c.organisation_id == organisation_id
    )
    return read_on(connection, _read(connection, query)) or None


def list_all_sessions(connection: Connection, organisation_id: int, page: Page) -> list[Part]:
    """Return one page of all sessions of the organisation, with or without datapoints, newest first.

    They are counted up to a limit.
    """
    newest_first = select(sessions.c.sequence).where(sessions.c.organisation_id == organisation_id)
    newest_first = newest_first.order_by(sessions.c.created_at.desc(), sessions.c.sequence.desc())
    found = connection.scalars(page.of(newest_first)).all()
    total = page.count_at_end(found)
    if total is None:
        total = connection.scalar(page.counting(newest_first, _MOST_COUNTED)) or 0
    query = (
        _described_sessions()
        .where(sessions.c.sequence.in_(found))
        .order_by(sessions.c.created_at.desc(), sessions.c.sequence.desc())
    )
    return read_on(connection, parts_of_page(page, _read(connection, query), total))


def answer_sessions(connection: Connection, session_ids: Sequence[str], page: Page, total: int) -> list[Part]:
    """Return one page of a list with these sessions, in this order.

    Args:
        connection: The connection of the transaction.
        session_ids: The IDs of the sessions.
        page: The part of the list.
        total: The length of the list.
    """
    query = _described_sessions().where(sessions.c.id.in_(session_ids))
    if session_ids:
        places = {session_id: place for place, session_id in enumerate(session_ids)}
        query = query.order_by(case(places, value=sessions.c.id))
    return read_on(connection, parts_of_page(page, _read(connection, query), total))


def list_sessions(
    connection: Connection, organisation_id: int, project_id: str, page: Page
) -> list[Part] | None:
    """Return one page of the sessions with a datapoint of the project, newest first, in parts.

    Returns:
        The page, or ``None`` when the organisation has no such project.
    """
    if not project_exists(connection, organisation_id, project_id):
        return None
    placed = project_sessions.c.project_id == project_id
    newest_first = select(project_sessions.c.session_sequence).where(placed)
    newest_first = page.of(newest_first.order_by(project_sessions.c.session_sequence.desc()))
    # The sessions of the page are found in the index alone; only then their rows are read.
    query = (
        _described_sessions()
        .where(sessions.c.sequence.in_(newest_first))
        .order_by(sessions.c.sequence.desc())
    )
    total = connection.scalar(select(projects.c.sessions_count).where(projects.c.id == project_id)) or 0
    return read_on(connection, parts_of_page(page, _read(connection, query), total))


def of_first_log(value: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Build the subquery of a value of the first log of a session, to be selected with the session."""
    return _of_one_log(value, logs.c.created_at, logs.c.sequence)


def of_last_log(value: ColumnElement[Any], *conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    """Build the subquery of a value of the last log of a session that meets the conditions."""
    return _of_one_log(value, logs.c.created_at.desc(), logs.c.sequence.desc(), conditions=conditions)


def find_projects_of(
    connection: Connection, session_ids: Sequence[str], order: Column[Any]
) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Look up the projects that have datapoints in these sessions.

    Args:
        connection: The connection of the transaction.
        session_ids: The IDs of the sessions.
        order: The column that the projects of a session are sorted by.

    Returns:
        ID and name of each project, by the ID of the session. Sessions without datapoints are missing.
    """
    query = (
        select(sessions.c.id, projects.c.id, projects.c.name)
        .join(project_sessions, project_sessions.c.session_sequence == sessions.c.sequence)
        .join(projects, projects.c.id == project_sessions.c.project_id)
        .where(sessions.c.id.in_(session_ids))
        .order_by(order)
    )
    projects_of: dict[str, list[tuple[str, str]]] = {session_id: [] for session_id in session_ids}
    for session_id, project_id, name in connection.execute(query):
        projects_of[session_id].append((project_id, name))
    return projects_of


def _described_sessions() -> Select[Any]:
    datapoints = (
        select(session_totals.c.datapoints)
        .where(session_totals.c.session_sequence == sessions.c.sequence)
        .correlate(sessions)
    )
    return select(
        sessions.c.id,
        sessions.c.reference_id,
        datapoints.scalar_subquery().label("datapoints_count"),
        of_first_log(_if_short(cast(logs.c.inputs, Text))).label("first_inputs"),
        of_last_log(_if_short(logs.c.output)).label("last_output"),
        of_first_log(case((_is_long(logs.c.inputs), logs.c.sequence))).label("log_of_inputs"),
        of_last_log(case((_is_long(logs.c.output), logs.c.sequence))).label("log_of_output"),
        sessions.c.created_at,
        sessions.c.updated_at,
        *(sessions.c[name] for name in _TOLD),
    )


def _of_one_log(
    value: ColumnElement[Any], *order: ColumnElement[Any], conditions: Sequence[ColumnElement[bool]] = ()
) -> ScalarSelect[Any]:
    return (
        select(value)
        .where(logs.c.session_id == sessions.c.id, *conditions)
        .order_by(*order)
        .limit(1)
        .correlate(sessions)
        .scalar_subquery()
    )


def _is_long(value: ColumnElement[Any]) -> ColumnElement[bool]:
    return octets_of(value) > _LONG


def _if_short(value: ColumnElement[str]) -> ColumnElement[Any]:
    return case((octets_of(value) <= _LONG, value))


def _read(connection: Connection, query: Select[Any]) -> list[Part]:
    """Return the parts of sessions, with commas between them."""
    rows = connection.execute(query).mappings().all()
    projects_of = find_projects_of(connection, [row["id"] for row in rows], projects.c.sequence)
    inputs_of = find_stored(connection, logs.c.inputs, {row["log_of_inputs"] for row in rows} - {None})
    output_of = find_stored(connection, logs.c.output, {row["log_of_output"] for row in rows} - {None})
    feedback = feedback_on(connection, "session_id", [row["id"] for row in rows])
    parts: list[Part] = []
    for row in rows:
        short = {name: row[name] for name in _SHORT if row[name] is not None}
        # SDKs require the type since 0.7, where every project of v4 is a prompt.
        short["projects"] = [
            {"id": id_, "name": name, "type": "prompt"} for id_, name in projects_of[row["id"]]
        ]
        if row["id"] in feedback:
            short["feedback"] = feedback[row["id"]]
        parts.append((b"," if parts else b"") + to_json(short)[:-1])
        if row["first_inputs"] is not None:
            parts.append(b',"first_inputs":' + row["first_inputs"].encode())
        elif row["log_of_inputs"] is not None:
            parts += [b',"first_inputs":', inputs_of[row["log_of_inputs"]]]
        if row["last_output"] is not None:
            parts.append(b',"last_output":' + to_json(row["last_output"]))
        elif row["log_of_output"] is not None:
            parts += [b',"last_output":"', output_of[row["log_of_output"]].as_string(), b'"']
        parts.append(b"}")
    return parts
