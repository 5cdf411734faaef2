"""``@with_session``: a scope for each call, or for each conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, overload

from hl_sessions.decorating import KeySource, session_decorator
from hl_sessions.manager import SessionManager, checked_manager, default_manager

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["with_session"]

Function = TypeVar("Function")


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
        manager: the manager of the scope; ``None``: the one of :func:`hl_sessions.configure`.

    Raises:
        TypeError: when decorating, where ``function`` is not callable or has no parameter named ``key``;
            when called, where the key is not a ``str``, an ``int`` or a ``uuid.UUID``.
        ConfigurationError: ``manager`` is not a manager.
        ValueError: ``key`` and ``new`` were both given; when called, where the key is empty or too long.
    """
    checked_manager(manager)
    get_manager = default_manager if manager is None else lambda: manager
    decorate = session_decorator(get_manager, key=key, new=new)
    return decorate if function is None else decorate(function)
