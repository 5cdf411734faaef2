"""JSON with long strings, of which only the outline is parsed: megabytes of text stay what they are."""

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

_LONG: Final = 256
"""The least length, in bytes, of a string that is left out."""

# Of the same length as what they stand for.
_MASKS: Final = ((rb"\\\\", b".."), (rb"\"", b".."))

# Nobody can guess it, and so nobody has logged it.
_TOKEN: Final = secrets.token_hex(16)
_MARK: Final = f"\N{START OF HEADING}{_TOKEN}"
# In JSON that is itself the text of a string, there is a second backslash.
_MARK_IN_JSON: Final = re.compile(rb"(?P<nested>\\?)\\u0001" + _TOKEN.encode() + rb"(?P<number>\d+);")


@dataclass(frozen=True)
class LongString:
    """What stands between the quotes of a long string, for where it is in its JSON.

    Args:
        start: Where it begins, in bytes.
        stop: Where its last quote is.
        nested: Whether it has to be written as the text of another string.
    """

    start: int
    stop: int
    nested: bool = False


@dataclass(frozen=True)
class Outline:
    """JSON without its long strings.

    Args:
        value: The value, in which marks stand for them.
        strings: What the marks stand for.
    """

    value: Any
    strings: Sequence[LongString]


def outline_of(pieces: Iterable[bytes]) -> Outline:
    """Parse JSON without its long strings, of which nothing is kept.

    Args:
        pieces: The JSON, cut anywhere.
    """
    outline = bytearray()
    strings: list[LongString] = []
    string = bytearray()
    begin: int | None = None
    position = 0
    for piece, masked in _masked(pieces):
        offset = position
        for number, segment in enumerate(masked.split(b'"')):
            if number > 0:
                if begin is None:
                    begin = position + 1
                else:
                    if position - begin < _LONG:
                        outline += b'"' + string + b'"'
                    else:
                        outline += json.dumps(f"{_MARK}{len(strings)};").encode()
                        strings.append(LongString(begin, position))
                    begin = None
                    string.clear()
                position += 1
            start = position - offset
            if begin is None:
                outline += piece[start : start + len(segment)]
            else:
                string += piece[start : start + min(len(segment), _LONG)]
            position += len(segment)
    return Outline(json.loads(outline), strings)


def with_long_strings(text: bytes, outline: Outline) -> Iterator[bytes | LongString]:
    """Return the parts of JSON that was made of the value of an outline, in which marks are strings again."""
    position = 0
    for match in _MARK_IN_JSON.finditer(text):
        yield text[position : match.start()]
        string = outline.strings[int(match["number"])]
        yield LongString(string.start, string.stop, nested=bool(match["nested"]))
        position = match.end()
    yield text[position:]


def _masked(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Return the pieces, each also without escaped quotes: those that are left are the ends of strings."""
    rest = b""
    for given in pieces:
        piece = rest + given
        # The last backslash may belong to what comes next.
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        stop = len(piece) - backslashes % 2
        piece, rest = piece[:stop], piece[stop:]
        masked = piece
        for escape, mask in _MASKS:
            masked = masked.replace(escape, mask)
        yield piece, masked
