"""Stores the records found in saved files; records that the database has already stay as they are."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, Table, bindparam, select, update

from hl_sessions.server.database.bulk_insert import insert_rows
from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import feedback, logs, projects, sessions
from hl_sessions.server.humanloop.fields import add_to_metadata
from hl_sessions.server.humanloop.found import Datapoint, Found
from hl_sessions.server.protocol.identifiers import PROJECT, new_identifier
from hl_sessions.server.records.feedback import insert_feedback
from hl_sessions.server.records.importing import insert_logs
from hl_sessions.server.records.session_totals import note_beginnings
from hl_sessions.server.records.sessions import insert_sessions

_PLACE: Final = select(logs.c.id, logs.c.organisation_id, logs.c.session_id, logs.c.parent_id).where(
    logs.c.id.in_(bindparam("wanted", expanding=True))
)
_NEST: Final = update(logs).where(logs.c.id == bindparam("log")).values(parent_id=bindparam("above"))
_BEGAN_EARLIER: Final = (
    update(sessions)
    .where(sessions.c.id == bindparam("session"), sessions.c.created_at > bindparam("began"))
    .values(created_at=bindparam("began"))
)


class OfOthersError(Exception):
    """Some of the IDs belong to records of another organisation."""


@dataclass
class Stored:
    """The result of storing records.

    Args:
        new: The number of new records of each kind.
        orphans: The number of datapoints that are not nested, because their parent is missing or in another
            session.
        unjudged: The number of judgments on missing datapoints.
    """

    new: Counter[str] = field(default_factory=Counter)
    orphans: int = 0
    unjudged: int = 0


class _Place(NamedTuple):
    session_id: str | None
    parent_id: str | None


_Placed = tuple[Datapoint, str | None]
"""A datapoint, and the ID of the datapoint that it is nested under."""


def store(connection: Connection, organisation_id: int, found: Found) -> Stored:
    """Store new records, and nest existing datapoints whose parents exist now.

    Args:
        connection: The connection of the transaction.
        organisation_id: The organisation that gets the records.
        found: The records.

    Raises:
        OfOthersError: When another organisation has some of the records.
    """
    storing = _Storing(connection, organisation_id, found)
    storing.add_projects()
    added, links = storing.place()
    storing.add_sessions([datapoint for datapoint, _ in added])
    if added:
        storing.add_datapoints(added)
    if links:
        _nest(connection, links)
    storing.add_judgments()
    return storing.stored


@dataclass
class _Storing:
    connection: Connection
    organisation_id: int
    found: Found
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    stored: Stored = field(default_factory=Stored)
    project_ids: dict[str, str] = field(default_factory=dict)

    def add_projects(self) -> None:
        """Create missing projects; each is recognised by its name."""
        for names in in_parts(list(self.found.projects)):
            query = select(projects.c.name, projects.c.id).where(
                projects.c.organisation_id == self.organisation_id, projects.c.name.in_(names)
            )
            self.project_ids |= {row.name: row.id for row in self.connection.execute(query)}
        new = [project for name, project in self.found.projects.items() if name not in self.project_ids]
        own_ids = {project.id for project in new if project.id is not None}
        taken = set(self._organisations_of(projects, own_ids))
        rows = []
        for project in new:
            is_free = project.id is not None and project.id not in taken
            project_id = project.id if project.id is not None and is_free else new_identifier(PROJECT)
            taken.add(project_id)
            self.project_ids[project.name] = project_id
            row = {"id": project_id, "name": project.name, "created_at": project.created_at or self.now}
            rows.append(row)
        if rows:
            insert_rows(self.connection, projects, self._new(projects, rows))

    def place(self) -> tuple[list[_Placed], dict[str, str]]:
        """Return the new datapoints, and the parents that existing ones are to be nested under."""
        datapoints = self.found.datapoints
        above = {one.parent_id for one in datapoints.values() if one.parent_id is not None}
        places = self._places(datapoints.keys() | above)
        added: list[_Placed] = []
        links: dict[str, str] = {}
        for datapoint in self.found.parents_first():
            session_id = None if datapoint.session is None else datapoint.session.id
            place, parent_id = places.get(datapoint.id), datapoint.parent_id
            if parent_id is not None:
                parent = places.get(parent_id)
                if parent is None or parent.session_id != session_id:
                    self.stored.orphans += 1
                    parent_id = None
            if place is None:
                places[datapoint.id] = _Place(session_id, parent_id)
                added.append((datapoint, parent_id))
            elif place.parent_id is None and parent_id is not None:
                links[datapoint.id] = parent_id
        return added, links

    def add_sessions(self, added: Iterable[Datapoint]) -> None:
        """Create missing sessions, which begin with their first datapoint."""
        wanted = dict(self.found.sessions)
        began = {id_: session.created_at for id_, session in wanted.items()}
        for datapoint in added:
            if datapoint.session is not None:
                session = wanted.setdefault(datapoint.session.id, datapoint.session)
                began[session.id] = min(began.get(session.id, datapoint.created_at), datapoint.created_at)
        known = self._organisations_of(sessions, wanted)
        if known.keys() and set(known.values()) != {self.organisation_id}:
            raise OfOthersError
        earlier = sorted(id_ for id_ in known if wanted[id_].begins_with_datapoints)
        if earlier:
            self.connection.execute(
                _BEGAN_EARLIER, [{"session": id_, "began": began[id_]} for id_ in earlier]
            )
            note_beginnings(self.connection, earlier)
        new = [session for id_, session in wanted.items() if id_ not in known]
        taken = self._taken(sessions, (session.told for session in new))
        rows = []
        for session in new:
            reference = _free(session.told.get("reference_id"), taken)
            told = {**session.told, "reference_id": reference}
            rows.append({**told, "id": session.id, "created_at": began[session.id]})
        if rows:
            insert_sessions(self.connection, self._new(sessions, rows))

    def add_datapoints(self, added: Sequence[_Placed]) -> None:
        """Store these datapoints, and count them."""
        taken = self._taken(logs, (datapoint.columns for datapoint, _ in added))
        rows = []
        for datapoint, parent_id in added:
            columns = dict(datapoint.columns)
            given = columns.get("reference_id")
            columns["reference_id"] = _free(given, taken)
            if given != columns["reference_id"]:
                add_to_metadata(columns, {"reference_id": given})
            columns |= {
                "id": datapoint.id,
                "project_id": self.project_ids[datapoint.project.name],
                "session_id": None if datapoint.session is None else datapoint.session.id,
                "parent_id": parent_id,
                "created_at": datapoint.created_at,
            }
            rows.append(columns)
        insert_logs(self.connection, self._new(logs, rows))

    def add_judgments(self) -> None:
        """Store the judgments on existing datapoints."""
        ids, known = self.found.judgments, set[str]()
        for some in in_parts(sorted(ids)):
            known.update(self.connection.scalars(select(feedback.c.id).where(feedback.c.id.in_(some))))
        new = [judgment for id_, judgment in ids.items() if id_ not in known]
        judged = self._places({judgment.log_id for judgment in new})
        rows = [
            {**judgment.columns, "id": judgment.id, "log_id": judgment.log_id}
            for judgment in new
            if judgment.log_id in judged
        ]
        if rows:
            insert_feedback(self.connection, rows)
        self.stored.new[feedback.name] += len(rows)
        self.stored.unjudged += len(new) - len(rows)

    def _new(self, table: Table, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows to insert, and count them as new."""
        self.stored.new[table.name] += len(rows)
        # They count as changed now, so that old records are kept as long as those logged now.
        return [{**row, "organisation_id": self.organisation_id, "updated_at": self.now} for row in rows]

    def _places(self, log_ids: Collection[str]) -> dict[str, _Place]:
        """Return the places of those of these datapoints that exist."""
        places: dict[str, _Place] = {}
        for some in in_parts(sorted(log_ids)):
            for row in self.connection.execute(_PLACE, {"wanted": some}):
                if row.organisation_id != self.organisation_id:
                    raise OfOthersError
                places[row.id] = _Place(row.session_id, row.parent_id)
        return places

    def _organisations_of(self, table: Table, ids: Collection[str]) -> dict[str, int]:
        """Return the organisations of those of these records that exist."""
        found: dict[str, int] = {}
        for some in in_parts(sorted(ids)):
            query = select(table.c.id, table.c.organisation_id).where(table.c.id.in_(some))
            found |= {row.id: row.organisation_id for row in self.connection.execute(query)}
        return found

    def _taken(self, table: Table, told: Iterable[Mapping[str, Any]]) -> set[str]:
        """Return those of the reference IDs that other records have."""
        column: Column[Any] = table.c.reference_id
        taken: set[str] = set()
        given = {str(one["reference_id"]) for one in told if one.get("reference_id") is not None}
        for some in in_parts(sorted(given)):
            query = select(column).where(column.in_(some), table.c.organisation_id == self.organisation_id)
            taken.update(self.connection.scalars(query))
        return taken


def _nest(connection: Connection, links: Mapping[str, str]) -> None:
    """Nest datapoints under others, without making a circle."""
    above: dict[str, str | None] = {}
    pending = set(links.values())
    while pending:
        for some in in_parts(sorted(pending)):
            above |= {row.id: row.parent_id for row in connection.execute(_PLACE, {"wanted": some})}
        pending = {id_ for id_ in above.values() if id_ is not None} - above.keys()
    rows = []
    for id_, parent_id in links.items():
        at: str | None = parent_id
        while at is not None and at != id_:
            at = above.get(at)
        if at is None:
            above[id_] = parent_id
            rows.append({"log": id_, "above": parent_id})
    if rows:
        connection.execute(_NEST, rows)


def _free(reference: str | None, taken: set[str]) -> str | None:
    """Return a reference ID and mark it as taken, or return ``None`` if another record has it."""
    if reference is None or reference in taken:
        return None
    taken.add(reference)
    return reference
