"""The decorator that makes each call a scope, and finds its conversation key among the arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

from hl_sessions.conversations.key import checked_key
from hl_sessions.process.late_imports import late_import
from hl_sessions.scopes.scope import open_session
from hl_sessions.sessions.calls import RUNS_LATER, Call, OpenCall, call_in, continued, is_coroutine_function
from hl_sessions.sessions.current import enter_session, innermost_session, leave_session
from hl_sessions.sessions.opened import note_scope, scope_observers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hl_sessions.conversations.session import ConversationSource
    from hl_sessions.sessions.session import Session

__all__ = ["KeySource", "check_key_or_new", "parameters_of", "session_decorator"]

Function = TypeVar("Function")
KeySource = str | Callable[..., Any] | None
# Called with the called function, or bound method, and the arguments of the call.
FindKey = Callable[[Any, "tuple[Any, ...]", "dict[str, Any]"], str | None]


def check_key_or_new(key: object, *, new: bool) -> None:
    """Check that ``key`` and ``new`` are not both given.

    Raises:
        ValueError: both are given: a conversation has one session, ``new`` always opens another one.
    """
    if key is not None and new:
        raise ValueError("key and new exclude each other; session.end() makes a conversation start anew")


def session_decorator(
    get_manager: Callable[[], ConversationSource], *, key: KeySource, new: bool
) -> Callable[[Function], Function]:
    """Return a decorator that makes each call of a callable a scope.

    Args:
        get_manager: returns the manager, at each call.
        key: the name of the parameter that holds the conversation key, or a callable that returns the key
            from the arguments of the call.
        new: never join the surrounding session.

    Raises:
        TypeError: ``key`` is neither a string, nor callable, nor ``None``.
        ValueError: both ``key`` and ``new`` were given.
    """
    with late_import:  # a program that decorates nothing does not need it, and no call waits for it
        from hl_sessions.sessions.wrapping import wrap

    if key is not None and not isinstance(key, str) and not callable(key):
        raise TypeError(f"key must be the name of a parameter or a callable, not {type(key).__name__}")
    check_key_or_new(key, new=new)

    def make_call(function: Any) -> Call:
        if key is None and not new:
            make = _joining_async_call if is_coroutine_function(function) else _joining_call
            return make(get_manager)
        find_key = None if key is None else _key_finder(function, key)
        return call_in(function, _opener(get_manager, find_key, new=new))

    return lambda function: wrap(function, make_call)


def _joining_call(get_manager: Callable[[], ConversationSource]) -> Call:
    def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = get_manager()
        innermost = innermost_session()
        session = manager.new_session() if innermost is None else open_session(manager)[0]
        if session is innermost:
            # No entry: the outer scope may be that of a generator, which may end inside the call.
            result = wrapped(*args, **kwargs)
        else:
            if scope_observers:
                note_scope(session)
            token = enter_session(session)
            try:
                result = wrapped(*args, **kwargs)
            finally:
                leave_session(token)
        return continued(result, session) if type(result) in RUNS_LATER else result

    return call


def _joining_async_call(get_manager: Callable[[], ConversationSource]) -> Call:
    async def call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = get_manager()
        innermost = innermost_session()
        session = manager.new_session() if innermost is None else open_session(manager)[0]
        if session is innermost:
            result = await wrapped(*args, **kwargs)  # without an entry, as in the synchronous call
        else:
            if scope_observers:
                note_scope(session)
            token = enter_session(session)
            try:
                result = await wrapped(*args, **kwargs)
            finally:
                try:
                    leave_session(token)
                except ValueError:
                    pass  # an unfinished coroutine may be closed in another context
        return continued(result, session) if type(result) in RUNS_LATER else result

    return call


def _opener(
    get_manager: Callable[[], ConversationSource], find_key: FindKey | None, *, new: bool
) -> OpenCall:
    def open_call(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Session, bool]:
        key = None if find_key is None else find_key(wrapped, args, kwargs)
        session, is_joined = open_session(get_manager(), key, new=new)
        if scope_observers and not is_joined:
            note_scope(session)
        return session, is_joined

    return open_call


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


def parameters_of(function: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function by their names.

    Raises:
        ValueError: they are unknown, as of some functions in C.
    """
    if sys.version_info >= (3, 14):
        # Only names are needed. Annotations may name a class that is defined further down.
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF).parameters
    return inspect.signature(function).parameters


def _parameter(function: Any, name: str) -> tuple[int, Any]:
    target = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    try:
        parameters = parameters_of(target)
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
