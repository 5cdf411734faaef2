"""The default manager, and the functions that use it unless they are given a manager."""

from __future__ import annotations

import inspect
import logging
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from hl_sessions.client.client import SessionsClient
from hl_sessions.errors import ConfigurationError
from hl_sessions.manager import DEFAULT_BASE_URL, SessionManager, checked_manager
from hl_sessions.process.checks import checked_seconds
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.late_imports import late_import
from hl_sessions.process.once import Once
from hl_sessions.process.saying import say
from hl_sessions.scopes.decorator import KeySource, session_decorator
from hl_sessions.sessions.current import current_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from hl_sessions.datapoints.datapoint import Datapoint
    from hl_sessions.datapoints.fields import Fields
    from hl_sessions.datapoints.recorder import Recorder

__all__ = [
    "check_environment",
    "configure",
    "datapoint",
    "default_manager",
    "flush",
    "log",
    "manager_of_calls",
    "usable_manager",
    "with_session",
]

Function = TypeVar("Function")
Parameters = ParamSpec("Parameters")


class _Default:
    def __init__(self) -> None:
        self.manager: SessionManager | None = None
        self.said_wrong = Once()
        self.closed: SessionManager | None = None
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self.lock = threading.RLock()


_default = _Default()


def default_manager() -> SessionManager:
    """Return the manager of :func:`configure`, else one that is made from the environment on first use.

    Raises:
        ConfigurationError: the environment holds a wrong setting.
    """
    return _default.manager or _make_default()


def manager_of_calls() -> SessionManager:
    """Return the default manager for a call of the application, which no wrong setting may break.

    If the environment holds one, this is a closed manager, and one warning says why: its sessions get no ID,
    and it logs nothing.
    """
    return usable_manager("sessions get no ID, and datapoints are not logged") or _closed_manager()


def usable_manager(otherwise: str) -> SessionManager | None:
    """Return the default manager; ``None``, and one warning in the process, if a setting is wrong.

    Args:
        otherwise: the consequence of a wrong setting, for the warning.
    """
    try:
        return default_manager()
    except ConfigurationError as error:
        if _default.said_wrong.is_first():
            say(logging.WARNING, "%s: %s (said once per process)", otherwise, error)
        return None


def _closed_manager() -> SessionManager:
    with _default.lock:
        if _default.closed is None:
            _default.closed = SessionManager(client=SessionsClient(DEFAULT_BASE_URL))
            _default.closed.close()
            _default.closed._fall_silent()
        return _default.closed


def check_environment() -> None:
    """Check the settings in the environment, unless :func:`configure` was called.

    Integrations call this where an application is assembled, so that a wrong setting is found before the
    first request.

    Raises:
        ConfigurationError: the environment holds a wrong setting.
    """
    if _default.manager is None:
        try:
            SessionManager().close()
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; or call hl_sessions.configure() first") from None


def _make_default() -> SessionManager:
    with _default.lock:
        if _default.manager is None:
            _default.manager = SessionManager()
        return _default.manager


def _configurator(
    make: Callable[Parameters, SessionManager],
) -> Callable[Parameters, SessionManager]:
    def configure(*args: Parameters.args, **kwargs: Parameters.kwargs) -> SessionManager:
        """Set the default manager, which integrations and ``with_session`` use unless they are given one.

        Takes the arguments of :class:`SessionManager`.

        Returns:
            The new default manager. The former one goes on serving the scopes that it has opened, but keeps
            no connection, no thread and no created session ready.

        Raises:
            ConfigurationError: a setting is wrong; the default manager stays as it was.
        """
        manager = make(*args, **kwargs)
        with _default.lock:
            former, _default.manager = _default.manager, manager
        if former is not None:
            former._retire()
        return manager

    signature = inspect.signature(make)
    configure.__signature__ = signature.replace(return_annotation=SessionManager)  # type: ignore[attr-defined]
    return configure


configure = _configurator(SessionManager)


def _surrounding_manager() -> SessionManager:
    session = current_session()
    return manager_of_calls() if session is None else cast("SessionManager", session.manager)


