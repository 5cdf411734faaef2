"""Managers: the configuration of scopes, and where their session IDs come from."""

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
    from collections.abc import Callable, Mapping

    from typing_extensions import Self, Unpack

    from hl_sessions.datapoints.datapoint import Datapoint
    from hl_sessions.datapoints.fields import Fields
    from hl_sessions.datapoints.queue import Queue
    from hl_sessions.datapoints.recorder import Recorder, Redact

__all__ = ["DEFAULT_BASE_URL", "SessionManager", "checked_manager"]

Function = TypeVar("Function")

_REFUSALS = frozenset({400, 415, 422})  # of an API that wants no body, or does not know what is in it
DEFAULT_QUEUE_SIZE = 16 << 20  # bytes
DEFAULT_BASE_URL = "http://127.0.0.1:8642/v4"


class SessionManager:
    """Opens scopes and creates their sessions, each when its ID is first read.

    Safe to share between threads, tasks and forked processes. Making one touches no network.

    Args:
        base_url: the URL of the sessions API up to and with its version. Default:
            ``HL_SESSIONS_BASE_URL``, else that of the bundled server, ``http://127.0.0.1:8642/v4``.
        api_key: its key. Default: ``HL_SESSIONS_API_KEY``, else ``HUMANLOOP_API_KEY``; without one no
            key is sent.
        client: the client to use instead of one made from ``base_url``, ``api_key``, ``timeout`` and
            ``retries``. It stays yours to close.
        store: where the session of a conversation is kept. It stays yours to close. Default: a
            :class:`MemoryStore` of its own.
        idle_timeout: seconds of idle time after which a conversation starts a new session; ``None``:
            never. It runs from the end of the last scope that read the ID to the entry of the next.
        on_error: ``"warn"`` (default): a failure of the sessions API is logged, once per outage, and
            reads give ``None``; ``"raise"``: it is raised to every simultaneous reader.
        prefetch: how many created sessions to keep ready at the most, so that a first read costs no
            round trip. None is created before the first read in the process, and as many are kept as
            the reads need; what it costs are sessions without datapoints, at most ``prefetch``.
        timeout: seconds that one read may take in all, retries and slow answers included.
        retries: how often a creation is tried again within that time.
        project: the name of the project of the datapoints that name none.
        queue_size: bytes of datapoints that may wait while the API is down; beyond that the oldest are
            dropped, and counted.
        spool: the path of a file, to which what waits is written within a tenth of a second. If this process
            does not get to send it, another one with the same spool does. An outage then drops nothing that
            the file has room for: 1 GiB. Any number of processes of one machine use it at once.
        sample: the share of sessions whose datapoints are kept, from 0 to 1; the others' are dropped. It is
            decided by the ID of the session, so all processes decide alike.
        redact: called with the fields of each datapoint, as JSON has them, before they are kept; returns the
            fields to keep, or ``None`` for none. One that raises drops the datapoint. What becomes known of a
            datapoint after its beginning comes in a call of its own.
        on_created: called with the handle of each session that this manager has created, once, when its ID is
            known: by the first reader, in its thread and context, before its read returns. If something was
            logged and nobody reads, or the reader is cancelled, a thread in the background calls it. Sessions
            that are found cause no call: that of a conversation which goes on, or one that was carried here.
            What it raises is logged, and goes no further.
        session_fields: called with the handle of a session that is about to be created, in the thread and
            context that read its ID or logged first, so that the user of the current request is known. It
            returns what the API is told of the session, any of ``name``, ``user`` and ``metadata``. Whoever
            reads or logs waits for it, so it should look nothing up elsewhere. It may be called in vain, as
            for a conversation that turns out to have a session. What it raises is logged, and the session
            created without.

    Raises:
        ConfigurationError: a setting is wrong, whatever ``on_error`` says.
    """

    #: What is called with each session that was created; ``None``: nothing.
    on_created: Callable[[Session], object] | None = None
    #: What says what the API is told of a session when it is created; ``None``: nothing.
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
        if on_error not in ("warn", "raise"):  # a tuple: what is given may not be hashable
            raise ConfigurationError(f"on_error={on_error!r} must be 'warn' or 'raise'")
        if store is not None and not isinstance(store, ConversationStore):
            raise ConfigurationError(f"store={store!r} must be a store of hl_sessions.stores")
        if idle_timeout is not None:
            idle_timeout = checked_seconds("idle_timeout", idle_timeout)
            if store is not None and idle_timeout > store.forget_after:
                raise ConfigurationError(
                    f"idle_timeout={idle_timeout!r} is longer than the store keeps a conversation that nobody"
                    f" uses: give it a forget_after of as many seconds, not {store.forget_after!r}"
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
        with late_import:  # also as bind() needs it in a request, which has not to wait for it
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
        """Return a scope, for ``with`` and ``async with``; entering it gives its :class:`Session`.

        A scope inside a scope of this manager is the same session, unless ``new`` or another ``key`` says
        otherwise. Entering and leaving touch no network.

        Args:
            key: the conversation: scopes with the same key have the same session.
            new: a session of its own, whatever surrounds it; not together with ``key``.

        Raises:
            TypeError: ``key`` is not a ``str``, an ``int`` or a ``uuid.UUID``.
            ValueError: ``key`` is empty or longer than 256 characters, or ``new`` was given too.
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

        On an event loop a store outside the process is told in the background. The API is told when the
        session of the conversation has ended, if the store has one.

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
        from hl_sessions.datapoints.datapoint import Datapoint

        return Datapoint(self._get_recorder, cast("dict[str, Any]", fields))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all datapoints that were logged by now are sent.

        Args:
            timeout: seconds to wait at most.

        Returns:
            Whether they are.
        """
        return self._sender.flush(checked_seconds("timeout", timeout))

    def _get_recorder(self) -> Recorder:
        return self.recorder

    def close(self) -> None:
        """Release connections and threads, after what waits was sent, for at most ``timeout`` seconds.

        Creations under way are given up: their readers get ``None``, or with ``on_error="raise"`` an
        ``APIConnectionError``. So does a later first read, which is no outage, and is logged once.
        """
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

    def _retire(self) -> None:
        """Keep nothing open or ready any more, as another manager takes over; scopes can still read."""
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
        """The deadline of a read that began then, of ``time.monotonic()``; ``None``: now."""
        return Deadline(self._client.timeout, begun=begun)

    async def create_session_id(self, deadline: Deadline, told: Mapping[str, Any]) -> str:
        """Create a session through ``POST /sessions``.

        Args:
            deadline: when that has to be done.
            told: what the API is told of it.

        Raises:
            HLSessionsError: it could not be created by the deadline, or was not tried during an outage.
        """
        return await self._circuit_breaker.create(deadline, told)

    def refusal(self) -> HLSessionsError | None:
        """The error with which :meth:`create_session_id` would not even try, ``None`` if it would."""
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

    async def _post(self, deadline: Deadline, told: Mapping[str, Any]) -> str:
        try:
            return await self._client.create_id(deadline, told)
        except APIStatusError as error:
            if not told or error.status not in _REFUSALS:
                raise
            if self._warnings.is_due("refused"):
                self._reports.add(
                    logging.WARNING,
                    "the sessions API refuses to be told of a session (%s), which is created without: %s",
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
        """Call ``on_created``, and log what it raises, the same kind of error once a minute."""
        try:
            if self.on_created is not None:
                self.on_created(session)
        except Exception as error:  # noqa: BLE001 - it must not break the application
            if self._warnings.is_due(type(error)):
                say(logging.ERROR, "on_created raised %s", type(error).__name__, about=error)

    def ask_for_fields(self, session: Session) -> None:
        """Call ``session_fields``, note what it returns, and log what it raises as :meth:`tell_created`."""
        try:
            with creating():  # whoever reads the ID in there waits for itself
                fields = None if self.session_fields is None else self.session_fields(session)
            if fields is not None:
                session._add_at_creation(self.checked_fields(fields))
        except Exception as error:  # noqa: BLE001 - it must not break the application
            if self._warnings.is_due((type(error), "session_fields")):
                say(logging.ERROR, "session_fields raised %s", type(error).__name__, about=error)

    def checked_fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what is told of a session, as JSON has it.

        Raises:
            TypeError: a field is of the wrong type, or unknown.
            ValueError: a field is too long.
        """
        return self.recorder.session_fields(fields)

    def tell(self, session: Session, fields: Mapping[str, Any], version: int = 0) -> None:
        """Have the API told of a session, in the background.

        Args:
            session: the session.
            fields: what.
            version: which version of what the session was told that is; 0: none.
        """
        self.recorder.tell(session, fields, version)

    def _tell_api(self, session_id: str, told: Mapping[str, Any]) -> None:
        self.recorder.tell_of(session_id, told)


def checked_manager(manager: object) -> SessionManager | None:
    """Return what an integration was given as its ``manager``; ``None`` stands for the default manager.

    Raises:
        ConfigurationError: it is not a manager.
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
    with late_import:  # as above; and SQLite is not in every Python
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
