"""The scopes that dependencies of FastAPI open, and those without effect."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from hl_sessions.doctor.layers import Layer, layer_of
from hl_sessions.manager import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Route", "is_in_vain", "routes_of", "scope_of"]

#: The dependencies of a route, those of its routers and of the application included.
Route = list[Any]


def routes_of(application: Any) -> Iterator[Route]:
    """Yield the routes of FastAPI, those of mounted applications included."""
    routes = getattr(application, "routes", ())
    if not isinstance(routes, list):  # other applications may have a method of this name
        return
    fastapi = sys.modules.get("fastapi.routing")
    expand = getattr(fastapi, "iter_route_contexts", iter)  # older ones have no routers in this list
    for route in expand(routes):
        dependant = getattr(route, "dependant", None)
        if dependant is not None:
            yield list(_functions(dependant))
        yield from routes_of(route)


def scope_of(function: Any) -> Layer | None:
    """Return the middleware of a dependency of ``session_scope()``; ``None`` for another function."""
    if getattr(function, "__module__", None) != "hl_sessions.integrations.fastapi":
        return None
    middleware = inspect.getclosurevars(function).nonlocals.get("middleware")
    return None if middleware is None else layer_of(middleware)


def is_in_vain(function: Any) -> bool:
    """Whether it is a sync generator that uses a manager, as FastAPI runs it in threads."""
    if not inspect.isgeneratorfunction(function):
        return False
    used = inspect.getclosurevars(function)
    values = [*used.globals.values(), *used.nonlocals.values()]
    return any(isinstance(value, SessionManager) for value in values)


def _functions(dependant: Any) -> Iterator[Any]:
    for dependency in dependant.dependencies:
        function = dependency.call
        while isinstance(function, partial):
            function = function.func
        yield function
        yield from _functions(dependency)
