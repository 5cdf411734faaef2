"""Writes lines to an open file on a thread of its own, so that nobody waits for whoever reads the file."""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import sleep
from typing import Final

MOST_WAITING: Final = 4 * 1024 * 1024
"""How many bytes of lines wait, at most, while nobody reads; further ones are lost."""

_LONGEST_WRITE: Final = 4096
"""So much, in bytes, several processes may write to one pipe without mixing it up."""

_GATHERING: Final = 0.01
"""For how long, in seconds, lines are gathered before they are written."""

_LAST_WAIT: Final = 1.0
"""How long the end waits, in seconds, for lines to be written."""


class LineWriter:
    """Writes lines in their order, and counts those that are lost because nobody reads, or the disk is full.

    One thread at a time may give it lines.

    Args:
        descriptor: The number of the open file to write to, such as that of the standard output.
        lose: Told how many lines have been lost; called on any thread.
    """

    def __init__(self, descriptor: int, lose: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._lose = lose
        # ``None`` is the end.
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        # Each is counted by one thread only, so that neither waits for a lock.
        self._taken = 0
        self._done = 0
        # A daemon, as it may be stuck in a write when the process ends.
        self._thread = threading.Thread(target=self._run, name="hl-sessions-line-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Have a line, of up to 4 KiB, be written as a whole, or lose it when too many wait."""
        if self._taken - self._done + len(line) > MOST_WAITING:
            self._lose(1)
            return
        self._taken += len(line)
        self._lines.put(line)

    def close(self) -> None:
        """Write what waits, unless nobody reads it."""
        self._lines.put(None)
        self._thread.join(_LAST_WAIT)

    def _run(self) -> None:
        is_open = True
        while is_open:
            waiting = [self._lines.get()]
            # One by one they would take the interpreter from the thread that answers, each time.
            sleep(_GATHERING)
            while not self._lines.empty():
                waiting.append(self._lines.get())
            lines = [line for line in waiting if line is not None]
            is_open = len(lines) == len(waiting)
            self._write_all(lines)

    def _write_all(self, lines: list[bytes]) -> None:
        together: list[bytes] = []
        length = 0
        for line in lines:
            if together and length + len(line) > _LONGEST_WRITE:
                self._write(together, length)
                together, length = [], 0
            together.append(line)
            length += len(line)
        if together:
            self._write(together, length)

    def _write(self, lines: list[bytes], length: int) -> None:
        try:
            os.write(self._descriptor, b"".join(lines))
        except OSError:
            # Whoever read them has gone, or the disk is full: no reason to answer nobody.
            self._lose(len(lines))
        self._done += length
