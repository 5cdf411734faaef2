"""The default manager, and what takes it when it is given none."""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from hl_sessions.errors import ConfigurationError
from hl_sessions.manager import SessionManager, checked_manager
from hl_sessions.process.checks import checked_seconds
from hl_sessions.process.fork import renew_after_fork
from hl_sessions.process.late_imports import late_import
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
    "with_session",
]

Function = TypeVar("Function")
Parameters = ParamSpec("Parameters")


class _Default:
    def __init__(self) -> None:
        self.manager: SessionManager | None = None
        self._renew_after_fork()
        renew_after_fork(self)

    def _renew_after_fork(self) -> None:
        self.lock = threading.RLock()


_default = _Default()


def default_manager() -> SessionManager:
    """Return the manager of :func:`configure`; without one, one made from the environment on first use.

    Raises:
        ConfigurationError: the environment holds a wrong setting.
    """
    return _default.manager or _make_default()


def check_environment() -> None:
    """Raise what :func:`default_manager` would raise at its first use, unless :func:`configure` was called.

    For where an application is assembled: there a wrong setting is found before the first request.

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
        """Set the default manager, which integrations and ``with_session`` use when they are given none.

        Takes what :class:`SessionManager` takes.

        Returns:
            The new default manager. The one before goes on serving the scopes that it has opened, but keeps
            no connection, no thread and no created session for what may come.

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
    return default_manager() if session is None else cast("SessionManager", session.manager)


def log(**fields: Unpack[Fields]) -> str:
    """Log a datapoint into the current session, and return at once.

    .. code-block:: python

        log(project="support", source="moderation", inputs={"text": text}, output="fine")

    The fields are fixed here, and sent later by a thread in the background, which creates the session if
    nobody has read its ID. Outside every scope the datapoint has no session. Inside of an open
    :func:`datapoint` it is nested under that.

    Args:
        fields: those of ``POST /logs``, such as ``project``, ``source``, ``inputs``, ``output``,
            ``messages``, ``error``, ``metadata`` and ``config``. Any object can be a value: what JSON does
            not know becomes what a person expects. Fields that are not known are passed on.

    Returns:
        Its ``reference_id``: the one that was given, or a new one.

    Raises:
        ConfigurationError: it has no project, and its manager has ``on_error="raise"``.
    """
    return _surrounding_manager().log(**fields)


@overload
def datapoint(function: Function, /) -> Function: ...
@overload
def datapoint(**fields: Unpack[Fields]) -> Datapoint: ...
def datapoint(function: Function | None = None, /, **fields: Any) -> Function | Datapoint:
    """Return a datapoint for what takes a while: it is timed, and what is logged inside is nested under it.

    .. code-block:: python

        with datapoint(project="support", source="answer", inputs={"question": question}) as answer:
            answer.output = reply

        @datapoint(project="support", source="retrieval")
        def retrieve(question: str) -> list[str]: ...

    Decorated, each call is one: its arguments are the inputs and its result the output, unless they are
    given. A generator is one until it ends, and what it yields are pieces of the output. An exception becomes
    ``error``, and goes on.

    Args:
        function: what to decorate, when used without parentheses.
        fields: as for :func:`log`; any of them can be set as an attribute until it ends. A piece of the
            output is added by ``answer.add_output(text)``.

    Raises:
        ConfigurationError: when it begins, as :func:`log`.
    """
    with late_import:
        from hl_sessions.datapoints.datapoint import Datapoint

    made = Datapoint(_surrounding_recorder, fields)
    return made if function is None else made(function)


def flush(timeout: float = 5.0) -> bool:
    """Wait until all datapoints that were logged in this process by now are sent.

    Args:
        timeout: seconds to wait at most.

    Returns:
        Whether they are.
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
    staticmethods and callable objects; what inspects them sees what it saw before. For a generator the
    scope covers every step, and the consumer is outside of it.

    .. code-block:: python

        @with_session(key="chat_id")
        async def answer(chat_id: int, text: str) -> str: ...

    Args:
        function: what to decorate, when used without parentheses.
        key: the conversation: the name of the parameter that holds its key, or a callable that gives it
            from the arguments of the call (of a method: the instance first). ``None`` means no key.
        new: always a session of its own; not together with ``key``.
        manager: the manager of the scope; ``None``: that of the scope in which the function is called, and
            outside every scope the one of :func:`hl_sessions.configure`.

    Raises:
        TypeError: when decorating, where ``function`` is not callable or has no parameter named ``key``;
            when called, where the key is not a ``str``, an ``int`` or a ``uuid.UUID``.
        ConfigurationError: ``manager`` is not a manager.
        ValueError: ``key`` and ``new`` were both given; when called, where the key is empty or too long.
    """
    checked_manager(manager)
    get_manager = _surrounding_manager if manager is None else lambda: manager
    decorate = session_decorator(get_manager, key=key, new=new)
    return decorate if function is None else decorate(function)