def log(**fields: Unpack[Fields]) -> str:
    """Log a datapoint into the current session, and return at once.

    .. code-block:: python

        log(project="support", source="moderation", inputs={"text": text}, output="fine")

    The values are copied at the call. A background thread sends them, and creates the session if its ID has
    not been read yet. Outside every scope the datapoint has no session. Inside an open :func:`datapoint` it
    is nested under that one.

    Args:
        fields: those of ``POST /logs``, such as ``project``, ``source``, ``inputs``, ``output``,
            ``messages``, ``error``, ``metadata`` and ``config``. A value can be any object: types that JSON
            lacks are converted, a ``datetime`` to a text for example. Unknown fields are passed on.

    Returns:
        The ``reference_id`` of the datapoint: the given one, or a new one.

    Raises:
        ConfigurationError: the datapoint has no project, and its manager has ``on_error="raise"``.
    """
    return _surrounding_manager().log(**fields)


@overload
def datapoint(function: Function, /) -> Function: ...
@overload
def datapoint(**fields: Unpack[Fields]) -> Datapoint: ...
def datapoint(function: Function | None = None, /, **fields: Any) -> Function | Datapoint:
    """Return a datapoint for a step that takes a while, for ``with`` or as a decorator.

    It is timed. Datapoints that are logged inside are nested under it.

    .. code-block:: python

        with datapoint(project="support", source="answer", inputs={"question": question}) as answer:
            answer.output = reply

        @datapoint(project="support", source="retrieval")
        def retrieve(question: str) -> list[str]: ...

    Each call of a decorated function is a datapoint. Unless ``inputs`` or ``output`` is given, the arguments
    of the call are its inputs and the result is its output. A decorated generator is one datapoint until it
    ends; the values that it yields are pieces of the output. An exception is logged as ``error`` and raised.

    Args:
        function: the function to decorate, if ``datapoint`` is used without parentheses.
        fields: as for :func:`log`. Until the datapoint ends, any of them can be set as an attribute, and
            ``answer.add_output(text)`` adds a piece of the output.

    Raises:
        ConfigurationError: the datapoint begins without a project, and its manager has
            ``on_error="raise"``.
    """
    with late_import:
        from hl_sessions.datapoints.datapoint import NewDatapoint

    made = NewDatapoint(_surrounding_recorder, fields)
    return made if function is None else made(function)


def flush(timeout: float = 5.0) -> bool:
    """Wait until all datapoints that this process has logged so far are sent.

    Args:
        timeout: the longest time to wait, in seconds.

    Returns:
        Whether all of them are sent.
    """
    with late_import:
        from hl_sessions.datapoints.sender import flush_all

    return flush_all(checked_seconds("timeout", timeout))


def _surrounding_recorder() -> Recorder:
    return _surrounding_manager().recorder


@overload
def with_session(function: Function, /) -> Function: ...
@overload
def with_session(
    *, key: KeySource = None, new: bool = False, manager: SessionManager | None = None
) -> Callable[[Function], Function]: ...
def with_session(
    function: Function | None = None,
    /,
    *,
    key: KeySource = None,
    new: bool = False,
    manager: SessionManager | None = None,
) -> Function | Callable[[Function], Function]:
    """Make each call of a function a scope: it joins the surrounding session, or opens one.

    Decorates functions, coroutine functions, generators, async generators, methods, classmethods,
    staticmethods and callable objects. Introspection, of the signature for example, has the same results as
    before. For a generator the scope covers every step; its consumer is outside of the scope.

    .. code-block:: python

        @with_session(key="chat_id")
        async def answer(chat_id: int, text: str) -> str: ...

    Args:
        function: the function to decorate, if ``with_session`` is used without parentheses.
        key: the conversation: the name of the parameter that holds its key, or a callable that returns the
            key from the arguments of the call (of a method: the instance first). ``None`` means no key.
        new: always open a new session; excludes ``key``.
        manager: the manager of the scope. ``None``: the manager of the scope in which the function is called;
            outside every scope, the one of :func:`hl_sessions.configure`.

    Raises:
        TypeError: at the decoration, if ``function`` is not callable or has no parameter named ``key``; at a
            call, if the key is not a ``str``, an ``int`` or a ``uuid.UUID``.
        ConfigurationError: ``manager`` is not a manager.
        ValueError: at the decoration, if ``key`` and ``new`` are both given; at a call, if the key is empty
            or too long.
    """
    checked_manager(manager)
    get_manager = _surrounding_manager if manager is None else lambda: manager
    decorate = session_decorator(get_manager, key=key, new=new)
    return decorate if function is None else decorate(function)
