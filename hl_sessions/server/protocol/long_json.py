"""Parses only the outline of JSON with long strings, and leaves megabytes of text as they are."""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

_LONG: Final = 256
"""The least length, in bytes, of a string that is left out."""

# As long as the strings that they replace.
_MASKS: Final = ((rb"\\", b".."), (rb"\"", b".."))

_BETWEEN_QUOTES: Final = re.compile(rb'"[^"]{%d,}"' % _LONG)

# The mark cannot be guessed, so no logged text contains it.
_TOKEN: Final = secrets.token_hex(16)
_MARK: Final = f"\N{START OF HEADING}{_TOKEN}"
# In JSON within a string of JSON, the backslash is doubled.
_MARK_IN_JSON: Final = re.compile(rb"(?P<nested>\\?)\\u0001" + _TOKEN.encode() + rb"(?P<number>\d+);")


@dataclass(frozen=True, slots=True)
class LongString:
    """The content of a long string, without its quotes, by its place in the JSON.

    Args:
        start: The offset of its first byte.
        stop: The offset of its closing quote.
        nested: Whether it has to be escaped for JSON within a string of JSON.
        beginning: The part of it that was kept.
        digest: A digest that tells it from other strings, if a part was kept.
    """

    start: int
    stop: int
    nested: bool = False
    beginning: bytes = b""
    digest: bytes = b""


@dataclass(frozen=True)
class Outline:
    """JSON without its long strings.

    Args:
        value: The value, with marks in the place of the strings.
        strings: The string that each mark stands for.
    """

    value: Any
    strings: Sequence[LongString]


def outline_of(pieces: Iterable[bytes], kept: int = 0) -> Outline:
    """Parse JSON without its long strings.

    Args:
        pieces: The JSON, cut anywhere.
        kept: The length of the beginning of each long string that is kept, in bytes.
    """
    outline = bytearray()
    strings: list[LongString] = []
    open_string: _OpenString | None = None
    offset = 0

    def leave_out(string: LongString) -> None:
        outline.extend(json.dumps(f"{_MARK}{len(strings)};").encode())
        strings.append(string)

    for piece, masked in _masked(pieces):
        position = 0
        if open_string is not None:
            position = masked.find(b'"') + 1
            if position == 0:
                open_string.go_on(piece)
                offset += len(piece)
                continue
            open_string.go_on(piece[: position - 1])
            if open_string.length < _LONG:
                outline += b'"' + open_string.beginning + b'"'
            else:
                leave_out(open_string.ended())
            open_string = None
        while match := _BETWEEN_QUOTES.search(masked, position):
            if masked.count(b'"', position, match.start()) % 2:
                # The part between two strings.
                outline += piece[position : match.end() - 1]
                position = match.end() - 1
            else:
                outline += piece[position : match.start()]
                position = match.end()
                string = _OpenString(offset + match.start() + 1, kept)
                string.go_on(piece[match.start() + 1 : position - 1])
                leave_out(string.ended())
        end = len(piece)
        if masked.count(b'"', position) % 2:
            end = masked.rindex(b'"')
            open_string = _OpenString(offset + end + 1, kept)
            open_string.go_on(piece[end + 1 :])
        outline += piece[position:end]
        offset += len(piece)
    return Outline(json.loads(outline), strings)


def with_texts(outline: Outline, text_of: Callable[[LongString], str]) -> Any:
    """Return the value of an outline with a text in the place of each long string, also in names."""
    return _filled(outline.value, outline.strings, text_of)


def with_long_strings(text: bytes, outline: Outline) -> Iterator[bytes | LongString]:
    """Yield the parts of JSON made of the value of an outline, with strings in the place of the marks."""
    position = 0
    for match in _MARK_IN_JSON.finditer(text):
        yield text[position : match.start()]
        string = outline.strings[int(match["number"])]
        yield LongString(string.start, string.stop, nested=bool(match["nested"]))
        position = match.end()
    yield text[position:]


# A module-level function: a nested one would be cyclic garbage, and keep the outline alive until it is
# collected.
def _filled(value: Any, strings: Sequence[LongString], text_of: Callable[[LongString], str]) -> Any:
    if isinstance(value, str):
        return text_of(strings[int(value[len(_MARK) : -1])]) if value.startswith(_MARK) else value
    if isinstance(value, list):
        return [_filled(item, strings, text_of) for item in value]
    if isinstance(value, dict):
        return {
            _filled(name, strings, text_of): _filled(item, strings, text_of) for name, item in value.items()
        }
    return value


class _OpenString:
    """A string whose end was not found yet.

    Args:
        start: The offset of its first byte.
        kept: The length of the beginning that is kept, in bytes.
    """

    def __init__(self, start: int, kept: int) -> None:
        self.length = 0
        self.beginning = b""
        self._start = start
        self._kept = kept
        self._hash = blake2b(digest_size=16) if kept else None

    def go_on(self, text: bytes) -> None:
        self.length += len(text)
        # A string that turns out to be short is kept as a whole.
        self.beginning += text[: max(self._kept, _LONG) - len(self.beginning)]
        if self._hash is not None:
            self._hash.update(text)

    def ended(self) -> LongString:
        stop = self._start + self.length
        if self._hash is None:
            return LongString(self._start, stop)
        return LongString(self._start, stop, beginning=self.beginning, digest=self._hash.digest())


def _masked(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield each piece with a copy without escaped quotes, in which every quote is the end of a string."""
    rest = b""
    for given in pieces:
        piece = rest + given
        # A backslash at the end may belong to the next piece.
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        stop = len(piece) - backslashes % 2
        piece, rest = piece[:stop], piece[stop:]
        masked = piece
        for escape, mask in _MASKS:
            masked = masked.replace(escape, mask)
        yield piece, masked
