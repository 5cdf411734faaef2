"""Tells a store the ends and uses of conversations: in order, and on an event loop in the background."""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from hl_sessions.process.ending import end_with_process
from hl_sessions.process.event_loop import is_event_loop_running
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.reentry import creating

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hl_sessions.availability.reports import Reports
    from hl_sessions.availability.store_rest import StoreRest
    from hl_sessions.conversations.episode import Episode
    from hl_sessions.process.worker_threads import WorkerThreads
    from hl_sessions.stores.base import ConversationStore

__all__ = ["Teller", "ended_now"]

MAX_UNTOLD = 10_000  # ends that wait until the store is back
LONGEST_END = 2.0  # seconds for those that wait at the end of the manager or the process


def ended_now() -> dict[str, str]:
    """Return the field that tells the API the end of a session, with the current time."""
    return {"ended_at": datetime.now(timezone.utc).isoformat()}


class _End(NamedTuple):
    """An end that the store is to be told; see :meth:`Teller.end`."""

    told: Mapping[str, Any]
    episode: Episode | None


class Teller:
    """Tells a store the ends and uses of conversations. While the store fails, ends wait.

    Args:
        store: the store.
        rest: decides whether to use the store.
        workers: threads for blocking calls on an event loop.
        reports: takes the reports of failures.
        idle_timeout: seconds of idle time after which a conversation is over; ``None``: never.
        tell_api: called with the ID of the session of an ended conversation, and the fields to tell.
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
        end_with_process(self)
        rest.on_back = self._begin_to_tell_waiting_ends

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._tellings: dict[str, _Telling] = {}  # the messages to the store in the background
        # Of several ends of a conversation the first, as the store has at most the session of that one.
        self._untold_ends: OrderedDict[str, _End] = OrderedDict()
        self._has_lost_ends = False

    def touch(self, key: str, session_id: str) -> None:
        """Tell the store that a conversation is used, unless the store rests."""
        if self._rest.is_over():
            self._tell(key, lambda: self._store.touch(key, session_id))

    def end(self, key: str, told: Mapping[str, Any], episode: Episode | None) -> None:
        """Tell the store the end of a conversation.

        Args:
            key: the conversation.
            told: the fields to tell the API of its session, if there is one.
            episode: the episode that is over; it is told what the store had.
        """
        with self._lock:
            self._untold_ends.setdefault(key, _End(told, episode))
            if len(self._untold_ends) > MAX_UNTOLD:
                self._untold_ends.popitem(last=False)
                self._warn_of_lost_ends()
        if self._rest.is_over():  # else it is told when the store is back, or by the next use before
            self._tell(key, lambda: self._tell_end(key))
        else:
            self._reports.emit()

    def is_behind(self, key: str) -> bool:
        """Whether the store still has to be told an end or use of a conversation."""
        return key in self._untold_ends or key in self._tellings

    def catch_up(self, key: str) -> None:
        """Tell the store all that waits for a conversation, or wait until it is told; errors are raised."""
        telling = self._tellings.get(key)
        if telling is not None:
            telling.finish()
        if key in self._untold_ends:
            self._tell_end(key)

    def tell_last_ends(self) -> None:
        """Tell the store the ends that wait, unless it still fails, and warn of those that remain."""
        if self._untold_ends and self._rest.is_over():
            self._tell_waiting_ends(LONGEST_END)
        if self._untold_ends:
            self._reports.add(
                logging.WARNING,
                "conversations that were ended while the store fails, and may go on when it is back: %d",
                len(self._untold_ends),
            )
            self._untold_ends.clear()
        self._reports.emit()

    def _end_with_process(self) -> None:
        self.tell_last_ends()

    def _begin_to_tell_waiting_ends(self) -> None:
        if self._untold_ends:
            # Without a thread, the next uses of the conversations tell their ends.
            with suppress(RuntimeError):
                self._workers.submit(self._tell_waiting_ends)

    def _tell_waiting_ends(self, seconds: float = math.inf) -> None:
        end = time.monotonic() + seconds
        for key in tuple(self._untold_ends):
            with self._lock:
                tell = functools.partial(self._tell_end, key)
                telling = self._tellings[key] = _Telling(self._tellings.get(key), self.quietly, tell)
            self._tell_in_thread(key, telling)
            if time.monotonic() > end or not self._rest.is_over():
                break

    def quietly(self, tell: Callable[[], object]) -> None:
        """Call a function that uses the store, and note whether it fails."""
        try:
            with creating():
                tell()
        except Exception as error:  # noqa: BLE001 - a store must not break the application
            self._rest.begin(error)
        else:
            self._rest.end()

    def _tell_end(self, key: str) -> None:
        end = self._untold_ends.get(key)
        if end is None:  # it was told meanwhile, and the conversation may have begun anew
            return
        is_needed = end.told or end.episode is not None
        ended = self._store.get(key, max_idle=self._idle_timeout) if is_needed else None
        self._store.end(key)
        # Of two threads that tell it at once, only the first one finds a session.
        if end.episode is not None and ended is not None:
            end.episode.conversation = ended
        self._untold_ends.pop(key, None)
        if ended is not None and end.told:
            self._tell_api(ended.session_id, end.told)
        elif end.told and end.episode is not None and end.episode.logged is not None:
            session = end.episode.logged()
            if session is not None:
                session.manager.tell(session, end.told)

    def _tell(self, key: str, tell: Callable[[], None]) -> None:
        if not (self._store.blocking and is_event_loop_running()):
            self.quietly(tell)
            self._reports.emit()
            return
        with self._lock:
            telling = self._tellings[key] = _Telling(self._tellings.get(key), self.quietly, tell)
        try:
            self._workers.submit(self._tell_in_thread, key, telling)
        except RuntimeError:  # no thread can be started: the next use of the conversation tells its end
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
    """A message to a store. The first caller of :meth:`finish` tells it, the others wait.

    So a creation that needs it does not wait for a free thread, of which it may hold the last.
    """

    def __init__(self, before: _Telling | None, function: Callable[..., None], *args: object) -> None:
        self._lock = threading.Lock()
        self._before = before
        self._tell: Callable[[], None] | None = functools.partial(function, *args)

    def finish(self) -> None:
        """Tell the store this message and all before it, or wait until they are told."""
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
