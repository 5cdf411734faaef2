"""Callables of every kind, wrapped so that what inspects them sees what it saw before.

The wrappers are object proxies of ``wrapt``: signature, binding and kind stay what they were.
"""

from __future__ import annotations

import inspect
from types import MethodType, MethodWrapperType
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.sessions.calls import Call

__all__ = ["wrap"]


def wrap(function: Any, make_call: Callable[[Any], Call]) -> Any:
    """Wrap a function, method or callable object.

    Args:
        function: what to wrap; also a ``classmethod`` or ``staticmethod`` that is not bound yet.
        make_call: returns what each call does instead, from what is called: ``function``, or its
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
