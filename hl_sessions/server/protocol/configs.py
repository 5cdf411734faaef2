"""The configs of datapoints: what a client may send, made into what the published answers allow."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Tag, model_validator

from hl_sessions.server.protocol.values import ChatMessage, Integer, JSONObject, WireModel, by_type


class _OpenModel(WireModel):
    """Keeps unknown fields too, where the published schema of the answer allows them."""

    model_config = ConfigDict(extra="allow")


class ResponseFormat(_OpenModel):
    """What a model was asked to answer in."""

    type: Literal["json_object", "json_schema"]
    json_schema: JSONObject | None = None


class ModelTool(_OpenModel):
    """A tool that a model may call: given by its name, or by the ID of one that is linked."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    parameters: JSONObject | None = None
    source: str | None = None

    @model_validator(mode="after")
    def _require_name_or_id(self) -> "ModelTool":
        if self.id is None and self.name is None:
            raise ValueError("one of 'name' and 'id' is required")
        # An answer has both.
        self.name = self.id if self.name is None else self.name
        self.id = self.name if self.id is None else self.id
        return self


class ModelConfig(WireModel):
    """Which model was called, and how."""

    type: Literal["model"] = "model"
    model: str
    name: str | None = None
    description: str | None = None
    provider: (
        Literal[
            "openai",
            "openai_azure",
            "ai21",
            "mock",
            "anthropic",
            "bedrock",
            "langchain",
            "cohere",
            "replicate",
            "google",
            "groq",
        ]
        | None
    ) = None
    endpoint: Literal["complete", "chat", "edit"] | None = None
    prompt_template: str | None = None
    chat_template: list[ChatMessage] | None = None
    tools: list[ModelTool] | None = None
    max_tokens: Integer | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: Integer | None = None
    response_format: ResponseFormat | None = None
    other: JSONObject | None = None

    @model_validator(mode="before")
    @classmethod
    def _move_unknown_fields(cls, value: Any) -> Any:
        # The published schema has no place for them but this one.
        if not isinstance(value, dict):
            return value
        unknown = value.keys() - cls.model_fields.keys() - {"id"}
        other = value.get("other") or {}
        if not unknown or not isinstance(other, dict):
            return value
        known = {name: part for name, part in value.items() if name not in unknown}
        return known | {"other": {name: value[name] for name in sorted(unknown)} | other}


class _NamedConfig(_OpenModel):
    name: str | None = None
    description: str | None = None
    other: JSONObject | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_what_only_the_server_says(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: part for name, part in value.items() if name not in {"id", "status", "created_by"}}


class ToolConfig(_NamedConfig):
    """Which tool was called, and how."""

    type: Literal["tool"]
    source: Literal["organization", "inline"] | None = None
    source_code: str | None = None
    parameters: JSONObject | None = None
    setup_schema: JSONObject | None = None
    signature: str | None = None
    is_preset: bool | None = None
    preset_name: str | None = None
    strict: bool | None = None


class AgentTool(_OpenModel):
    """A tool that an agent may call."""

    type: Literal["tool"]
    name: str
    description: str | None = None
    parameters: JSONObject | None = None
    strict: bool | None = None
    source: Literal["organization", "inline"] | None = None
    source_code: str | None = None
    other: JSONObject | None = None
    preset_name: str | None = None


class AgentConfig(_NamedConfig):
    """Which agent was called, and how."""

    type: Literal["agent"]
    agent_class: str
    tools: list[AgentTool] | None = None
    # Pydantic keeps the name "model_config" for itself.
    model: ModelConfig = Field(alias="model_config", serialization_alias="model_config")


class GenericConfig(_NamedConfig):
    """Anything else that was called."""

    type: Literal["generic"]


Config = Annotated[
    Annotated[ModelConfig, Tag("model")]
    | Annotated[ToolConfig, Tag("tool")]
    | Annotated[AgentConfig, Tag("agent")]
    | Annotated[GenericConfig, Tag("generic")],
    by_type("model", "tool", "agent", "generic"),
]


def described_config(config: Config | None, config_id: str) -> dict[str, Any]:
    """Give the config as it is answered: with its ID and, but for models, a name and a status."""
    if config is None:
        described: dict[str, Any] = {"type": "generic"}
    else:
        described = config.model_dump(exclude_none=True, by_alias=True)
    described["id"] = config_id
    if described["type"] != "model":
        described = {"name": described["type"], **described, "status": "uncommitted"}
    return described
