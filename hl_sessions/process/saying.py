"""The log records of the package, which never break the application."""

from __future__ import annotations

import logging
import sys
import traceback

from hl_sessions.process.interruptions import is_interruption

__all__ = ["say", "show"]

logger = logging.getLogger("hl_sessions")


def say(level: int, message: str, *arguments: object, about: Exception | None = None) -> None:
    """Log a record; the exception of a handler is shown, not raised.

    Args:
        level: the level of the record.
        message: the message of ``Logger.log``.
        arguments: the arguments of ``Logger.log``.
        about: an error whose traceback belongs to the record.
    """
    try:
        logger.log(level, message, *arguments, exc_info=about, stacklevel=2)
    except Exception as error:
        if is_interruption(error):
            raise
        show(error)


def show(error: Exception) -> None:
    """Show an error that no code can catch, like ``logging`` shows the errors of its handlers."""
    if logging.raiseExceptions and sys.stderr is not None:
        traceback.print_exception(error)
