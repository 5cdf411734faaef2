"""Answers refused and failed requests, always as JSON and never with any of their content."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from hl_sessions.server.database.errors import (
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    ReplacedFileError,
)
from hl_sessions.server.database.lanes import BUDGET
from hl_sessions.server.records.refusals import KeyReusedError, RequestUnderWayError

NOT_FOUND: Final = "Not Found"

FILE_REPLACED: Final = (
    "The file of the database was moved, removed or replaced: put it back, or start the server again"
)

CLIENT_HAS_GONE: Final = 499
"""The status that proxies log for a client that has gone; it is never sent."""

_RETRY_AFTER: Final = 5  # seconds
_RETRY_AFTER_UNDER_WAY: Final = 1  # second


class InvalidRequestError(Exception):
    """The request breaks a rule of the protocol; it is answered with status 422.

    Args:
        details: The problems. Of each mapping only ``loc``, ``msg`` and ``type`` are passed on.
    """

    def __init__(self, details: Iterable[Mapping[str, Any]]) -> None:
        super().__init__("the request breaks a rule of the protocol")
        self.details = list(details)

    @classmethod
    def at(
        cls, location: tuple[str | int, ...], message: str, error_type: str = "value_error"
    ) -> "InvalidRequestError":
        """Make the error for one place of the request."""
        return cls([{"loc": location, "msg": message, "type": error_type}])

    @classmethod
    def in_body(cls, error: ValidationError, skipped: int = 0) -> "InvalidRequestError":
        """Make the error for the problems that pydantic found in the body.

        Args:
            error: The error of pydantic.
            skipped: The number of outer levels of its locations that the client did not send.
        """
        details = error.errors(include_url=False, include_context=False, include_input=False)
        return cls({**detail, "loc": ("body", *detail["loc"][skipped:])} for detail in details)


def add_rejections(application: FastAPI) -> None:
    """Have the application answer every error in the shapes of the v4 protocol."""
    application.exception_handler(InvalidRequestError)(_invalid_request)
    application.exception_handler(RequestValidationError)(_invalid_parameters)
    application.exception_handler(ClientDisconnect)(answer_nobody)
    application.exception_handler(KeyReusedError)(_key_reused)
    application.exception_handler(RequestUnderWayError)(_under_way)
    application.exception_handler(DatabaseBusyError)(_busy)
    application.exception_handler(DatabaseTimeoutError)(_too_slow)
    application.exception_handler(DatabaseFullError)(_insufficient_storage)
    application.exception_handler(DatabaseUnavailableError)(_service_unavailable)
    application.exception_handler(ReplacedFileError)(_file_replaced)
    application.exception_handler(Exception)(_unexpected)


def rejection(status: int, detail: Any) -> JSONResponse:
    """Make the error answer of the v4 protocol."""
    return JSONResponse({"detail": detail}, status)


def unavailable(detail: str) -> JSONResponse:
    """Make the answer to a request that may succeed in a moment."""
    answer = rejection(503, detail)
    answer.headers["Retry-After"] = str(_RETRY_AFTER)
    return answer


def internal_error() -> JSONResponse:
    """Make the answer to a request that ended in an unexpected error."""
    answer = rejection(500, "Internal Server Error")
    # Uvicorn closes the connection after a failure. The client must know, or it sends its next call there.
    answer.headers["Connection"] = "close"
    return answer


async def answer_nobody(_request: Request, _error: Exception) -> Response:
    """Make an answer that only the access log and the metrics see."""
    return Response(status_code=CLIENT_HAS_GONE)


def too_long(limit: int) -> HTTPException:
    """Make the error for a body that is longer than the limit, in bytes."""
    return HTTPException(413, f"The body is longer than {limit} bytes")


def no_room() -> HTTPException:
    """Make the error for a body that arrives while too many others do."""
    detail = "Too many bodies arrive at once; nothing was stored"
    return HTTPException(503, detail, {"Retry-After": str(_RETRY_AFTER)})


def _unprocessable(details: Iterable[Mapping[str, Any]]) -> JSONResponse:
    # FastAPI's own handler would repeat the offending value, under "input" and "ctx".
    return rejection(422, [{name: detail[name] for name in ("loc", "msg", "type")} for detail in details])


async def _invalid_request(_request: Request, error: InvalidRequestError) -> JSONResponse:
    return _unprocessable(error.details)


async def _invalid_parameters(_request: Request, error: RequestValidationError) -> JSONResponse:
    return _unprocessable(error.errors())


async def _key_reused(_request: Request, _error: Exception) -> JSONResponse:
    problem = "Another request had this key within the last 24 hours"
    return _unprocessable([{"loc": ("header", "Idempotency-Key"), "msg": problem, "type": "value_error"}])


async def _under_way(_request: Request, _error: Exception) -> JSONResponse:
    answer = rejection(409, "The request with this Idempotency-Key is still under way; try again in a moment")
    answer.headers["Retry-After"] = str(_RETRY_AFTER_UNDER_WAY)
    return answer


async def _insufficient_storage(_request: Request, _error: Exception) -> JSONResponse:
    return rejection(507, "The disk of the database is full; nothing was stored")


async def _service_unavailable(_request: Request, _error: Exception) -> JSONResponse:
    return unavailable("The database is locked or does not answer")


async def _file_replaced(_request: Request, _error: Exception) -> JSONResponse:
    return unavailable(FILE_REPLACED)


async def _busy(_request: Request, _error: Exception) -> JSONResponse:
    return unavailable("Too many requests wait for the database")


async def _too_slow(_request: Request, _error: Exception) -> JSONResponse:
    # No Retry-After, because a repeated read would not be faster.
    return rejection(
        503, f"The database took longer than {BUDGET:.0f} seconds, and was told to stop: ask for less"
    )


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    return internal_error()
