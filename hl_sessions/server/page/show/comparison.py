"""The differences between two datapoints, line by line and word by word."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Final, TypeAlias

from markupsafe import Markup, escape

from hl_sessions.server.page.queries.cut_values import MAX_SHOWN
from hl_sessions.server.page.queries.datapoints import Datapoint
from hl_sessions.server.page.show.formatting import format_cost, format_count, format_seconds
from hl_sessions.server.page.show.json_text import format_json
from hl_sessions.server.page.show.values import is_cut

_VALUES: Final = (
    "config",
    "inputs",
    "messages",
    "output",
    "output_message",
    "error",
    "metadata",
    "judgment",
    "stdout",
    "provider_request",
    "provider_response",
)
_MOST_LINES: Final = 600
_MOST_WORDS: Final = 1_000
"""The length of a value that is compared line by line, and of a line word by word: the time is its square."""

_LEAST_ALIKE: Final = 0.4
"""Lines that share less than this part of their words count as different lines."""

_AROUND: Final = 3
"""The number of equal lines that are shown before and after different ones."""

_WORD: Final = re.compile(r"\w+|\s+|[^\w\s]")

_Row: TypeAlias = tuple[str | None, str | None]


_FACTS: Final[Sequence[tuple[str, Callable[[Datapoint], str]]]] = (
    ("Model", lambda one: one.model or ""),
    ("Environment", lambda one: one["environment"] or ""),
    ("Duration", lambda one: format_seconds(one["duration"])),
    ("Tokens in", lambda one: _count(one["prompt_tokens"])),
    ("Tokens out", lambda one: _count(one["output_tokens"])),
    ("Cost", lambda one: "" if one.cost is None else format_cost(one.cost)),
    ("Rating", lambda one: one.rating or ""),
)


@dataclass(frozen=True)
class Line:
    """A line of both datapoints, side by side.

    Args:
        older: The line of the older one, if it has one, with its differences marked.
        newer: The line of the newer one.
        is_same: Whether both are the same.
        skipped: The number of equal lines that this line stands for.
    """

    older: Markup | None = None
    newer: Markup | None = None
    is_same: bool = True
    skipped: int = 0


@dataclass(frozen=True)
class Difference:
    """A value in which the datapoints differ.

    Args:
        name: Its name.
        lines: Its lines.
        is_whole: Whether all lines of both values are there.
    """

    name: str
    lines: Sequence[Line]
    is_whole: bool


@dataclass(frozen=True)
class Comparison:
    """The differences between two datapoints.

    Args:
        older: The older one.
        newer: The newer one.
        facts: Names and short values for a table, those of the older one first.
        differences: The values in which they differ.
        same: The names of the values that are the same in both.
    """

    older: Datapoint
    newer: Datapoint
    facts: Sequence[tuple[str, str, str]]
    differences: Sequence[Difference]
    same: Sequence[str]


def compare(older: Datapoint, newer: Datapoint) -> Comparison:
    """Compare two datapoints."""
    values = {name: (_value_of(older, name), _value_of(newer, name)) for name in _VALUES}
    names = [name for name, both in values.items() if both != (None, None)]
    same = [name for name in names if values[name][0] == values[name][1]]
    return Comparison(
        older=older,
        newer=newer,
        facts=[fact for fact in _facts(older, newer) if fact[1] or fact[2]],
        differences=[_difference(name, *values[name]) for name in names if name not in same],
        same=same,
    )


def _value_of(datapoint: Datapoint, name: str) -> Any:
    value = datapoint[name]
    # Each config has an ID of its own, and most configs have nothing else.
    if name == "config" and value:
        return {key: item for key, item in value.items() if key != "id"}
    return value


def _facts(older: Datapoint, newer: Datapoint) -> Iterator[tuple[str, str, str]]:
    for label, fact_of in _FACTS:
        yield label, fact_of(older), fact_of(newer)


def _difference(name: str, older: Any, newer: Any) -> Difference:
    texts = [_text_of(older), _text_of(newer)]
    all_lines = [text[:MAX_SHOWN].split("\n") if text else [] for text in texts]
    lines = [some[:_MOST_LINES] for some in all_lines]
    is_whole = lines == all_lines and not any(len(text) > MAX_SHOWN for text in texts)
    is_whole = is_whole and not is_cut(older) and not is_cut(newer)
    return Difference(name, list(_compare_lines(*lines)), is_whole)


def _count(count: float | None) -> str:
    return "" if count is None else format_count(count)


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else format_json(value)


def _compare_lines(older: Sequence[str], newer: Sequence[str]) -> Iterator[Line]:
    blocks = SequenceMatcher(None, older, newer).get_opcodes()
    for number, (kind, begin, end, other_begin, other_end) in enumerate(blocks):
        if kind != "equal":
            for row in zip_longest(older[begin:end], newer[other_begin:other_end]):
                yield from _compare_row(row)
            continue
        before = 0 if number == 0 else _AROUND
        after = 0 if number == len(blocks) - 1 else _AROUND
        same = [Line(escape(line), escape(line)) for line in older[begin:end]]
        skipped = len(same) - before - after
        if skipped > 1:
            same[before : len(same) - after] = [Line(skipped=skipped)]
        yield from same


def _compare_row(row: _Row) -> Iterator[Line]:
    older, newer = row
    if older is None or newer is None:
        yield Line(_marked("del", older), _marked("ins", newer), is_same=False)
        return
    words: list[str] = _WORD.findall(older)
    other_words: list[str] = _WORD.findall(newer)
    matcher = SequenceMatcher(None, words, other_words)
    if max(len(words), len(other_words)) > _MOST_WORDS or matcher.ratio() < _LEAST_ALIKE:
        yield Line(_marked("del", older), _marked("ins", newer), is_same=False)
        return
    sides: tuple[list[Markup], list[Markup]] = ([], [])
    for kind, begin, end, other_begin, other_end in matcher.get_opcodes():
        parts = ("".join(words[begin:end]), "".join(other_words[other_begin:other_end]))
        for side, tag, part in zip(sides, ("del", "ins"), parts, strict=True):
            side.append((escape(part) if kind == "equal" else _marked(tag, part)) or Markup(""))
    yield Line(Markup("").join(sides[0]), Markup("").join(sides[1]), is_same=False)


def _marked(tag: str, text: str | None) -> Markup | None:
    """Put a text into an element; ``None`` stays ``None``."""
    if not text:
        return None if text is None else Markup("")
    return Markup("<{0}>{1}</{0}>").format(tag, text)
