"""JSON to read: indented, and its kinds of values told apart."""

import json
import re
from typing import Any, Final

from markupsafe import Markup, escape

# A text may have lost its end with the rest of the value: whatever is missing, no part is looked at twice.
_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*"?)(?P<before_colon>(?=:))?'
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
        kind = "name" if token["before_colon"] is not None else token.lastgroup
        parts.append(Markup('<span class="json-{}">{}</span>').format(kind, token[0]))
        position = token.end()
    parts.append(escape(text[position:]))
    return Markup("").join(parts)
