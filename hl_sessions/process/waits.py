"""What a coroutine awaits that is written once, for threads and for event loops.

Such a coroutine awaits nothing else. :func:`run_blocking` waits for it in the thread of the caller, a
:class:`~hl_sessions.process.runs.Run` on an event loop.
"""

from __future__ import annotations

import math
import select
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Generator, Sequence

    from hl_sessions.process.outcome import Outcome

__all__ = ["Blocking", "Known", "Ready", "Steps", "Wait", "run_blocking"]

Result = TypeVar("Result")


class Wait(Generic[Result]):
    """Something to await, that is over when one of its conditions holds."""

    #: The sockets of which one can be read from.
    reading: Sequence[socket.socket] = ()
    #: The sockets of which one can be written to.
    writing: Sequence[socket.socket] = ()
    #: What is known.
    outcome: Outcome[Any] | None = None
    #: The seconds that have passed.
    seconds: float | None = None

    def __await__(self) -> Generator[Wait[Any], Result, Result]:
        """Have the driver of the coroutine wait, and return what it got."""
        return (yield self)

    def block(self) -> Result:
        """Wait for it in this thread."""
        raise NotImplementedError


class Ready(Wait[None]):
    """Until one of some sockets is ready, or so many seconds are over.

    Args:
        reading: the sockets to read from.
        seconds: the longest that it takes.
        writing: the sockets to write to.
    """

    def __init__(
        self, reading: Sequence[socket.socket], seconds: float, *, writing: Sequence[socket.socket] = ()
    ) -> None:
        self.reading = reading
        self.writing = writing
        self.seconds: float = seconds

    def block(self) -> None:
        """Wait for it in this thread."""
        # Looked up each time: gevent puts its own in their place, and eventlet takes poll away.
        poll = getattr(select, "poll", None)
        if poll is None:
            select.select(self.reading, self.writing, (), self.seconds)
            return
        poller = poll()
        for sock in self.reading:
            poller.register(sock.fileno(), select.POLLIN)
        for sock in self.writing:
            poller.register(sock.fileno(), select.POLLOUT)
        # A millisecond too long, rather than many polls that end too early.
        poller.poll(self.seconds * 1000 + 1)


class Known(Wait[None]):
    """Until an outcome is known, or so many seconds are over."""

    def __init__(self, outcome: Outcome[Any], seconds: float) -> None:
        self.outcome: Outcome[Any] = outcome
        self.seconds: float = seconds

    def block(self) -> None:
        """Wait for it in this thread."""
        self.outcome.wait(self.seconds)


class Blocking(Wait[Result]):
    """Until a function that may block has returned; gives its result, or raises what it raised.

    Args:
        function: called in this thread, or by a driver that cannot block in another one.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self.function = function

    def block(self) -> Result:
        """Call the function, or wait for the thread that does."""
        if self.outcome is None:
            return self.function()
        self.outcome.wait(math.inf)
        result: Result = self.outcome.get()
        return result


class Steps(Generic[Result]):
    """A coroutine, step by step.

    Args:
        coroutine: one that awaits nothing but waits.
    """

    def __init__(self, coroutine: Coroutine[Wait[Any], Any, Result]) -> None:
        self._coroutine = coroutine
        self._step: Callable[[Any], Wait[Any]] = coroutine.send
        self._value: Any = None
        self.result: Result

    def next(self) -> Wait[Any] | None:
        """Go on to the next wait, and return it; ``None``: there is a result, and no further one."""
        step, value = self._step, self._value
        self._step, self._value = self._coroutine.send, None
        try:
            return step(value)
        except StopIteration as done:
            self.result = done.value
            return None
        finally:
            del value  # an error that is thrown in holds this frame

    def close(self) -> None:
        """End the coroutine where it is."""
        self._coroutine.close()

    # Python would warn of one that was never begun, as when its event loop ends before.
    __del__ = close

    def finish(self, wait: Wait[Any] | None) -> Result:
        """Do all that is left in this thread, beginning with a wait, and return the result."""
        while wait is not None:
            self.take(wait.block)
            wait = self.next()
        return self.result

    def take(self, get: Callable[[], Any]) -> None:
        """Have the next step begin with what a function returns or raises."""
        try:
            self._value = get()
        except BaseException as error:  # noqa: BLE001 - an interruption, too, is the coroutine's
            self._step, self._value = self._coroutine.throw, error


def run_blocking(coroutine: Coroutine[Wait[Any], Any, Result]) -> Result:
    """Run a coroutine in this thread, and return its result."""
    steps = Steps(coroutine)
    return steps.finish(steps.next())
