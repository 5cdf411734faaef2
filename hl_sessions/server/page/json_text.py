"""JSON to read: indented, and its kinds of values told apart."""

import json
import re
from typing import Any, Final

from markupsafe import Markup, escape

_TOKEN: Final = re.compile(
    r'(?P<name>"(?:[^"\\]|\\.)*")(?=:)'
    r'|(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d[\d.eE+-]*)"
    r"|(?P<constant>true|false|null)"
)


def format_json(value: Any) -> str:
    """Give a JSON value as indented text."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def highlight_json(text: str) -> Markup:
    """Mark the names, strings, numbers and constants of JSON text by classes; all of it stays text."""
    parts = []
    position = 0
    for token in _TOKEN.finditer(text):
        parts.append(escape(text[position : token.start()]))
        parts.append(Markup('<span class="json-{}">{}</span>').format(token.lastgroup, token[0]))
        position = token.end()
    parts.append(escape(text[position:]))
    return Markup("").join(parts)
