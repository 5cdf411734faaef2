r"""The language in which readers ask for sessions.

A filter consists of terms, and finds the sessions for which all of them hold::

    model:large-1 cost>0.05 -environment:test "red shoes"

    filter    = { term }                      terms have spaces between them
    term      = [ "-" ] ( condition | text )  a minus: it must not hold
    condition = name operator value
    operator  = ":" | "=" | "!=" | ">" | ">=" | "<" | "<="
    value     = word | quoted                 of feedback: a type, or a type and a value with = between
    text      = word { word } | quoted        words side by side are one text; a minus is for one of them
    quoted    = '"' characters '"'            in which \" is a quote, and \\ a backslash

``FIELDS`` has the names, which may be in any case, and ``metadata.KEY`` is one with any key. ``:`` is the
same as ``=``, except for ``name``, of which it finds a part. ``!=`` is the same as ``=`` after a minus. A
condition on datapoints holds for a session if it holds for one of its datapoints. Other languages of filters
have ``cost > 0.05`` and ``OR``; here they are errors.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Final, TypeAlias

MAX_TEXT: Final = 200
"""The longest text to search for, in characters."""

MAX_TERMS: Final = 20
"""The greatest number of terms in a filter."""

METADATA: Final = "metadata."
"""The start of the names of filters by metadata."""


class Kind(Enum):
    """The type of the value of a condition."""

    TEXT = "a text"
    NUMBER = "a number such as 0.05"
    SECONDS = "a duration such as 2, 500ms, 2s, 3m or 1h"
    MOMENT = "a day or a minute in UTC such as 2026-11-22 or 2026-11-22T10:30"
    METADATA = "a text, or a number"
    FEEDBACK = "a type of feedback, or a type and a value such as rating=good"


@dataclass(frozen=True)
class Field:
    """A field that sessions can be found by.

    Args:
        kind: The type of its values.
        about: A short description.
    """

    kind: Kind
    about: str


FIELDS: Final[Mapping[str, Field]] = {
    "project": Field(Kind.TEXT, "the name or the ID of a project"),
    "source": Field(Kind.TEXT, "the source of a datapoint"),
    "model": Field(Kind.TEXT, "the model of a datapoint"),
    "environment": Field(Kind.TEXT, "the environment of a datapoint"),
    "metadata": Field(Kind.METADATA, "a key of the metadata of a session or a datapoint"),
    "feedback": Field(Kind.FEEDBACK, "a type of feedback, and its value"),
    "user": Field(Kind.TEXT, "the user of the session"),
    "name": Field(Kind.TEXT, "a part of the name of the session"),
    "reference": Field(Kind.TEXT, "the reference ID of the session"),
    "tokens": Field(Kind.NUMBER, "tokens of all datapoints"),
    "cost": Field(Kind.NUMBER, "dollars of all datapoints"),
    "duration": Field(Kind.SECONDS, "from the first datapoint to the end of the last"),
    "datapoints": Field(Kind.NUMBER, "how many datapoints"),
    "errors": Field(Kind.NUMBER, "how many datapoints with an error"),
    "began": Field(Kind.MOMENT, "when the session began, in UTC"),
    "active": Field(Kind.MOMENT, "when its last datapoint ended, in UTC"),
}
"""The fields that sessions can be found by; ``metadata`` is followed by a dot and a key."""

_EQUALITIES: Final = (":", "=", "!=")
_OPERATORS: Final = (*_EQUALITIES, ">", ">=", "<", "<=")


@dataclass(frozen=True)
class Moment:
    """A day or a minute: from its start to before its end."""

    begin: datetime
    end: datetime


@dataclass(frozen=True)
class GivenFeedback:
    """Feedback of a type and, if one is named, of a value.

    Args:
        type: The type.
        value: The value; ``None``: any.
    """

    type: str
    value: str | None


@dataclass(frozen=True)
class Text:
    """A text that occurs anywhere in a datapoint.

    Args:
        text: The text.
        negated: Whether it must not occur.
    """

    text: str
    negated: bool = False


@dataclass(frozen=True)
class Condition:
    """A condition on a named field.

    Args:
        name: A name of ``FIELDS``, or ``metadata.`` and a key.
        operator: The comparison; never ``!=``.
        value: The value to compare with; a number is in seconds, in dollars, or a count.
        negated: Whether the condition must not hold.
    """

    name: str
    operator: str
    value: str | float | Moment | GivenFeedback
    negated: bool = False


Term: TypeAlias = Text | Condition


class InvalidTermError(ValueError):
    """A term cannot be understood; the message names the allowed alternatives.

    Args:
        position: The place of the first wrong character, counted from 1.
        message: The problem, and the way out.
    """

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WORD: Final = re.compile(r"\S+")
_FEEDBACK_TYPE: Final = re.compile(r"[^\s=]+")
_NAME: Final = r'(?P<name>(?i:metadata)\.[^\s":=<>!]*|[A-Za-z]+)'
_OPERATOR: Final = r"(?P<operator>!=|>=|<=|[:=<>])"
_HEAD: Final = re.compile(rf"{_NAME}(?P<before>\s*){_OPERATOR}(?P<after>\s*)")
"""The start of a condition: its name and its operator, which are not to have spaces around."""

_UNFINISHED: Final = re.compile(
    rf'(?P<sign>-?)(?:{_NAME}{_OPERATOR})?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"?|(?P<word>\S*))'
)
"""A term that may be unfinished."""

_CONNECTIVES: Final = ("AND", "OR", "NOT")
"""The words that stand between terms in other languages."""

_NUMBER: Final = re.compile(r"-?\d{1,15}(\.\d{1,15})?([eE][+-]?\d{1,2})?", re.ASCII)
_SECONDS: Final = re.compile(r"(?P<number>\d{1,12}(\.\d{1,9})?)(?P<unit>ms|s|m|h)?", re.ASCII)
_UNITS: Final = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOMENTS: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d", re.ASCII), "%Y-%m-%d", timedelta(days=1)),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d", re.ASCII), "%Y-%m-%dT%H:%M", timedelta(minutes=1)),
)


def parse(filter_text: str) -> tuple[Term, ...]:
    """Return the terms of a filter.

    Raises:
        InvalidTermError: When one of them cannot be understood.
    """
    terms: list[Term] = []
    begin_of_text = end_of_text = None
    place = _next(filter_text, 0)
    while place < len(filter_text):
        term, end = _read(filter_text, place)
        if term is None:
            begin_of_text, end_of_text = place if begin_of_text is None else begin_of_text, end
        if begin_of_text is not None and (term is not None or _next(filter_text, end) == len(filter_text)):
            terms.append(_text(filter_text[begin_of_text:end_of_text], begin_of_text))
            begin_of_text = None
        if term is not None:
            terms.append(term)
        if len(terms) > MAX_TERMS:
            raise InvalidTermError(place + 1, f"a filter may have up to {MAX_TERMS} terms")
        place = _next(filter_text, end)
    return tuple(terms)


@dataclass(frozen=True)
class Unfinished:
    """The last term of a filter, as far as it is typed.

    Args:
        typed: The whole term.
        sign: The minus before it, or nothing.
        name: Its name, or the start of a name.
        operator: The operator after the name; empty if there is none yet.
        value: The start of the value.
    """

    typed: str
    sign: str
    name: str
    operator: str
    value: str


def unfinished(filter_text: str) -> Unfinished:
    """Return the last term of a filter, which is empty after a space."""
    place = _next(filter_text, 0)
    while place < len(filter_text):
        term = _UNFINISHED.match(filter_text, place)
        assert term is not None  # noqa: S101 - it takes anything
        if term.end() == len(filter_text):
            operator = term["operator"] or ""
            name = _in_small((term["name"] if operator else term["word"]) or '"')
            value = re.sub(r"\\(.)", r"\1", term["quoted"] or term["word"] or "") if operator else ""
            return Unfinished(term[0], term["sign"], name, operator, value)
        place = _next(filter_text, term.end())
    return Unfinished("", "", "", "", "")


def write_value(value: str) -> str:
    """Return a value as it is written in a filter: in quotes if it needs them."""
    if value and not re.search(r'[\s"=]', value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def field_of(name: str) -> Field | None:
    """Return the field of a name; ``None`` if filters have no such name."""
    if name.startswith(METADATA):
        return FIELDS["metadata"] if name != METADATA else None
    return FIELDS.get(name) if name != "metadata" else None


def read_moment(value: str) -> Moment | None:
    """Return the day or the minute that a text stands for; ``None`` if it stands for none."""
    for pattern, layout, span in _MOMENTS:
        if pattern.fullmatch(value):
            try:
                begin = datetime.strptime(value, layout).replace(tzinfo=timezone.utc)
            except ValueError:
                return None
            last = datetime.max.replace(tzinfo=timezone.utc)
            return Moment(begin, begin + span if begin <= last - span else last)
    return None


def _next(filter_text: str, place: int) -> int:
    """Return the place of the next character that is no space."""
    return len(filter_text) - len(filter_text[place:].lstrip())


def _read(filter_text: str, place: int) -> tuple[Term | None, int]:
    """Return the term at a place and its end; no term for a word that may be a part of a text."""
    begin = place
    word = _WORD.match(filter_text, place)
    assert word is not None  # noqa: S101 - there is no space
    negated = word[0].startswith("-") and word[0][1:2] not in {"", "-"}
    place += negated
    if filter_text[place] == '"':
        text, end = _read_quoted(filter_text, place)
        return _text(text, place, negated=negated), end
    head = _HEAD.match(filter_text, place)
    if head is not None and not _is_in_text(head, filter_text):
        return _read_condition(filter_text, head, negated=negated)
    if word[0] in _CONNECTIVES:
        raise InvalidTermError(
            begin + 1,
            f"there is no {word[0]}: all terms have to match, and a minus before a term excludes its"
            f" sessions, such as -errors>0. A text with {word[0]} in it is put in quotes",
        )
    if negated:
        return _text(word[0][1:], begin, negated=True), word.end()
    return None, word.end()


def _is_in_text(head: re.Match[str], filter_text: str) -> bool:
    """Tell whether an apparent condition is a part of a text: an address, or a word before a colon."""
    name, operator = _in_small(head["name"]), head["operator"]
    field = field_of(name)
    is_address = filter_text.startswith("//", head.end("operator"))
    ends = head["after"] != "" or head.end() == len(filter_text)
    if field is None:
        is_comparison = filter_text.startswith("=", head.end("operator"))
        return name != head["name"] or head["before"] != "" or ends or is_address or is_comparison
    if head["before"]:
        return operator not in _operators_of(field)
    return name != head["name"] and operator == ":" and (ends or is_address)


def _in_small(name: str) -> str:
    """Return a name in small letters, but not the key of metadata."""
    first, dot, key = name.partition(".")
    return f"{first.lower()}{dot}{key}"


def _operators_of(field: Field) -> tuple[str, ...]:
    return _OPERATORS if field.kind not in {Kind.TEXT, Kind.FEEDBACK} else _EQUALITIES


def _read_condition(filter_text: str, head: re.Match[str], *, negated: bool) -> tuple[Condition, int]:
    name, operator, place = _in_small(head["name"]), head["operator"], head.end()
    field = field_of(name)
    has_spaces = bool(head["before"] or head["after"])
    way_to_a_text = f"A text with {operator} in it is put in quotes"
    if field is None:
        raise InvalidTermError(
            head.start() + 1,
            f'no filter is called {name}; there are {_listed_names()}. {way_to_a_text}, such as "a:b"',
        )
    allowed = _operators_of(field)
    if operator not in allowed:
        raise InvalidTermError(
            head.start("operator") + 1, f"{name} may be followed by {' or '.join(allowed)}"
        )
    read: str | float | Moment | GivenFeedback | None
    if field.kind is Kind.FEEDBACK:
        read, end = _read_given(filter_text, place)
    else:
        value, end = _read_value(filter_text, place, _WORD)
        read = _value_of(field.kind, operator, value)
    if read is None:
        expected = (
            Kind.NUMBER if operator in {">", ">=", "<", "<="} and field.kind is Kind.METADATA else field.kind
        )
        ending = f", without a space. {way_to_a_text}" if has_spaces else ""
        raise InvalidTermError(place + 1, f"{name}{operator} has to be followed by {expected.value}{ending}")
    if has_spaces:
        raise InvalidTermError(
            head.end("name" if head["before"] else "operator") + 1,
            f"no space may be there: {name}{operator}{filter_text[place:end]}. {way_to_a_text}",
        )
    if operator == "!=":
        return Condition(name, "=", read, not negated), end
    return Condition(name, operator, read, negated), end


def _value_of(kind: Kind, operator: str, value: str) -> str | float | Moment | None:
    if kind is Kind.NUMBER or (kind is Kind.METADATA and operator not in _EQUALITIES):
        return float(value) if _NUMBER.fullmatch(value) else None
    if kind is Kind.SECONDS:
        match = _SECONDS.fullmatch(value)
        return float(match["number"]) * _UNITS[match["unit"]] if match else None
    if kind is Kind.MOMENT:
        return read_moment(value)
    return value or None


def _read_given(filter_text: str, place: int) -> tuple[GivenFeedback | None, int]:
    """Return the type and the value of feedback at a place, and their end."""
    kind, end = _read_value(filter_text, place, _FEEDBACK_TYPE, before="=")
    value = None
    if filter_text[end : end + 1] == "=":
        value, end = _read_value(filter_text, end + 1, _WORD)
    return GivenFeedback(kind, value) if kind else None, end


def _read_value(filter_text: str, place: int, word: re.Pattern[str], before: str = "") -> tuple[str, int]:
    """Return the word or the quoted text at a place, which may be before a further character, and its end."""
    if filter_text[place : place + 1] == '"':
        return _read_quoted(filter_text, place, before)
    match = word.match(filter_text, place)
    return (match[0], match.end()) if match else ("", place)


def _read_quoted(filter_text: str, place: int, before: str = "") -> tuple[str, int]:
    quoted = _QUOTED.match(filter_text, place)
    if quoted is None:
        raise InvalidTermError(place + 1, 'this quote is not closed: put a " behind the text')
    if filter_text[quoted.end() : quoted.end() + 1].strip() not in {"", before}:
        raise InvalidTermError(quoted.end() + 1, 'a space has to follow; inside of quotes, a quote is \\"')
    return re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()


def _text(text: str, place: int, *, negated: bool = False) -> Text:
    if not text or len(text) > MAX_TEXT:
        raise InvalidTermError(place + 1, f"a text has to have 1 to {MAX_TEXT} characters")
    return Text(text, negated)


def _listed_names() -> str:
    return ", ".join("metadata.KEY" if name == "metadata" else name for name in FIELDS)
