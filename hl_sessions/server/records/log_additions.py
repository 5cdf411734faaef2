"""Finds the records that new logs add, including the projects and sessions that they name first."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from hl_sessions.server.protocol.identifiers import PROJECT, SESSION, new_identifier
from hl_sessions.server.protocol.requests import LogRequest
from hl_sessions.server.records.feedback import Subject, feedback_values
from hl_sessions.server.records.log_references import KnownLog, KnownProject, KnownRecords, KnownSession
from hl_sessions.server.records.refusals import InvalidEntryError


class AddedLog(NamedTuple):
    """A log to be added.

    Args:
        id: Its ID.
        config_id: The ID of its config, if the request names none.
        organisation_id: Its organisation.
        project: Its project.
        session: Its session, if it has one.
        parent: The log that it is nested under, if there is one.
        request: Its other fields.
    """

    id: str
    config_id: str
    organisation_id: int
    project: KnownProject
    session: KnownSession | None
    parent: KnownLog | None
    request: LogRequest


@dataclass
class Additions:
    """The records that one request adds, or several requests together.

    Args:
        records: The projects, sessions and logs that are added, so that others can refer to them.
        logs: All logs that are added.
        feedback: The rows of the feedback on the logs.
    """

    records: KnownRecords = field(default_factory=KnownRecords)
    logs: list[AddedLog] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)

    def add(self, others: "Additions") -> None:
        """Add further records."""
        self.records.add(others.records)
        self.logs += others.logs
        self.feedback += others.feedback


@dataclass
class Adding:
    """Collects the records that one request adds.

    Args:
        organisation_id: The organisation of the request.
        known: The records that it may refer to.
        identifiers: New IDs, of a log and of its config.
        now: The time of the request.
        additions: The records that it adds.
    """

    organisation_id: int
    known: KnownRecords
    identifiers: Iterator[tuple[str, str]]
    now: datetime
    additions: Additions = field(default_factory=Additions)

    def add(self, index: int, request: LogRequest) -> dict[str, str]:
        """Add one log of the request.

        Args:
            index: Its place in the request.
            request: The log.

        Returns:
            The IDs of the log, of its project and, if it has one, its session.

        Raises:
            InvalidEntryError: When it contradicts the known records.
        """
        project = self._find_project(index, request)
        session = self._find_session(index, request)
        parent = self._find_parent(index, request, session)
        if parent is not None:
            session = parent.session
        log_id, config_id = next(self.identifiers)
        reference_id = request.get("reference_id")
        if reference_id is not None:
            name = (self.organisation_id, reference_id)
            if name in self.known.logs_by_reference or name in self.additions.records.logs_by_reference:
                raise InvalidEntryError(index, "reference_id", "Another datapoint has this reference ID")
            log = KnownLog(log_id, self.organisation_id, reference_id, session)
            self.additions.records.logs_by_reference[name] = log
        self.additions.logs.append(
            AddedLog(log_id, config_id, self.organisation_id, project, session, parent, request)
        )
        if given_feedback := request.get("feedback"):
            subject = Subject("log_id", log_id)
            self.additions.feedback += [feedback_values(subject, given, self.now) for given in given_feedback]
        answer = {"id": log_id, "project_id": project.id}
        if session is not None:
            answer["session_id"] = session.id
        return answer

    def _find_project(self, index: int, request: LogRequest) -> KnownProject:
        name, project_id = request.get("project"), request.get("project_id")
        if project_id is not None:
            project = self.known.projects.get(project_id)
            if project is None or project.organisation_id != self.organisation_id:
                raise InvalidEntryError(index, "project_id", "There is no such project")
            if name not in {None, project.name}:
                raise InvalidEntryError(index, "project", "The project with this ID has another name")
            return project
        if name is None:
            raise InvalidEntryError(index, "project", "One of 'project' and 'project_id' is required")
        key = (self.organisation_id, name)
        records = self.additions.records
        found = self.known.projects_by_name.get(key) or records.projects_by_name.get(key)
        if found is None:
            found = KnownProject(new_identifier(PROJECT), self.organisation_id, name)
            records.add_project(found)
        return found

    def _find_session(self, index: int, request: LogRequest) -> KnownSession | None:
        session_id, reference_id = request.get("session_id"), request.get("session_reference_id")
        if session_id is not None:
            session = self.known.sessions.get(session_id)
            if session is None or session.organisation_id != self.organisation_id:
                raise InvalidEntryError(index, "session_id", "There is no such session")
            return session
        if reference_id is None:
            return None
        name = (self.organisation_id, reference_id)
        records = self.additions.records
        found = self.known.sessions_by_reference.get(name) or records.sessions_by_reference.get(name)
        if found is None:
            found = KnownSession(new_identifier(SESSION), self.organisation_id, reference_id)
            records.add_session(found)
        return found

    def _find_parent(self, index: int, request: LogRequest, session: KnownSession | None) -> KnownLog | None:
        parent_id, reference_id = request.get("parent_id"), request.get("parent_reference_id")
        if parent_id is not None:
            field_name, parent = "parent_id", self.known.logs.get(parent_id)
        elif reference_id is not None:
            name = (self.organisation_id, reference_id)
            added = self.additions.records.logs_by_reference
            field_name, parent = (
                "parent_reference_id",
                self.known.logs_by_reference.get(name) or added.get(name),
            )
        else:
            return None
        if parent is None or parent.organisation_id != self.organisation_id:
            raise InvalidEntryError(index, field_name, "There is no such datapoint")
        if session is not None and (parent.session is None or session.id != parent.session.id):
            raise InvalidEntryError(index, field_name, "The parent is not in the session of this datapoint")
        return parent
