"""The signature of many texts in the text index: the windows of a few letters that their words have.

A block of datapoints has a bit for each of its windows, at a place that is computed from the window. A text
can only be in blocks that have the bits of all of its windows. Several windows may share a bit, and each may
be in another word, so the datapoints that are found have to be read. Of the numbers in metadata, a block has
the least and the greatest under each key.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from time import sleep
from typing import Final, TypeAlias
from zlib import crc32

BUCKETS: Final = 16384
"""The number of bits of a block."""

MOST_BLOCKS: Final = 256
"""The number of blocks that are built together."""

_FULL_BLOCK: Final = 10_500
"""Bytes of different words that set about a third of the bits of a block."""

_SATURATED_BLOCK: Final = 10 * _FULL_BLOCK
"""Bytes of different words that set nearly all bits."""

_LARGEST_BLOCK: Final = 64
"""The greatest number of datapoints in a block, all of which a search reads."""

_SLICE: Final = 65_536
_OVERLAP: Final = 16
"""The number of letters of a long text that are split together, and the number that neighbours share."""

_END_OF_MESSAGE: Final = '"}'
"""The end of the JSON of a message. No word contains it, so texts can be cut there."""

# In a long text a regular expression takes half the time of the text's own "split".
_BETWEEN_MESSAGES: Final = re.compile(_END_OF_MESSAGE)

_MOST_REMEMBERED: Final = 512
"""The number of messages of a block that are remembered, to skip their copies; messages may be long."""

_WINDOWS: Final = (5, 4, 3)
"""Lengths of windows in letters. Short ones are in nearly every block. Long words have many long ones."""

_WINDOWS_OF_SIGNS: Final = (2, 1)
"""The same for scripts with short or unseparated words and many letters, such as Chinese, Korean or Thai."""

_BITS_OF_SIGNS: Final = 3
"""The number of bits of such a window: most words have only one window of two letters, and those of its
letters.
"""

_PARTS: Final = re.compile("([\u0e00-\u1dff\u2070-\U0010ffff]+)|[^\u0e00-\u1dff\u2070-\U0010ffff]+")
_SEPARATORS: Final = bytes(
    code if chr(code).isalnum() or not chr(code).isascii() else ord(" ") for code in range(256)
)
_WORDS_AT_ONCE: Final = 500

_GREATEST: Final = 1e300
"""The number that counts in place of greater ones: integers of JSON have any number of digits."""

BlockRange: TypeAlias = tuple[int, float, float]
"""The number of a block, and the least and the greatest number in it."""


class Blocks:
    """Collects the words of datapoints, which are added in the order of their numbers."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self._words: set[bytes] = set()
        # Each datapoint of a conversation repeats the earlier messages, which add nothing.
        self._messages: set[str] = set()
        self._size = 0
        self._length = 0
        self._blocks_of: dict[bytes, int] = {}
        self._saturated = 0
        self._numbers: dict[int, list[BlockRange]] = {}

    def is_full(self) -> bool:
        """Tell whether there may be no room for a further datapoint."""
        return len(self.starts) == MOST_BLOCKS and self._is_complete()

    def add(self, number: int, texts: Iterable[str], numbers: Mapping[str, float]) -> None:
        """Add a datapoint with these texts, and these numbers in its metadata."""
        if not self.starts or self._is_complete():
            self._close()
            self.starts.append(number)
        self._length += 1
        for text in texts:
            if self._size < _SATURATED_BLOCK:
                self._add_words(text)
        for key, value in numbers.items():
            self._add_number(bucket_of_key(key), value)

    def bits(self) -> Iterator[bytes]:
        """Yield the bits of all blocks, one bucket after the other."""
        self._close()
        blocks_of = [self._saturated] * BUCKETS
        for count, (word, blocks) in enumerate(self._blocks_of.items()):
            for bucket in _buckets_of_word(word):
                blocks_of[bucket] |= blocks
            _let_others_go_on(count)
        width = width_of(len(self.starts))
        for blocks in blocks_of:
            yield blocks.to_bytes(width, "little")

    def numbers(self) -> Mapping[int, Sequence[BlockRange]]:
        """Return the ranges of all blocks, by the buckets of the keys."""
        return self._numbers

    def _is_complete(self) -> bool:
        return self._size >= _FULL_BLOCK or self._length == _LARGEST_BLOCK

    def _add_words(self, text: str) -> None:
        for begin in range(0, len(text), _SLICE):
            messages = _BETWEEN_MESSAGES.split(text[begin : begin + _SLICE + _OVERLAP])
            unseen = set(messages) - self._messages
            if not unseen:
                continue
            if len(self._messages) < _MOST_REMEMBERED:
                self._messages |= unseen
            new = set(_words_of(_END_OF_MESSAGE.join(unseen))) - self._words
            self._words |= new
            self._size += sum(map(len, new))

    def _add_number(self, bucket: int, value: float) -> None:
        block = len(self.starts) - 1
        ranges = self._numbers.setdefault(bucket, [])
        if ranges and ranges[-1][0] == block:
            _, least, greatest = ranges[-1]
            ranges[-1] = (block, min(least, value), max(greatest, value))
        else:
            ranges.append((block, value, value))

    def _close(self) -> None:
        block = 1 << max(len(self.starts) - 1, 0)
        if self._size >= _SATURATED_BLOCK:
            self._saturated |= block
        else:
            blocks_of = self._blocks_of
            for word in self._words:
                blocks_of[word] = blocks_of.get(word, 0) | block
        self._words, self._messages = set(), set()
        self._size = self._length = 0
        _let_others_go_on(0)


