"""One session for all scopes that have the same key, in this process and through the store in others."""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections import OrderedDict
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from hl_sessions.availability.store_rest import StoreRest
from hl_sessions.conversations.telling import Telling
from hl_sessions.errors import APITimeoutError
from hl_sessions.process.event_loop import is_event_loop_running
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.interruptions import is_interruption
from hl_sessions.process.reentry import creating
from hl_sessions.process.threads import start_thread
from hl_sessions.sessions.creation import LONGEST_DELAY
from hl_sessions.stores.base import Conversation
from hl_sessions.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hl_sessions.availability.reports import Reports
    from hl_sessions.client.deadline import Deadline
    from hl_sessions.conversations.session import ConversationSession
    from hl_sessions.process.worker_threads import WorkerThreads
    from hl_sessions.stores.base import ConversationStore

__all__ = ["Keeper"]

POLL_INTERVAL = 0.02  # seconds between looks for the session that another process is creating
MAX_ENDED = 10_000  # conversations whose end is remembered
LEASE_MARGIN = 1.0  # seconds that a claim outlives the creation it is for
LONGEST_LEASE = 10.0  # seconds until another process takes over from one that died, however long it may take


class _Found(NamedTuple):
    """What became of looking for the session of a conversation."""

    conversation: Conversation
    is_kept: bool  # in the store: others find the same


