"""JSON without the characters that it may hold and no database keeps: NUL, and halves of surrogate pairs."""

import re
from contextlib import suppress
from typing import Any, Final

from pydantic_core import from_json

_ESCAPE: Final = b"\\"
# In a long text an expression finds it in half of the time that "in" takes.
_NUL: Final = re.compile(rb"\\u0000")
_REPLACEMENT: Final = rb"\ufffd"
# Whole pairs match, too, so that no half of one does; and so do escaped backslashes, which begin nothing.
_ESCAPES: Final = re.compile(
    rb"\\(?:(?P<kept>\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def parse_storable(json: bytes) -> tuple[Any, int]:
    """Parse JSON, with U+FFFD in the place of what cannot be stored, in names as well as in values.

    Args:
        json: JSON in UTF-8, in which such characters can only be escaped.

    Returns:
        The value, and how many characters were replaced. A number beyond a float is an infinite float.

    Raises:
        ValueError: When it is no JSON, or nested deeper than 200 levels.
    """
    if _ESCAPE not in json or not _NUL.search(json):
        # The parser refuses halves of pairs by itself.
        with suppress(ValueError):
            return from_json(json, allow_inf_nan=False), 0
    storable, replaced = _replace_unstorable(json)
    return from_json(storable, allow_inf_nan=False), replaced


def _replace_unstorable(json: bytes) -> tuple[bytes, int]:
    replaced = 0

    def replace(match: re.Match[bytes]) -> bytes:
        nonlocal replaced
        if match["kept"] is not None:
            return match[0]
        replaced += 1
        return _REPLACEMENT

    return _ESCAPES.sub(replace, json), replaced
