"""The OpenAPI document of the served calls, with the bodies that are read and the answers that are given."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse

from hl_sessions.server.http.idempotency import HEADER, PATTERN
from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.protocol.answers import FieldProblems, Problem
from hl_sessions.server.protocol.requests import (
    CreateProjectRequest,
    CreateSessionRequest,
    FeedbackRequest,
    LogRequest,
    UpdateLogEntry,
    UpdateLogRequest,
    UpdateProjectRequest,
    UpdateSessionRequest,
)

NOT_FOUND: Final[Mapping[int | str, dict[str, Any]]] = {
    404: {"model": Problem, "description": "There is none with this ID"}
}

PROBLEMS: Final[Mapping[int | str, dict[str, Any]]] = {
    401: {"model": Problem, "description": "The API key is missing or wrong"},
    403: {"model": Problem, "description": "A foreign web page may not call"},
    413: {"model": Problem, "description": "The body is too long"},
    415: {"model": Problem, "description": "The body is compressed otherwise than by gzip"},
    422: {"model": FieldProblems, "description": "The request breaks a rule of the protocol"},
    503: {"model": Problem, "description": "The database does not answer, is busy, or took too long"},
    507: {"model": Problem, "description": "The disk is full"},
}
"""The errors that any call may be answered with."""

UNDER_WAY: Final[Mapping[int | str, dict[str, Any]]] = {
    409: {"model": Problem, "description": "The request with this Idempotency-Key is under way"}
}

IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Makes the call once, however often it is sent within 24 hours.",
    "schema": {"type": "string", "pattern": PATTERN},
}

_REFERENCE: Final = "#/components/schemas/{model}"
_REQUESTS: Final[tuple[type[Any], ...]] = (
    CreateProjectRequest,
    CreateSessionRequest,
    FeedbackRequest,
    LogRequest,
    UpdateLogEntry,
    UpdateLogRequest,
    UpdateProjectRequest,
    UpdateSessionRequest,
)


def body_of(
    model: type[Any], *, or_list_of: type[Any] | None = None, is_required: bool = True
) -> dict[str, Any]:
    """Describe the body that a call reads by itself.

    Args:
        model: The JSON object that the call reads.
        or_list_of: The objects of the list that the call accepts as well, if it does.
        is_required: Whether the body must not be empty.
    """
    schema: dict[str, Any] = {"$ref": _REFERENCE.format(model=model.__name__)}
    if or_list_of is not None:
        entry = {"$ref": _REFERENCE.format(model=or_list_of.__name__)}
        schema = {"anyOf": [schema, {"type": "array", "items": entry, "maxItems": 10_000}]}
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


def add_openapi(application: FastAPI, prefix: str) -> None:
    """Have the application serve its document, with the bodies and keys, which FastAPI does not read itself.

    Args:
        application: The application, with all of its calls.
        prefix: The path before that of the document.
    """
    describe_the_rest = application.openapi

    def describe() -> dict[str, Any]:
        if application.openapi_schema is None:
            document = describe_the_rest()
            _, definitions = TypeAdapter.json_schemas(
                [(model.__name__, "validation", TypeAdapter(model)) for model in _REQUESTS],
                ref_template=_REFERENCE,
            )
            document["components"]["schemas"].update(definitions["$defs"])
            document["components"]["securitySchemes"] = {
                "APIKey": {"type": "apiKey", "in": "header", "name": "X-API-KEY"}
            }
            # An open server accepts calls without a key.
            document["security"] = [{"APIKey": []}, {}]
            application.openapi_schema = document
        return application.openapi_schema

    application.openapi = describe  # type: ignore[method-assign]

    async def tell(request: Request) -> JSONResponse:
        root = prefix_of(request.scope)
        return JSONResponse({**describe(), "servers": [{"url": root}]} if root else describe())

    application.add_route(f"{prefix}/openapi.json", tell)
