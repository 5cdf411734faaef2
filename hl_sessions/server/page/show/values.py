"""Logged values as the page shows them: readable, and cut to a length that can be read."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from hl_sessions.server.page.queries.cut_values import MAX_SHOWN, CutText
from hl_sessions.server.page.show.formatting import format_bytes
from hl_sessions.server.page.show.json_text import LARGE, fold_json, format_json
from hl_sessions.server.page.show.markdown import render_markdown


@dataclass(frozen=True)
class ShownValue:
    """A value on the page.

    Args:
        html: Its content as safe HTML.
        kind: ``markdown``, ``text`` or ``json``.
        size: Its size, formatted.
        is_whole: Whether all of it is shown.
        is_large: Whether it is folded at first.
    """

    html: Markup
    kind: str
    size: str
    is_whole: bool
    is_large: bool = False


def show_text(text: str) -> ShownValue:
    """Show a text: as Markdown, as JSON if it is an object or a list, or as plain text if it is cut."""
    if isinstance(text, CutText) or len(text) > MAX_SHOWN:
        return show_plainly(text)
    if text.lstrip().startswith(("{", "[")):
        # Such a text may be nested deeper than logged JSON may.
        with suppress(ValueError, RecursionError):
            return show_json(json.loads(text))
    return ShownValue(render_markdown(text), "markdown", _size_of(text), is_whole=True)


def show_plainly(text: str) -> ShownValue:
    """Show a text as plain text, such as an error."""
    is_whole = len(text) <= MAX_SHOWN and not isinstance(text, CutText)
    return ShownValue(Markup.escape(text[:MAX_SHOWN]), "text", _size_of(text), is_whole)


def show_json(value: Any) -> ShownValue:
    """Show any other value: as JSON that can be folded; a number or a constant as plain text."""
    if not isinstance(value, (list, dict)):
        return show_plainly(format_json(value))
    text = format_json(value)
    cut = list(_cut_texts(value))
    size = len(text.encode()) + sum(part.size - len(part.encode()) for part in cut)
    is_whole = len(text) <= MAX_SHOWN and not cut
    return ShownValue(
        fold_json(text[:MAX_SHOWN]), "json", format_bytes(size), is_whole, is_large=len(text) > LARGE
    )


def is_cut(value: Any) -> bool:
    """Tell whether some text in a value is only the beginning of the stored text."""
    return next(_cut_texts(value), None) is not None


def _size_of(text: str) -> str:
    return format_bytes(text.size if isinstance(text, CutText) else len(text.encode()))


def _cut_texts(value: Any) -> Iterator[CutText]:
    if isinstance(value, CutText):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _cut_texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _cut_texts(name)
            yield from _cut_texts(item)