class Keeper:
    """The conversations of one manager, in its store.

    Args:
        store: where their session IDs are kept.
        base_url: that of the API; conversations of different APIs are kept apart.
        idle_timeout: seconds of idle time after which a conversation is over; ``None``: never.
        create: creates a session by a deadline.
        workers: threads for what an event loop cannot wait for.
        reports: where failures of the store are reported.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        base_url: str,
        idle_timeout: float | None,
        create: Callable[[Deadline], str],
        workers: WorkerThreads,
        reports: Reports,
    ) -> None:
        self._store = store
        self._base_url = base_url
        self._idle_timeout = idle_timeout
        #: Whether a conversation that nobody uses is over at some time.
        self.become_idle = idle_timeout is not None
        #: Whether asking for a conversation needs waiting.
        self.is_blocking = store.blocking
        self._is_quiet = type(store) is MemoryStore  # others may log, or more
        self.create = create
        self._workers = workers
        self._reports = reports
        self._rest = StoreRest(reports)
        self._is_retired = False
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._creations: dict[str, Future[_Found | None]] = {}
        # Scopes of this process that have read the ID and are not left.
        self._in_use: dict[str, set[ConversationSession]] = {}
        self._tellings: dict[str, Telling] = {}  # what the store is being told in the background
        self._untold_ends: OrderedDict[str, None] = OrderedDict()  # as the store was down
        self._is_keeping = False  # whether a thread tells the store what is in use
        self._is_closed = False
        self._has_to_look = threading.Event()
        self._has_lost_ends = False
        self._has_warned = False  # of waiting in vain, since it last was not in vain
        # When conversations were ended, for the scopes that are inside of one meanwhile.
        self._ended: OrderedDict[str, float] = OrderedDict()

    def known(self, session: ConversationSession) -> Conversation | None:
        """Give what the store keeps of a conversation, ``None`` if it has nothing, or is left alone."""
        key = self._entry_key(session)
        if key in self._untold_ends or key in self._tellings:
            return None  # whoever looks for it next has to wait
        if self.is_blocking and not self._rest.is_over():
            return None
        max_idle = self._max_idle(session) if self.become_idle else None
        try:
            if self._is_quiet:
                conversation = self._store.get(key, max_idle=max_idle)
            else:
                with creating():
                    conversation = self._store.get(key, max_idle=max_idle)
        except Exception as error:  # noqa: BLE001 - a store must not break the application
            self._rest.begin(error)
            return None
        if self.is_blocking:
            self._rest.end()
        if conversation is not None and self.become_idle:
            self._count(session)
        return conversation

    def obtain_id(self, session: ConversationSession, deadline: Deadline) -> str:
        """Give the ID of a conversation, of a session created for it where there is none.

        Simultaneous callers with the same key get the same.
        """
        key = self._entry_key(session)
        while True:
            with self._lock:
                creation = self._creations.get(key)
                if creation is None:
                    mine = self._creations[key] = Future()
                    break
            wait([creation], deadline.remaining() + LONGEST_DELAY)
            if not creation.done():  # its reader was interrupted before it could say so
                self._forget(key, creation)
                continue
            found = creation.result()
            if found is not None:
                return self._accept(session, found)
        try:
            found = self._find_or_create(key, mine, session, deadline)
        except BaseException as error:
            self._forget(key, mine)
            if isinstance(error, Exception) and not is_interruption(error):
                mine.set_exception(error)
            else:  # only this caller was interrupted; one of those who wait goes on
                mine.set_result(None)
            raise
        session_id = self._accept(session, found)
        self._forget(key, mine)
        mine.set_result(found)
        return session_id

    def leave(self, session: ConversationSession) -> None:
        """Note the end of a scope; from here on the conversation is idle if nobody else uses it."""
        with self._lock:
            if self._is_retired:
                self._has_to_look.set()
            if not session._is_counted:
                return
            session._is_counted = False
            users = self._in_use.get(session._key)  # a forked child starts without
            if users is not None:
                users.discard(session)
                if not users:
                    del self._in_use[session._key]
        self._touch(session)

    def end(self, conversation_key: str) -> None:
        """End a conversation; who is waiting for its session still gets it."""
        key = self._store.entry_key(self._base_url, conversation_key)
        with self._lock:
            self._creations.pop(key, None)
            self._ended[conversation_key] = time.monotonic()
            self._ended.move_to_end(conversation_key)
            for user in self._in_use.pop(conversation_key, ()):
                user._is_counted = False
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
            self._untold_ends[key] = None
            if len(self._untold_ends) > MAX_ENDED:
                self._untold_ends.popitem(last=False)
                self._warn_of_lost_ends()
        if self._rest.is_over():  # else whoever uses the conversation next tells it first
            self._tell(key, lambda: self._tell_end(key))
        else:
            self._emit_reports()

    def _tell_end(self, key: str) -> None:
        self._store.end(key)
        self._untold_ends.pop(key, None)

    def _touch(self, session: ConversationSession) -> None:
        key, session_id = self._entry_key(session), session.peek()
        if session_id is not None and not session._is_over() and self._rest.is_over():
            self._tell(key, lambda: self._store.touch(key, session_id))

    def close(self) -> None:
        """End the thread that keeps conversations from growing idle."""
        self._is_closed = True
        self._has_to_look.set()

    def retire(self) -> None:
        """End that thread as soon as there is nothing left to keep."""
        self._is_retired = True
        self._has_to_look.set()

    def has_ended(self, session: ConversationSession) -> bool:
        """Whether the conversation of a scope was ended since it was entered, as far as remembered."""
        return self._ended.get(session._key, -math.inf) >= session._entered

    def _entry_key(self, session: ConversationSession) -> str:
        return self._store.entry_key(self._base_url, session._key)

    def _find_or_create(
        self, key: str, creation: Future[_Found | None], session: ConversationSession, deadline: Deadline
    ) -> _Found:
        if not self._rest.is_over():
            return self._own(self.create(deadline))
        claimant = uuid.uuid4().hex
        try:
            conversation = self._find_or_claim(key, session, claimant, deadline)
        except APITimeoutError as error:
            self._warn_once("%s", error)
            raise
        except Exception as error:  # noqa: BLE001 - a store that is down costs the conversation, not the session
            self._rest.begin(error)
            return self._own(self.create(deadline))
        self._rest.end()
        if conversation is not None:
            return _Found(conversation, is_kept=True)
        try:
            with self._renewed(key, claimant, deadline):
                session_id = self.create(deadline)
        except BaseException:
            self._quietly(lambda: self._store.release(key, claimant))
            raise
        try:
            conversation = self._store.save(key, claimant, session_id)
            if conversation is not None:
                self._has_warned = False
            elif self._creations.get(key) is creation:
                # Not ended here: somebody may have taken over while this process stood still.
                conversation = self._store.get(key, max_idle=None)
        except Exception as error:  # noqa: BLE001 - as above
            self._rest.begin(error)
            self._quietly(lambda: self._store.release(key, claimant))
            return self._own(session_id)
        # None: the conversation was ended meanwhile.
        return _Found(conversation or Conversation(session_id, None), is_kept=True)

    @contextmanager
    def _renewed(self, key: str, claimant: str, deadline: Deadline) -> Iterator[None]:
        """Renew a claim for as long as a creation takes, if that may be longer than a lease."""
        if deadline.remaining() + LEASE_MARGIN <= LONGEST_LEASE:
            yield
            return
        is_over = threading.Event()

        def renew() -> None:
            while not is_over.wait(LONGEST_LEASE / 3):
                self._quietly(
                    lambda: self._store.claim(key, claimant, lease=LONGEST_LEASE, max_idle=self._idle_timeout)
                )

        renewer = start_thread(renew, "hl-sessions-renewer")
        try:
            yield
        finally:
            is_over.set()
            if renewer is not None:
                renewer.join()  # a claim that came after the save would be somebody's to wait for

    def _own(self, session_id: str) -> _Found:
        return _Found(Conversation(session_id, None), is_kept=False)

    def _find_or_claim(
        self, key: str, session: ConversationSession, claimant: str, deadline: Deadline
    ) -> Conversation | None:
        telling = self._tellings.get(key)
        if telling is not None:
            telling.finish()
        if key in self._untold_ends:
            self._tell_end(key)
        while True:
            max_idle = self._max_idle(session)
            conversation = self._store.get(key, max_idle=max_idle)
            lease = min(deadline.remaining() + LEASE_MARGIN, LONGEST_LEASE)
            if conversation is not None or self._store.claim(key, claimant, lease=lease, max_idle=max_idle):
                return conversation
            if deadline.remaining() < POLL_INTERVAL:
                raise APITimeoutError("another process is creating the session of the conversation")
            time.sleep(POLL_INTERVAL)

    def _max_idle(self, session: ConversationSession) -> float | None:
        if self._idle_timeout is None or session._key in self._in_use:
            return None
        return self._idle_timeout + time.monotonic() - session._entered

    def _accept(self, session: ConversationSession, found: _Found) -> str:
        session._previous_id = found.conversation.previous_id
        if not found.is_kept:
            session._log_by_reference()  # which is the key: so the conversation stays together
        if self.become_idle:
            self._count(session)
        return found.conversation.session_id

    def _count(self, session: ConversationSession) -> None:
        with self._lock:
            if session._left or session._is_counted or session._is_over():
                return
            session._is_counted = True
            self._in_use.setdefault(session._key, set()).add(session)
            if self._is_keeping or not self.is_blocking:
                return
            self._is_keeping = True
        if start_thread(self._keep_in_use, "hl-sessions-keeper") is None:
            self._is_keeping = False

    def _keep_in_use(self) -> None:
        """Keep conversations from growing idle in the eyes of other processes while scopes are in them."""
        interval = (self._idle_timeout or 0) / 3
        while True:
            self._has_to_look.wait(interval)
            self._has_to_look.clear()
            with self._lock:
                # Each session once: who entered before another process ended the conversation has an old one.
                in_use = {
                    (session._key, session.peek()): session
                    for users in self._in_use.values()
                    for session in users
                }
                if not in_use or self._is_closed:
                    self._is_keeping = False
                    return
            for session in in_use.values():
                self._touch(session)

    def _forget(self, key: str, creation: Future[_Found | None]) -> None:
        with self._lock:
            if self._creations.get(key) is creation:
                del self._creations[key]

    def _tell(self, key: str, tell: Callable[[], None]) -> None:
        if not (self._store.blocking and is_event_loop_running()):
            self._quietly(tell)
            self._emit_reports()
            return
        with self._lock:
            telling = self._tellings[key] = Telling(self._tellings.get(key), self._quietly, tell)
        try:
            self._workers.submit(self._tell_in_thread, key, telling)
        except RuntimeError:  # no thread can be started; who looks for the conversation next tells its end
            with self._lock:
                self._tellings.pop(key, None)
            self._emit_reports()

    def _tell_in_thread(self, key: str, telling: Telling) -> None:
        telling.finish()
        with self._lock:
            if self._tellings.get(key) is telling:
                del self._tellings[key]
        self._emit_reports()

    def _quietly(self, tell: Callable[[], object]) -> None:
        try:
            with creating():
                tell()
        except Exception as error:  # noqa: BLE001 - a store must not break the application
            self._rest.begin(error)
        else:
            self._rest.end()

    def _emit_reports(self) -> None:
        # Never where another thread waits: see Reports.
        with creating():
            self._reports.emit()

    def _warn_of_lost_ends(self) -> None:
        if not self._has_lost_ends:
            self._has_lost_ends = True
            self._reports.add(
                logging.WARNING,
                "more than %d conversations were ended while the store fails: those ended first may go on"
                " when it is back (said once)",
                MAX_ENDED,
            )

    def _warn_once(self, message: str, *arguments: object) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._reports.add(logging.WARNING, message, *arguments)
