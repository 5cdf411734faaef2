"""Shows on stderr how far a long command is: a bar on a terminal, else a line now and then."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from time import monotonic
from typing import Final

import click

_SILENT: Final = 2.0
"""Seconds until the first line where there is no progress bar: most commands are done by then."""

_STEP: Final = 10  # percent


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Return a function that takes the number of steps done since its last call.

    Args:
        label: The name of the work.
        length: The number of steps, approximately.
    """
    if sys.stderr.isatty():
        with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
            yield bar.update
    else:
        yield _Lines(label, length).update


@contextmanager
def told_if_long(what: str) -> Iterator[None]:
    """Say once what is done in the ``with`` block, if that takes long, and nobody knows how far it is."""
    timer = Timer(_SILENT, click.echo, [what], {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Lines:
    def __init__(self, label: str, length: int) -> None:
        self._label = label
        self._length = length
        self._done = 0
        self._next = _STEP
        self._started = monotonic()

    def update(self, steps: int) -> None:
        self._done += steps
        percent = 100 * self._done // max(self._length, 1)
        if percent >= self._next and monotonic() - self._started > _SILENT:
            click.echo(f"{self._label}: {min(percent, 100)} %", err=True)
            self._next = percent + _STEP
