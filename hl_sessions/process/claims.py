"""Numbers that belong to one process at a time, until it ends in any way.

A number is a byte of a file, beyond its end, that the process has locked. The system unlocks it when the
process ends, so no time-out has to decide whether a silent process is alive.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from hl_sessions.process.fork import renew_after_fork

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Claims"]


class _File:
    """A file that is open once in the process, as closing it gives up all locks of the process on it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.claimed: set[int] = set()
        self.users = 0


class _Files:
    """All such files of the process."""

    def __init__(self) -> None:
        self._files: dict[Path, _File] = {}
        self._lock = threading.RLock()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        for file in self._files.values():
            file.claimed.clear()  # the locks are the parent's

    def open(self, path: Path) -> _File:
        with self._lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = _File(path)
            file.users += 1
            return file

    def close(self, path: Path, file: _File) -> None:
        with self._lock:
            file.users -= 1
            if not file.users:
                del self._files[path]
                os.close(file.descriptor)

    def claim(self, file: _File, number: int) -> bool:
        with self._lock:
            if number in file.claimed:  # by this process, to which the system would grant it again
                return False
            try:
                fcntl.lockf(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):  # another process has it
                return False
            file.claimed.add(number)
            return True

    def give_up(self, file: _File, number: int) -> None:
        with self._lock:
            if number in file.claimed:
                file.claimed.discard(number)
                fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, number)


_files = _Files()


class Claims:
    """Numbers that no other process has. A forked child begins without numbers.

    Args:
        path: the path of the file, the same for all processes that might claim the same numbers.

    Raises:
        OSError: the file cannot be opened, or the system has no such locks.
    """

    def __init__(self, path: Path) -> None:
        if fcntl is None:
            raise OSError("this system has no locks that end with a process")
        self._path = path
        self._file = _files.open(path)
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        #: The claimed numbers, in the order of the claims.
        self.numbers: list[int] = []

    def claim(self, number: int) -> bool:
        """Claim a number; return whether it was free."""
        is_free = _files.claim(self._file, number)
        if is_free:
            self.numbers.append(number)
        return is_free

    def close(self) -> None:
        """Give all numbers up."""
        while self.numbers:
            _files.give_up(self._file, self.numbers.pop())
        _files.close(self._path, self._file)
