"""Waits, the only awaitables of coroutines that are written once for threads and for event loops.

:func:`run_blocking` runs such a coroutine in the thread of the caller, a
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
    """An awaitable that is over when one of its conditions holds."""

    #: Over when one of these sockets can be read from.
    reading: Sequence[socket.socket] = ()
    #: Over when one of these sockets can be written to.
    writing: Sequence[socket.socket] = ()
    #: Over when this outcome is known.
    outcome: Outcome[Any] | None = None
    #: Over after so many seconds.
    seconds: float | None = None

    def __await__(self) -> Generator[Wait[Any], Result, Result]:
        """Let the driver of the coroutine wait, and return the result of the wait."""
        return (yield self)

    def block(self) -> Result:
        """Wait in this thread."""
        raise NotImplementedError


class Ready(Wait[None]):
    """A wait until one of some sockets is ready, with a limit in seconds.

    Args:
        reading: the sockets to read from.
        seconds: the longest time to wait.
        writing: the sockets to write to.
    """

    def __init__(
        self, reading: Sequence[socket.socket], seconds: float, *, writing: Sequence[socket.socket] = ()
    ) -> None:
        self.reading = reading
        self.writing = writing
        self.seconds: float = seconds

    def block(self) -> None:
        """Wait in this thread."""
        # Looked up each time, as gevent replaces it, and eventlet removes it.
        poll = getattr(select, "poll", None)
        if poll is None:
            select.select(self.reading, self.writing, (), self.seconds)
            return
        poller = poll()
        for sock in self.reading:
            poller.register(sock.fileno(), select.POLLIN)
        for sock in self.writing:
            poller.register(sock.fileno(), select.POLLOUT)
        # One millisecond more, as a poll that ends too early would be repeated many times.
        poller.poll(self.seconds * 1000 + 1)


class Known(Wait[None]):
    """A wait until an outcome is known, with a limit in seconds."""

    def __init__(self, outcome: Outcome[Any], seconds: float) -> None:
        self.outcome: Outcome[Any] = outcome
        self.seconds: float = seconds

    def block(self) -> None:
        """Wait in this thread."""
        self.outcome.wait(self.seconds)


class Blocking(Wait[Result]):
    """A wait until a blocking function has returned, with its result or exception.

    Args:
        function: called in this thread, or in another one by a driver that cannot block.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self.function = function

    def block(self) -> Result:
        """Call the function, or wait for the thread that calls it."""
        if self.outcome is None:
            return self.function()
        self.outcome.wait(math.inf)
        result: Result = self.outcome.get()
        return result


class Steps(Generic[Result]):
    """A coroutine that is run step by step.

    Args:
        coroutine: a coroutine that awaits only waits.
    """

    def __init__(self, coroutine: Coroutine[Wait[Any], Any, Result]) -> None:
        self._coroutine = coroutine
        self._step: Callable[[Any], Wait[Any]] = coroutine.send
        self._value: Any = None
        self.result: Result

    def next(self) -> Wait[Any] | None:
        """Run to the next wait, and return it; ``None``: the coroutine has ended with a result."""
        step, value = self._step, self._value
        self._step, self._value = self._coroutine.send, None
        try:
            return step(value)
        except StopIteration as done:
            self.result = done.value
            return None
        finally:
            del value  # an error that was thrown in holds this frame

    def close(self) -> None:
        """Close the coroutine at its current step."""
        self._coroutine.close()

    # Python would warn of a coroutine that was never begun, such as when its event loop ends first.
    __del__ = close

    def finish(self, wait: Wait[Any] | None) -> Result:
        """Run the rest in this thread, beginning with a wait, and return the result."""
        while wait is not None:
            self.take(wait.block)
            wait = self.next()
        return self.result

    def take(self, get: Callable[[], Any]) -> None:
        """Pass the result or the exception of a function to the next step."""
        try:
            self._value = get()
        except BaseException as error:  # noqa: BLE001 - the coroutine gets interruptions, too
            self._step, self._value = self._coroutine.throw, error


def run_blocking(coroutine: Coroutine[Wait[Any], Any, Result]) -> Result:
    """Run a coroutine in this thread, and return its result."""
    steps = Steps(coroutine)
    return steps.finish(steps.next())
