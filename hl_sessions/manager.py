"""Managers: the configuration of scopes, and the source of their session IDs."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from hl_sessions.availability.circuit_breaker import CircuitBreaker
from hl_sessions.availability.outage import Incident
from hl_sessions.availability.ready_sessions import ReadySessions
from hl_sessions.availability.reports import Reports
from hl_sessions.client.client import DEFAULT_RETRIES, DEFAULT_TIMEOUT, SessionsClient
from hl_sessions.client.deadline import Deadline
from hl_sessions.conversations.keeper import Keeper
from hl_sessions.conversations.key import ConversationKey, checked_key
from hl_sessions.conversations.telling import ended_now
from hl_sessions.errors import APIStatusError, ConfigurationError, HLSessionsError
from hl_sessions.process.checks import (
    checked_api_key,
    checked_base_url,
    checked_count,
    checked_function,
    checked_seconds,
    checked_share,
)
from hl_sessions.process.late_imports import late_import
from hl_sessions.process.reentry import creating
from hl_sessions.process.saying import say
from hl_sessions.process.seldom import Seldom
from hl_sessions.process.waits import run_blocking
from hl_sessions.process.worker_threads import WorkerThreads
from hl_sessions.scopes.decorator import KeySource, check_key_or_new, session_decorator
from hl_sessions.scopes.scope import Scope
from hl_sessions.sessions.session import Session, session_type
from hl_sessions.stores import ConversationStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from typing_extensions import Self, Unpack

    from hl_sessions.datapoints.datapoint import Datapoint
    from hl_sessions.datapoints.fields import Fields
    from hl_sessions.datapoints.queue import Queue
    from hl_sessions.datapoints.recorder import Recorder, Redact
    from hl_sessions.process.waits import Wait

__all__ = ["DEFAULT_BASE_URL", "SessionManager", "checked_manager"]

Function = TypeVar("Function")

_REFUSALS = frozenset({400, 415, 422})  # of an API that takes no body, or does not know its fields
DEFAULT_QUEUE_SIZE = 16 << 20  # bytes
DEFAULT_BASE_URL = "http://127.0.0.1:8642/v4"


class SessionManager:
    """Opens scopes and creates their sessions, each when its ID is first read.

    Threads, tasks and forked processes can share a manager. Making one touches no network.

    Args:
        base_url: the URL of the sessions API, with its version. Default: ``HL_SESSIONS_BASE_URL``, else that
            of the bundled server, ``http://127.0.0.1:8642/v4``.
        api_key: the API key. Default: ``HL_SESSIONS_API_KEY``, else ``HUMANLOOP_API_KEY``, else no key is
            sent.
        client: the client to use instead of one made from ``base_url``, ``api_key``, ``timeout`` and
            ``retries``. The caller closes it.
        store: keeps the sessions of conversations. The caller closes it. Default: a :class:`MemoryStore` of
            this manager.
        idle_timeout: seconds of idle time after which a conversation starts a new session; ``None``:
            never. Idle time runs from the end of the last scope that read the ID to the entry of the next.
        on_error: ``"warn"`` (default): a failure of the sessions API is logged, once per outage, and
            reads return ``None``. ``"raise"``: the error is raised in every waiting reader.
        prefetch: the largest number of created sessions to keep ready, so that a first read costs no round
            trip. Prefetching begins with the first read in the process, and keeps as many ready as the reads
            need. It costs sessions without datapoints: at most ``prefetch`` per process.
        timeout: the longest time for one read in seconds, with retries and slow answers.
        retries: how often a creation is tried again within that time.
        project: the name of the project, for datapoints that name none.
        queue_size: the most bytes of datapoints that wait while the API is down. Beyond that the oldest are
            dropped, and counted.
        spool: the path of a file. Datapoints that wait are written to it within a tenth of a second. If this
            process ends before it has sent them, another process with the same spool sends them. An outage
            drops no datapoint until the file has 1 GiB. Any number of processes of one machine can share it.
        sample: the share of sessions whose datapoints are kept, from 0 to 1. The ID of a session decides, so
            all processes decide alike.
        redact: called with the fields of each datapoint, as JSON has them, before they are kept. It returns
            the fields to keep, or ``None`` to drop the datapoint. If it raises, the datapoint is dropped. A
            datapoint that takes a while causes two calls; the second has only the fields of its end.
        on_created: called once with the handle of each session that this manager has created. The first
            reader calls it, in its thread and context, before the read returns. A background thread calls it
            if the session was created for a datapoint, or if the reader was cancelled. A session that exists
            already causes no call: that of a conversation which continues, or one carried from elsewhere.
            An exception in it is logged, and goes no further.
        session_fields: called with the handle of a session that is about to be created. It returns any of
            ``name``, ``user`` and ``metadata``, which the API is told of the session. It runs in the thread
            and context that read the ID or logged first, where the user of the request is known. That code
            waits for it, so it should make no calls. The result is not used if the conversation turns out to
            have a session. An exception in it is logged, and the session is created without fields.

    Raises:
        ConfigurationError: a setting is wrong, also with ``on_error="warn"``.
    """

    #: The function that is called with each created session; ``None``: no function.
    on_created: Callable[[Session], object] | None = None
    #: The function that returns the fields of a session about to be created; ``None``: no function.
    session_fields: Callable[[Session], Mapping[str, Any] | None] | None = None

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        client: SessionsClient | None = None,
        store: ConversationStore | None = None,
        idle_timeout: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        prefetch: int = 0,
        timeout: float | None = None,
        retries: int | None = None,
        project: str | None = None,
        queue_size: int = DEFAULT_QUEUE_SIZE,
        spool: str | os.PathLike[str] | None = None,
        sample: float = 1.0,
        redact: Redact | None = None,
        on_created: Callable[[Session], object] | None = None,
        session_fields: Callable[[Session], Mapping[str, Any] | None] | None = None,
    ) -> None:
        if on_error not in ("warn", "raise"):  # a tuple, as the value may not be hashable
            raise ConfigurationError(f"on_error={on_error!r} must be 'warn' or 'raise'")
        if store is not None and not isinstance(store, ConversationStore):
            raise ConfigurationError(f"store={store!r} must be a store of hl_sessions.stores")
        if idle_timeout is not None:
            idle_timeout = checked_seconds("idle_timeout", idle_timeout)
            if store is not None and idle_timeout > store.forget_after:
                raise ConfigurationError(
                    f"idle_timeout={idle_timeout!r} is longer than the store keeps an unused conversation:"
                    f" give the store a forget_after of as many seconds, not {store.forget_after!r}"
                )
        prefetch = checked_count("prefetch", prefetch)
        queue_size = checked_count("queue_size", queue_size, 1)
        sample = checked_share("sample", sample)
        _check_project(project)
        if redact is not None and not callable(redact):
            raise ConfigurationError(f"redact must be a function, not {type(redact).__name__}")
        self._set_functions(on_created=on_created, session_fields=session_fields)
        self._owns_client = client is None
        if client is None:
            client = _make_client(base_url, api_key, timeout, retries)
        elif not isinstance(client, SessionsClient):
            raise ConfigurationError(f"client must be a SessionsClient, not {type(client).__name__}")
        elif any(setting is not None for setting in (base_url, api_key, timeout, retries)):
            raise ConfigurationError("client excludes base_url, api_key, timeout and retries: it has its own")
        with late_import:  # here already, so that no request has to wait for it in bind()
            from hl_sessions.datapoints.delivery import Delivery
            from hl_sessions.datapoints.recorder import Recorder
            from hl_sessions.datapoints.sender import Sender
        self.raises_errors = on_error == "raise"
        self.workers = WorkerThreads()
        self._warnings = Seldom()
        self._client = client
        self._owns_store = store is None
        self._store = MemoryStore() if store is None else store
        self._reports = Reports()
        incident = Incident(self._reports, "the sessions API is back after %.1f seconds")
        self._circuit_breaker = CircuitBreaker(self._post, self._reports, incident)
        self.ready_sessions = ReadySessions(prefetch, self._create_ready_id) if prefetch else None
        self.new_session: Callable[[], Session] = session_type(self)
        self.conversations = Keeper(
            store=self._store,
            base_url=client.base_url,
            idle_timeout=idle_timeout,
            create=self._take_or_create,
            tell_api=self._tell_api,
            workers=self.workers,
            reports=self._reports,
            has_spool=spool is not None,
        )
        queue = _make_queue(queue_size, spool, self._reports)
        delivery = Delivery(queue, client, sample, self._reports)
        self._sender = Sender(queue, delivery, incident, self._reports, client.timeout)
        self.recorder = Recorder(
            self,
            queue,
            self._sender,
            project=project,
            redact=redact,
            raises_errors=self.raises_errors,
        )

    def _set_functions(self, **functions: Callable[[Session], object] | None) -> None:
        for name, function in functions.items():
            if function is not None:
                setattr(self, name, checked_function(name, function))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._client.base_url!r})"

    def session(self, *, key: ConversationKey | None = None, new: bool = False) -> Scope:
        """Return a scope for ``with`` and ``async with``, which yields its :class:`Session`.

        A scope inside a scope of this manager has the same session, unless it has ``new`` or another ``key``.
        Entering and leaving touch no network.

        Args:
            key: the conversation: scopes with the same key have the same session.
            new: always open a new session; excludes ``key``.

        Raises:
            TypeError: ``key`` is not a ``str``, an ``int`` or a ``uuid.UUID``.
            ValueError: ``key`` is empty or longer than 256 characters, or ``new`` is also given.
        """
        if key is None:
            return Scope(self, None, new=new)
        check_key_or_new(key, new=new)
        return Scope(self, checked_key(key), new=new)

    @overload
    def with_session(self, function: Function, /) -> Function: ...
    @overload
    def with_session(
        self, /, *, key: KeySource = None, new: bool = False
    ) -> Callable[[Function], Function]: ...
    def with_session(
        self, function: Function | None = None, /, *, key: KeySource = None, new: bool = False
    ) -> Function | Callable[[Function], Function]:
        """Decorate like :func:`hl_sessions.with_session`, with this manager."""
        decorate = session_decorator(lambda: self, key=key, new=new)
        return decorate if function is None else decorate(function)

    def end(self, key: ConversationKey) -> None:
        """End a conversation: the next scope with the same key starts a new session.

        On an event loop, a store outside the process is told in the background. If the conversation has a
        session, the API is told the time of its end.

        Args:
            key: the conversation.

        Raises:
            TypeError: ``key`` is not a ``str``, an ``int`` or a ``uuid.UUID``.
            ValueError: ``key`` is empty or longer than 256 characters.
        """
        self.conversations.end(checked_key(key), ended_now())

    def log(self, **fields: Unpack[Fields]) -> str:
        """Log a datapoint like :func:`hl_sessions.log`, with this manager."""
        return self.recorder.log(cast("dict[str, Any]", fields))

    def datapoint(self, **fields: Unpack[Fields]) -> Datapoint:
        """Return a datapoint like :func:`hl_sessions.datapoint`, with this manager."""
        from hl_sessions.datapoints.datapoint import NewDatapoint

        return NewDatapoint(self._get_recorder, cast("dict[str, Any]", fields))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all datapoints that this manager has logged so far are sent.

        Args:
            timeout: the longest time to wait, in seconds.

        Returns:
            Whether all of them are sent.
        """
        return self._sender.flush(checked_seconds("timeout", timeout))

    def _get_recorder(self) -> Recorder:
        return self.recorder

    def close(self) -> None:
        """Send waiting datapoints, for at most ``timeout`` seconds, and release connections and threads.

        Ends of conversations that a failing store was not told are told before that, for two seconds at most.

        Creations under way are given up: their readers get ``None``, or with ``on_error="raise"`` an
        ``APIConnectionError``. So does a first read after the close. It counts as no outage, and is logged
        once.
        """
        self.conversations.tell_last_ends()
        self._sender.close(self._client.timeout)
        self._circuit_breaker.close()
        if self.ready_sessions is not None:
            self.ready_sessions.close()
        if self._owns_client:
            self._client.close()
        self.conversations.close()
        if self._owns_store:
            self._store.close()
        self.workers.close()

    def _fall_silent(self) -> None:
        """Say nothing of what is lost after the close, as the reason was said."""
        self._circuit_breaker.fall_silent()
        self.recorder.fall_silent()

    def _retire(self) -> None:
        """Close what is open or ready, as another manager takes over; open scopes can still read."""
        self.conversations.tell_last_ends()
        self._sender.retire()
        if self.ready_sessions is not None:
            self.ready_sessions.close()
        if self._owns_client:
            self._client._retire()
        self.conversations.retire()
        self.workers.retire()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def deadline(self, begun: float | None = None) -> Deadline:
        """Return the deadline of a read that began at ``begun``, of ``time.monotonic()``; ``None``: now."""
        return Deadline(self._client.timeout, begun=begun)

    def create_session_id(
        self, deadline: Deadline, told: Mapping[str, Any]
    ) -> Coroutine[Wait[Any], Any, str]:
        """Create a session through ``POST /sessions``.

        Args:
            deadline: when the creation has to be done.
            told: the fields that the API is told of the session.

        Raises:
            HLSessionsError: it could not be created by the deadline, or was not tried during an outage.
        """
        return self._circuit_breaker.create(deadline, told)

    def refusal(self) -> HLSessionsError | None:
        """Return the error with which :meth:`create_session_id` would fail at once, if it would."""
        return self._circuit_breaker.refusal()

    async def _take_or_create(self, deadline: Deadline, told: Mapping[str, Any]) -> str:
        ready = None if self.ready_sessions is None else self.ready_sessions.take(_kept)
        if ready is None:
            return await self.create_session_id(deadline, told)
        if told:
            self.recorder.tell_of(ready, told)
        return ready

    def _create_ready_id(self) -> str:
        try:
            with creating():
                return run_blocking(self._circuit_breaker.create(self.deadline(), {}))
        finally:
            self.report()

    def _post(self, deadline: Deadline, told: Mapping[str, Any]) -> Coroutine[Wait[Any], Any, str]:
        return self._post_described(deadline, told) if told else self._client.create_id(deadline, {})

    async def _post_described(self, deadline: Deadline, told: Mapping[str, Any]) -> str:
        try:
            return await self._client.create_id(deadline, told)
        except APIStatusError as error:
            if error.status not in _REFUSALS:
                raise
            if self._warnings.is_due("refused"):
                self._reports.add(
                    logging.WARNING,
                    "the sessions API refuses the description of a session (%s), so the session has none: %s",
                    ", ".join(told),
                    error,
                )
        return await self._client.create_id(deadline, {})

    def count_session_without_id(self) -> None:
        """Count a session that could not be created when it was needed."""
        self._circuit_breaker.count_session_without_id()

    def report(self) -> None:
        """Log what happened since the last report; handles call it when no reader waits any more."""
        self._reports.emit()

    def tell_created(self, session: Session) -> None:
        """Call ``on_created``, and log its exceptions, each type at most once a minute."""
        try:
            if self.on_created is not None:
                self.on_created(session)
        except Exception as error:  # noqa: BLE001 - it must not break the application
            if self._warnings.is_due(type(error)):
                say(logging.ERROR, "on_created raised %s", type(error).__name__, about=error)

    def ask_for_fields(self, session: Session) -> None:
        """Call ``session_fields``, note its result, and log its exceptions like :meth:`tell_created`."""
        try:
            with creating():  # a read of the ID in there would wait for itself
                fields = None if self.session_fields is None else self.session_fields(session)
            if fields is not None:
                session._add_at_creation(self.checked_fields(fields))
        except Exception as error:  # noqa: BLE001 - it must not break the application
            if self._warnings.is_due((type(error), "session_fields")):
                say(logging.ERROR, "session_fields raised %s", type(error).__name__, about=error)

    def checked_fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields that are told of a session, as JSON has them.

        Raises:
            TypeError: a field is of the wrong type, or unknown.
            ValueError: a field is too long.
        """
        return self.recorder.session_fields(fields)

    def tell(self, session: Session, fields: Mapping[str, Any], version: int = 0) -> None:
        """Tell the API of a session, in the background.

        Args:
            session: the session.
            fields: the fields to tell.
            version: the version of what the session was told, as the handle counts it; 0: none.
        """
        self.recorder.tell(session, fields, version)

    def _tell_api(self, session_id: str, told: Mapping[str, Any]) -> None:
        self.recorder.tell_of(session_id, told)


def checked_manager(manager: object) -> SessionManager | None:
    """Return the ``manager`` that an integration was given; ``None`` stands for the default manager.

    Raises:
        ConfigurationError: ``manager`` is not a manager.
    """
    if manager is not None and not isinstance(manager, SessionManager):
        raise ConfigurationError(f"manager must be a SessionManager, not {type(manager).__name__}")
    return manager


def _check_project(project: object) -> None:
    if project is not None and (not isinstance(project, str) or not project):
        raise ConfigurationError(f"project={project!r} must be the name of a project")


def _kept(session_id: str) -> str:
    return session_id


def _make_queue(size: int, spool: str | os.PathLike[str] | None, reports: Reports) -> Queue:
    with late_import:  # no request waits for it; and SQLite is not in every Python
        from hl_sessions.datapoints.queue import Queue

        if spool is None:
            return Queue(size)
        from hl_sessions.datapoints.spool import Spool
        from hl_sessions.datapoints.spooled_queue import SpooledQueue
    return SpooledQueue(size, Spool(spool), reports)


def _make_client(
    base_url: str | None, api_key: str | None, timeout: float | None, retries: int | None
) -> SessionsClient:
    environment = os.environ
    if base_url is None:
        base_url = checked_base_url(
            "HL_SESSIONS_BASE_URL", environment.get("HL_SESSIONS_BASE_URL") or DEFAULT_BASE_URL
        )
    for variable in ("HL_SESSIONS_API_KEY", "HUMANLOOP_API_KEY"):
        if api_key is None and environment.get(variable):
            api_key = checked_api_key(variable, environment[variable])
    return SessionsClient(
        base_url,
        api_key,
        timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
        retries=DEFAULT_RETRIES if retries is None else retries,
    )
