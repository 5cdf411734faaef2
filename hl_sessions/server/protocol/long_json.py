"""JSON with long strings, of which only the outline is parsed: megabytes of text stay what they are."""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
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


@dataclass(frozen=True, slots=True)
class LongString:
    """What stands between the quotes of a long string, for where it is in its JSON.

    Args:
        start: Where it begins, in bytes.
        stop: Where its last quote is.
        nested: Whether it has to be written as the text of another string.
        beginning: As much of it as was to be kept.
        digest: What tells it from all others, if anything was to be kept.
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
        value: The value, in which marks stand for them.
        strings: What the marks stand for.
    """

    value: Any
    strings: Sequence[LongString]


def outline_of(pieces: Iterable[bytes], kept: int = 0) -> Outline:
    """Parse JSON without its long strings.

    Args:
        pieces: The JSON, cut anywhere.
        kept: How much of each long string is kept, in bytes.
    """
    outline = bytearray()
    strings: list[LongString] = []
    string = _OpenString(kept)
    position = 0
    for piece, masked in _masked(pieces):
        offset = position
        for number, segment in enumerate(masked.split(b'"')):
            if number > 0:
                if string.start is None:
                    string.open(position + 1)
                elif position - string.start < _LONG:
                    outline += b'"' + string.close(position).beginning + b'"'
                else:
                    outline += json.dumps(f"{_MARK}{len(strings)};").encode()
                    strings.append(string.close(position))
                position += 1
            text = piece[position - offset : position - offset + len(segment)]
            if string.start is None:
                outline += text
            else:
                string.go_on(text)
            position += len(segment)
    return Outline(json.loads(outline), strings)


def with_texts(outline: Outline, text_of: Callable[[LongString], str]) -> Any:
    """Return the value of an outline with a text in the place of each long string, in names too."""
    return _filled(outline.value, outline.strings, text_of)


def with_long_strings(text: bytes, outline: Outline) -> Iterator[bytes | LongString]:
    """Return the parts of JSON that was made of the value of an outline, in which marks are strings again."""
    position = 0
    for match in _MARK_IN_JSON.finditer(text):
        yield text[position : match.start()]
        string = outline.strings[int(match["number"])]
        yield LongString(string.start, string.stop, nested=bool(match["nested"]))
        position = match.end()
    yield text[position:]


# Not a function inside of the other one: that would be garbage of the kind that has to be searched for, and
# keep the outline.
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
    """A string whose end was not seen yet."""

    def __init__(self, kept: int) -> None:
        self.start: int | None = None
        self._most = max(kept, _LONG)
        self._is_kept = kept > 0
        self._beginning = bytearray()
        self._hash = blake2b(digest_size=16)

    def open(self, start: int) -> None:
        self.start = start
        self._beginning = bytearray()
        if self._is_kept:
            self._hash = blake2b(digest_size=16)

    def go_on(self, text: bytes) -> None:
        self._beginning += text[: self._most - len(self._beginning)]
        if self._is_kept:
            self._hash.update(text)

    def close(self, stop: int) -> LongString:
        assert self.start is not None  # noqa: S101 - was opened
        start, self.start = self.start, None
        is_short = stop - start < _LONG
        return LongString(
            start,
            stop,
            beginning=bytes(self._beginning) if is_short or self._is_kept else b"",
            digest=self._hash.digest() if self._is_kept else b"",
        )


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
