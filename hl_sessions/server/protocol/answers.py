"""The answers of the calls, for the OpenAPI document. Fields without a value are left out, never ``null``."""

from datetime import datetime
from typing import Any, Final, Literal

# Pydantic needs the backport before Python 3.12.
from typing_extensions import NotRequired, TypedDict

from hl_sessions.server.protocol.feedback_types import FeedbackType
from hl_sessions.server.protocol.values import Judgment


class Problem(TypedDict):
    """The reason why a call was refused."""

    detail: str


class FieldProblem(TypedDict):
    """A problem with one place of the request."""

    loc: list[str | int]
    msg: str
    type: str


class FieldProblems(TypedDict):
    """The problems of the request."""

    detail: list[FieldProblem]


class CreatedSession(TypedDict):
    """The ID of a new session."""

    id: str


class SessionProject(TypedDict):
    """A project with datapoints in a session."""

    id: str
    name: str
    type: Literal["prompt"]


class FeedbackAnswer(TypedDict):
    """Feedback on a datapoint or a session."""

    id: str
    data_id: NotRequired[str]
    session_id: NotRequired[str]
    type: str
    value: Judgment
    user: NotRequired[str]
    created_at: datetime


class SessionAnswer(TypedDict):
    """A session, with the inputs of its first datapoint and the output of its last one."""

    id: str
    reference_id: NotRequired[str]
    projects: list[SessionProject]
    datapoints_count: int
    first_inputs: NotRequired[dict[str, Any]]
    last_output: NotRequired[str]
    name: NotRequired[str]
    user: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    created_at: datetime
    updated_at: datetime
    ended_at: NotRequired[datetime]
    previous_id: NotRequired[str]
    feedback: NotRequired[list[FeedbackAnswer]]


class SessionPage(TypedDict):
    """A page of sessions."""

    records: list[SessionAnswer]
    page: int
    size: int
    total: int


class CreatedLog(TypedDict):
    """The IDs of a new datapoint, of its project and, if it has one, its session."""

    id: str
    project_id: str
    session_id: NotRequired[str]


class LogAnswer(TypedDict):
    """A datapoint: its logged fields, and those that the server adds."""

    id: str
    reference_id: NotRequired[str]
    project: str
    project_id: str
    session_id: NotRequired[str]
    session_reference_id: NotRequired[str]
    parent_id: NotRequired[str]
    parent_reference_id: NotRequired[str]
    created_at: datetime
    updated_at: datetime
    save: bool
    config: dict[str, Any]
    config_id: NotRequired[str]
    environment: NotRequired[str]
    source: NotRequired[str]
    source_datapoint_id: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    inputs: NotRequired[dict[str, Any]]
    messages: NotRequired[list[dict[str, Any]]]
    output: NotRequired[str]
    output_message: NotRequired[dict[str, Any]]
    judgment: NotRequired[Judgment]
    error: NotRequired[str]
    stdout: NotRequired[str]
    duration: NotRequired[float]
    prompt_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    prompt_cost: NotRequired[float]
    output_cost: NotRequired[float]
    provider_request: NotRequired[dict[str, Any]]
    provider_response: NotRequired[dict[str, Any]]
    feedback: NotRequired[list[FeedbackAnswer]]
    evaluation_results: list[dict[str, Any]]
    observability_status: Literal["completed"]


class LogPage(TypedDict):
    """A page of datapoints."""

    records: list[LogAnswer]
    page: int
    size: int
    total: int


RESULTS: Final = ("output", "error", "duration")
"""The fields of which a datapoint that has ended has at least one."""


class Arrived(TypedDict):
    """Datapoints that have ended or arrived, and the ``after`` that asks for the following ones."""

    next: str
    records: list[LogAnswer]


class ProjectAnswer(TypedDict):
    """A project, with the number of its datapoints."""

    id: str
    name: str
    users: list[dict[str, Any]]
    data_count: int
    feedback_types: list[FeedbackType]
    team_id: str
    created_at: datetime
    updated_at: datetime


class ProjectPage(TypedDict):
    """A page of projects."""

    records: list[ProjectAnswer]
    page: int
    size: int
    total: int
