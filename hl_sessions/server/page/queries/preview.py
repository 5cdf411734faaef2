"""Values in one line, for tables."""

import json
import re
from typing import Any, Final

LENGTH: Final = 240
"""The greatest number of characters of a line; the width of its column may show less."""

STORED_LENGTH: Final = 2000
"""The number of characters of stored JSON that are read for its line."""

_FIRST_TEXT: Final = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*"((?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*)')


def preview_text(text: str) -> str:
    """Return the beginning of a text as one line."""
    return " ".join(text[: 2 * LENGTH].split())[:LENGTH]


def preview_inputs(text: str) -> str:
    """Return the inputs of a datapoint as one line.

    Args:
        text: An object as JSON text, or only its beginning.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return preview_text(_first_text(text))
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    elif isinstance(value, dict):
        return preview_text(" · ".join(f"{name}: {_as_text(item)}" for name, item in value.items()))
    return preview_text(_as_text(value))


def preview_messages(text: str) -> str:
    """Return the last message of the user, of the messages of a datapoint, as one line.

    Args:
        text: A list of messages as JSON text, or only its beginning.
    """
    try:
        messages = json.loads(text)
    except ValueError:
        return preview_text(text)
    said = [message.get("content") for message in messages if message.get("role") == "user"]
    return preview_text(_text_of(said[-1] or "")) if said else ""


def _first_text(beginning: str) -> str:
    """Return the first value of an object, as far as it is there, if it is a text; else everything."""
    match = _FIRST_TEXT.match(beginning)
    if match is None:
        return beginning
    text: str = json.loads(f'"{match[1]}"')
    # The beginning may end between the two halves of a surrogate pair.
    return text.encode(errors="ignore").decode()


def _text_of(content: Any) -> str:
    """Return the texts in the content of a message, which may have several parts."""
    parts = content if isinstance(content, list) else ()
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return " ".join(texts) or _as_text(content)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
