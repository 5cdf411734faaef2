"""Callables of every kind, wrapped so that what they do happens in a session.

The wrappers are object proxies of ``wrapt``: signature, binding and kind stay what frameworks see when
they inspect the function. A generator is entered anew for each step, as its consumer runs between the
steps, possibly in another context each time.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType, MethodType, MethodWrapperType
from typing import TYPE_CHECKING, Any

import wrapt

from hl_sessions.context import enter_session, innermost_session, leave_session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator

    from hl_sessions.session import Session

__all__ = ["RUNS_LATER", "Call", "OpenCall", "continued", "is_coroutine_function", "wrap", "wrap_in"]

# Both are given what is called, a bound method where it is one, and the arguments of the call.
OpenCall = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], "tuple[Session, bool]"]
Call = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], Any]

#: The types of results of which the work is still to come.
RUNS_LATER = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


def wrap(function: Any, make_call: Callable[[Any], Call]) -> Any:
    """Wrap a function, method or callable object.

    Args:
        function: what to wrap; also a ``classmethod`` or ``staticmethod`` that is not bound yet.
        make_call: gives what each call does instead, from what is called: ``function``, or its
            ``__call__`` where it is an object that has one.

    Raises:
        TypeError: ``function`` is a class, or cannot be called.
    """
    if inspect.isclass(function) or not (
        callable(function) or isinstance(function, (classmethod, staticmethod))
    ):
        raise TypeError(f"only functions, methods and callable objects have a session, not {function!r}")
    if _is_instance(function):
        return _CallableObject(function, _Function(function.__call__, make_call(function.__call__)))
    return _Function(function, make_call(function))


def wrap_in(function: Any, open_call: OpenCall) -> Call:
    """Give what each call of ``function`` does to run in a session.

    Args:
        function: what is called.
        open_call: gives the session of a call, and whether others, too, are in it: if not, it is left
            when the call, and what it gives to be run later, has ended.
    """
    return (_async_call if is_coroutine_function(function) else _call)(open_call)


def is_coroutine_function(function: Any) -> bool:
    """Whether each call gives a coroutine, also of a ``classmethod`` or ``staticmethod`` not bound yet."""
    target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    return inspect.iscoroutinefunction(target)


def continued(result: Any, session: Session, *, leave: bool = False) -> Any:
    """Give what does the rest of the work of ``result``, which is of :data:`RUNS_LATER`, in ``session``."""
    if isinstance(result, GeneratorType) and not result.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return _generator(result, session, leave=leave)
    if isinstance(result, AsyncGeneratorType):
        return _async_generator(result, session, leave=leave)
    return _coroutine(result, session, leave=leave)


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


def _is_instance(function: Any) -> bool:
    """Whether it is an object of a class, written in Python, that has a method ``__call__``."""
    return not (hasattr(type(function), "__get__") or isinstance(function.__call__, MethodWrapperType))


def _call(open_call: OpenCall) -> Call:
    def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session, is_joined = open_call(wrapped, args, kwargs)
        goes_on = False
        try:
            result = _run_in(session, wrapped, *args, **kwargs)
            goes_on = type(result) in RUNS_LATER
        finally:
            if not is_joined and not goes_on:
                session._leave()
        return continued(result, session, leave=not is_joined) if goes_on else result

    return call


def _async_call(open_call: OpenCall) -> Call:
    async def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session, is_joined = open_call(wrapped, args, kwargs)
        if session is innermost_session():
            return await wrapped(*args, **kwargs)  # as in _run_in
        token = enter_session(session)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with suppress(ValueError):  # a coroutine that nobody finished is closed in whatever context
                leave_session(token)
            if not is_joined:
                session._leave()

    return call


def _generator(
    generator: Generator[Any, Any, Any], session: Session, *, leave: bool
) -> Generator[Any, Any, Any]:
    current: Session | None = session  # in a scope that the generator has entered itself: that one's
    resume: Callable[[Any], Any] = generator.send
    value: Any = None
    try:
        while True:
            token = enter_session(current)
            try:
                item = resume(value)
            except StopIteration as stop:
                return stop.value
            finally:
                current = innermost_session()
                leave_session(token)
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
    current: Session | None = session  # as above
    step = _first_step(generator)
    try:
        while True:
            token = enter_session(current)
            try:
                item = await step
            except StopAsyncIteration:
                return
            finally:
                current = innermost_session()
                with suppress(ValueError):  # as above
                    leave_session(token)
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
    token = enter_session(session)
    try:
        return await coroutine
    finally:
        with suppress(ValueError):  # as above
            leave_session(token)
        if leave:
            session._leave()


def _run_in(session: Session, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if session is innermost_session():
        # Nothing is put back: the scope around may be that of a generator which ends inside the call.
        return function(*args, **kwargs)
    token = enter_session(session)
    try:
        return function(*args, **kwargs)
    finally:
        leave_session(token)
