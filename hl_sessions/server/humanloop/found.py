"""The records found in saved files, in terms of the tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias


class UnreadableError(ValueError):
    """The content of a file is not as expected; the message names the problem."""


@dataclass(frozen=True)
class Project:
    """A project.

    Args:
        id: The ID it gets if no project has its name; ``None`` for a new ID.
        name: Its name, by which it is recognised.
        created_at: The time of its creation, if known.
    """

    id: str | None
    name: str
    created_at: datetime | None = None


@dataclass(frozen=True)
class Session:
    """A session.

    Args:
        id: Its ID.
        created_at: The time of its start.
        told: Its other values, by the names of the columns.
        begins_with_datapoints: Whether it is only known from its datapoints, and as old as the first.
    """

    id: str
    created_at: datetime
    told: Mapping[str, Any]
    begins_with_datapoints: bool = False


@dataclass(frozen=True)
class Datapoint:
    """A datapoint.

    Args:
        id: Its ID.
        project: Its project.
        session: Its session, if it has one.
        parent_id: The ID of the datapoint that it is nested under, if there is one.
        created_at: The time of its start.
        columns: Its other values, by the names of the columns.
    """

    id: str
    project: Project
    session: Session | None
    parent_id: str | None
    created_at: datetime
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Judgment:
    """The judgment of an evaluator or a person on a datapoint.

    Args:
        id: Its ID as feedback.
        log_id: The ID of the datapoint.
        columns: Its values, by the names of the columns.
    """

    id: str
    log_id: str
    columns: Mapping[str, Any]


Record: TypeAlias = Project | Session | Datapoint | Judgment


@dataclass
class Found:
    """Records that are stored in one transaction, each once.

    Args:
        projects: The projects, by name.
        sessions: The sessions that have entries of their own, by ID.
        datapoints: The datapoints, by ID.
        judgments: The judgments, by ID.
    """

    projects: dict[str, Project] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    datapoints: dict[str, Datapoint] = field(default_factory=dict)
    judgments: dict[str, Judgment] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Add a record, unless it is already there; several files may hold the same."""
        match record:
            case Project():
                self.projects.setdefault(record.name, record)
            case Session():
                self.sessions.setdefault(record.id, record)
            case Datapoint():
                self.projects.setdefault(record.project.name, record.project)
                self.datapoints.setdefault(record.id, record)
            case Judgment():
                self.judgments.setdefault(record.id, record)

    def __len__(self) -> int:
        """Return how many records there are."""
        return len(self.projects) + len(self.sessions) + len(self.datapoints) + len(self.judgments)

    def versions(self) -> set[str]:
        """Return the IDs of the configs of the datapoints."""
        given = (datapoint.columns.get("config_id") for datapoint in self.datapoints.values())
        return {config_id for config_id in given if config_id is not None}

    def parents_first(self) -> Iterator[Datapoint]:
        """Yield the datapoints, each after the one that it is nested under."""
        passed: set[str] = set()
        for datapoint in self.datapoints.values():
            chain: list[Datapoint] = []
            above: Datapoint | None = datapoint
            while above is not None and above.id not in passed:
                passed.add(above.id)
                chain.append(above)
                above = None if above.parent_id is None else self.datapoints.get(above.parent_id)
            yield from reversed(chain)
