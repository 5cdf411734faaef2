"""What a call does to run in a session, whatever kind of callable it is of.

A generator is entered anew for each step, as its consumer runs between the steps, possibly in another
context each time.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from hl_sessions.sessions import context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator

    from hl_sessions.sessions.context import Current

__all__ = ["RUNS_LATER", "Call", "OpenCall", "call_in", "continued", "is_coroutine_function"]

# Both are given what is called, a bound method where it is one, and the arguments of the call.
OpenCall = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], "tuple[Current | None, bool]"]
Call = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], Any]

#: The types of results of which the work is still to come.
RUNS_LATER = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


def call_in(function: Any, open_call: OpenCall) -> Call:
    """Return what each call of ``function`` does to run in a session.

    Args:
        function: what is called.
        open_call: returns the session of a call, ``None`` for none, and whether the session was joined. If it
            was opened here, it is closed after the call and its generator or coroutine.
    """
    return (_async_call if is_coroutine_function(function) else _call)(open_call)


def is_coroutine_function(function: Any) -> bool:
    """Whether each call returns a coroutine, also of a ``classmethod`` or ``staticmethod`` not bound yet."""
    target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    return inspect.iscoroutinefunction(target)


def continued(result: Any, session: Current | None, *, leave: bool = False) -> Any:
    """Return what does the rest of the work of ``result``, one of :data:`RUNS_LATER`, in ``session``."""
    if isinstance(result, GeneratorType) and not result.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return _generator(result, session, leave=leave)
    if isinstance(result, AsyncGeneratorType):
        return _async_generator(result, session, leave=leave)
    return _coroutine(result, session, leave=leave)


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
        if session is context.innermost():
            return await wrapped(*args, **kwargs)  # as in _run_in
        token = context.enter(session)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with suppress(ValueError):  # a coroutine that nobody finished is closed in whatever context
                context.leave(token)
            if session is not None and not is_joined:
                session._leave()

    return call


def _generator(
    generator: Generator[Any, Any, Any], session: Current | None, *, leave: bool
) -> Generator[Any, Any, Any]:
    current: Current | None = session  # in a scope that the generator has entered itself: that one's
    resume: Callable[[Any], Any] = generator.send
    value: Any = None
    try:
        while True:
            token = context.enter(current)
            try:
                item = resume(value)
            except StopIteration as stop:
                return stop.value
            finally:
                current = context.innermost()
                context.leave(token)
            try:
                value = yield item
                resume = generator.send
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, GeneratorExit too
                resume, value = generator.throw, error
    finally:
        del resume, value  # an error that was thrown in holds this frame
        if session is not None and leave:
            session._leave()


async def _async_generator(
    generator: AsyncGenerator[Any, Any], session: Current | None, *, leave: bool
) -> AsyncGenerator[Any, Any]:
    current: Current | None = session  # as above
    step = _first_step(generator)
    try:
        while True:
            token = context.enter(current)
            try:
                item = await step
            except StopAsyncIteration:
                return
            finally:
                current = context.innermost()
                with suppress(ValueError):  # as above
                    context.leave(token)
            try:
                value = yield item
                step = generator.asend(value)
            except BaseException as error:  # noqa: BLE001 - as above
                step = generator.athrow(error)
    finally:
        del step  # as above
        if session is not None and leave:
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


async def _coroutine(coroutine: Coroutine[Any, Any, Any], session: Current | None, *, leave: bool) -> Any:
    token = context.enter(session)
    try:
        return await coroutine
    finally:
        with suppress(ValueError):  # as above
            context.leave(token)
        if session is not None and leave:
            session._leave()


def _run_in(session: Current | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if session is context.innermost():
        # Nothing is put back: the scope around may be that of a generator which ends inside the call.
        return function(*args, **kwargs)
    token = context.enter(session)
    try:
        return function(*args, **kwargs)
    finally:
        context.leave(token)
