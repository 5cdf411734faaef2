"""Formats JSON for readers: indented, foldable, and coloured by the kinds of values."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup, escape

# A text may be cut off anywhere. Each part of the expression still looks at every character only once.
_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*"?)(?P<before_colon>(?=:))?'
    r"|(?P<number>-?\d[\d.eE+-]*)"
    r"|(?P<constant>true|false|null)"
)

LARGE: Final = 600
"""The number of characters from which on JSON is folded at first."""

_DEEPEST: Final = 16
"""The depth to which objects and lists can be folded; browsers have a limit, JSON has none."""

_OPENING: Final = re.compile(r' +(?:"(?:[^"\\]|\\.)*": )?[{[]')


def format_json(value: Any) -> str:
    """Return a JSON value as indented text."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def highlight_json(text: str) -> Markup:
    """Mark the names, strings, numbers and constants of JSON text by classes; the text is escaped."""
    parts: list[str] = []
    position = 0
    for token in _TOKEN.finditer(text):
        kind = "name" if token["before_colon"] is not None else token.lastgroup
        parts += (
            escape(text[position : token.start()]),
            f'<span class="json-{kind}">{escape(token[0])}</span>',
        )
        position = token.end()
    parts.append(escape(text[position:]))
    return Markup("".join(parts))  # noqa: S704 - each part is escaped


@dataclass
class _Fold:
    """An object or a list that is being read.

    Args:
        place: The index of its first line among the parts.
        line: Its first line, marked.
        begin: Its offset in the text.
        items: The number of its items so far.
    """

    place: int
    line: Markup
    begin: int
    items: int = 0

    def opening(self, end: int) -> Markup:
        is_open = "" if end - self.begin > LARGE else Markup(" open")
        count = f"{self.items} item{'' if self.items == 1 else 's'}"
        return Markup('<details class="fold"{}><summary>{} <span class="size">{}</span></summary>').format(
            is_open, self.line, count
        )


def fold_json(text: str) -> Markup:
    """Mark indented JSON text, and make its objects and lists foldable; the text may be cut off."""
    parts: list[str] = []
    folds: list[_Fold] = []
    too_deep = 0
    position = 0

    def close() -> None:
        fold = folds.pop()
        parts[fold.place] = fold.opening(position)
        parts.append(Markup("</details>"))

    # No marked part crosses the end of a line.
    for line, marked in zip(text.split("\n"), highlight_json(text).split("\n"), strict=True):
        is_closing = line.lstrip(" ").startswith(("}", "]"))
        if folds and not is_closing and not too_deep:
            folds[-1].items += 1
        if _OPENING.fullmatch(line):
            if len(folds) < _DEEPEST:
                folds.append(_Fold(len(parts), marked, position))
                parts.append("")
                position += len(line) + 1
                continue
            too_deep += 1
        parts.append(marked + "\n")
        position += len(line) + 1
        if is_closing and too_deep:
            too_deep -= 1
        elif is_closing and folds:
            close()
    while folds:
        close()
    return Markup("").join(parts)
