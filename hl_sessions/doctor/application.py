"""Examine an application: the middlewares around it, and the managers that it uses."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import traceback
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hl_sessions.defaults import _default, default_manager
from hl_sessions.doctor.dependencies import is_in_vain, routes_of, scope_of
from hl_sessions.doctor.findings import Finding, Mark
from hl_sessions.doctor.frameworks import OTHER, examine_middlewares, framework_of
from hl_sessions.doctor.layers import layers_in, nested
from hl_sessions.manager import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["Application", "ApplicationError", "load"]


class ApplicationError(Exception):
    """The application cannot be imported; the message has the reason, in one line."""


class Application:
    """An imported application of ASGI, WSGI, or a framework with its own server.

    Args:
        module: the module that holds it.
        application: the application.
    """

    def __init__(self, module: ModuleType, application: Any) -> None:
        self._module = module
        self._application = application
        self._framework = framework_of(application)
        self._parts = list(nested(application))
        self._layers = [layer for part in self._parts for layer in layers_in(part)]
        self._routes = [route for part in self._parts for route in routes_of(part)]

    def examine(self) -> Iterator[Finding]:
        """Yield findings about the place of the middleware, and about dependencies without effect."""
        if _is_factory(self._application):
            name = self._application.__name__
            yield Finding(
                Mark.WARNING,
                f"{name}() takes no arguments, so it is no application, but may return one",
                f"hl-sessions doctor '{self._module.__name__}:{name}()'",
            )
            return
        yield from self._examine_middleware()
        for function in dict.fromkeys(chain.from_iterable(self._routes)):
            if is_in_vain(function):
                yield Finding(
                    Mark.WARNING,
                    f"the dependency {function.__name__}() opens its scope in a worker thread, so the"
                    " endpoint is outside of it",
                    "make it an async def",
                )

    def managers(self) -> dict[SessionManager, bool]:
        """Return the managers of the application: of its middleware, its module, and ``configure``.

        Returns:
            The managers, each with whether a middleware uses its conversations.

        Raises:
            ConfigurationError: the middleware takes the default manager, and the environment is wrong.
        """
        own = [layer for layer in self._layers if layer.is_own]
        own += [layer for layer in map(scope_of, chain.from_iterable(self._routes)) if layer is not None]
        found: dict[SessionManager, bool] = {}
        for layer in own:
            manager = layer.manager or default_manager()
            found[manager] = layer.has_conversations or found.get(manager, False)
        # Not by isinstance(), which asks a stand-in for another object, and that may raise anything.
        others = [value for value in vars(self._module).values() if issubclass(type(value), SessionManager)]
        others += [] if _default.manager is None else [_default.manager]
        return found | {manager: False for manager in others if manager not in found}

    def _examine_middleware(self) -> Iterator[Finding]:
        names = [layer.name for layer in self._layers]
        own = next((place for place, layer in enumerate(self._layers) if layer.is_own), None)
        scoped = sum(any(scope_of(function) for function in route) for route in self._routes)
        problems = [problem for part in self._parts for problem in examine_middlewares(part)]
        yield from problems
        if own is not None and own > 0:
            # No error: the application has its session, and many middlewares need none, such as ProxyFix.
            yield Finding(
                Mark.WARNING,
                f"outside of {names[own]} is {', '.join(names[:own])}: code there, and requests that are"
                " answered there, have no session",
                self._framework.first,
            )
        elif own is not None:
            if not problems:
                yield Finding(Mark.OK, f"{names[own]} stands outermost")
        elif scoped:
            yield Finding(
                Mark.OK, f"session_scope() opens a scope for {scoped} of {len(self._routes)} routes"
            )
        elif not self._framework.is_readable:
            yield Finding(
                Mark.NOTE,
                "its middlewares cannot be inspected: check that this line has made it",
                self._framework.line,
            )
        elif callable(self._application) or self._framework is not OTHER:
            yield Finding(
                Mark.WARNING,
                "no middleware of hl_sessions is around it: a request has no session, unless with_session or"
                " a manager opens one",
                self._framework.line,
            )
        else:
            yield Finding(Mark.NOTE, "it is no application of ASGI or WSGI: nothing to wrap")


def load(name: str) -> Application:
    """Import an application by its name, like a server.

    Args:
        name: a name such as ``shop.main:app``, or ``shop.main:create_app()`` for the result of a call. The
            current folder is importable.

    Raises:
        ApplicationError: the application cannot be imported.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ApplicationError(
            f"{name} must be the name of a module and of the application in it: module:app"
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
        application: Any = reduce(getattr, attribute.removesuffix("()").split("."), module)
        if attribute.endswith("()"):
            application = application()
            if inspect.iscoroutine(application):  # as aiohttp's servers take it
                application = asyncio.run(application)
        return Application(module, application)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the application may raise any
        raise ApplicationError(f"{name} cannot be imported: {_last_line(error)}") from None


def _last_line(error: BaseException) -> str:
    """Return the last line of a traceback, with the place in the application if there is one."""
    line = traceback.format_exception_only(type(error), error)[-1].strip().splitlines()[-1]
    if isinstance(error, SyntaxError):
        return f"{line} ({_place(error.filename, error.lineno)})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in {__file__, importlib.__file__} and not frame.filename.startswith("<")
    ]
    # A library that refuses what the application does is no place to look at.
    of_application = [frame for frame in frames if _is_of_application(frame.filename)]
    places = [_place(frame.filename, frame.lineno) for frame in of_application or frames]
    return f"{line} ({places[-1]})" if places else line


def _is_of_application(filename: str) -> bool:
    return Path(filename).is_relative_to(Path.cwd()) and "site-packages" not in filename


def _place(filename: str | None, line: int | None) -> str:
    return f"{Path(filename or '').name}, line {line}"


def _is_factory(application: Any) -> bool:
    """Whether it is a function that can be called without arguments."""
    if not inspect.isroutine(application):
        return False
    try:
        parameters = inspect.signature(application).parameters.values()
    except ValueError:  # the parameters of some functions in C are unknown
        return False
    return all(
        parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD
        for parameter in parameters
    )
