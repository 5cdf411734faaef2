"""The configs of datapoints: parsed from requests, and shaped for the published answers.

Parts that these answers have no place for are kept in the field ``other``: an unknown field or provider, a
tool or a format of a newer kind.
"""

from functools import cache, cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import from_json, to_json
from typing_extensions import Self

from hl_sessions.server.protocol.messages import answered_message
from hl_sessions.server.protocol.values import JSONObject, Message, Number, WireModel

_REMEMBERED: Final = 128
_LONGEST_REMEMBERED: Final = 16_384
"""The number of configs that are cached, and the longest JSON of each, in bytes."""

_Template = list[Annotated[Message, AfterValidator(answered_message)]]


class _OpenModel(WireModel):
    """Keeps unknown fields in place, where the published schema of the answer allows them."""

    model_config = ConfigDict(extra="allow")


class _Config(WireModel):
    """Keeps everything that has no place of its own in ``other``."""

    said_by_the_server: ClassVar[frozenset[str]] = frozenset({"id"})
    other: JSONObject | None = None

    @cached_property
    def described(self) -> dict[str, Any]:
        """The fields of the answer. Do not change them: equal configs share one object."""
        return self.model_dump(exclude_none=True, by_alias=True)

    @model_validator(mode="wrap")
    @classmethod
    def _move_to_other(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, dict):
            return handler(value)
        given = {
            name: part
            for name, part in value.items()
            if part is not None and name not in cls.said_by_the_server
        }
        names, required = _names_of(cls)
        is_known = given.keys() <= names or cls.model_config.get("extra") == "allow"
        unknown = set() if is_known else given.keys() - names
        try:
            return handler(_with_others(given, unknown) if unknown else given)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            movable = {detail["loc"][0] for detail in details} - {*required, "other"}
            if not movable:
                raise
            return handler(_with_others(given, unknown | movable))


@cache
def _names_of(model: type[WireModel]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the fields on the wire, and the names of the required ones."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return frozenset(fields), frozenset(name for name, field in fields.items() if field.is_required())


def _with_others(given: dict[str, Any], names: set[Any]) -> dict[str, Any]:
    other = given.get("other", {})
    if not isinstance(other, dict):
        return given
    placed = {name: part for name, part in given.items() if name not in names}
    return placed | {"other": {name: given[name] for name in sorted(names)} | other}


class ResponseFormat(_OpenModel):
    """The format that a model was asked to answer in."""

    type: Literal["json_object", "json_schema"]
    json_schema: JSONObject | None = None


class ModelTool(_OpenModel):
    """A tool that a model may call, given by its name or by the ID of a linked one."""

    id: str
    name: str
    description: str | None = None
    parameters: JSONObject | None = None
    source: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, value: Any) -> Any:
        # Answers require both. Newer tools have a type instead, and their details in a field of that name.
        if not isinstance(value, dict):
            return value
        details = value.get("function")
        names = (
            value.get("name"),
            value.get("id"),
            details.get("name") if isinstance(details, dict) else None,
            value.get("type"),
        )
        name = next((name for name in names if name is not None), None)
        return {"id": name, "name": name} | {key: part for key, part in value.items() if part is not None}


class ModelConfig(_Config):
    """The model that was called, and its parameters."""

    type: Literal["model"] = "model"
    model: str
    name: str | None = None
    description: str | None = None
    provider: (
        Literal[
            "openai",
            "openai_azure",
            "mock",
            "anthropic",
            "bedrock",
            "cohere",
            "replicate",
            "google",
            "groq",
        ]
        | None
    ) = None
    endpoint: Literal["complete", "chat", "edit"] | None = None
    prompt_template: str | None = None
    chat_template: _Template | None = None
    tools: list[ModelTool] | None = None
    max_tokens: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    stop: str | list[str] | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    seed: int | None = None
    response_format: ResponseFormat | None = None


class _NamedConfig(_Config, _OpenModel):
    said_by_the_server = frozenset({"id", "status", "created_by"})
    name: str | None = None
    description: str | None = None


class ToolConfig(_NamedConfig):
    """The tool that was called, and its parameters."""

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
    """The agent that was called, and its parameters."""

    type: Literal["agent"]
    agent_class: str
    tools: list[AgentTool] | None = None
    # Pydantic reserves the name "model_config".
    model: ModelConfig = Field(alias="model_config", serialization_alias="model_config")


class GenericConfig(_NamedConfig):
    """Any other code that was called."""

    type: Literal["generic"]


_TYPES = ("model", "tool", "agent", "generic")


def _type_of(value: object) -> str | None:
    tag = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if tag is None:
        return "model"
    return tag if isinstance(tag, str) else None


_Checked = Annotated[
    Annotated[ModelConfig, Tag("model")]
    | Annotated[ToolConfig, Tag("tool")]
    | Annotated[AgentConfig, Tag("agent")]
    | Annotated[GenericConfig, Tag("generic")],
    # Pydantic could choose the type by itself, but its error message would repeat the value of the field.
    Discriminator(
        _type_of,
        custom_error_type="unknown_type",
        custom_error_message=f"The field 'type' has to be one of {', '.join(_TYPES)}",
    ),
]


def _check_once(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Check a config, unless it equals a cached one: most configs do."""
    if isinstance(value, dict):
        json = to_json(value)
        if len(json) <= _LONGEST_REMEMBERED:
            try:
                return _checked(json)
            except ValidationError:
                pass  # the error cached here does not know its place in this request
    return check(value)


Config = Annotated[_Checked, WrapValidator(_check_once)]

_adapter: Final = TypeAdapter[_Checked](_Checked)


@lru_cache(_REMEMBERED)
def _checked(json: bytes) -> _Checked:
    return _adapter.validate_python(from_json(json))


def described_config(config: Config | None, config_id: str) -> dict[str, Any]:
    """Return the config as it is answered: with its ID and, except for models, a name and a status."""
    if config is None:
        described: dict[str, Any] = {"type": "generic"}
    else:
        described = config.described
    if described["type"] == "model":
        return {**described, "id": config_id}
    return {"name": described["type"], **described, "id": config_id, "status": "uncommitted"}
