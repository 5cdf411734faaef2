"""What a client may send, as in the published OpenAPI document of the v4 API."""

from typing import Annotated

from pydantic import BeforeValidator, model_validator

from hl_sessions.server.protocol.configs import Config
from hl_sessions.server.protocol.values import (
    Count,
    Dollars,
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


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


class LogFeedback(WireModel):
    """What somebody thought of a datapoint, told together with it."""

    type: str
    value: Judgment
    user: str | None = None
    created_at: Timestamp | None = None


class FeedbackRequest(WireModel):
    """What somebody thought of a datapoint, or, with ``unset``, thinks no longer."""

    data_id: LogId
    type: str
    value: Judgment | None = None
    user: str | None = None
    created_at: Timestamp | None = None
    unset: bool | None = None

    @model_validator(mode="after")
    def _require_value(self) -> "FeedbackRequest":
        if self.value is None and not self.unset:
            raise ValueError("'value' is required, but for feedback to 'unset'")
        return self


class UpdateLogRequest(WireModel):
    """What may be told about a datapoint later; ``duration`` is in seconds, and costs are in dollars."""

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
    """The same, in a list: about the datapoint with the ``id`` or the ``reference_id``."""

    id: LogId | None = None
    reference_id: Reference | None = None

    @model_validator(mode="after")
    def _require_name(self) -> "UpdateLogEntry":
        if (self.id is None) == (self.reference_id is None):
            raise ValueError("one of 'id' and 'reference_id' is required")
        return self


class LogRequest(UpdateLogRequest):
    """A datapoint."""

    project: Reference | None = None
    project_id: ProjectId | None = None
    session_id: SessionId | None = None
    session_reference_id: Reference | None = None
    parent_id: LogId | None = None
    parent_reference_id: Reference | None = None
    reference_id: Reference | None = None
    source: str | None = None
    source_datapoint_id: str | None = None
    environment: str | None = None
    save: bool | None = None
    config_id: str | None = None
    feedback: Annotated[list[LogFeedback], BeforeValidator(_as_list)] | None = None
    created_at: Timestamp | None = None

    @model_validator(mode="after")
    def _check_references(self) -> "LogRequest":
        if self.session_id is not None and self.session_reference_id is not None:
            raise ValueError("at most one of 'session_id' and 'session_reference_id' is allowed")
        if self.parent_id is not None and self.parent_reference_id is not None:
            raise ValueError("at most one of 'parent_id' and 'parent_reference_id' is allowed")
        return self


class CreateProjectRequest(WireModel):
    """A new project."""

    name: Reference


class UpdateProjectRequest(WireModel):
    """What may be changed of a project."""

    name: Reference | None = None
