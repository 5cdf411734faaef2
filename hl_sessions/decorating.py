"""Callables of every kind, wrapped so that what they do happens in a scope.

The wrappers are those of ``wrapt``: signature, binding and kind stay what frameworks see when they inspect
the function. A generator is entered anew for each step, as its consumer runs between the steps, possibly
in another context each time.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

import wrapt

from hl_sessions.context import session_variable
from hl_sessions.conversation import checked_key
from hl_sessions.scope import open_session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
    from contextvars import Token

    from hl_sessions.conversation import ConversationSource
    from hl_sessions.session import Session

__all__ = ["KeySource", "check_key_or_new", "session_decorator"]

Function = TypeVar("Function")
KeySource = str | Callable[..., Any] | None
# Both are given the instance (``None`` for a plain function) and the arguments of a call.
FindKey = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], str | None]
OpenCall = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], "tuple[Session, bool]"]

_RUNS_LATER = (CoroutineType, GeneratorType, AsyncGeneratorType)


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


class _Function(wrapt.FunctionWrapper[..., Any]):
    """A function or method that can still be pickled by its name, for worker processes."""

    def __reduce_ex__(self, protocol: Any) -> str:
        return str(self.__qualname__)


class _CallableObject(wrapt.ObjectProxy[Any]):
    """An object whose ``__call__``, too, looks like what it was: frameworks ask whether that is async."""

    def __init__(self, wrapped: Any, call: Any) -> None:
        super().__init__(wrapped)
        self._self_call = call

    @property
    def __call__(self) -> Any:
        return self._self_call


def _decorated(
    function: Any, get_manager: Callable[[], ConversationSource], key: KeySource, *, new: bool
) -> Any:
    if inspect.isclass(function) or not (
        callable(function) or isinstance(function, (classmethod, staticmethod))
    ):
        raise TypeError(f"with_session decorates functions, methods and callable objects, not {function!r}")
    if not hasattr(type(function), "__get__") and not isinstance(function, functools.partial):
        return _CallableObject(function, _decorated(function.__call__, get_manager, key, new=new))
    open_call = _opener(get_manager, None if key is None else _key_finder(function, key), new=new)
    target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    return _Function(function, (_async_call if inspect.iscoroutinefunction(target) else _call)(open_call))


def _opener(
    get_manager: Callable[[], ConversationSource], find_key: FindKey | None, *, new: bool
) -> OpenCall:
    def open_call(instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Session, bool]:
        key = None if find_key is None else find_key(instance, args, kwargs)
        return open_session(get_manager(), key, new=new)

    return open_call


def _call(open_call: OpenCall) -> Any:
    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session, is_joined = open_call(instance, args, kwargs)
        result = None
        token = session_variable.set(session)
        try:
            result = wrapped(*args, **kwargs)
        finally:
            session_variable.reset(token)
            goes_on = isinstance(result, _RUNS_LATER)
            if not is_joined and not goes_on:
                session._leave()
        return _continued(result, session, is_joined=is_joined) if goes_on else result

    return call


def _async_call(open_call: OpenCall) -> Any:
    async def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session, is_joined = open_call(instance, args, kwargs)
        token = session_variable.set(session)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            _reset(token)
            if not is_joined:
                session._leave()

    return call


def _continued(result: Any, session: Session, *, is_joined: bool) -> Any:
    if isinstance(result, GeneratorType):
        return _generator(result, session, is_joined=is_joined)
    if isinstance(result, AsyncGeneratorType):
        return _async_generator(result, session, is_joined=is_joined)
    return _coroutine(result, session, is_joined=is_joined)


def _generator(
    generator: Generator[Any, Any, Any], session: Session, *, is_joined: bool
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
            except GeneratorExit:
                _run_in(session, generator.close)
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer
                resume, value = generator.throw, error
    finally:
        if not is_joined:
            session._leave()


async def _async_generator(
    generator: AsyncGenerator[Any, Any], session: Session, *, is_joined: bool
) -> AsyncGenerator[Any, Any]:
    resume: Callable[[Any], Any] = generator.asend
    value: Any = None
    try:
        while True:
            try:
                item = await _await_in(session, resume(value))
            except StopAsyncIteration:
                return
            try:
                value = yield item
                resume = generator.asend
            except GeneratorExit:
                await _await_in(session, generator.aclose())
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer
                resume, value = generator.athrow, error
    finally:
        if not is_joined:
            session._leave()


async def _coroutine(coroutine: Coroutine[Any, Any, Any], session: Session, *, is_joined: bool) -> Any:
    try:
        return await _await_in(session, coroutine)
    finally:
        if not is_joined:
            session._leave()


def _run_in(session: Session, function: Callable[..., Any], *args: Any) -> Any:
    token = session_variable.set(session)
    try:
        return function(*args)
    finally:
        session_variable.reset(token)


async def _await_in(session: Session, awaitable: Awaitable[Any]) -> Any:
    token = session_variable.set(session)
    try:
        return await awaitable
    finally:
        _reset(token)


def _reset(token: Token[Session | None]) -> None:
    with suppress(ValueError):  # a coroutine that nobody finished is closed in whatever context
        session_variable.reset(token)


def _key_finder(function: Any, key: str | Callable[..., Any]) -> FindKey:
    # The parameters of a bound method begin after the instance; otherwise it is the first of them.
    includes_instance = not inspect.ismethod(function)

    def arguments(instance: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (instance, *args) if includes_instance and instance is not None else args

    if callable(key):
        name = f"what the key callable {getattr(key, '__qualname__', repr(key))} gives"
        return lambda instance, args, kwargs: _checked(key(*arguments(instance, args), **kwargs), name)
    position, default = _parameter(function, key)
    return lambda instance, args, kwargs: _checked(
        _argument(arguments(instance, args), kwargs, key, position, default), key
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
