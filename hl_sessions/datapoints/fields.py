"""The fields of a datapoint: their types, and the conversion of other types."""

from __future__ import annotations

import enum
import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol, TypeAlias, TypedDict

from hl_sessions.datapoints.plain import plain
from hl_sessions.datapoints.responses import fields_of
from hl_sessions.datapoints.values import freeze
from hl_sessions.process.late_imports import late_import

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import timedelta

__all__ = [
    "MADE_REFERENCE_ID",
    "NAMES_OF_A_SESSION",
    "OF_BEGINNING",
    "Checked",
    "Fields",
    "changes",
    "check",
    "is_of_named_session",
    "meant_field",
]

#: The fields by which a datapoint names its session.
NAMES_OF_A_SESSION: Final = frozenset({"session_id", "session_reference_id"})
#: The reference IDs that the recorders make. Those that are given may name another datapoint, too.
MADE_REFERENCE_ID: Final = re.compile(r"log_[0-9a-f]{16}_[0-9a-f]+")
#: The fields that the API does not change on a stored datapoint.
OF_BEGINNING: Final = NAMES_OF_A_SESSION | {
    *("project", "project_id", "parent_id", "parent_reference_id", "source", "environment", "feedback"),
    *("created_at", "config_id", "source_datapoint_id", "save"),
}
#: The fields that are not kept with ``save=False``.
_CONTENTS: Final = frozenset(
    {
        *("inputs", "messages", "output", "output_message", "error", "stdout", "judgment"),
        *("provider_request", "provider_response"),
    }
)


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _Attrs(Protocol):
    __attrs_attrs__: ClassVar[Any]


class _Struct(Protocol):
    __struct_fields__: ClassVar[tuple[str, ...]]


class _Model(Protocol):
    def model_dump(self) -> dict[str, Any]: ...


Object: TypeAlias = Mapping[str, Any] | _Dataclass | _Attrs | _Struct | _Model
Text: TypeAlias = str | uuid.UUID | enum.Enum


class Fields(TypedDict, total=False):
    """The fields of ``POST /logs``, with all types that are accepted for them.

    - ``project``: the name of the project, which is created on first use; or ``project_id``.
    - ``session_id`` or ``session_reference_id``: the session, if it is not the current one.
    - ``parent_id`` or ``parent_reference_id``: the datapoint of the same session that this one is nested
      under.
    - ``reference_id``: a unique ID of the application for this datapoint.
    - ``inputs``: the inputs, by name.
    - ``output``: the result. A text; a response of OpenAI's or Anthropic's client, whose text, tokens and
      model are logged; anything else as JSON.
    - ``messages``: the messages for a model.
    - ``output_message``: the message of the model, if it is more than a text.
    - ``error``: the failure, a text or an exception.
    - ``source``: the place in the application.
    - ``metadata``: other values, by name.
    - ``config``: the called model or tool: an object with ``type`` ``model``, ``tool``, ``agent`` or
      ``generic``.
    - ``config_id``, ``source_datapoint_id``: IDs of the server.
    - ``environment``: the environment of the application, such as ``production``.
    - ``feedback``: the opinion of a person: one or more objects with ``type`` and ``value``.
    - ``judgment``: the result of an evaluator.
    - ``created_at``: the time of the beginning; local time, if there is no time zone.
    - ``duration``: seconds.
    - ``prompt_tokens``, ``output_tokens``: numbers of tokens.
    - ``prompt_cost``, ``output_cost``: dollars.
    - ``provider_request``, ``provider_response``: the request to the model's provider, and its response.
    - ``stdout``: the printed text.
    - ``save``: whether to keep inputs, outputs and other contents; true by default.
    """

    project: Text
    project_id: str
    session_id: str
    session_reference_id: Text
    parent_id: str
    parent_reference_id: Text
    reference_id: Text
    inputs: Object
    output: Any
    messages: Sequence[Object]
    output_message: Object
    error: Text | BaseException
    source: Text
    metadata: Object
    config: Object
    config_id: str
    source_datapoint_id: str
    environment: Text
    feedback: Object | Sequence[Object]
    judgment: bool | float | str | list[str]
    created_at: datetime | str
    duration: float | timedelta
    prompt_tokens: int
    output_tokens: int
    prompt_cost: float | Decimal
    output_cost: float | Decimal
    provider_request: Object
    provider_response: Object
    stdout: str
    save: bool


class Checked(NamedTuple):
    """Fields as the API takes them.

    Attributes:
        fields: the fields that are kept.
        problems: a text for each field that is not. It names the field, never the value.
    """

    fields: Mapping[str, Any]
    problems: tuple[str, ...]


def check(fields: Mapping[str, Any]) -> Checked:
    """Return the fields with values of the types that the API takes.

    Other types are converted, such as a dataclass to an object, or an exception to a text. If ``output`` is a
    response of a language model, its fields are added unless they are given. A field of a wrong type is left
    out, and all others are kept. ``None`` counts as not given. Unknown fields are passed on.

    A ``save`` of a wrong type counts as false, as that cannot store too much.
    """
    doubtful = [name for name, value in fields.items() if type(value) is not _TYPES.get(name)]
    if not doubtful:
        return Checked(fields, ())
    return _read(fields, doubtful)


