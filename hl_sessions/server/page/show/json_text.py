"""JSON to read: indented and foldable, and its kinds of values told apart."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup, escape

# A text may have lost its end with the rest of the value: whatever is missing, no part is looked at twice.
_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*"?)(?P<before_colon>(?=:))?'
    r"|(?P<number>-?\d[\d.eE+-]*)"
    r"|(?P<constant>true|false|null)"
)

LARGE: Final = 600
"""How many characters of JSON are folded at first."""

_DEEPEST: Final = 16
"""How deep objects and lists can be folded; browsers have a limit, JSON has none."""

_OPENING: Final = re.compile(r' +(?:"(?:[^"\\]|\\.)*": )?[{[]')


def format_json(value: Any) -> str:
    """Give a JSON value as indented text."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def highlight_json(text: str) -> Markup:
    """Mark the names, strings, numbers and constants of JSON text by classes; all of it stays text."""
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
        place: Where its beginning belongs among the parts.
        line: Its first line, marked.
        begin: Where it begins in the text.
        items: How many items it has so far.
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
    """Mark indented JSON text, and make its objects and lists foldable; the text may lack its end."""
    parts: list[str] = []
    folds: list[_Fold] = []
    too_deep = 0
    position = 0

    def close() -> None:
        fold = folds.pop()
        parts[fold.place] = fold.opening(position)
        parts.append(Markup("</details>"))

    # No part that is marked goes over the end of a line.
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
