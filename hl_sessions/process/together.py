"""Coroutines that run side by side in one thread, without an event loop."""

from __future__ import annotations

import math
import select
import socket
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from hl_sessions.process.turns import Turns
from hl_sessions.process.waits import Blocking, Steps, Wait

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["run_together"]

LONGEST_POLL = 60.0  # seconds, as a poll cannot be infinite
# Coroutines that begin before those that are ready go on. Each has dozens of objects, and Python searches for
# garbage whenever 700 more are alive.
GROUP = 8
READING: int = getattr(select, "POLLIN", 1)
WRITING: int = getattr(select, "POLLOUT", 4)


def run_together(coroutines: Iterable[Coroutine[Wait[Any], Any, None]], at_once: int) -> None:
    """Run coroutines to their ends in this thread, some at a time: while one waits, another one goes on.

    Args:
        coroutines: coroutines that await only waits, and report their outcomes themselves. Each is taken when
            it can begin.
        at_once: the most coroutines at a time.
    """
    turns = Turns()
    with closing(_Waiting()) as waiting:

        def go_on(steps: Steps[None]) -> None:
            wait = steps.next()
            while isinstance(wait, Blocking):
                steps.take(wait.block)
                wait = steps.next()
            if wait is not None:
                waiting.add(steps, wait)
            turns.pause_if_over()

        def go_on_with_ready(longest: float = LONGEST_POLL) -> None:
            with turns.waiting():
                ready = waiting.take_ready(longest)
            for steps in ready:
                go_on(steps)

        for number, coroutine in enumerate(coroutines):
            if number % GROUP == 0 and len(waiting):
                go_on_with_ready(longest=0.0)
            while len(waiting) >= at_once:
                go_on_with_ready()
            go_on(Steps(coroutine))
        while len(waiting):
            go_on_with_ready()


class _Waiting:
    """The coroutines that have begun, and wait."""

    def __init__(self) -> None:
        #: The wait of each, and when it is over, of ``time.monotonic()``.
        self._waits: dict[Steps[None], tuple[Wait[Any], float]] = {}
        #: No wait is over by the clock before.
        self._end = math.inf
        #: By the descriptors of their sockets; ``None``: that of the waker.
        self._steps: dict[int, Steps[None] | None] = {}
        self._waker = _Waker()
        # Looked up each time, as gevent replaces it, and eventlet removes it. An epoll would take a further
        # system call for each socket.
        self._poll: Any = getattr(select, "poll", _Select)()

    def __len__(self) -> int:
        return len(self._waits)

    def close(self) -> None:
        self._waker.close()

    def add(self, steps: Steps[None], wait: Wait[Any]) -> None:
        """Add a coroutine with its current wait."""
        end = time.monotonic() + (math.inf if wait.seconds is None else wait.seconds)
        self._waits[steps] = wait, end
        self._end = min(self._end, end)
        for sock in wait.reading:
            self._watch(sock.fileno(), READING, steps)
        for sock in wait.writing:
            self._watch(sock.fileno(), WRITING, steps)
        if wait.outcome is not None:
            if self._waker.open():
                self._watch(self._waker.receiver.fileno(), READING, None)
            wait.outcome.on_known(self._waker.wake)

    def take_ready(self, longest: float) -> list[Steps[None]]:
        """Wait, at most so many seconds, and remove and return the coroutines that may go on by now."""
        seconds = min(max(0.0, self._end - time.monotonic()), longest)
        # One millisecond more, as a poll that ends too early would be repeated many times.
        milliseconds = seconds * 1000 + 1 if seconds else 0.0
        ready = {self._steps[descriptor] for descriptor, _ in self._poll.poll(milliseconds)}
        if None in ready:
            self._waker.rest()
            ready |= {
                steps
                for steps, (wait, _) in self._waits.items()
                if wait.outcome is not None and wait.outcome.is_known
            }
        now = time.monotonic()
        if self._end <= now:
            ready |= {steps for steps, (_, end) in self._waits.items() if end <= now}
            self._end = min((end for _, end in self._waits.values() if end > now), default=math.inf)
        taken = [steps for steps in ready if steps is not None]
        for steps in taken:
            self._remove(steps)
        return taken

    def _watch(self, descriptor: int, event: int, steps: Steps[None] | None) -> None:
        self._steps[descriptor] = steps
        self._poll.register(descriptor, event)

    def _remove(self, steps: Steps[None]) -> None:
        wait, _ = self._waits.pop(steps)
        for sock in (*wait.reading, *wait.writing):
            descriptor = sock.fileno()
            del self._steps[descriptor]
            self._poll.unregister(descriptor)


class _Select:
    """A ``select.poll`` where there is none, as on Windows."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, descriptor: int, event: int) -> None:
        self._events[descriptor] = event

    def unregister(self, descriptor: int) -> None:
        del self._events[descriptor]

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        reading = [descriptor for descriptor, event in self._events.items() if event == READING]
        writing = [descriptor for descriptor, event in self._events.items() if event == WRITING]
        readable, writable, _ = select.select(reading, writing, (), milliseconds / 1000)
        return [(descriptor, self._events[descriptor]) for descriptor in readable + writable]


class _Waker:
    """Wakes the thread that waits for sockets, from the thread in which an outcome becomes known."""

    receiver: socket.socket
    _sender: socket.socket

    def open(self) -> bool:
        """Open the sockets unless they are open, as most batches need none; return whether it did."""
        if "receiver" in vars(self):
            return False
        self.receiver, self._sender = socket.socketpair()
        self.receiver.settimeout(0)
        self._sender.settimeout(0)
        return True

    def close(self) -> None:
        if "receiver" in vars(self):
            self.receiver.close()
            self._sender.close()

    def wake(self) -> None:
        with suppress(OSError):  # the thread is awake already, or has ended
            self._sender.send(b"\0")

    def rest(self) -> None:
        with suppress(OSError):
            self.receiver.recv(1024)
