"""What a store is told of its conversations, in the background where an event loop runs, and in order."""

from __future__ import annotations

import functools
import logging
import threading
from collections import OrderedDict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from hl_sessions.process.event_loop import is_event_loop_running
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.reentry import creating

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hl_sessions.availability.reports import Reports
    from hl_sessions.availability.store_rest import StoreRest
    from hl_sessions.process.worker_threads import WorkerThreads
    from hl_sessions.stores.base import ConversationStore

__all__ = ["Teller", "ended_now"]

MAX_UNTOLD = 10_000  # ends that wait until the store is back


def ended_now() -> dict[str, str]:
    """Return what the API is told of a session that ends now."""
    return {"ended_at": datetime.now(timezone.utc).isoformat()}


class Teller:
    """Tells a store of ends and uses. An end that it cannot be told waits until it is back.

    Args:
        store: the store.
        rest: whether the store is left alone.
        workers: threads for what an event loop cannot wait for.
        reports: where failures of the store are reported.
        idle_timeout: seconds of idle time after which a conversation is over; ``None``: never.
        tell_api: is given the ID of the session of a conversation that was ended, and what is told of it.
    """

    def __init__(
        self,
        store: ConversationStore,
        rest: StoreRest,
        workers: WorkerThreads,
        reports: Reports,
        *,
        idle_timeout: float | None,
        tell_api: Callable[[str, Mapping[str, Any]], object],
    ) -> None:
        self._store = store
        self._rest = rest
        self._workers = workers
        self._reports = reports
        self._idle_timeout = idle_timeout
        self._tell_api = tell_api
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._tellings: dict[str, _Telling] = {}  # what the store is being told in the background
        # As the store was down; and what the API is told of the sessions that only the store knows.
        self._untold_ends: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._has_lost_ends = False

    def touch(self, key: str, session_id: str) -> None:
        """Tell that a conversation was used; a store that is left alone need not know."""
        if self._rest.is_over():
            self._tell(key, lambda: self._store.touch(key, session_id))

    def end(self, key: str, told: Mapping[str, Any]) -> None:
        """Tell that a conversation was ended.

        Args:
            key: the conversation.
            told: what the API is to be told of its session, if the store has one.
        """
        with self._lock:
            self._untold_ends[key] = self._untold_ends.get(key) or told
            if len(self._untold_ends) > MAX_UNTOLD:
                self._untold_ends.popitem(last=False)
                self._warn_of_lost_ends()
        if self._rest.is_over():  # else whoever uses the conversation next tells it first
            self._tell(key, lambda: self._tell_end(key))
        else:
            self._reports.emit()

    def is_behind(self, key: str) -> bool:
        """Whether there is something of a conversation that the store was not told yet."""
        return key in self._untold_ends or key in self._tellings

    def catch_up(self, key: str) -> None:
        """Return when the store was told everything of a conversation; raise what it raises."""
        telling = self._tellings.get(key)
        if telling is not None:
            telling.finish()
        if key in self._untold_ends:
            self._tell_end(key)

    def quietly(self, tell: Callable[[], object]) -> None:
        """Call what uses the store; if it fails that is noted."""
        try:
            with creating():
                tell()
        except Exception as error:  # noqa: BLE001 - a store must not break the application
            self._rest.begin(error)
        else:
            self._rest.end()

    def _tell_end(self, key: str) -> None:
        told = self._untold_ends.get(key)
        ended = self._store.get(key, max_idle=self._idle_timeout) if told else None
        self._store.end(key)
        self._untold_ends.pop(key, None)
        if told and ended is not None:
            self._tell_api(ended.session_id, told)

    def _tell(self, key: str, tell: Callable[[], None]) -> None:
        if not (self._store.blocking and is_event_loop_running()):
            self.quietly(tell)
            self._reports.emit()
            return
        with self._lock:
            telling = self._tellings[key] = _Telling(self._tellings.get(key), self.quietly, tell)
        try:
            self._workers.submit(self._tell_in_thread, key, telling)
        except RuntimeError:  # no thread can be started; who looks for the conversation next tells its end
            with self._lock:
                self._tellings.pop(key, None)
            self._reports.emit()

    def _tell_in_thread(self, key: str, telling: _Telling) -> None:
        telling.finish()
        with self._lock:
            if self._tellings.get(key) is telling:
                del self._tellings[key]
        self._reports.emit()

    def _warn_of_lost_ends(self) -> None:
        if not self._has_lost_ends:
            self._has_lost_ends = True
            self._reports.add(
                logging.WARNING,
                "more than %d conversations were ended while the store fails: those ended first may go on"
                " when it is back (said once)",
                MAX_UNTOLD,
            )


class _Telling:
    """Something to tell a store: told once, by whoever comes first, and waited for by the others.

    A creation that needs it to be told does not wait for a free thread, as it may itself hold the last.
    """

    def __init__(self, before: _Telling | None, function: Callable[..., None], *args: object) -> None:
        self._lock = threading.Lock()
        self._before = before
        self._tell: Callable[[], None] | None = functools.partial(function, *args)

    def finish(self) -> None:
        """Return when it is told, and what was to be told before it."""
        chain, telling = [self], self._before
        while telling is not None:
            chain.append(telling)
            telling = telling._before
        for telling in reversed(chain):
            telling._finish_alone()

    def _finish_alone(self) -> None:
        with self._lock:
            self._before = None
            tell, self._tell = self._tell, None
            if tell is not None:
                tell()
