"""Which fields a datapoint has, of which types, and what becomes of others."""

import dataclasses
import enum
import typing
import uuid
from collections import OrderedDict, UserDict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from hl_sessions.datapoints.fields import _READERS, Fields, check
from tests.datapoints.test_responses import CALL, CHAT, changed, choice

ID = uuid.UUID("12345678123456781234567812345678")
NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)


@dataclasses.dataclass
class Question:
    text: str


class Text(str):
    __slots__ = ()


class Place(enum.Enum):
    ANSWER = "answer"


class Unreadable(UserDict[str, Any]):
    def keys(self) -> Any:
        raise LookupError("a secret")


def checked(**fields: Any) -> dict[str, Any]:
    """The fields, when there is no problem."""
    kept, problems = check(fields)
    assert problems == ()
    return dict(kept)


def test_fields_of_the_right_types_are_kept_as_they_are() -> None:
    """Nothing is copied, as they are fixed by what comes next."""
    fields = {
        "project": "support",
        "inputs": {"question": "why?"},
        "output": "because",
        "metadata": {},
        "config": {"type": "model", "model": "gpt"},
        "created_at": "2026-01-02T12:00:00Z",
        "duration": 0.5,
        "prompt_tokens": 1,
        "save": False,
    }
    assert check(fields).fields is fields
    assert check(fields).problems == ()


def test_what_is_none_is_not_given_and_what_is_unknown_is_passed_on() -> None:
    """As the API has it."""
    assert checked(project="support", inputs=None, save=None, output=None, colour="red", size={1}) == {
        "project": "support",
        "colour": "red",
        "size": {1},
    }


