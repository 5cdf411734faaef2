"""The handle of one session: shared by all code in its scope. The first reader creates the session."""

from __future__ import annotations

import functools
import logging
import os
import uuid
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from hl_sessions.errors import APIConnectionError, HLSessionsError
from hl_sessions.process.event_loop import is_event_loop_running
from hl_sessions.process.interruptions import is_interruption
from hl_sessions.process.late_imports import late_import
from hl_sessions.process.once import Once
from hl_sessions.process.reentry import creating, is_creating
from hl_sessions.process.runs import Run, current_loop
from hl_sessions.process.saying import say
from hl_sessions.process.waits import Known, run_blocking
from hl_sessions.sessions.creation import (
    LONGEST_DELAY,
    LOOK_INTERVAL,
    Abandoned,
    Creation,
    Obtained,
    agreement,
)
from hl_sessions.sessions.told import Told

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable, Mapping

    from hl_sessions.availability.ready_sessions import ReadySessions
    from hl_sessions.client.deadline import Deadline
    from hl_sessions.process.runs import EventLoop
    from hl_sessions.process.worker_threads import WorkerThreads

__all__ = ["Session", "SessionSource", "session_type", "warn_that_a_read_blocked"]

Function = TypeVar("Function")


class SessionSource(Protocol):
    """What a handle needs of its manager."""

    new_session: Callable[[], Session]
    ready_sessions: ReadySessions | None
    raises_errors: bool
    workers: WorkerThreads
    on_created: Callable[[Session], object] | None
    session_fields: Callable[[Session], Mapping[str, Any] | None] | None

    def deadline(self, begun: float | None = None) -> Deadline:
        """Return the deadline of a read that began at ``begun``, of ``time.monotonic()``; ``None``: now."""

    async def create_session_id(self, deadline: Deadline, told: Mapping[str, Any]) -> str:
        """Create a session with these fields, and return its ID."""

    def refusal(self) -> HLSessionsError | None:
        """Return the error with which :meth:`create_session_id` would fail at once, if it would."""

    def count_session_without_id(self) -> None:
        """Count a session that could not be created when it was needed."""

    def report(self) -> None:
        """Log what happened since the last report."""

    def tell_created(self, session: Session) -> None:
        """Call ``on_created``, and log its exceptions."""

    def ask_for_fields(self, session: Session) -> None:
        """Call ``session_fields`` and note its result, or log its exception."""

    def checked_fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields that are told of a session, as JSON has them.

        Raises:
            TypeError: a field is of the wrong type, or unknown.
            ValueError: a field is too long.
        """

    def tell(self, session: Session, fields: Mapping[str, Any], version: int = 0) -> None:
        """Tell the API of a session, in the background.

        Args:
            session: the session.
            fields: the fields to tell.
            version: that of :class:`Told`; 0: none.
        """


class _Details:
    """The attributes that most sessions do not need, as their IDs are never read."""

    __slots__ = ("creation", "logs_by_reference", "reference_id", "told", "went_without_id")

    def __init__(self) -> None:
        self.told: Told | None = None
        self.creation: Creation | None = None
        self.reference_id: str | None = None
        self.logs_by_reference = False
        self.went_without_id = False


_once = Once()


def warn_that_a_read_blocked() -> None:
    """Warn, once per process, if this thread runs an event loop."""
    if _once.said or not is_event_loop_running() or not _once.is_first():
        return
    with creating():
        say(
            logging.WARNING,
            "reading the session ID, or the reference ID, blocked the event loop for a round trip to the"
            " sessions API or the store; use 'await acurrent_session_id()', 'await session.aid()' or"
            " 'await session.alog_params()', or read it in a thread (said once per process)",
        )


class _SetByMethod:
    """A field that is no attribute of a session, but an argument of its method ``set``."""

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __get__(self, session: object, _: type | None = None) -> Any:
        if session is None:
            return self
        raise AttributeError(f"a session does not tell its {self._name}; set({self._name}=...) sets it")

    def __set__(self, session: object, _: object) -> None:
        raise AttributeError(f"{self._name} cannot be assigned; call set({self._name}=...)")


class Session:
    """The session of one scope.

    All threads and tasks in the scope share this object. The first read of its ID creates the session on the
    server. Simultaneous readers wait for that creation, later ones get the ID from memory. If a creation
    fails, a later read tries again.

    Attributes:
        manager: the manager of the scope.
    """

    # Defaults on the class, no constructor: every request makes a handle, and most are never read.
    manager: SessionSource
    _id: str | None = None
    _details: _Details | None = None
    #: The conversation key; empty if there is none, or it is not known yet.
    _key = ""
    #: The session of another manager around this one.
    _outer: Session | None = None
    #: The reference ID of a datapoint of another process, under which those of this session are nested.
    _nested_under: str | None = None
    #: The session that was current before; set once a scope was not left in order.
    _left_for: Session | None
    #: Whether a datapoint was logged before there was an ID: its sending will create one.
    _is_logged = False
    #: Whether a function or generator was bound to this session: it may run without a trace of the code that
    #: started it.
    _is_bound = False
    #: The request and the time of its end, set at the end, and the class of the handle from then on.
    _ending: tuple[str, float]
    _ended_type: type[Session]
    #: Whether the request is no part of another one, if its start was noted; removed when it has counted.
    _is_other: bool

    if not TYPE_CHECKING:  # checkers of types tell that there is no such attribute
        name = _SetByMethod()
        user = _SetByMethod()
        metadata = _SetByMethod()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id or 'not created'}>"

    # A copy of an object that holds a handle, such as a proxy's copy of an ASGI scope, has the same session.

    def __copy__(self) -> Session:
        return self

    def __deepcopy__(self, memo: object) -> Session:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "the handle of a session cannot be pickled, as it belongs to this process: hand session.id on,"
            " or let the integration of your job queue carry the session"
        )

    @property
    def key(self) -> str | None:
        """The conversation key, ``None`` if the scope has none."""
        return None

    @property
    def id(self) -> str | None:
        """The ``sesh_...`` ID; the first read creates the session.

        ``None`` if the session could not be created, and for code that runs within the creation itself, such
        as a logging handler.

        Raises:
            HLSessionsError: the session could not be created, and the manager has ``on_error="raise"``.
        """
        return self._id or self._ready_id() or self._read()

    async def aid(self) -> str | None:
        """Return the ID like :attr:`id`, while the event loop (asyncio or trio) keeps running.

        If the task that began the creation is cancelled, the creation continues, as other readers may wait.
        """
        return self._id or self._ready_id() or await self._aread()

    def peek(self) -> str | None:
        """Return the ID if there is one already, else ``None``; never creates a session."""
        return self._id

    @property
    def previous_id(self) -> str | None:
        """The ID of the conversation's session before this one; ``None`` if there is none."""
        return None

    @property
    def reference_id(self) -> str:
        """An ID that the client makes, without any call of the API.

        All scopes of a conversation have the same one, in all processes that share the store; the first read
        may ask the store. After an end, or too long an idle time, the conversation has a new one. It does
        not contain the key. Without a key it is random. It never changes within a scope.
        """
        if self._details is not None and self._details.reference_id is not None:
            return self._details.reference_id
        return self._keep_reference_id(self._find_reference_id())  # outside the lock, as it may wait

    def _keep_reference_id(self, reference_id: str) -> str:
        with agreement.lock:
            details = self._ensure_details()
            if details.reference_id is None:
                details.reference_id = reference_id
            return details.reference_id

    def log_params(self) -> dict[str, str]:
        """Return the fields that name this session in ``POST /logs``; reads the ID as :attr:`id` does.

        Returns:
            ``{"session_id": ...}``, or ``{"session_reference_id": ...}`` if the session could not be
            created. Once the reference ID was returned, it is returned always: the datapoints of one scope
            go to one session.

        Raises:
            HLSessionsError: as for :attr:`id`.
        """
        return self._log_params(None if self._logs_by_reference() else self.id)

    async def alog_params(self) -> dict[str, str]:
        """Return the result of :meth:`log_params`, while the event loop keeps running."""
        session_id = None if self._logs_by_reference() else await self.aid()
        if session_id is None or self._logs_by_reference():
            await self._alearn_reference_id()
        return self._log_params(session_id)

    def set(
        self,
        *,
        name: str | int | uuid.UUID | enum.Enum | None = None,
        user: str | int | uuid.UUID | enum.Enum | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell the API what this session is about, and return at once.

        Fields that are set before the session is created are part of its creation. Later ones are sent like a
        datapoint: by a background thread, again after a failure, and from the spool if there is one.
        :func:`hl_sessions.flush` waits for them. ``set`` creates no session. If the ID is never read and
        nothing is logged, the fields reach only a conversation that has a session already.

        Args:
            name: a name for people to read, up to 512 characters; ``None``: no change.
            user: the user of the application, up to 512 characters; ``None``: no change.
            metadata: other values, by name. They are added to the metadata that this handle was given
                before. The sum replaces the metadata that the API has: up to 16 KiB as JSON.

        Raises:
            TypeError: a value is of another type.
            ValueError: a value is too long.
        """
        fields = self.manager.checked_fields({"name": name, "user": user, "metadata": metadata})
        if fields:
            with agreement.lock:
                self._ensure_told().add(fields)
            self._tell()

    def _ensure_told(self) -> Told:
        details = self._ensure_details()
        if details.told is None:
            details.told = Told()
        return details.told

    def _told(self) -> Told | None:
        return None if self._details is None else self._details.told

    def _ask_for_fields(self) -> None:
        """Ask the application, once, for the fields of the session at its creation."""
        if self.manager.session_fields is None:
            return
        with agreement.lock:
            told = self._ensure_told()
            is_first, told.is_asked = not told.is_asked, True
        if is_first:
            self.manager.ask_for_fields(self)

    def _add_at_creation(self, fields: Mapping[str, Any]) -> None:
        with agreement.lock:
            self._ensure_told().add_at_creation(fields)
        self._tell()

    def _take_along(self) -> Mapping[str, Any]:
        """Return the fields that the API is told at the creation of the session."""
        with agreement.lock:
            told = self._told()
            return {} if told is None else told.take_along()

    def _tell(self) -> None:
        """Tell the API the fields that it lacks, if there is a session, or may be one without a read."""
        if self._details is None or self._details.told is None:
            return
        told = self._details.told
        if not (self._id is not None or self._is_logged or self._may_be_found()):
            return
        with agreement.lock:
            fields, version = told.take(), told.version
        while fields:
            self.manager.tell(self, fields, version)
            with agreement.lock:
                fields, version = told.take_again(fields, version), told.taken

    def _tell_anew(self) -> None:
        """Tell the API all fields, as the session was created without them."""
        told = self._told()
        if told is not None:
            with agreement.lock:
                told.tell_anew()
            self._tell()

    def _may_be_found(self) -> bool:
        """Whether this handle may have a session without any creation."""
        return self._logs_by_reference()

    def _was_created_with(self, version: int) -> bool:
        """Whether the API was told this version when it created the session."""
        told = self._told()
        return told is not None and 0 < version <= told.known

    def _take_back(self, fields: Mapping[str, Any]) -> None:
        """Take back fields that the API could not be told, as there is no session: its creation has them."""
        with agreement.lock:
            self._ensure_told().give_back(fields)
        if self._id is not None:  # by now
            self._tell()

    def _begin_in_background(self) -> None:
        """Create the session in the background, for later readers; returns at once."""
        if self._id is None and not is_creating() and self._ready_id() is None:
            self._ask_for_fields()
            joined = self._join_creation()
            if joined is not None and joined[1]:
                self._begin(joined[0], None)
                self._tell_later(joined[0])

    def end(self) -> None:
        """End the conversation: the next scope with the same key starts a new session.

        This handle keeps its ID. If it has a session, the API is told the time of its end. Without a key
        there is no conversation, and the call does nothing.
        """

    def bind(self, function: Function) -> Function:
        """Return ``function``, wrapped so that each call runs in this session, in any thread and context.

        Args:
            function: a function, coroutine function, generator, method, class or callable object.

        Raises:
            TypeError: ``function`` cannot be called.
        """
        with late_import:  # a program that binds and decorates nothing needs no wrapt
            from hl_sessions.sessions.wrapping import bound

        result: Function = bound(function, self)
        return result

    def _decides(self) -> bool:
        """Whether a middleware inside this scope joins its session, as others of the same key or name do."""
        return False

    def _leave(self) -> None:
        """Note that the scope which opened this session is left."""

    def _log_params(self, session_id: str | None) -> dict[str, str]:
        with agreement.lock:
            session_id = session_id or self._id
            if session_id is not None and not self._logs_by_reference():
                return {"session_id": session_id}
            self._log_by_reference()
        self._tell()
        return {"session_reference_id": self.reference_id}

    def _logs_by_reference(self) -> bool:
        return self._details is not None and self._details.logs_by_reference

    def _log_by_reference(self) -> None:
        with agreement.lock:
            details = self._ensure_details()
            if details.told is not None and not details.logs_by_reference:
                details.told.tell_anew()  # as datapoints go to another session from now on
            details.logs_by_reference = True

    def _find_reference_id(self) -> str:
        return uuid.uuid4().hex

    def _learn_reference_id(self) -> str:
        """Return the reference ID, in a thread that may ask the store."""
        return self.reference_id

    async def _alearn_reference_id(self) -> None:
        """Find the reference ID while the event loop keeps running, if finding it may wait."""

    def _read(self) -> str | None:
        if is_creating():
            return self._id
        self._ask_for_fields()
        while (joined := self._join_creation()) is not None:
            creation, is_mine = joined
            if is_mine:
                try:
                    self._carry_out(creation)
                finally:
                    if not creation.is_known:  # an interruption came before the outcome was set
                        self._settle(creation, Abandoned())
            elif not creation.wait_or_finish(creation.deadline.remaining() + LONGEST_DELAY):
                self._settle(creation, Abandoned())  # its reader was interrupted, and set no outcome
            if not isinstance(creation.error, Abandoned):
                warn_that_a_read_blocked()
                self._tell_if_created(creation)
                return self._outcome(creation)
        return self._id

    async def _aread(self) -> str | None:
        if is_creating():
            return self._id
        begun, loop = monotonic(), current_loop()
        self._ask_for_fields()
        if loop is not None and self._creation() is None:
            await loop.turn()
        while (joined := self._join_creation(begun)) is not None:
            creation, is_mine = joined
            if is_mine:
                self._begin(creation, loop)
                try:
                    await creation.wait_in_task()
                except BaseException:  # this task is cancelled, and the creation goes on
                    self._tell_later(creation)
                    raise
            else:
                await creation.wait_for_task(
                    creation.deadline.remaining() + LONGEST_DELAY, self.manager.workers
                )
            if not creation.is_known:  # its event loop ended, and set no outcome
                self._settle(creation, Abandoned())
            if not isinstance(creation.error, Abandoned):
                self._tell_if_created(creation)
                return self._outcome(creation)
        return self._id

    def _tell_later(self, creation: Creation) -> None:
        if self.manager.on_created is not None:
            tell = functools.partial(self._tell_if_created, creation, in_thread=True)
            creation.on_known(functools.partial(copy_context().run, tell))

    async def obtain_log_params(self) -> dict[str, str]:
        """Return the result of :meth:`log_params`, for the sender; this coroutine awaits only waits.

        Raises:
            HLSessionsError: the session could not be created; no reader has been told.
        """
        while not (self._id or self._logs_by_reference() or self._ready_id()):
            joined = self._join_creation()
            if joined is None:
                break
            creation, is_mine = joined
            if is_mine:
                await self._create_for_nobody(creation)
            else:
                await Known(creation, LOOK_INTERVAL)
                creation.finish_if_stuck()
        return self._log_params(self._id)

    async def _find_log_params(self) -> dict[str, str] | None:
        """Return the result of :meth:`log_params` without a creation: ``None`` if there is no session.

        This coroutine awaits only waits.
        """
        return self._log_params(self._id) if self._id or self._logs_by_reference() else None

    async def _create_for_nobody(self, creation: Creation) -> None:
        try:
            obtained = await self._create_id(creation.deadline)
        except BaseException:
            self._settle(creation, Abandoned())  # a reader that waits by now tries by itself
            raise
        else:
            self._settle(creation, obtained)
            self._tell_if_created(creation)
        finally:
            self.manager.report()

    def _note_log(self) -> None:
        """Note that a datapoint was logged before there was an ID: the sender will create the session."""
        if not self._is_logged:
            self._is_logged = True
            self._ask_for_fields()

    def _ready_id(self) -> str | None:
        """Take an ID without waiting, if one is ready and no creation is under way."""
        return None

    def _keep(self, session_id: str) -> str:
        """Keep an ID as that of this session, unless it has one already; return the ID of the session.

        The caller holds the lock. The ID is a plain attribute, as that is read fastest.
        """
        if self._id is None:
            self._id = session_id
        return self._id

    def _keep_ready(self, session_id: str) -> str:
        """Keep the ID of a ready session like :meth:`_keep`, and call ``on_created``."""
        kept = self._keep(session_id)
        if kept is session_id:
            self._ask_for_fields()
            self._tell_anew()
            if self.manager.on_created is not None:
                self._tell_created()
        return kept

    def _tell_if_created(self, creation: Creation, *, in_thread: bool = False) -> None:
        """Call ``on_created`` for the session that a creation has made, unless another reader has."""
        if creation.is_untold:
            with agreement.lock:
                is_first, creation.is_untold = creation.is_untold, False
            if is_first:
                self._tell_created(in_thread=in_thread)

    def _tell_created(self, *, in_thread: bool = False) -> None:
        tell = functools.partial(self.manager.tell_created, self)
        if in_thread or is_creating():  # this thread has other readers to wake, and its reads return None
            context = copy_context()
            try:
                self.manager.workers.submit(context.run, tell)
            except RuntimeError:  # no thread can be started
                context.run(tell)
        else:
            tell()

    def _refusal(self) -> HLSessionsError | None:
        """Return the error with which :meth:`_create_id` would fail at once, if it would."""
        return self.manager.refusal()

    async def _create_id(self, deadline: Deadline) -> Obtained:
        told = self._take_along()
        return Obtained(await self.manager.create_session_id(deadline, told), is_created=True)

    def _ensure_details(self) -> _Details:
        if self._details is None:
            self._details = _Details()
        return self._details

    def _creation(self) -> Creation | None:
        """Return the creation that is under way, if any."""
        return None if self._details is None else self._details.creation

    def _join_creation(self, begun: float | None = None) -> tuple[Creation, bool] | None:
        """Join the creation under way, or begin one and be its creator; ``None`` if there is an ID."""
        with agreement.lock:
            if self._id is not None:
                return None
            under_way = self._creation()
            # A creation that was under way when this process was forked goes on in the parent only.
            if under_way is not None and under_way.process == os.getpid():
                return under_way, False
            creation = self._ensure_details().creation = Creation(self.manager.deadline(begun))
            return creation, True

    def _carry_out(self, creation: Creation, *, is_of_reader: bool = True) -> None:
        try:
            with creating():
                obtained = run_blocking(self._create_id(creation.deadline))
        except BaseException as error:
            if isinstance(error, Exception) and not (is_of_reader and is_interruption(error)):
                self._settle(creation, error)  # every reader is told
            else:
                self._settle(creation, Abandoned())
                raise
        else:
            self._settle(creation, obtained)
        finally:
            self.manager.report()  # by now: a handler may hold its lock and wait for this creation

    async def _carry_out_on_loop(self, creation: Creation) -> None:
        try:
            obtained = await self._create_id(creation.deadline)
        except BaseException as error:
            if isinstance(error, Exception):
                self._settle(creation, error)
            else:  # the event loop ends
                self._settle(creation, Abandoned())
                raise
        else:
            self._settle(creation, obtained)
        finally:
            self.manager.report()  # by now: a handler may hold its lock and wait for this creation

    def _begin(self, creation: Creation, loop: EventLoop | None) -> None:
        """Start the creation, such that it continues if its reader is cancelled."""
        refusal = self._refusal()
        if refusal is not None:  # the outcome is known at once
            self._settle(creation, refusal)
            return
        creation.deadline.is_of_worker = True
        if loop is None:
            self._carry_out_in_thread(creation)
        else:
            creation.run = Run(self._carry_out_on_loop(creation), loop, self.manager.workers)

    def _carry_out_in_thread(self, creation: Creation) -> None:
        try:
            self.manager.workers.submit(functools.partial(self._carry_out, creation, is_of_reader=False))
        except RuntimeError as error:
            self._settle(creation, APIConnectionError(f"no thread to create a session in: {error}"))
            self.manager.report()

    def _settle(self, creation: Creation, outcome: Obtained | Exception) -> None:
        with agreement.lock:
            details = self._ensure_details()
            if details.creation is creation:
                details.creation = None
            if isinstance(outcome, Obtained):
                kept = self._keep(outcome.session_id)
                is_created = outcome.is_created and kept is outcome.session_id
                creation.is_untold = is_created and self.manager.on_created is not None
                if is_created and details.told is not None and not details.logs_by_reference:
                    details.told.note_created()
            elif not (details.went_without_id or isinstance(outcome, Abandoned)):
                details.went_without_id = True
                self.manager.count_session_without_id()
        if isinstance(outcome, Obtained):
            creation.set(kept)
            self._tell()
        else:
            creation.set_error(outcome)

    def _outcome(self, creation: Creation) -> str | None:
        if creation.error is None or self.manager.raises_errors:
            return creation.get()
        return None


class _ReadySession(Session):
    """The session of one scope of a manager that keeps some ready."""

    _ready_sessions: ReadySessions

    @property
    def id(self) -> str | None:
        """The ``sesh_...`` ID; the first read takes a session that is ready, or creates one."""
        if self._id is not None or self._details is not None:
            return super().id
        # Almost every first read ends in these lines. On a machine that was idle just before, the amount of
        # code and data that they touch takes the time, not the number of steps.
        ready_sessions = self._ready_sessions
        try:
            taken = ready_sessions.ready.popleft()
        except IndexError:
            taken = None
        if taken is not None and ready_sessions.polling and monotonic() < taken[1]:
            kept: str = self.__dict__.setdefault("_id", taken[0])  # in one step, without a lock
            if self._details is not None:  # by now
                self._tell()
            if kept is not taken[0]:
                ready_sessions.ready.appendleft(taken)  # another reader was faster
            elif self.manager.on_created is not None:
                self._tell_created()
            return kept
        return ready_sessions.take_with_care(taken, self._keep_ready) or self._read()

    def _ready_id(self) -> str | None:
        if self._details is not None and self._details.creation is not None:
            return None
        return self._ready_sessions.take(self._keep_ready)

    def _keep(self, session_id: str) -> str:
        # In one step, as readers that take a ready ID hold no lock.
        kept: str = self.__dict__.setdefault("_id", session_id)
        return kept


def session_type(manager: SessionSource) -> type[Session]:
    """Return the class of a manager's handles, which is called without an argument."""
    attributes: dict[str, Any] = {"__doc__": Session.__doc__, "manager": manager}
    if manager.ready_sessions is None:
        return type("Session", (Session,), attributes)
    attributes["_ready_sessions"] = manager.ready_sessions
    if manager.session_fields is not None:
        attributes["id"] = Session.id  # as the API has to be told of a session that is taken
    return type("Session", (_ReadySession,), attributes)
