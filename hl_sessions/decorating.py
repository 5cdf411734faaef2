"""Callables of every kind, wrapped so that what they do happens in a scope.

The wrappers are object proxies of ``wrapt``: signature, binding and kind stay what frameworks see when
they inspect the function. A generator is entered anew for each step, as its consumer runs between the
steps, possibly in another context each time.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar

import wrapt

from hl_sessions.context import enter_session, innermost_session, leave_session
from hl_sessions.conversation import checked_key
from hl_sessions.scope import open_session
from hl_sessions.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator

    from hl_sessions.conversation import ConversationSource

__all__ = ["KeySource", "check_key_or_new", "session_decorator"]

Function = TypeVar("Function")
KeySource = str | Callable[..., Any] | None
# All are given the arguments of a call, and what is called: a bound method where it is one.
FindKey = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], str | None]
OpenCall = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], "tuple[Session, bool]"]
Call = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], Any]

_RUNS_LATER = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


def check_key_or_new(key: object, *, new: bool) -> None:
    """Refuse what contradicts itself.

    Raises:
        ValueError: a session of its own is not the session of a conversation.
    """
    if key is not None and new:
        raise ValueError("key and new exclude each other; session.end() makes a conversation start anew")


def session_decorator(
    get_manager: Callable[[], ConversationSource], *, key: KeySource, new: bool
) -> Callable[[Function], Function]:
    """Give a decorator that makes each call of a callable a scope.

    Args:
        get_manager: gives the manager at the time of a call.
        key: the name of the parameter that holds the conversation key, or a callable that gives it from
            the arguments of the call.
        new: never join the surrounding session.

    Raises:
        TypeError: ``key`` is neither a string, nor callable, nor ``None``.
        ValueError: both ``key`` and ``new`` were given.
    """
    if key is not None and not isinstance(key, str) and not callable(key):
        raise TypeError(f"key must be the name of a parameter or a callable, not {type(key).__name__}")
    check_key_or_new(key, new=new)

    def decorate(function: Any) -> Any:
        return _decorated(function, get_manager, key, new=new)

    return decorate


class _Function(wrapt.ObjectProxy[Any]):
    """A function, or a method once it is looked up on an instance or a class."""

    def __init__(self, wrapped: Any, call: Call) -> None:
        super().__init__(wrapped)
        self._self_call = call

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._self_call(self.__wrapped__, args, kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> _Function:
        try:
            bound = self.__wrapped__.__get__(instance, owner)
        except AttributeError:  # a partial or a C function is no method
            return self
        return self if bound is self.__wrapped__ else _Function(bound, self._self_call)

    # Pickled, for worker processes, and copied like functions and methods.

    def __reduce_ex__(self, protocol: Any) -> Any:
        if isinstance(self.__wrapped__, MethodType):
            return getattr, (self.__wrapped__.__self__, self.__wrapped__.__name__)
        return str(self.__qualname__)

    def __copy__(self) -> _Function:
        return self

    def __deepcopy__(self, memo: object) -> _Function:
        return self


class _CallableObject(wrapt.ObjectProxy[Any]):
    """An object whose ``__call__``, too, looks like what it was: frameworks ask whether that is async."""

    def __init__(self, wrapped: Any, call: _Function) -> None:
        super().__init__(wrapped)
        self._self_call = call

    @property
    def __call__(self) -> _Function:
        return self._self_call


def _decorated(
    function: Any, get_manager: Callable[[], ConversationSource], key: KeySource, *, new: bool
) -> Any:
    if inspect.isclass(function) or not (
        callable(function) or isinstance(function, (classmethod, staticmethod))
    ):
        raise TypeError(f"with_session decorates functions, methods and callable objects, not {function!r}")
    if _is_instance(function):
        return _CallableObject(function, _decorated(function.__call__, get_manager, key, new=new))
    target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    is_async = inspect.iscoroutinefunction(target)
    if key is None and not new:
        return _Function(function, (_joining_async_call if is_async else _joining_call)(get_manager))
    open_call = _opener(get_manager, None if key is None else _key_finder(function, key), new=new)
    return _Function(function, (_async_call if is_async else _call)(open_call))


def _is_instance(function: Any) -> bool:
    """Whether it is an object of a class, written in Python, that has a method ``__call__``."""
    if hasattr(type(function), "__get__") or isinstance(function, functools.partial):
        return False
    return hasattr(type(function.__call__), "__get__")


def _joining_call(get_manager: Callable[[], ConversationSource]) -> Call:
    def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = get_manager()
        session = Session(manager) if innermost_session() is None else open_session(manager)[0]
        token = enter_session(session)
        try:
            result = wrapped(*args, **kwargs)
        finally:
            leave_session(token)
        return _continued(result, session) if type(result) in _RUNS_LATER else result

    return call


def _joining_async_call(get_manager: Callable[[], ConversationSource]) -> Call:
    async def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = get_manager()
        session = Session(manager) if innermost_session() is None else open_session(manager)[0]
        token = enter_session(session)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            try:
                leave_session(token)
            except ValueError:
                pass  # a coroutine that nobody finished is closed in whatever context

    return call


def _opener(
    get_manager: Callable[[], ConversationSource], find_key: FindKey | None, *, new: bool
) -> OpenCall:
    def open_call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Session, bool]:
        key = None if find_key is None else find_key(wrapped, args, kwargs)
        return open_session(get_manager(), key, new=new)

    return open_call


def _call(open_call: OpenCall) -> Call:
    def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session, is_joined = open_call(wrapped, args, kwargs)
        goes_on = False
        try:
            result = _run_in(session, wrapped, *args, **kwargs)
            goes_on = type(result) in _RUNS_LATER
        finally:
            if not is_joined and not goes_on:
                session._leave()
        return _continued(result, session, leave=not is_joined) if goes_on else result

    return call


def _async_call(open_call: OpenCall) -> Call:
    async def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session, is_joined = open_call(wrapped, args, kwargs)
        token = enter_session(session)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with suppress(ValueError):  # as above
                leave_session(token)
            if not is_joined:
                session._leave()

    return call


def _continued(result: Any, session: Session, *, leave: bool = False) -> Any:
    if isinstance(result, GeneratorType) and not result.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return _generator(result, session, leave=leave)
    if isinstance(result, AsyncGeneratorType):
        return _async_generator(result, session, leave=leave)
    return _coroutine(result, session, leave=leave)


def _generator(
    generator: Generator[Any, Any, Any], session: Session, *, leave: bool
) -> Generator[Any, Any, Any]:
    resume: Callable[[Any], Any] = generator.send
    value: Any = None
    try:
        while True:
            try:
                item = _run_in(session, resume, value)
            except StopIteration as stop:
                return stop.value
            try:
                value = yield item
                resume = generator.send
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, GeneratorExit too
                resume, value = generator.throw, error
    finally:
        del resume, value  # an error that was thrown in holds this frame
        if leave:
            session._leave()


async def _async_generator(
    generator: AsyncGenerator[Any, Any], session: Session, *, leave: bool
) -> AsyncGenerator[Any, Any]:
    step = _first_step(generator)
    try:
        while True:
            try:
                item = await _await_in(session, step)
            except StopAsyncIteration:
                return
            try:
                value = yield item
                step = generator.asend(value)
            except BaseException as error:  # noqa: BLE001 - as above
                step = generator.athrow(error)
    finally:
        del step  # as above
        if leave:
            session._leave()


def _first_step(generator: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    # Unknown to the event loop, which at its end closes all generators it knows, at the same time:
    # this one is closed by the wrapper.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


async def _coroutine(coroutine: Coroutine[Any, Any, Any], session: Session, *, leave: bool) -> Any:
    try:
        return await _await_in(session, coroutine)
    finally:
        if leave:
            session._leave()


def _run_in(session: Session, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    token = enter_session(session)
    try:
        return function(*args, **kwargs)
    finally:
        leave_session(token)


async def _await_in(session: Session, awaitable: Awaitable[Any]) -> Any:
    token = enter_session(session)
    try:
        return await awaitable
    finally:
        with suppress(ValueError):  # as above
            leave_session(token)


def _key_finder(function: Any, key: str | Callable[..., Any]) -> FindKey:
    # A method has its instance as first parameter, unless it was bound before it was decorated.
    was_bound = inspect.ismethod(function)

    def arguments(wrapped: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args if was_bound or not isinstance(wrapped, MethodType) else (wrapped.__self__, *args)

    if callable(key):
        name = f"what the key callable {getattr(key, '__qualname__', repr(key))} gives"
        return lambda wrapped, args, kwargs: _checked(key(*arguments(wrapped, args), **kwargs), name)
    position, default = _parameter(function, key)
    return lambda wrapped, args, kwargs: _checked(
        _argument(arguments(wrapped, args), kwargs, key, position, default), key
    )


def _parameter(function: Any, name: str) -> tuple[int, Any]:
    target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    try:
        parameters = inspect.signature(target).parameters
    except ValueError as error:
        raise TypeError(f"key={name!r}: the parameters of {target!r} are unknown ({error})") from None
    parameter = parameters.get(name)
    if parameter is None or parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        raise TypeError(
            f"key={name!r} is not a parameter of {getattr(target, '__qualname__', repr(target))}, which has:"
            f" {', '.join(parameters) or 'none'}"
        )
    position = sys.maxsize if parameter.kind is parameter.KEYWORD_ONLY else list(parameters).index(name)
    return position, None if parameter.default is parameter.empty else parameter.default


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], name: str, position: int, default: Any) -> Any:
    return args[position] if position < len(args) else kwargs.get(name, default)


def _checked(key: object, name: str) -> str | None:
    return None if key is None else checked_key(key, name)
