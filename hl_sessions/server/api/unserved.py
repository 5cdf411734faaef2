"""Answers calls that this server does not have, and names the calls to use instead."""

from collections.abc import Sequence
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from hl_sessions.server.http.rejections import NOT_FOUND, rejection

_THIS_VERSION: Final = "This server speaks v4 of the API; 'served' lists its calls."
_NO_MODELS: Final = (
    "It asks a model, and this server calls no models: call yours, and log its answer with POST /v4/logs."
)
_NO_EVALUATIONS: Final = (
    "It is about evaluations, which this server does not run: log their results as 'judgment' with "
    "POST /v4/logs, or with POST /v4/feedback."
)
_NO_DATASETS: Final = (
    "It is about datasets, which this server does not keep: GET /v4/logs has the logged datapoints."
)
_NO_CONFIGS: Final = (
    "It is about configs, which this server keeps only with each datapoint: log them as 'config' with "
    "POST /v4/logs."
)
_NO_PROJECT_PARTS: Final = (
    "It is about the configs, datasets or evaluations of a project, which this server does not keep: "
    "GET /v4/projects/{id} has the project and its feedback types, which PATCH /v4/projects/{id} defines; "
    "GET /v4/logs has its datapoints."
)
# Keyed by the first part of the path, up to its first hyphen.
_PURPOSES: Final = {
    "chat": _NO_MODELS,
    "completion": _NO_MODELS,
    "evaluations": _NO_EVALUATIONS,
    "evaluators": _NO_EVALUATIONS,
    "datasets": _NO_DATASETS,
    "datapoints": _NO_DATASETS,
    "experiments": _NO_CONFIGS,
    "finetunes": _NO_CONFIGS,
    "model": _NO_CONFIGS,
}


class UnservedCalls:
    """An ASGI application that answers every call with 404.

    Args:
        served: The calls that exist, such as ``POST /v4/logs``.
        is_this_version: Whether the called version of the API is the one that is served.
    """

    def __init__(self, served: Sequence[str], *, is_this_version: bool) -> None:
        self._served = served
        self._is_this_version = is_this_version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        await self.answer(path)(scope, receive, send)

    def answer(self, path: str) -> JSONResponse:
        """Make the answer to a call of a path below the version of the API."""
        if self._is_this_version:
            what = f"There is no such call here. {_purpose_of(path)}".rstrip()
        else:
            what = "This is a call of another version of the API."
        content = {"detail": f"{what} {_THIS_VERSION}", "served": self._served}
        return JSONResponse(content, 404)


def add_unserved_calls(application: FastAPI, prefix: str) -> None:
    """Have the application answer all calls that it does not have yet, in any version of the API."""
    served = [
        f"{method} {route.path}"
        for route in application.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
    of_this_version = UnservedCalls(served, is_this_version=True)
    of_another_version = UnservedCalls(served, is_this_version=False)
    for path, answering in ((prefix, of_this_version), ("/v{version:int}", of_another_version)):
        application.router.routes += [Route(path, answering), Mount(path, answering)]

    async def answer_other_method(request: Request, _error: Exception) -> JSONResponse:
        path = request.scope["path"]
        if path.startswith(f"{prefix}/"):
            return of_this_version.answer(path.removeprefix(prefix))
        return rejection(404, NOT_FOUND)

    # A known path with an unserved method is handled like an unknown path.
    application.exception_handler(405)(answer_other_method)


def _purpose_of(path: str) -> str:
    first, _, rest = path.strip("/").partition("/")
    if first == "projects" and "/" in rest:
        return _NO_PROJECT_PARTS
    return _PURPOSES.get(first.partition("-")[0], "")
