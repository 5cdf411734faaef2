"""Writes lines to an open file on a thread of its own, so that no request waits for the file's reader."""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import sleep
from typing import Final

MOST_WAITING: Final = 4 * 1024 * 1024
"""The greatest number of bytes that wait while nothing reads the file; further lines are lost."""

_LONGEST_WRITE: Final = 4096
"""The longest write, in bytes, that is not mixed up with those of other processes on one pipe."""

_GATHERING: Final = 0.01
"""Seconds for which lines are gathered before they are written."""

_LAST_WAIT: Final = 1.0
"""Seconds that ``close`` waits for lines to be written."""


class LineWriter:
    """Writes lines in order, and counts the lines that are lost because nothing reads, or the disk is full.

    Only one thread at a time may call ``write``.

    Args:
        descriptor: The number of the open file to write to, such as that of the standard output.
        lose: Called on any thread with the number of lost lines.
    """

    def __init__(self, descriptor: int, lose: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._lose = lose
        # ``None`` marks the end.
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        # Each counter has only one thread that changes it, so no lock is needed.
        self._taken = 0
        self._done = 0
        # A daemon, because it may be stuck in a write when the process ends.
        self._thread = threading.Thread(target=self._run, name="hl-sessions-line-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue a line of up to 4 KiB, to be written as a whole, or lose it if too many wait."""
        if self._taken - self._done + len(line) > MOST_WAITING:
            self._lose(1)
            return
        self._taken += len(line)
        self._lines.put(line)

    def close(self) -> None:
        """Write the remaining lines, unless nothing reads the file."""
        self._lines.put(None)
        self._thread.join(_LAST_WAIT)

    def _run(self) -> None:
        is_open = True
        while is_open:
            waiting = [self._lines.get()]
            # Writing lines one by one would take the interpreter from the answering thread each time.
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
            # The reader has gone, or the disk is full: requests are served nevertheless.
            self._lose(len(lines))
        self._done += length
