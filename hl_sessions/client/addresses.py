"""The addresses of one host, looked up within a deadline."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.outcome import Outcome
from hl_sessions.process.threads import start_thread
from hl_sessions.process.waits import Known

if TYPE_CHECKING:
    from hl_sessions.client.deadline import Deadline

__all__ = ["Addresses"]

_Address = tuple[int, Any]  # the family, and the address to which a socket connects


class Addresses:
    """The addresses of one host and port.

    Args:
        host: a name, or an IP address, which needs no look-up.
        port: the port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._literal = _literal(host, port)
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._waiting: list[Outcome[list[_Address]]] = []  # for the look-up that is under way

    async def look_up(self, deadline: Deadline) -> list[_Address]:
        """Return the addresses.

        Raises:
            TimeoutError: the look-up took longer than a connection may take.
            OSError: the host is unknown.
        """
        if self._literal is not None:
            return [self._literal]
        outcome: Outcome[list[_Address]] = Outcome()
        deadline.on_abort(lambda: outcome.set_error(TimeoutError("the look-up was given up")))
        with self._lock:
            is_first = not self._waiting
            self._waiting.append(outcome)
        if is_first:
            self._begin()
        await Known(outcome, deadline.connect_timeout)
        if not outcome.is_known:
            raise TimeoutError("the host was not looked up in time")
        return outcome.get()

    def _begin(self) -> None:
        # In a thread, if one can be started, as a look-up has no time limit.
        if start_thread(self._look_up, "hl-sessions-look-up") is None:
            self._look_up()

    def _look_up(self) -> None:
        result: list[_Address] | Exception = OSError("the look-up was interrupted")
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            result = [(int(family), address) for family, _, _, _, address in found]
        except Exception as error:  # noqa: BLE001 - passed to the waiters; a replaced getaddrinfo may raise any
            result = error
        finally:  # in any case, as else no later look-up would begin
            with self._lock:
                waiting, self._waiting = self._waiting, []
            for outcome in waiting:
                if isinstance(result, list):
                    outcome.set(result)
                else:
                    outcome.set_error(result)


def _literal(host: str, port: int) -> _Address | None:
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        pass
    else:
        return int(socket.AF_INET), (host, port)
    try:
        socket.inet_pton(socket.AF_INET6, host)
    except (OSError, UnicodeError):
        return None
    return int(socket.AF_INET6), (host, port)