def width_of(blocks: int) -> int:
    """Return the number of bytes that hold a bit for each of these blocks."""
    return (blocks + 7) // 8


def buckets_of(text: str) -> list[int]:
    """Return the buckets of a text, the most selective ones first; short words have none.

    The words take turns, because one rare word rules out more than all windows of a frequent one.
    """
    words = sorted(_words_of(text), key=len, reverse=True)
    turns = zip_longest(*map(_buckets_of_word, words))
    return list(dict.fromkeys(bucket for turn in turns for bucket in turn if bucket is not None))


def bucket_of_key(key: str) -> int:
    """Return the bucket of the numbers under a key of metadata; other keys may share it."""
    return crc32(key.encode()) % BUCKETS


def numbers_of(metadata: str) -> dict[str, float]:
    """Return the numbers in metadata, which are given as JSON, by their keys."""
    # Of an import, they may be nested deeper than another parser allows, or be no object.
    members = json.loads(metadata)
    return {
        key: float(min(max(value, -_GREATEST), _GREATEST))
        for key, value in (members.items() if isinstance(members, dict) else ())
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _words_of(text: str) -> list[bytes]:
    """Split a text at everything but letters and digits: part of the text yields parts of its words."""
    if not text.isascii():
        # For these letters, lower case is not one letter, or depends on its neighbours, or on the database.
        text = text.replace("\u0130", "i").replace("\u0131", "i").replace("\u0307", "")
        text = text.lower().replace("\u03c2", "\u03c3")
        return text.encode(errors="replace").translate(_SEPARATORS).split()
    return text.lower().encode().translate(_SEPARATORS).split()


def _buckets_of_word(word: bytes) -> list[int]:
    """Return the buckets of all windows of a word, the longest windows first."""
    if word.isascii():
        size = len(word) + 1
        return [
            crc32(word[end - length : end]) % BUCKETS for length in _WINDOWS for end in range(length, size)
        ]
    buckets = []
    for part in _PARTS.finditer(word.decode()):
        letters = part[0]
        lengths, bits = (_WINDOWS, 1) if part[1] is None else (_WINDOWS_OF_SIGNS, _BITS_OF_SIGNS)
        for length in lengths:
            for begin in range(len(letters) - length + 1):
                window = letters[begin : begin + length].encode()
                buckets += [crc32(window, bit) % BUCKETS for bit in range(bits)]
    return buckets


def _let_others_go_on(count: int) -> None:
    """Release the interpreter from time to time, so that other threads need not wait for it."""
    if count % _WORDS_AT_ONCE == 0:
        sleep(0)
