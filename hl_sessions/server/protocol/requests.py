"""The requests that a client may send, as in the published OpenAPI document of the v4 API."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator, with_config
from pydantic_core import to_json

# Pydantic needs the backport before Python 3.12.
from typing_extensions import TypedDict

from hl_sessions.server.protocol.configs import Config
from hl_sessions.server.protocol.feedback_types import FeedbackTypes
from hl_sessions.server.protocol.values import (
    Count,
    Dollars,
    ErrorText,
    JSONObject,
    Judgment,
    LogId,
    Message,
    ProjectId,
    Reference,
    SessionId,
    Timestamp,
    WireModel,
)

_LONGEST_METADATA: Final = 16_384
"""The longest metadata of a session, in bytes."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


class LogFeedback(WireModel):
    """Feedback on a datapoint that is logged together with it."""

    type: str
    value: Judgment
    user: str | None = None
    created_at: Timestamp | None = None


class FeedbackRequest(WireModel):
    """Feedback on a datapoint or a session, or with ``unset`` the removal of one.

    ``reference_id`` is the caller's own ID for the datapoint, in place of ``data_id``.
    """

    data_id: LogId | None = None
    reference_id: Reference | None = None
    session_id: SessionId | None = None
    type: str
    value: Judgment | None = None
    user: str | None = None
    created_at: Timestamp | None = None
    unset: bool | None = None

    @model_validator(mode="after")
    def _require_value(self) -> "FeedbackRequest":
        if self.value is None and not self.unset:
            raise ValueError("'value' is required, except to 'unset' feedback")
        return self


class UpdateLogRequest(WireModel):
    """Changes of a datapoint; ``duration`` is in seconds, and costs are in dollars."""

    output: str | None = None
    error: str | None = None
    duration: float | None = None
    inputs: JSONObject | None = None
    messages: list[Message] | None = None
    output_message: Message | None = None
    metadata: JSONObject | None = None
    config: Config | None = None
    stdout: str | None = None
    judgment: Judgment | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_cost: Dollars | None = None
    output_cost: Dollars | None = None
    provider_request: JSONObject | None = None
    provider_response: JSONObject | None = None


class UpdateLogEntry(UpdateLogRequest):
    """An entry of a list of changes, for the datapoint with the ``id`` or the ``reference_id``."""

    id: LogId | None = None
    reference_id: Reference | None = None

    @model_validator(mode="after")
    def _require_name(self) -> "UpdateLogEntry":
        if (self.id is None) == (self.reference_id is None):
            raise ValueError("one of 'id' and 'reference_id' is required")
        return self


@with_config(WireModel.model_config)
class LogRequest(TypedDict, total=False):
    """A datapoint; costs are in dollars."""

    output: str | None
    error: ErrorText | None
    duration: float | None
    project: Reference | None
    project_id: ProjectId | None
    session_id: SessionId | None
    session_reference_id: Reference | None
    parent_id: LogId | None
    parent_reference_id: Reference | None
    reference_id: Reference | None
    inputs: JSONObject | None
    messages: list[Message] | None
    output_message: Message | None
    source: str | None
    source_datapoint_id: str | None
    environment: str | None
    metadata: JSONObject | None
    save: bool | None
    config: Config | None
    config_id: str | None
    feedback: Annotated[list[LogFeedback], BeforeValidator(_as_list)] | None
    created_at: Timestamp | None
    stdout: str | None
    judgment: Judgment | None
    prompt_tokens: Count | None
    output_tokens: Count | None
    prompt_cost: Dollars | None
    output_cost: Dollars | None
    provider_request: JSONObject | None
    provider_response: JSONObject | None


def _check_references(given: LogRequest) -> LogRequest:
    if given.get("session_id") is not None and given.get("session_reference_id") is not None:
        raise ValueError("at most one of 'session_id' and 'session_reference_id' is allowed")
    if given.get("parent_id") is not None and given.get("parent_reference_id") is not None:
        raise ValueError("at most one of 'parent_id' and 'parent_reference_id' is allowed")
    return given


# A dict takes half the time of a model, and a list has many of them.
ConsistentLogRequest = Annotated[LogRequest, AfterValidator(_check_references)]


def _require_short(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(to_json(metadata)) > _LONGEST_METADATA:
        raise ValueError(f"it may have {_LONGEST_METADATA:,} bytes as JSON")
    return metadata


# Limited, because each list and each page of sessions reads it.
_Label = Annotated[str, Field(max_length=512)]
_Metadata = Annotated[JSONObject, AfterValidator(_require_short)]


class UpdateSessionRequest(WireModel):
    """Changes of a session; ``metadata`` replaces the stored one."""

    name: _Label | None = None
    user: _Label | None = None
    metadata: _Metadata | None = None
    ended_at: Timestamp | None = None
    previous_id: SessionId | None = None


class CreateSessionRequest(WireModel):
    """The fields of a new session.

    ``reference_id`` is the caller's own ID for it. ``previous_id`` is the ID of the session before it in the
    same conversation, which need not exist.
    """

    reference_id: Reference | None = None
    name: _Label | None = None
    user: _Label | None = None
    metadata: _Metadata | None = None
    previous_id: SessionId | None = None


class CreateProjectRequest(WireModel):
    """The fields of a new project."""

    name: Reference


class UpdateProjectRequest(WireModel):
    """Changes of a project; ``feedback_types`` replaces the types that it had defined."""

    name: Reference | None = None
    feedback_types: FeedbackTypes | None = None
