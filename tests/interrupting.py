"""Ctrl-C for the tests and for what they start."""

import signal


def allow_interrupts() -> None:
    """Undo what a shell does to programs that it starts in the background: they ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
