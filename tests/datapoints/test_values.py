"""The conversion of logged values."""

import array
import dataclasses
import enum
import json
import sys
import uuid
from collections import ChainMap, OrderedDict, UserDict, UserList, UserString, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
import wrapt

from hl_sessions.datapoints import values
from hl_sessions.datapoints.fixed import fix, fixed_fields
from hl_sessions.datapoints.plain import MOST_VALUES
from hl_sessions.datapoints.values import Frozen, freeze, snapshot


class Color(enum.Enum):
    RED = "red"


class Status(str, enum.Enum):
    OPEN = "open"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    seen: datetime


@dataclasses.dataclass
class Slotted:
    __slots__ = ("given", "left")
    given: int
    left: int


class Unreadable:
    def __str__(self) -> str:
        raise LookupError("a secret")


class Text:
    def __str__(self) -> str:
        return "its text"


class Meters(float):
    pass


class Name(str):
    __slots__ = ()


class Moment:
    def isoformat(self) -> str:
        return "2026-01-01"


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - one without types, too, is a tuple
NOW = datetime(2026, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001 - naive ones are kept as they are
UTC_NOW = NOW.replace(tzinfo=timezone.utc)
ID = uuid.UUID("12345678123456781234567812345678")


def kept(value: Any) -> Any:
    """What stands in the JSON for a value that is no problem, now or later."""
    body, problems = freeze({"inputs": {"value": value}})
    assert problems == ()
    assert freeze(snapshot({"inputs": {"value": value}}).fields) == (body, ())
    return json.loads(body)["inputs"]["value"]


def some_slotted() -> Slotted:
    slotted = Slotted(1, 2)
    del slotted.left
    return slotted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ('€ 𝄞 \0 " \\ \n', '€ 𝄞 \0 " \\ \n'),
        (Name("text"), "text"),
        (True, True),
        (None, None),
        (2**70, 2**70),
        (1.5, 1.5),
        (Meters(1.5), 1.5),
        (Level.HIGH, 3),
        (Status.OPEN, "open"),
        (Color.RED, "red"),
        (complex(1, 2), "(1+2j)"),
        (NOW, "2026-01-02T03:04:05.000006"),
        (UTC_NOW, "2026-01-02T03:04:05.000006+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1, milliseconds=500), 60.5),
        (Moment(), "2026-01-01"),
        (ID, "12345678-1234-5678-1234-567812345678"),
        (Decimal("19.99"), 19.99),
        (Decimal(7), 7),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789"),
        (Decimal("1E+400"), "1E+400"),
        (Decimal("NaN"), "NaN"),
        (Decimal("sNaN"), "sNaN"),
        (Fraction(1, 4), 0.25),
        (Fraction(1, 3), "1/3"),
        (Fraction(10**400), str(10**400)),
        (PurePosixPath("/etc/hosts"), "/etc/hosts"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\xd8", "/9g="),
        (bytearray(b"text"), "text"),
        (memoryview(b"text"), "text"),
        ((1, "a"), [1, "a"]),
        (Pair(1, ID), [1, str(ID)]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({1j}, ["1j"]),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (range(10**30), f"range(0, {10**30})"),
        (array.array("d", [0.5]), [0.5]),
        (UserList([1]), [1]),
        (UserString("text"), "text"),
        (UserDict({"a": 1}), {"a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (MappingProxyType({"a": {1}}), {"a": [1]}),
        ({"b": 1, "a": 2}.keys(), ["b", "a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [["a", 1]]),
        (Point(1, NOW), {"x": 1, "seen": "2026-01-02T03:04:05.000006"}),
        (some_slotted(), {"given": 1}),
        (Point, f"<class '{Point.__module__}.Point'>"),
        (ValueError("wrong"), "ValueError: wrong"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SimpleNamespace(a=1), "namespace(a=1)"),
        (Text(), "its text"),
        (wrapt.ObjectProxy({"a": [1]}), {"a": [1]}),
        (wrapt.ObjectProxy("text"), "text"),
        (wrapt.ObjectProxy(True), True),  # noqa: FBT003
        (wrapt.ObjectProxy(5), 5),
        (wrapt.ObjectProxy(0.5), 0.5),
        (wrapt.ObjectProxy(None), None),
        (wrapt.ObjectProxy(Point(1, NOW)), {"x": 1, "seen": "2026-01-02T03:04:05.000006"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_become_what_a_person_expects(value: Any, expected: Any) -> None:
    """Also those that JSON does not know, and the same where another value needs care."""
    assert kept(value) == expected
    body, problems = freeze({"inputs": {"value": value, "score": float("nan")}})
    assert json.loads(body) == {"inputs": {"value": expected, "score": None}}
    assert problems == ("inputs.score is NaN",)


@pytest.mark.parametrize("mock", [Mock(), MagicMock()], ids=["Mock", "MagicMock"])
def test_an_object_with_every_method_is_a_text(mock: Mock) -> None:
    """What a mock would answer says nothing about it."""
    assert isinstance(kept(mock), str)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        (Level.HIGH, "3"),
        (Status.OPEN, "open"),
        (Color.RED, "red"),
        (NOW, "2026-01-02T03:04:05.000006"),
        (ID, str(ID)),
        (Decimal("1.5"), "1.5"),
        (b"text", "text"),
        ((1, "a"), "(1, 'a')"),
        (frozenset({1}), "frozenset({1})"),
        (Point, f"<class '{Point.__module__}.Point'>"),
    ],
    ids=str,
)
def test_keys_become_texts(key: Any, expected: str) -> None:
    """Those that JSON's own encoder refuses, too, beside any other keys."""
    assert kept({key: 1}) == {expected: 1}
    assert kept({key: 1, (): 2}) == {expected: 1, "()": 2}
    assert json.loads(freeze({key: 1}).body) == {expected: 1}


def test_what_has_to_be_consumed_or_awaited_is_a_problem() -> None:
    """A forgotten ``await``, or a stream in place of its text. Iterators are the application's."""

    async def answer() -> str:
        return "42"

    numbers, coroutine = map(int, "12"), answer()
    generated = (number for number in [1, 2])
    body, problems = freeze({"inputs": {"a": numbers, "b": [generated], "c": coroutine}})
    coroutine.close()
    assert json.loads(body) == {"inputs": {"a": "<map>", "b": ["<generator>"], "c": "<coroutine>"}}
    assert problems == (
        "inputs.a is a map, which is not consumed: log what it yields",
        "inputs.b[0] is a generator, which is not consumed: log what it yields",
        "inputs.c is a coroutine, which was not awaited",
    )
    assert [*numbers, *generated] == [1, 2, 1, 2]


def test_a_snapshot_does_not_change() -> None:
    """Nor is what was given changed by taking it."""
    point = Point(1, NOW)
    unhashed: dict[str, Any] = {"tags": [{2}], "point": point, "more": UserDict({"a": [3]})}
    inputs: dict[str, Any] = {"documents": [1, unhashed, (bytearray(b"text"),)]}
    before = str(inputs)
    frozen = freeze({"inputs": inputs})
    taken = snapshot({"inputs": inputs})
    assert str(inputs) == before
    point.x = 2
    unhashed["tags"][0].add(3)
    unhashed["more"]["a"].append(4)
    inputs["documents"][2][0].clear()
    inputs["documents"].append(3)
    assert taken.problems == ()
    assert freeze(taken.fields) == frozen
    assert json.loads(frozen.body)["inputs"]["documents"][1]["tags"] == [[2]]


def test_models_of_pydantic_are_objects() -> None:
    """As Pydantic itself writes them, and by their fields where it cannot."""
    pytest.importorskip("pydantic")
    import pydantic

    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        seen: datetime
        password: pydantic.SecretStr = pydantic.SecretStr("secret")
        other: Any = None

    assert kept(Model(seen=UTC_NOW)) == {
        "seen": "2026-01-02T03:04:05.000006Z",
        "password": "**********",
        "other": None,
    }
    assert kept(Model.model_construct(seen="of another type"))["seen"] == "of another type"
    assert kept(Model(seen=NOW, other=Text())) == {
        "seen": "2026-01-02T03:04:05.000006",
        "password": "**********",
        "other": "its text",
    }


def test_models_of_the_first_pydantic_are_objects() -> None:
    """Of which the newer one has a copy."""
    pytest.importorskip("pydantic")
    if sys.version_info >= (3, 14):
        pytest.skip("Pydantic 1 does not run there")
    from pydantic import v1

    class Model(v1.BaseModel):
        seen: datetime

    assert kept(Model(seen=NOW)) == {"seen": "2026-01-02T03:04:05.000006"}


def test_classes_of_attrs_are_objects() -> None:
    """Those that ``attr.define`` has made."""
    attr = pytest.importorskip("attr")
    made = attr.make_class("Made", ["x", "y"])
    assert kept(made(1, {2})) == {"x": 1, "y": [2]}


def test_structs_of_msgspec_are_objects() -> None:
    """Without its encoder, so that what they hold is converted as everywhere."""
    msgspec = pytest.importorskip("msgspec")
    struct = msgspec.defstruct("Struct", ["x", "y"])
    assert kept(struct(1, {2})) == {"x": 1, "y": [2]}


def test_numbers_of_numpy_are_numbers() -> None:
    """Scalars and arrays, dates as dates, and of large arrays the shape."""
    numpy = pytest.importorskip("numpy")
    assert kept(numpy.float64(0.5)) == 0.5
    assert kept(numpy.float32(0.5)) == 0.5
    assert kept(numpy.int64(5)) == 5
    assert kept(numpy.bool_(True)) is True  # noqa: FBT003
    assert kept(numpy.str_("text")) == "text"
    assert kept(numpy.datetime64("2026-01-02T03:04:05", "ns")) == "2026-01-02T03:04:05.000000000"
    assert kept(numpy.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert kept(numpy.array(["2026-01-02"], dtype="datetime64[D]")) == ["2026-01-02"]
    assert kept({numpy.int64(5): 1}) == {"5": 1}
    assert freeze({"scores": numpy.array([1, numpy.inf])}) == (
        b'{"scores":[1.0,null]}',
        ("scores[1] is infinite",),
    )
    body, problems = freeze({"picture": numpy.zeros((300, 200))})
    assert json.loads(body) == {"picture": "<ndarray of shape (300, 200)>"}
    assert problems == (f"picture is a ndarray of 60000 values, and no more than {MOST_VALUES} are kept",)


def cyclic() -> dict[str, Any]:
    start: dict[str, Any] = {"text": "x"}
    start["parts"] = [{"start": start}]
    return start


def cyclic_point() -> Point:
    point = Point(1, NOW)
    point.x = point  # type: ignore[assignment]
    return point


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected", "problem"),
    [
        (
            {"documents": [0, {"score": float("nan")}]},
            {"documents": [0, {"score": None}]},
            ".documents[1].score is NaN",
        ),
        ([float("-inf")], [None], "[0] is infinite"),
        ({"a secret": float("nan")}, {"a secret": None}, "[*] is NaN"),
        ("a\ud800b", "a\ufffdb", " holds half of a surrogate pair"),
        ("\ud83d\ude00", "😀", " holds half of a surrogate pair"),
        ({"\ud800": 1}, {"\ufffd": 1}, " holds half of a surrogate pair"),
        (cyclic(), {"text": "x", "parts": [{"start": "<cycle>"}]}, ".parts[0].start contains itself"),
        (cyclic_point(), {"x": "<cycle>", "seen": "2026-01-02T03:04:05.000006"}, ".x contains itself"),
        (
            Unreadable(),
            "<Unreadable>",
            " is a Unreadable, which raised LookupError when it was turned into JSON",
        ),
        (
            {Unreadable(): 1},
            {"<Unreadable>": 1},
            " has a key that is a Unreadable, whose text raised LookupError",
        ),
        (10**5000, None, " is an integer of too many digits"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.skipif(
    not hasattr(sys, "get_int_max_str_digits"), reason="older Pythons have no limit of digits"
)
def test_what_json_cannot_hold_is_replaced_and_named(value: Any, expected: Any, problem: str) -> None:
    """By its place, never by what it is; all else is kept."""
    body, problems = freeze({"inputs": value, "output": "kept"})
    assert json.loads(body) == {"inputs": expected, "output": "kept"}
    assert problems == ("inputs" + problem,)
    taken = snapshot({"inputs": value, "output": "kept"})
    body_later, problems_later = freeze(taken.fields)
    assert json.loads(body_later) == json.loads(body)
    assert taken.problems + problems_later == problems


def test_what_is_nested_too_deeply_is_cut() -> None:
    """A snapshot has no more levels than any parser reads."""
    assert kept(nested(98)) == nested(98)
    problem = "inputs" + "[0]" * 8 + "... is nested too deeply"
    body, problems = freeze({"inputs": nested(100_000)})
    assert body.count(b"[") == 100
    assert b"<too deep>" in body
    assert problems == (problem,)
    assert snapshot({"inputs": nested(100)}).problems == ()
    assert snapshot({"inputs": nested(101)}) == ({"inputs": json.loads(body)["inputs"]}, (problem,))


def test_few_frames_are_enough() -> None:
    """An application that calls deeply is not in the way, nor is the depth of what it logs."""

    def call(levels: int, function: Callable[[], Frozen]) -> Frozen:
        return function() if levels == 0 else call(levels - 1, function)

    limit = sys.getrecursionlimit()
    for left in range(60, 200, 7):
        frozen = call(
            limit - left - len(list(frames())), lambda: freeze({"inputs": {"a": nested(90), "b": {1j: 1}}})
        )
        assert json.loads(frozen.body)["inputs"] is not None


def frames() -> Iterator[Any]:
    frame: Any = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_what_is_there_twice_is_no_cycle() -> None:
    """Also where something else needs care."""
    shared = {"a": [1]}
    assert kept({"x": shared, "y": [shared, shared]}) == {"x": shared, "y": [shared, shared]}
    body, _ = freeze({"x": shared, "y": [shared, shared], "z": float("nan")})
    assert json.loads(body)["y"] == [shared, shared]


def test_of_many_problems_some_are_told() -> None:
    """One warning stays readable."""
    body, problems = freeze({"embedding": [float("nan")] * 1536})
    assert json.loads(body) == {"embedding": [None] * 1536}
    assert problems[:2] == ("embedding[0] is NaN", "embedding[1] is NaN")
    assert problems[10:] == ("and 1526 more",)


def test_an_interruption_goes_through() -> None:
    """Ctrl-C ends the application, wherever it comes."""

    class Interrupted:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        freeze({"inputs": Interrupted()})


def test_the_portable_encoder_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreters without the one in C have it."""
    fields = {"inputs": {"a": [1, 0.5, None, True, "€"], "b": {1: {2}}}}
    expected = freeze(fields)
    monkeypatch.setattr(values, "_encode", values._portable_encode)
    assert (
        freeze(fields) == expected == (b'{"inputs":{"a":[1,0.5,null,true,"\xe2\x82\xac"],"b":{"1":[2]}}}', ())
    )


def test_whatever_is_logged_is_valid_json() -> None:
    """In UTF-8, without the constants that only Python knows, and equal where there is no problem."""
    pytest.importorskip("hypothesis")
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as some

    anything = some.characters() | some.characters(categories=["Cs"])
    texts = some.text(anything)
    of_json = some.none() | some.booleans() | some.integers() | some.floats() | texts
    others = (
        some.binary()
        | some.decimals(allow_nan=False)
        | some.fractions()
        | some.datetimes()
        | some.timedeltas()
        | some.uuids()
    )
    keys = of_json | others | some.tuples(of_json)
    fields = some.dictionaries(
        some.text().map("no field of the API: ".__add__),
        some.recursive(
            of_json | others,
            lambda parts: (
                some.lists(parts)
                | some.tuples(parts)
                | some.dictionaries(keys, parts)
                | some.frozensets(some.integers() | texts)
            ),
            max_leaves=20,
        ),
    )

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    @settings(max_examples=40, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(fields)
    def check(given: dict[str, Any]) -> None:
        # Without those that are left out.
        given = {name: value for name, value in given.items() if value is not None}
        body, problems = freeze(given)
        taken = snapshot(given)
        late = freeze(fixed_fields([fix(taken.fields)[0]]))
        assert (late.body, taken.problems + late.problems) == (body, problems)
        read = json.loads(body.decode(), parse_constant=refuse)
        assert freeze(read).problems == ()
        if problems == ():
            carefully = json.loads(freeze(given | {"score": float("nan")}).body)
            assert carefully == read | {"score": None}

    check()
