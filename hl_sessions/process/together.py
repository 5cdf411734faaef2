"""Coroutines that run side by side in one thread, without an event loop."""

from __future__ import annotations

import math
import select
import socket
import time
from collections import deque
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from hl_sessions.process.turns import Turns
from hl_sessions.process.waits import Blocking, Steps, Wait

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["run_together"]

LONGEST_POLL = 60.0  # seconds, as a poll cannot be infinite


def run_together(coroutines: Iterable[Coroutine[Wait[Any], Any, None]], at_once: int) -> None:
    """Run coroutines to their ends in this thread, some at a time: while one waits, another one goes on.

    Args:
        coroutines: coroutines that await only waits, and report their outcomes themselves.
        at_once: the most coroutines at a time.
    """
    waiting = deque(Steps(coroutine) for coroutine in coroutines)
    running: list[_Running] = []
    turns = Turns()
    with closing(_Waker()) as waker:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_Running(waiting.popleft(), waker))
                turns.pause_if_over()
            running = [one for one in running if not one.is_over]
            if running:
                _wait(running, waker)
                turns.begin()
                for one in running:
                    one.go_on_if_ready()
                    turns.pause_if_over()


class _Waker:
    """Wakes the thread that waits for sockets, from the thread in which an outcome becomes known."""

    receiver: socket.socket
    _sender: socket.socket

    def open(self) -> None:
        """Open the sockets, before the first wait, as most batches need none."""
        if "receiver" not in vars(self):
            self.receiver, self._sender = socket.socketpair()
            self.receiver.settimeout(0)
            self._sender.settimeout(0)

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


class _Running:
    """A coroutine that has begun, and its current wait."""

    def __init__(self, steps: Steps[None], waker: _Waker) -> None:
        self._steps = steps
        self._waker = waker
        self.is_over = False
        self.wait: Wait[Any] = Wait()
        self.end = 0.0
        self.is_ready = False
        self._go_on()

    def go_on_if_ready(self) -> None:
        """Take the next step if the wait is over."""
        outcome = self.wait.outcome
        if self.is_ready or self.end <= time.monotonic() or (outcome is not None and outcome.is_known):
            self._go_on()

    def _go_on(self) -> None:
        wait = self._steps.next()
        while isinstance(wait, Blocking):
            self._steps.take(wait.block)
            wait = self._steps.next()
        if wait is None:
            self.is_over = True
            return
        self._waker.open()
        self.wait, self.is_ready = wait, False
        self.end = time.monotonic() + (math.inf if wait.seconds is None else wait.seconds)
        if wait.outcome is not None:
            wait.outcome.on_known(self._waker.wake)


def _wait(running: list[_Running], waker: _Waker) -> None:
    """Wait until at least one of the coroutines may go on, and note which."""
    seconds = min(max(0.0, min(one.end for one in running) - time.monotonic()), LONGEST_POLL)
    readers = {sock.fileno(): one for one in running for sock in one.wait.reading}
    writers = {sock.fileno(): one for one in running for sock in one.wait.writing}
    wakes = waker.receiver.fileno()
    # Looked up each time, as gevent replaces it, and eventlet removes it.
    poll = getattr(select, "poll", None)
    ready: Iterable[int]
    if poll is None:
        readable, writable, _ = select.select([wakes, *readers], [*writers], (), seconds)
        ready = readable + writable
    else:
        poller = poll()
        for descriptor in (wakes, *readers):
            poller.register(descriptor, select.POLLIN)
        for descriptor in writers:
            poller.register(descriptor, select.POLLOUT)
        # One millisecond more, as a poll that ends too early would be repeated many times.
        ready = [descriptor for descriptor, _ in poller.poll(seconds * 1000 + 1)]
    for descriptor in ready:
        if descriptor == wakes:
            waker.rest()
        else:
            (readers.get(descriptor) or writers[descriptor]).is_ready = True
