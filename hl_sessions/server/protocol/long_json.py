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
_MASKS: Final = ((rb"\\", b".."), (rb"\"", b".."))

_BETWEEN_QUOTES: Final = re.compile(rb'"[^"]{%d,}"' % _LONG)

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
                # Between two strings.
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
    """A string whose end was not seen yet.

    Args:
        start: Where it begins, in bytes.
        kept: How much of it is kept, in bytes.
    """

    def __init__(self, start: int, kept: int) -> None:
        self.length = 0
        self.beginning = b""
        self._start = start
        self._kept = kept
        self._hash = blake2b(digest_size=16) if kept else None

    def go_on(self, text: bytes) -> None:
        self.length += len(text)
        # Should it turn out to be short it is kept in any case.
        self.beginning += text[: max(self._kept, _LONG) - len(self.beginning)]
        if self._hash is not None:
            self._hash.update(text)

    def ended(self) -> LongString:
        stop = self._start + self.length
        if self._hash is None:
            return LongString(self._start, stop)
        return LongString(self._start, stop, beginning=self.beginning, digest=self._hash.digest())


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
