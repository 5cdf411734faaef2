"""The keeper: one session for all scopes with the same key, in this process and, by the store, in others."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hl_sessions.availability.store_rest import StoreRest
from hl_sessions.conversations.in_use import ConversationsInUse
from hl_sessions.conversations.telling import Teller
from hl_sessions.errors import APIConnectionError, APITimeoutError
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.interruptions import is_interruption
from hl_sessions.process.outcome import Outcome
from hl_sessions.process.reentry import creating
from hl_sessions.process.threads import start_thread
from hl_sessions.process.waits import Blocking, Known
from hl_sessions.sessions.creation import LONGEST_DELAY, LOOK_INTERVAL, Obtained, agreement
from hl_sessions.stores.base import Conversation
from hl_sessions.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from hl_sessions.availability.reports import Reports
    from hl_sessions.client.deadline import Deadline
    from hl_sessions.conversations.episode import Episode
    from hl_sessions.conversations.session import ConversationSession
    from hl_sessions.process.worker_threads import WorkerThreads
    from hl_sessions.sessions.creation import Creation
    from hl_sessions.stores.base import Claim, ConversationStore

__all__ = ["Keeper"]

Result = TypeVar("Result")

POLL_INTERVAL = 0.02  # seconds between looks for the session that another process is creating
LEASE_MARGIN = 1.0  # seconds by which a claim outlives its creation
LONGEST_LEASE = 10.0  # seconds until another process takes over from one that died, at the latest


class _Found(NamedTuple):
    """The result of a search for the session of a conversation."""

    conversation: Conversation
    is_kept: bool  # in the store, where other processes find it
    is_created: bool  # by this search


class _Search(Outcome["_Found | None"]):
    """The search of one reader for a session, for which others wait; ``None``: it was interrupted."""

    __slots__ = ("creation",)

    def __init__(self, creation: Creation | None) -> None:
        super().__init__()
        #: The creation that the search is a part of.
        self.creation = creation


class _KnownSearch(Known):
    """A wait for the end of a search, with a limit in seconds."""

    outcome: _Search

    def block(self) -> None:
        """Wait in this thread, and finish the creation if its event loop cannot."""
        if self.outcome.creation is not None:
            self.outcome.creation.finish_if_stuck()
        super().block()


class Keeper:
    """The conversations of one manager, in its store.

    Args:
        store: keeps their session IDs.
        base_url: the URL of the API; conversations of different APIs are separate.
        idle_timeout: seconds of idle time after which a conversation is over; ``None``: never.
        create: creates a session by a deadline, with its description.
        tell_api: called with the ID of the session of an ended conversation, and the fields to tell.
        workers: threads for blocking calls on an event loop.
        reports: takes the reports of failures of the store.
        has_spool: whether datapoints of a former process may name the session by its reference ID: then the
            API is told it at the creation.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        base_url: str,
        idle_timeout: float | None,
        create: Callable[[Deadline, Mapping[str, Any]], Coroutine[Any, Any, str]],
        tell_api: Callable[[str, Mapping[str, Any]], object],
        workers: WorkerThreads,
        reports: Reports,
        has_spool: bool,
    ) -> None:
        self._store = store
        self._base_url = base_url
        self._idle_timeout = idle_timeout
        #: Whether a conversation without uses is over after some time.
        self.become_idle = idle_timeout is not None
        #: Whether a call of the store may wait.
        self.is_blocking = store.blocking
        self._is_quiet = type(store) is MemoryStore  # other stores may log, and more
        self.create = create
        self._has_spool = has_spool
        self._reports = reports
        self._rest = StoreRest(reports)
        self._teller = Teller(
            store, self._rest, workers, reports, idle_timeout=idle_timeout, tell_api=tell_api
        )
        self._in_use = ConversationsInUse(idle_timeout, self._touch, is_shared=store.blocking)
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._searches: dict[str, _Search] = {}
        self._has_warned = False  # of a wait that timed out, since the last success

    def known(self, session: ConversationSession) -> Conversation | None:
        """Return the conversation in the store, ``None`` if there is none, or the store rests."""
        key = self._entry_key(session)
        if self._teller.is_behind(key):
            return None  # the store has to be told first, which may wait
        if self.is_blocking and not self._rest.is_over():
            return None
        max_idle = self._in_use.max_idle(session) if self.become_idle else None
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
            self._in_use.count(session)
        return conversation

    async def obtain_id(self, session: ConversationSession, deadline: Deadline) -> Obtained:
        """Return the ID of a conversation's session, which is created if there is none.

        Simultaneous callers with the same key get the same ID.
        """
        key = self._entry_key(session)
        while True:
            with self._lock:
                search = self._searches.get(key)
                if search is None:
                    mine = self._searches[key] = _Search(session._creation())
                    break
            await self._wait_for(search, deadline.remaining() + LONGEST_DELAY)
            if not search.is_known:  # its reader was interrupted, and set no outcome
                self._forget(key, search)
                continue
            found = search.get()
            if found is not None:
                return Obtained(self._accept(session, found), is_created=False)
        try:
            found = await self._find_or_create(key, mine, session, deadline)
        except BaseException as error:
            self._forget(key, mine)
            if isinstance(error, Exception) and not is_interruption(error):
                mine.set_error(error)
            else:  # only this caller was interrupted: one of the waiters goes on
                mine.set(None)
            raise
        session_id = self._accept(session, found)
        self._forget(key, mine)
        mine.set(found)
        return Obtained(session_id, found.is_created)

    async def _wait_for(self, search: _Search, seconds: float) -> None:
        """Wait until the search of another reader is over, at most ``seconds``."""
        end = time.monotonic() + seconds
        while not search.is_known and time.monotonic() < end:
            if search.creation is not None and search.creation.is_orphaned():
                await Blocking(search.creation.finish_if_stuck)
            await _KnownSearch(search, LOOK_INTERVAL)

    def reference_id(self, session: ConversationSession, *, may_ask: bool) -> str:
        """Return the reference ID of a conversation.

        While the store fails, or may not be asked, it is a hash on which all processes agree, or a new one if
        this process has ended the conversation.
        """
        if (self._is_quiet or may_ask) and self._rest.is_over():
            try:
                with creating():
                    reference_id = self._ask_for_reference_id(session)
            except Exception as error:  # noqa: BLE001 - a store must not break the application
                self._rest.begin(error)
            else:
                self._rest.end()
                return reference_id
        return self._reference_id_without_store(session)

    def leave(self, session: ConversationSession) -> None:
        """Note the end of a scope; its conversation is idle from now on, unless another scope uses it."""
        self._in_use.leave(session)

    def end(self, conversation_key: str, told: Mapping[str, Any]) -> None:
        """End a conversation; readers that wait for its session still get it.

        Args:
            conversation_key: its key.
            told: the fields to tell the API of its session, if the store has one.
        """
        key = self._store.entry_key(self._base_url, conversation_key)
        with self._lock:
            self._searches.pop(key, None)
        self._teller.end(key, told, self._in_use.end(conversation_key))

    def has_ended(self, session: ConversationSession) -> bool:
        """Whether the conversation of a scope was ended since it was entered, as far as remembered."""
        return self._in_use.has_ended(session)

    def episode(self, conversation_key: str) -> Episode:
        """Return the episode of a conversation until its next end in this process."""
        return self._in_use.episode(conversation_key)

    async def former(self, session: ConversationSession, episode: Episode) -> Conversation | None:
        """Return what the store had at the end of an episode; ``None``: nothing, or the store fails.

        Raises:
            APIConnectionError: no thread can be started to ask the store in.
        """
        key = self._entry_key(session)
        if episode.conversation is None and self._teller.is_behind(key) and self._rest.is_over():
            try:
                await self._ask(partial(self._teller.catch_up, key))
            except APIConnectionError:  # no thread can be started, which tells nothing about the store
                raise
            except Exception as error:  # noqa: BLE001 - a store that is down costs the conversation only
                self._rest.begin(error)
            else:
                self._rest.end()
        return episode.conversation

    def tell_last_ends(self) -> None:
        """Tell the store the ends that wait since a failure, unless it still fails."""
        self._teller.tell_last_ends()

    def close(self) -> None:
        """End the thread that tells the store of conversations in use."""
        self._in_use.close()

    def retire(self) -> None:
        """End that thread as soon as no conversation is in use."""
        self._in_use.retire()

    def _touch(self, session: ConversationSession) -> None:
        reference_id = session._known_reference_id()
        if reference_id is not None and not session._is_over():
            self._teller.touch(self._entry_key(session), reference_id)

    def _entry_key(self, session: ConversationSession) -> str:
        return self._store.entry_key(self._base_url, session._key)

    async def _find_or_create(
        self, key: str, search: _Search, session: ConversationSession, deadline: Deadline
    ) -> _Found:
        if not self._rest.is_over():
            return self._own(session, await self._create(session, deadline))
        claimant = uuid.uuid4().hex
        try:
            found = await self._find_or_claim(key, session, claimant, deadline)
        except APITimeoutError as error:
            self._warn_once("%s", error)
            raise
        except APIConnectionError:  # no thread can be started, which tells nothing about the store
            raise
        except Exception as error:  # noqa: BLE001 - a store that is down costs the conversation, not the session
            self._rest.begin(error)
            return self._own(session, await self._create(session, deadline))
        self._rest.end()
        if isinstance(found, Conversation):
            return _Found(found, is_kept=True, is_created=False)
        create = partial(self._create, session, deadline, found)
        try:
            session_id = await self._create_while_renewing(key, claimant, deadline, create)
        except GeneratorExit:  # no wait is possible here: the claim ends by itself
            raise
        except BaseException:
            await self._ask(partial(self._release, key, claimant))
            raise
        try:
            conversation = await self._ask(partial(self._save, key, claimant, session_id, search))
        except Exception as error:  # noqa: BLE001 - a store that is down costs the conversation, not the session
            self._rest.begin(error)
            await self._ask(partial(self._release, key, claimant))
            return self._own(session, session_id)
        # None: the conversation was ended meanwhile.
        conversation = conversation or Conversation(session_id, found.previous_id, found.reference_id)
        return _Found(conversation, is_kept=True, is_created=conversation.session_id == session_id)

    async def _create(
        self, session: ConversationSession, deadline: Deadline, claim: Claim | None = None
    ) -> str:
        told = dict(session._take_along())
        if claim is not None and claim.previous_id is not None:
            told["previous_id"] = claim.previous_id
        if claim is not None and self._has_spool:
            told["reference_id"] = claim.reference_id
        return await self.create(deadline, told)

    async def _ask(self, ask: Callable[[], Result]) -> Result:
        """Return the result of a call of the store, without blocking an event loop."""
        if not self.is_blocking:
            return ask()
        result: Result = await Blocking(ask)
        return result

    def _save(self, key: str, claimant: str, session_id: str, search: _Search) -> Conversation | None:
        conversation = self._store.save(key, claimant, session_id)
        if conversation is not None:
            self._has_warned = False
        elif self._searches.get(key) is search:
            # Not ended here: another process may have taken over while this one stood still.
            conversation = self._store.get(key, max_idle=None)
        return conversation

    def _release(self, key: str, claimant: str) -> None:
        self._teller.quietly(lambda: self._store.release(key, claimant))

    async def _create_while_renewing(
        self, key: str, claimant: str, deadline: Deadline, create: Callable[[], Coroutine[Any, Any, str]]
    ) -> str:
        """Create a session, and renew the claim meanwhile if the creation may take longer than a lease."""
        if deadline.remaining() + LEASE_MARGIN <= LONGEST_LEASE:
            return await create()
        is_over = threading.Event()
        renew = partial(self._renew, key, claimant, is_over)
        renewer = start_thread(renew, "hl-sessions-renewer")
        try:
            session_id = await create()
        finally:
            is_over.set()
        if renewer is not None:
            await Blocking(renewer.join)  # other processes would wait for a claim that came after the save
        return session_id

    def _renew(self, key: str, claimant: str, is_over: threading.Event) -> None:
        claim = partial(self._store.claim, key, claimant, lease=LONGEST_LEASE, max_idle=self._idle_timeout)
        while not is_over.wait(LONGEST_LEASE / 3):
            self._teller.quietly(claim)

    def _own(self, session: ConversationSession, session_id: str) -> _Found:
        reference_id = self._reference_id_without_store(session)
        return _Found(Conversation(session_id, None, reference_id), is_kept=False, is_created=True)

    def _reference_id_without_store(self, session: ConversationSession) -> str:
        reference_id = self._in_use.reference_id_after_end(session._key)
        return reference_id or hashlib.sha256(self._entry_key(session).encode()).hexdigest()

    def _ask_for_reference_id(self, session: ConversationSession) -> str:
        key = self._entry_key(session)
        self._teller.catch_up(key)
        reference_id = self._store.reference_id(key, max_idle=self._in_use.max_idle(session))
        if self.become_idle:
            self._in_use.count(session)
        return reference_id

    async def _find_or_claim(
        self, key: str, session: ConversationSession, claimant: str, deadline: Deadline
    ) -> Conversation | Claim:
        """Return the conversation if it has a session, else claim it."""
        while True:
            found = await self._ask(partial(self._look, key, session, claimant, deadline))
            if found is not None:
                return found
            if deadline.remaining() < POLL_INTERVAL:
                raise APITimeoutError("another process is creating the session of the conversation")
            await Known(Outcome(), POLL_INTERVAL)

    def _look(
        self, key: str, session: ConversationSession, claimant: str, deadline: Deadline
    ) -> Conversation | Claim | None:
        self._teller.catch_up(key)
        max_idle = self._in_use.max_idle(session)
        conversation = self._store.get(key, max_idle=max_idle)
        if conversation is not None:
            return conversation
        lease = min(deadline.remaining() + LEASE_MARGIN, LONGEST_LEASE)
        return self._store.claim(key, claimant, lease=lease, max_idle=max_idle)

    def _accept(self, session: ConversationSession, found: _Found) -> str:
        with agreement.lock:
            if session._id is None:
                session._conversation = found.conversation
        if not found.is_kept:
            session._log_by_reference()  # so that the conversation stays together
        if self.become_idle:
            self._in_use.count(session)
        return found.conversation.session_id

    def _forget(self, key: str, search: _Search) -> None:
        with self._lock:
            if self._searches.get(key) is search:
                del self._searches[key]

    def _warn_once(self, message: str, *arguments: object) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._reports.add(logging.WARNING, message, *arguments)
