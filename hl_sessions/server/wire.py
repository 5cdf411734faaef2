"""What a client may send to ``/logs``, as in the published OpenAPI document of the v4 API.

Unknown fields are dropped. An optional field may also be ``null``, which means the same as leaving it out.
"""

import re
from datetime import datetime, timezone
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hl_sessions.server.identifiers import LOG, PROJECT, SESSION, identifier_pattern

_REQUIRED_IN_CONFIG: Final[dict[str, dict[str, type]]] = {
    "model": {"model": str},
    "tool": {"name": str},
    "agent": {"agent_class": str, "model_config": dict},
    "generic": {},
}


def _require_date_and_time(value: object) -> object:
    # Pydantic would also take numbers, and digits, as seconds since 1970.
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:", value, re.ASCII):
        raise ValueError("give date and time as in 2025-09-08T12:00:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("the date is out of range") from None


def _as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _check_config(config: dict[str, Any]) -> dict[str, Any]:
    required = _REQUIRED_IN_CONFIG.get(kind) if isinstance(kind := config.get("type"), str) else None
    if required is None:
        raise ValueError(f"the type has to be one of {', '.join(_REQUIRED_IN_CONFIG)}")
    for name, kind_of_value in required.items():
        if not isinstance(config.get(name), kind_of_value):
            raise ValueError(f"{name!r} is missing or of the wrong type")  # noqa: TRY004
    return {name: value for name, value in config.items() if value is not None}


Reference = Annotated[str, Field(min_length=1)]
ProjectId = Annotated[str, Field(pattern=identifier_pattern(PROJECT))]
SessionId = Annotated[str, Field(pattern=identifier_pattern(SESSION))]
LogId = Annotated[str, Field(pattern=identifier_pattern(LOG))]
Timestamp = Annotated[
    datetime, Field(strict=False), BeforeValidator(_require_date_and_time), AfterValidator(_in_utc)
]
# The largest integer of a database.
TokenCount = Annotated[int, Field(ge=0, lt=2**63)]
Judgment = bool | int | float | list[str] | str


class _WireModel(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class ChatMessage(_WireModel):
    """One message of a chat."""

    role: Literal["user", "assistant", "system", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call: dict[str, Any] | None = None


class FeedbackRequest(_WireModel):
    """What somebody thought of a datapoint."""

    type: str
    value: Judgment
    user: str | None = None
    created_at: Timestamp | None = None


class UpdateLogRequest(_WireModel):
    """What may be told about a datapoint later; ``duration`` is in seconds."""

    output: str | None = None
    error: str | None = None
    duration: float | None = None


class LogRequest(UpdateLogRequest):
    """A datapoint; costs are in dollars."""

    project: Reference | None = None
    project_id: ProjectId | None = None
    session_id: SessionId | None = None
    session_reference_id: Reference | None = None
    parent_id: LogId | None = None
    parent_reference_id: Reference | None = None
    reference_id: Reference | None = None
    inputs: dict[str, Any] | None = None
    messages: list[ChatMessage] | None = None
    output_message: ChatMessage | None = None
    source: str | None = None
    source_datapoint_id: str | None = None
    environment: str | None = None
    metadata: dict[str, Any] | None = None
    save: bool | None = None
    config: Annotated[dict[str, Any], AfterValidator(_check_config)] | None = None
    config_id: str | None = None
    feedback: Annotated[list[FeedbackRequest], BeforeValidator(_as_list)] | None = None
    created_at: Timestamp | None = None
    stdout: str | None = None
    judgment: Judgment | None = None
    prompt_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    prompt_cost: float | None = None
    output_cost: float | None = None
    provider_request: dict[str, Any] | None = None
    provider_response: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_references(self) -> "LogRequest":
        if self.session_id is not None and self.session_reference_id is not None:
            raise ValueError("at most one of 'session_id' and 'session_reference_id' is allowed")
        if self.parent_id is not None and self.parent_reference_id is not None:
            raise ValueError("at most one of 'parent_id' and 'parent_reference_id' is allowed")
        return self
