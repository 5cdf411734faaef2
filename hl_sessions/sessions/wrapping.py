"""Wrappers for callables of every kind, through which introspection sees the original.

The wrappers are object proxies of ``wrapt``, which keep the signature, the binding and the kind.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from copy import copy, deepcopy
from importlib import import_module
from operator import attrgetter
from pickle import PicklingError
from types import CodeType, MethodType, MethodWrapperType
from typing import TYPE_CHECKING, Any, NoReturn

import wrapt

from hl_sessions.sessions.calls import Stay, call_in, call_staying
from hl_sessions.sessions.context import along

if TYPE_CHECKING:
    from collections.abc import Callable

    from hl_sessions.sessions.calls import Call
    from hl_sessions.sessions.context import Current

    _ObjectProxy = wrapt.ObjectProxy[Any]
else:
    _ObjectProxy = wrapt.ObjectProxy  # before wrapt 2 it cannot be subscripted

__all__ = ["bound", "wrap"]


def wrap(function: Any, make_call: Callable[[Any], Call]) -> Any:
    """Wrap a function, method or callable object.

    Args:
        function: the callable to wrap; also an unbound ``classmethod`` or ``staticmethod``.
        make_call: returns the new behaviour of each call. Its argument is ``function``, or the method
            ``__call__`` of a callable object.

    Raises:
        TypeError: ``function`` is a class, or cannot be called.
    """
    if inspect.isclass(function) or not (
        callable(function) or isinstance(function, (classmethod, staticmethod))
    ):
        hint = ""
        if isinstance(function, str):
            hint = f": write with_session(key={function!r}), or datapoint(source={function!r})"
        raise TypeError(
            f"only functions, methods and callable objects have a session, not {function!r}{hint}"
        )
    if _is_instance(function):
        return _CallableObject(
            function, _Function(function.__call__, _made_call(function.__call__, make_call))
        )
    return _Function(function, _made_call(function, make_call))


def _made_call(function: Any, make_call: Callable[[Any], Call]) -> Call:
    call = make_call(function)
    # Python warns of a coroutine that is never awaited by this name.
    with suppress(AttributeError):  # a functools.partial, for example, has no name
        call.__qualname__ = function.__qualname__
    return call


def bound(function: Any, session: Current | None) -> Any:
    """Wrap a function, method, class or callable object so that each call runs in one session.

    The open datapoint goes along with the session.

    Args:
        function: the callable to wrap.
        session: the session; ``None``: no session.

    Raises:
        TypeError: ``function`` cannot be called.
    """
    if session is not None:
        session._is_bound = True
    callee = functools.partial(function) if inspect.isclass(function) else function
    companion = along.get()
    return wrap(callee, lambda called: _bound_call(called, session, companion))


def _bound_call(function: Any, session: Current | None, companion: object) -> Call:
    call = call_in(function, lambda *_: (session, True))
    if companion is None:
        return call
    call_along = call_staying(function, lambda *_: Stay(along, companion))
    return lambda wrapped, args, kwargs: call(functools.partial(_spread, call_along, wrapped), args, kwargs)


def _spread(call: Call, wrapped: Any, /, *args: Any, **kwargs: Any) -> Any:
    return call(wrapped, args, kwargs)


class _Annotations(dict[str, Any]):
    """The annotations of the wrapped object, and none of the class.

    Before Python 3.14, a class without annotations gets an empty dictionary when a library looks at them.
    That would hide the annotations of the wrapped object.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else instance.__wrapped__.__annotations__

    def __set__(self, instance: Any, annotations: Any) -> None:
        instance.__wrapped__.__annotations__ = annotations


class _Function(_ObjectProxy):
    """A function, or a method once it is looked up on an instance or a class."""

    __annotations__ = _Annotations()

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
        place = (self.__module__, self.__qualname__)
        try:
            found = _found(*place)
        except (ImportError, AttributeError):  # a local function, or one that was replaced
            found = None
        if isinstance(found, _Function) and found.__wrapped__ is self.__wrapped__:
            return _found, place
        raise PicklingError(
            f"{self.__qualname__} cannot be pickled: {self.__module__} has another object by this name."
            " The result of bind() belongs to this process: call bind() in the other process, or decorate a"
            " function of a module with with_session"
        )

    def __copy__(self) -> _Function:
        return self

    def __deepcopy__(self, memo: object) -> _Function:
        return self


class _CallableObject(_ObjectProxy):
    """A callable object whose ``__call__`` also looks like the original: frameworks check it for async."""

    __annotations__ = _Annotations()

    def __init__(self, wrapped: Any, call: _Function) -> None:
        super().__init__(wrapped)
        self._self_call = call

    @property
    def __call__(self) -> _Function:
        return self._self_call

    def __copy__(self) -> _CallableObject:
        return self._around(copy(self.__wrapped__))

    def __deepcopy__(self, memo: dict[int, Any]) -> _CallableObject:
        return self._around(deepcopy(self.__wrapped__, memo))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise PicklingError(
            f"a decorated {type(self.__wrapped__).__qualname__} object cannot be pickled: pickle the object"
            " itself and decorate it in the other process, or decorate the method __call__ in its class"
        )

    def _around(self, wrapped: Any) -> _CallableObject:
        return _CallableObject(wrapped, _Function(wrapped.__call__, self._self_call._self_call))


def _found(module: str, name: str) -> Any:
    """Find a function where it was defined, as a pickle does."""
    return attrgetter(name)(import_module(module))


def _is_instance(function: Any) -> bool:
    """Whether it is an object of a Python class with a method ``__call__``."""
    if hasattr(type(function), "__get__"):
        return False
    call = function.__call__
    # In PyPy all methods are of that type, so their code is checked, too.
    return not isinstance(call, MethodWrapperType) or isinstance(getattr(call, "__code__", None), CodeType)
