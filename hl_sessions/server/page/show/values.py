"""Logged values as the page shows them: readable, and no longer than anybody reads."""

from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from hl_sessions.server.page.show.formatting import format_bytes
from hl_sessions.server.page.show.json_text import format_json, highlight_json
from hl_sessions.server.page.show.markdown import render_markdown

MAX_SHOWN: Final = 20_000
"""The most characters of a value that are shown; the link to the whole datapoint leads to the rest."""


@dataclass(frozen=True)
class ShownValue:
    """A value on the page.

    Args:
        html: Its content, which can do nothing.
        kind: ``markdown``, ``text`` or ``json``.
        size: Its size, for people.
        is_whole: Whether all of it is shown.
    """

    html: Markup
    kind: str
    size: str
    is_whole: bool


def show_text(text: str) -> ShownValue:
    """Show a text: as Markdown, or plain where only its beginning is shown."""
    is_whole = len(text) <= MAX_SHOWN
    html = render_markdown(text) if is_whole else Markup.escape(text[:MAX_SHOWN])
    return ShownValue(html, "markdown" if is_whole else "text", _size_of(text), is_whole)


def show_plainly(text: str) -> ShownValue:
    """Show a text as it is, such as an error."""
    return ShownValue(
        Markup.escape(text[:MAX_SHOWN]), "text", _size_of(text), is_whole=len(text) <= MAX_SHOWN
    )


def show_json(value: Any) -> ShownValue:
    """Show any other value."""
    text = format_json(value)
    return ShownValue(
        highlight_json(text[:MAX_SHOWN]), "json", _size_of(text), is_whole=len(text) <= MAX_SHOWN
    )


def _size_of(text: str) -> str:
    return format_bytes(len(text.encode()))
