"""Writes warnings and errors on a thread of its own, so that no request waits for a reader of the output."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hl_sessions.server.http.line_writer import LineWriter


@contextmanager
def warnings_on_a_thread() -> Iterator[None]:
    """Write the warnings and errors of the ``with`` block to the standard error output, if there is one.

    If nothing reads it, they are lost beyond a limit.
    """
    if sys.stderr is None:
        yield
        return
    writer = LineWriter(sys.stderr.fileno(), lambda _lines: None)
    writer.start()
    handler = _Handler(writer)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        writer.close()


class _Handler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__(logging.WARNING)
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001 - as all handlers do
            self.handleError(record)