def is_of_named_session(fields: Mapping[str, Any]) -> bool:
    """Whether the fields of a datapoint, as the application has given them, name its session."""
    return fields.get("session_id") is not None or fields.get("session_reference_id") is not None


def changes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the API changes on a stored datapoint, without those that it is not to keep."""
    left_out = OF_BEGINNING | _CONTENTS if fields.get("save") is False else OF_BEGINNING
    return {name: value for name, value in fields.items() if name not in left_out}


def meant_field(name: str) -> str | None:
    """Return the field that a misspelt name is closest to, ``None`` if there is none."""
    fields = Fields.__annotations__
    if name in fields:
        return None
    with late_import:  # only a misspelt name needs it
        from difflib import get_close_matches
    return next(iter(get_close_matches(name, fields, 1)), None)


class _WrongTypeError(TypeError):
    """A value is of a type that its field does not take."""

    def __init__(self, expected: str, value: object, place: str = "") -> None:
        super().__init__(f"{place} must be {expected}, not {type(value).__name__}")


def _read(fields: Mapping[str, Any], doubtful: Iterable[str]) -> Checked:
    kept = dict(fields)
    told: Mapping[str, Any] = {}
    problems: list[str] = []
    for name in doubtful:
        value = kept.pop(name)
        if value is None or name in _SECRETS:
            continue
        try:
            if name == "output":
                told, more = _output(value)
                problems += more
            else:
                kept[name] = _READERS[name](value) if name in _READERS else value
        except _WrongTypeError as error:
            problems.append(f"{name}{error}")
        except Exception as error:  # noqa: BLE001 - a value of the application may raise any
            kind = type(value).__name__
            problems.append(f"{name} is a {kind}, which raised {type(error).__name__} when it was read")
    if "save" not in kept and fields.get("save") is not None:
        kept["save"] = False
    return Checked({**told, **kept}, tuple(problems))


def _output(value: Any) -> Checked:
    told = fields_of(value)
    if told is not None:
        return Checked(told, ())
    body, problems = freeze({"output": value})
    output = json.loads(body)["output"]
    text = output if isinstance(output, str) else body[len(b'{"output":') : -1].decode()
    return Checked({"output": text}, problems)


def _reader(expected: str, *kinds: type) -> Callable[[Any], Any]:
    """Return a function that returns the plain form of a value, if it is of one of these types."""

    def read(value: Any) -> Any:
        simple = plain(value)
        if type(simple) not in kinds:  # by the exact type, as a bool is an int
            raise _WrongTypeError(expected, value)
        return simple

    return read


_read_object = _reader("an object (dict)", dict)
_read_number = _reader("a number (int or float)", int, float)


def _text(value: Any) -> str:
    if isinstance(value, (enum.Enum, uuid.UUID, BaseException)):
        value = plain(value)
    if not isinstance(value, str):  # other objects are not turned into texts
        raise _WrongTypeError("a text (str)", value)
    return value


def _cost(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else _read_number(value)


def _moment(value: Any) -> str:
    if type(value) is float:  # from time.time(), for datapoints without a created_at of the application
        value = datetime.fromtimestamp(value, timezone.utc)
    if isinstance(value, datetime):
        # Without a time zone, Python takes it for local time, but the server for UTC.
        return (value.astimezone() if value.tzinfo is None else value).isoformat()
    if not isinstance(value, str):
        raise _WrongTypeError("a datetime, or a text in ISO 8601", value)
    return value


def _objects(value: Any) -> list[Any]:
    parts = plain(value)
    if not isinstance(parts, list):
        raise _WrongTypeError("a list of objects (dict)", value)
    for index, part in enumerate(parts):
        if not isinstance(part, dict) and not isinstance(plain(part), dict):
            raise _WrongTypeError("an object (dict)", part, f"[{index}]")
    return parts


def _one_or_more_objects(value: Any) -> list[Any]:
    return _objects(value if isinstance(value, (list, tuple)) else [value])


#: The user's keys for OpenAI and others, which the vendor's client sends along. They are never kept or sent.
_SECRETS: Final = frozenset({"provider_api_keys"})

#: Values of exactly these types need no check or conversion.
_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(
        (
            "project",
            "project_id",
            "session_id",
            "session_reference_id",
            "parent_id",
            "parent_reference_id",
            "reference_id",
            "output",
            "error",
            "source",
            "config_id",
            "source_datapoint_id",
            "environment",
            "stdout",
            "created_at",
        ),
        str,
    ),
    **dict.fromkeys(
        ("inputs", "output_message", "metadata", "config", "provider_request", "provider_response"), dict
    ),
    **dict.fromkeys(("prompt_tokens", "output_tokens"), int),
    **dict.fromkeys(("duration", "prompt_cost", "output_cost"), float),
    "save": bool,
}

_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    **{name: _text for name, kind in _TYPES.items() if kind is str},
    **{name: _read_object for name, kind in _TYPES.items() if kind is dict},
    **{name: _reader("a whole number (int)", int) for name, kind in _TYPES.items() if kind is int},
    "created_at": _moment,
    "duration": _read_number,
    "prompt_cost": _cost,
    "output_cost": _cost,
    "save": _reader("True or False", bool),
    "judgment": _reader("a number, a text or a list of texts", bool, int, float, str, list),
    "messages": _objects,
    "feedback": _one_or_more_objects,
}
