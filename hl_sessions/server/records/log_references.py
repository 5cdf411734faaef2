"""Looks up the records that new logs refer to, for all of them at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Column, Connection, Row, Select, Table, bindparam, select

from hl_sessions.server.database.in_parts import in_parts
from hl_sessions.server.database.tables import logs, projects, sessions
from hl_sessions.server.protocol.requests import LogRequest
from hl_sessions.server.records.session_totals import TotalledSession

_SHOWN: Final[dict[Table, list[Column[Any]]]] = {
    projects: [projects.c.id, projects.c.organisation_id, projects.c.name],
    sessions: [
        *(sessions.c.id, sessions.c.organisation_id, sessions.c.reference_id),
        *(sessions.c.sequence, sessions.c.created_at),
    ],
    logs: [logs.c.id, logs.c.organisation_id, logs.c.reference_id, logs.c.session_id],
}

Name: TypeAlias = tuple[int, str]  # the ID of an organisation, and a name that is unique in it


class KnownProject(NamedTuple):
    """A project that exists, or is about to be created."""

    id: str
    organisation_id: int
    name: str


@dataclass
class KnownSession:
    """A session that exists, or is about to be created.

    Args:
        id: Its ID.
        organisation_id: Its organisation.
        reference_id: The caller's own ID for it, if there is one.
        stored: The fields that its totals need; ``None`` before it is stored.
    """

    id: str
    organisation_id: int
    reference_id: str | None
    stored: TotalledSession | None = None


class KnownLog(NamedTuple):
    """A log that exists, or is about to be created."""

    id: str
    organisation_id: int
    reference_id: str | None
    session: KnownSession | None


@dataclass
class KnownRecords:
    """The records that logs may refer to, by ID or name."""

    projects: dict[str, KnownProject] = field(default_factory=dict)
    projects_by_name: dict[Name, KnownProject] = field(default_factory=dict)
    sessions: dict[str, KnownSession] = field(default_factory=dict)
    sessions_by_reference: dict[Name, KnownSession] = field(default_factory=dict)
    logs: dict[str, KnownLog] = field(default_factory=dict)
    logs_by_reference: dict[Name, KnownLog] = field(default_factory=dict)

    def add_project(self, project: KnownProject) -> None:
        """Add a project."""
        self.projects[project.id] = project
        self.projects_by_name[project.organisation_id, project.name] = project

    def add_session(self, session: KnownSession) -> None:
        """Add a session."""
        self.sessions[session.id] = session
        if session.reference_id is not None:
            self.sessions_by_reference[session.organisation_id, session.reference_id] = session

    def add_log(self, log: KnownLog) -> None:
        """Add a log."""
        self.logs[log.id] = log
        if log.reference_id is not None:
            self.logs_by_reference[log.organisation_id, log.reference_id] = log

    def add(self, others: "KnownRecords") -> None:
        """Add all records of others."""
        self.projects |= others.projects
        self.projects_by_name |= others.projects_by_name
        self.sessions |= others.sessions
        self.sessions_by_reference |= others.sessions_by_reference
        self.logs |= others.logs
        self.logs_by_reference |= others.logs_by_reference


def look_up(connection: Connection, requests: Sequence[tuple[int, Sequence[LogRequest]]]) -> KnownRecords:
    """Look up everything that the logs refer to.

    The result may include records of other organisations: check ``organisation_id``.

    Args:
        connection: The connection of the transaction.
        requests: The ID of the organisation and the logs of each request.
    """
    search = _Search(
        connection,
        sorted({organisation_id for organisation_id, _ in requests}),
        [request for _, of_one in requests for request in of_one],
    )
    records = KnownRecords()
    for row in chain(search.find(projects, "id", "project_id"), search.find(projects, "name", "project")):
        records.add_project(KnownProject(row.id, row.organisation_id, row.name))
    found_logs = {
        row.id: row
        for row in chain(
            search.find(logs, "id", "parent_id"),
            search.find(logs, "reference_id", "reference_id", "parent_reference_id"),
        )
    }
    of_parents = {row.session_id for row in found_logs.values()} - {None}
    for row in chain(
        search.find(sessions, "id", "session_id", more=of_parents),
        search.find(sessions, "reference_id", "session_reference_id"),
    ):
        stored = TotalledSession(row.sequence, row.organisation_id, row.created_at)
        records.add_session(KnownSession(row.id, row.organisation_id, row.reference_id, stored))
    for row in found_logs.values():
        session = records.sessions.get(row.session_id)
        records.add_log(KnownLog(row.id, row.organisation_id, row.reference_id, session))
    return records


@dataclass(frozen=True)
class _Search:
    connection: Connection
    organisation_ids: Sequence[int]
    given: Sequence[LogRequest]

    @cached_property
    def fields(self) -> frozenset[str]:
        """The fields that any of the logs has: most have few of them."""
        return frozenset().union(*self.given)

    def find(self, table: Table, name: str, *attributes: str, more: Iterable[str] = ()) -> Iterator[Row[Any]]:
        """Find the rows whose column ``name`` is one of these attributes of a log, or one of ``more``."""
        asked = self.fields.intersection(attributes)
        named: set[Any] = {request.get(attribute) for attribute in asked for request in self.given}
        values = sorted((named | set(more)) - {None})
        for wanted in in_parts(values):
            parameters = {"organisations": self.organisation_ids, "wanted": wanted}
            yield from self.connection.execute(_query(table, name), parameters)


@cache
def _query(table: Table, name: str) -> Select[Any]:
    return select(*_SHOWN[table]).where(
        table.c.organisation_id.in_(bindparam("organisations", expanding=True)),
        table.c[name].in_(bindparam("wanted", expanding=True)),
    )
