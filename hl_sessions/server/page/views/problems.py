"""The pages for errors."""

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from hl_sessions.server.database.errors import (
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    ReplacedFileError,
)
from hl_sessions.server.database.lanes import BUDGET
from hl_sessions.server.finding.filters import InvalidFilterError
from hl_sessions.server.http.rejections import FILE_REPLACED, answer_nobody
from hl_sessions.server.page.requests import is_from_script
from hl_sessions.server.page.show.rendering import render


async def problem(request: Request, status: int, title: str, text: str) -> Response:
    """Answer with a page that describes a problem, with a link back; a script is answered with the text."""
    if is_from_script(request):
        return PlainTextResponse(f"{title}. {text}", status)
    return await render(request, "problem.html", status, title=title, text=text)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer an HTTP error, such as an unknown address."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered below
    if error.status_code in {404, 405}:
        return await problem(
            request, 404, "Not found", "There is nothing here: it was deleted, or never existed."
        )
    return await problem(request, error.status_code, "That did not work", error.detail)


async def answer_refused_form(request: Request, error: HTTPException) -> Response:
    """Answer that a form is too long, or that too many arrive at once."""
    if error.status_code == 413:  # noqa: PLR2004
        return await problem(
            request,
            413,
            "This is too much at once",
            "Choose fewer sessions or all that the filter finds, or write a shorter text.",
        )
    answer = await problem(
        request, 503, "Too many forms at once", "Nothing was stored: send it again in a moment."
    )
    answer.headers.update(error.headers or {})
    return answer


async def answer_invalid_filter(request: Request, error: Exception) -> Response:
    """Say which parameter of the address is wrong."""
    return await problem(request, 422, "This address cannot be understood", f"{error}.")


async def answer_full_database(request: Request, _error: Exception) -> Response:
    """Answer that the disk of the database is full."""
    return await problem(request, 507, "Nothing can be stored", "The disk of the database is full.")


async def answer_absent_database(request: Request, _error: Exception) -> Response:
    """Answer that the database does not answer."""
    answer = await problem(request, 503, "The database does not answer", "Load the page again in a moment.")
    answer.headers["Retry-After"] = "1"
    return answer


async def answer_replaced_file(request: Request, _error: Exception) -> Response:
    """Answer that the file of the database is no longer at its path."""
    answer = await problem(request, 503, "Nothing can be stored", f"{FILE_REPLACED}.")
    answer.headers["Retry-After"] = "1"
    return answer


async def answer_busy_database(request: Request, _error: Exception) -> Response:
    """Answer that there are too many requests."""
    answer = await problem(
        request, 503, "Too many requests at once", "The database is busy: load the page again in a moment."
    )
    answer.headers["Retry-After"] = "1"
    return answer


async def answer_slow_database(request: Request, _error: Exception) -> Response:
    """Answer that a read took too long."""
    return await problem(
        request,
        503,
        "This takes too long",
        f"It was stopped after {BUDGET:.0f} seconds. Ask for less: one project, or fewer days.",
    )


async def answer_failure(request: Request, _error: Exception) -> Response:
    """Answer an unexpected error, whose reason is in the log."""
    return await problem(request, 500, "The server has failed", "The reason is in its log.")


HANDLERS = {
    ClientDisconnect: answer_nobody,
    HTTPException: answer_http_error,
    DatabaseBusyError: answer_busy_database,
    DatabaseFullError: answer_full_database,
    DatabaseTimeoutError: answer_slow_database,
    DatabaseUnavailableError: answer_absent_database,
    InvalidFilterError: answer_invalid_filter,
    ReplacedFileError: answer_replaced_file,
    Exception: answer_failure,
}
"""The handler of each problem."""