def test_keys_of_providers_go_nowhere() -> None:
    """They are the user's secrets, which the vendor's client sends along."""
    assert checked(project="support", provider_api_keys={"openai": "sk-secret"}) == {"project": "support"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("inputs", Question("why?"), {"text": "why?"}),
        ("inputs", MappingProxyType({"text": "why?"}), {"text": "why?"}),
        ("inputs", OrderedDict(text="why?"), {"text": "why?"}),
        ("metadata", Question("why?"), {"text": "why?"}),
        ("reference_id", ID, str(ID)),
        ("source", Place.ANSWER, "answer"),
        ("error", ValueError("wrong"), "ValueError: wrong"),
        ("created_at", NOON, "2026-01-02T12:00:00+00:00"),
        ("created_at", NOON.astimezone().replace(tzinfo=None), NOON.astimezone().isoformat()),
        ("created_at", NOON.timestamp(), "2026-01-02T12:00:00+00:00"),
        ("created_at", Text("2026-01-02T12:00:00Z"), "2026-01-02T12:00:00Z"),
        ("duration", 2, 2),
        ("duration", timedelta(seconds=1.5), 1.5),
        ("prompt_cost", Decimal("0.0000025"), 0.0000025),
        ("output_cost", 0, 0),
        ("messages", [], []),
        ("messages", ({"role": "user", "content": "why?"},), [{"role": "user", "content": "why?"}]),
        ("messages", [Question("why?")], [Question("why?")]),
        ("feedback", {"type": "rating", "value": "good"}, [{"type": "rating", "value": "good"}]),
        ("feedback", [{"type": "rating", "value": "good"}], [{"type": "rating", "value": "good"}]),
        ("judgment", True, True),
        ("judgment", 0.5, 0.5),
        ("judgment", ["a", "b"], ["a", "b"]),
        ("output", {"answer": {1}}, '{"answer":[1]}'),
        ("output", [1, "é"], '[1,"é"]'),
        ("output", Question("why?"), '{"text":"why?"}'),
        ("output", 42, "42"),
        ("output", True, "true"),
        ("output", NOON, "2026-01-02T12:00:00+00:00"),
        ("output", ID, str(ID)),
        ("output", b"text", "text"),
        ("output", ValueError("wrong"), "ValueError: wrong"),
        ("output", {"object": "chat.completion"}, '{"object":"chat.completion"}'),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_can_be_understood_is(name: str, value: Any, expected: Any) -> None:
    """A field takes what a person would expect it to."""
    assert checked(**{name: value}) == {name: expected}


def test_numbers_of_numpy_are_numbers() -> None:
    """Counts and scores often come from there."""
    numpy = pytest.importorskip("numpy")
    assert checked(prompt_tokens=numpy.int64(5), duration=numpy.float32(0.5), save=numpy.bool_(False)) == {  # noqa: FBT003
        "prompt_tokens": 5,
        "duration": 0.5,
        "save": False,
    }


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("inputs", "secret", "inputs must be an object (dict), not str"),
        ("metadata", ["secret"], "metadata must be an object (dict), not list"),
        ("config", "secret", "config must be an object (dict), not str"),
        ("output_message", 5, "output_message must be an object (dict), not int"),
        ("project", 5, "project must be a text (str), not int"),
        ("source", Path("secret"), f"source must be a text (str), not {type(Path()).__name__}"),
        ("error", {"secret": 1}, "error must be a text (str), not dict"),
        ("session_id", object(), "session_id must be a text (str), not object"),
        ("created_at", 5, "created_at must be a datetime, or a text in ISO 8601, not int"),
        ("created_at", 1e30, "created_at is a float, which raised OverflowError when it was read"),
        ("duration", "5", "duration must be a number (int or float), not str"),
        ("duration", True, "duration must be a number (int or float), not bool"),
        ("prompt_cost", "5", "prompt_cost must be a number (int or float), not str"),
        ("prompt_tokens", 5.0, "prompt_tokens must be a whole number (int), not float"),
        ("output_tokens", True, "output_tokens must be a whole number (int), not bool"),
        ("messages", "secret", "messages must be a list of objects (dict), not str"),
        ("messages", {"role": "user"}, "messages must be a list of objects (dict), not dict"),
        ("messages", [{}, "secret"], "messages[1] must be an object (dict), not str"),
        ("feedback", "good", "feedback[0] must be an object (dict), not str"),
        ("judgment", {}, "judgment must be a number, a text or a list of texts, not dict"),
        ("inputs", Unreadable(), "inputs is a Unreadable, which raised LookupError when it was read"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else type(value).__name__,
)
def test_a_field_of_a_wrong_type_is_left_out_and_named(name: str, value: Any, problem: str) -> None:
    """All others are kept."""
    assert check({"output": "kept", name: value}) == ({"output": "kept"}, (problem,))


def test_a_save_that_is_not_understood_is_false() -> None:
    """A wrong value of save does not cause contents to be stored."""
    assert check({"output": "secret", "save": "no"}) == (
        {"output": "secret", "save": False},
        ("save must be True or False, not str",),
    )


def test_an_output_that_json_cannot_hold_is_named() -> None:
    """By its place, and the rest is kept."""
    assert check({"output": {"scores": [1, float("nan")]}}) == (
        {"output": '{"scores":[1,null]}'},
        ("output.scores[1] is NaN",),
    )


def test_an_array_is_no_type_of_a_response() -> None:
    """NumPy compares its numbers one by one, and its answer is no truth value."""
    numpy = pytest.importorskip("numpy")
    for name in ("object", "type"):
        assert checked(output={name: numpy.array([1, 2])}) == {"output": f'{{"{name}":[1,2]}}'}


def test_a_response_of_a_language_model_is_more_than_an_output() -> None:
    """What it tells is taken where nothing else is given."""
    assert checked(project="support", output=CHAT, prompt_tokens=5, output_message=None) == {
        "project": "support",
        "output": "Hello! How can I assist you today?",
        "prompt_tokens": 5,
        "output_tokens": 10,
        "config": {"type": "model", "model": "gpt-4.1-2025-04-14", "provider": "openai"},
    }
    calls = checked(output=changed(CHAT, choices=choice(content=None, tool_calls=[CALL])))
    assert "output" not in calls
    assert calls["output_message"]["tool_calls"] == [CALL]


def test_an_output_that_raises_when_it_is_looked_at_is_left_out() -> None:
    """As that of an object that is no longer bound to anything."""

    class Unbound:
        @property
        def object(self) -> str:
            raise LookupError("a secret")

    assert check({"output": Unbound(), "source": "kept"}) == (
        {"source": "kept"},
        ("output is a Unbound, which raised LookupError when it was read",),
    )


def test_each_field_of_the_api_has_a_type_and_a_line() -> None:
    """And each one that has them is of the API."""
    requests = pytest.importorskip("hl_sessions.server.protocol.requests")
    names = set(requests.LogRequest.__annotations__)
    assert Fields.__annotations__.keys() == names
    assert _READERS.keys() | {"output"} == names
    assert typing.cast("str", Fields.__doc__).count("``") >= 2 * len(names)
    assert all(f"``{name}``" in typing.cast("str", Fields.__doc__) for name in names)
