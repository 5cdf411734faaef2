"""Calls that run in a session, of functions, coroutine functions, generators and async generators.

A generator enters the session anew at each step, as its consumer runs between the steps, possibly in another
context each time.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from hl_sessions.sessions import context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
    from contextvars import ContextVar

    from hl_sessions.sessions.context import Current

__all__ = [
    "RUNS_LATER",
    "Call",
    "OpenCall",
    "Stay",
    "call_in",
    "call_staying",
    "continued",
    "continued_in",
    "is_coroutine_function",
]

# Both are called with the called function, or bound method, and the arguments of the call.
OpenCall = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], "tuple[Current | None, bool]"]
Call = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], Any]

#: The types of results that do their work only later.
RUNS_LATER = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


def call_in(function: Any, open_call: OpenCall) -> Call:
    """Return the behaviour by which each call of ``function`` runs in a session.

    Args:
        function: the called function.
        open_call: returns the session of a call, ``None`` for none, and whether the session was joined. If it
            was opened here, it is closed after the call and its generator or coroutine.
    """
    return (_async_call if is_coroutine_function(function) else _call)(open_call)


def is_coroutine_function(function: Any) -> bool:
    """Whether each call returns a coroutine, also of a ``classmethod`` or ``staticmethod`` not bound yet."""
    target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    return inspect.iscoroutinefunction(target)


class Stay:
    """The steps of a call, which run with a value of a context variable, or the value that they set last.

    Args:
        variable: the context variable.
        value: its value at the first step.
    """

    __slots__ = ("_token", "_value", "_variable")

    def __init__(self, variable: ContextVar[Any], value: Any) -> None:
        self._variable = variable
        self._value = value

    def enter(self) -> None:
        """Set the variable before a step."""
        self._token = self._variable.set(self._value)

    def leave(self) -> None:
        """Restore the variable after a step."""
        self._value = self._variable.get()
        try:  # faster than suppress()
            self._variable.reset(self._token)
        except ValueError:
            pass  # an unfinished coroutine may be closed in another context

    def has_yielded(self, item: Any) -> None:
        """Note a yielded item."""

    def has_returned(self, result: Any) -> None:
        """Note the result of the call."""

    def end(self, error: BaseException | None) -> None:
        """Note the end of the call, and its exception, if any."""


class _SessionStay(Stay):
    """Steps that run in a session."""

    __slots__ = ("_is_opened", "_session")

    def __init__(self, session: Current | None, *, is_opened: bool) -> None:
        super().__init__(context.current, session)
        if session is not None:
            session._is_bound = True  # its steps run among the variables of the consumer
        self._session = session
        self._is_opened = is_opened

    def end(self, error: BaseException | None) -> None:  # noqa: ARG002 - that of the steps
        if self._session is not None and self._is_opened:
            self._session._leave()


def call_staying(function: Any, open_stay: Callable[[Any, tuple[Any, ...], dict[str, Any]], Stay]) -> Call:
    """Return the behaviour by which each call of ``function`` runs in a stay.

    Args:
        function: the called function.
        open_stay: returns the stay of a call. For a generator function, the first step enters it.
    """
    runs_later = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)

    def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stay = open_stay(wrapped, args, kwargs)
        if runs_later:
            return continued_in(wrapped(*args, **kwargs), stay)
        stay.enter()
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            stay.end(error)
            raise
        finally:
            stay.leave()
        if type(result) in RUNS_LATER:
            return continued_in(result, stay)
        stay.has_returned(result)
        stay.end(None)
        return result

    async def async_call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stay = open_stay(wrapped, args, kwargs)
        return await _coroutine(wrapped(*args, **kwargs), stay)

    return async_call if is_coroutine_function(function) else call


def continued(result: Any, session: Current | None, *, leave: bool = False) -> Any:
    """Return a wrapper of ``result``, which is of :data:`RUNS_LATER`, that does its work in ``session``."""
    return continued_in(result, _SessionStay(session, is_opened=leave))


def continued_in(result: Any, stay: Stay) -> Any:
    """Return a wrapper of ``result``, which is of :data:`RUNS_LATER`, that does its work in ``stay``."""
    if isinstance(result, GeneratorType) and not result.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return _generator(result, stay)
    if isinstance(result, AsyncGeneratorType):
        return _async_generator(result, stay)
    return _coroutine(result, stay)


def _call(open_call: OpenCall) -> Call:
    def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session, is_joined = open_call(wrapped, args, kwargs)
        goes_on = False
        try:
            result = _run_in(session, wrapped, *args, **kwargs)
            goes_on = type(result) in RUNS_LATER
        finally:
            if session is not None and not is_joined and not goes_on:
                session._leave()
        return continued(result, session, leave=not is_joined) if goes_on else result

    return call


def _async_call(open_call: OpenCall) -> Call:
    async def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session, is_joined = open_call(wrapped, args, kwargs)
        goes_on = False
        if is_joined and session is context.innermost():  # as in _run_in
            result = await wrapped(*args, **kwargs)
            goes_on = type(result) in RUNS_LATER
        else:
            token = context.enter(session)
            try:
                result = await wrapped(*args, **kwargs)
                goes_on = type(result) in RUNS_LATER
            finally:
                try:  # faster than suppress()
                    context.leave(token)
                except ValueError:
                    pass  # an unfinished coroutine may be closed in another context
                if session is not None and not is_joined and not goes_on:
                    session._leave()
        return continued(result, session, leave=not is_joined) if goes_on else result

    return call


def _generator(generator: Generator[Any, Any, Any], stay: Stay) -> Generator[Any, Any, Any]:
    resume: Callable[[Any], Any] = generator.send
    value: Any = None
    failure: BaseException | None = None
    try:
        while True:
            stay.enter()
            try:
                item = resume(value)
            except StopIteration as stop:
                return stop.value
            finally:
                stay.leave()
            stay.has_yielded(item)
            try:
                value = yield item
                resume = generator.send
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, GeneratorExit too
                resume, value = generator.throw, error
    except BaseException as error:
        failure = error
        raise
    finally:
        try:
            stay.end(failure)
        finally:
            del resume, value, failure  # an error that was thrown in holds this frame


async def _async_generator(generator: AsyncGenerator[Any, Any], stay: Stay) -> AsyncGenerator[Any, Any]:
    step = _first_step(generator)
    failure: BaseException | None = None
    try:
        while True:
            stay.enter()
            try:
                item = await step
            except StopAsyncIteration:
                return
            finally:
                stay.leave()
            stay.has_yielded(item)
            try:
                value = yield item
                step = generator.asend(value)
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, GeneratorExit too
                step = generator.athrow(error)
    except BaseException as error:
        failure = error
        raise
    finally:
        try:
            stay.end(failure)
        finally:
            del step, failure  # an error that was thrown in holds this frame


def _first_step(generator: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    # Not registered with the event loop, which closes all registered generators at its end, at the same time:
    # the wrapper closes this one.
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


async def _coroutine(coroutine: Coroutine[Any, Any, Any], stay: Stay) -> Any:
    failure: BaseException | None = None
    goes_on = False
    stay.enter()
    try:
        result = await coroutine
        goes_on = type(result) in RUNS_LATER
        if not goes_on:
            stay.has_returned(result)
    except BaseException as error:
        failure = error
        raise
    finally:
        stay.leave()
        try:
            if not goes_on:
                stay.end(failure)
        finally:
            del failure  # an error that was thrown in holds this frame
    return continued_in(result, stay) if goes_on else result


def _run_in(session: Current | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if session is context.innermost():
        # No entry: the outer scope may be that of a generator, which may end inside the call.
        return function(*args, **kwargs)
    token = context.enter(session)
    try:
        return function(*args, **kwargs)
    finally:
        context.leave(token)
