"""What new logs add to what is known: rows, and the projects and sessions that they are the first to name."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from hl_sessions.server.protocol.configs import described_config
from hl_sessions.server.protocol.identifiers import PROJECT, SESSION, new_identifier
from hl_sessions.server.protocol.requests import LogRequest
from hl_sessions.server.records.feedback import feedback_values
from hl_sessions.server.records.log_references import KnownLog, KnownProject, KnownRecords, KnownSession
from hl_sessions.server.records.logs import PAYLOADS
from hl_sessions.server.records.refusals import InvalidEntryError

_NOT_COPIED: Final = frozenset(
    {"project", "session_reference_id", "parent_reference_id", "config", "feedback"}
)
_NOT_COPIED_UNSAVED: Final = _NOT_COPIED | PAYLOADS


@dataclass
class Additions:
    """What one request adds, or all of them.

    Args:
        records: The projects, sessions and logs that are added, for others to refer to.
        rows: The rows of the logs.
        places: Project and session of each of the logs.
        feedback: The rows of the feedback on the logs.
    """

    records: KnownRecords = field(default_factory=KnownRecords)
    rows: list[dict[str, Any]] = field(default_factory=list)
    places: list[tuple[KnownProject, KnownSession | None]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)

    def add(self, others: "Additions") -> None:
        """Add these, too."""
        self.records.add(others.records)
        self.rows += others.rows
        self.places += others.places
        self.feedback += others.feedback


@dataclass
class Adding:
    """Finds out what one request adds to what is known.

    Args:
        organisation_id: The organisation that the request belongs to.
        known: What it may refer to.
        identifiers: New IDs, of a log and of its config.
        now: The time of the request.
        additions: What it adds.
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
            InvalidEntryError: When it contradicts what is known.
        """
        project = self._find_project(index, request)
        session = self._find_session(index, request)
        parent = self._find_parent(index, request, session)
        if parent is not None:
            session = parent.session
        log_id, config_id = next(self.identifiers)
        log = KnownLog(log_id, self.organisation_id, request.get("reference_id"), session)
        if log.reference_id is not None:
            name = (self.organisation_id, log.reference_id)
            if name in self.known.logs_by_reference or name in self.additions.records.logs_by_reference:
                raise InvalidEntryError(index, "reference_id", "Another datapoint has this reference ID")
            self.additions.records.logs_by_reference[name] = log
        self.additions.places.append((project, session))
        self.additions.rows.append(self._row(request, log, config_id, project, parent))
        self.additions.feedback += [
            feedback_values(log.id, given, self.now) for given in request.get("feedback") or ()
        ]
        answer = {"id": log.id, "project_id": project.id}
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

    def _row(
        self,
        request: LogRequest,
        log: KnownLog,
        config_id: str,
        project: KnownProject,
        parent: KnownLog | None,
    ) -> dict[str, Any]:
        save = request.get("save") is not False
        left_out = _NOT_COPIED if save else _NOT_COPIED_UNSAVED
        row: dict[str, Any] = {
            name: value for name, value in request.items() if value is not None and name not in left_out
        }
        row |= {
            "id": log.id,
            "organisation_id": self.organisation_id,
            "project_id": project.id,
            "created_at": request.get("created_at") or self.now,
            "updated_at": self.now,
            "save": save,
            "config": described_config(request.get("config"), request.get("config_id") or config_id),
        }
        if log.session is not None:
            row["session_id"] = log.session.id
        if parent is not None:
            row["parent_id"] = parent.id
        return row
