"""The sockets for which an event loop of asyncio waits."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Protocol
from weakref import ref

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

__all__ = ["Readiness", "readiness"]


class Readiness(Protocol):
    """Tells when sockets are ready, on one event loop."""

    def watch(self, descriptor: int, callback: Callable[[], None], *, writing: bool) -> None:
        """Call ``callback`` while a socket can be read from or, with ``writing``, written to."""

    def unwatch(self, descriptor: int, *, writing: bool) -> None:
        """Forget a socket."""


class _OfLoop:
    """The loop watches each socket."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._get_loop = ref(loop)

    def watch(self, descriptor: int, callback: Callable[[], None], *, writing: bool) -> None:
        loop = self._get_loop()
        if loop is not None:
            (loop.add_writer if writing else loop.add_reader)(descriptor, callback)

    def unwatch(self, descriptor: int, *, writing: bool) -> None:
        loop = self._get_loop()
        if loop is not None:
            (loop.remove_writer if writing else loop.remove_reader)(descriptor)


if sys.platform == "linux":

    class _OfEpoll:
        """One epoll watches all sockets, and the loop watches the epoll.

        For each socket, a loop takes as long as for the sending of a request.
        """

        def __init__(self, loop: AbstractEventLoop) -> None:
            self._get_loop = ref(loop)
            self._callbacks: dict[int, Callable[[], None]] = {}
            self._epoll: select.epoll | None = None

        def watch(self, descriptor: int, callback: Callable[[], None], *, writing: bool) -> None:
            epoll = self._epoll
            if epoll is None:
                loop = self._get_loop()
                if loop is None:
                    return
                epoll = select.epoll()
                loop.add_reader(epoll.fileno(), self._look)
                self._epoll = epoll
            epoll.register(descriptor, select.EPOLLOUT if writing else select.EPOLLIN)
            self._callbacks[descriptor] = callback

        def unwatch(self, descriptor: int, *, writing: bool) -> None:  # noqa: ARG002 - it is one of both
            epoll = self._epoll
            if self._callbacks.pop(descriptor, None) is not None and epoll is not None:
                try:
                    epoll.unregister(descriptor)
                except (OSError, ValueError):
                    pass  # the socket or the epoll is closed

        def _look(self) -> None:
            epoll, loop = self._epoll, self._get_loop()
            if epoll is None or loop is None:
                return
            # Looked up before the first call, which may replace a socket by another with its number.
            ready = [(descriptor, self._callbacks.get(descriptor)) for descriptor, _ in epoll.poll(0)]
            for descriptor, callback in ready:
                if callback is not None and self._callbacks.get(descriptor) is callback:
                    callback()
            if not self._callbacks:
                self._epoll = None
                loop.remove_reader(epoll.fileno())
                epoll.close()


def readiness(loop: AbstractEventLoop) -> Readiness:
    """Return what watches sockets on an event loop."""
    if sys.platform == "linux" and hasattr(select, "epoll"):  # gevent removes it
        return _OfEpoll(loop)
    return _OfLoop(loop)
