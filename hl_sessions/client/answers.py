"""The answers of the API, and the checks of their bodies."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypedDict, TypeVar

from hl_sessions.errors import InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

__all__ = [
    "Answer",
    "CreatedSession",
    "Response",
    "SessionPage",
    "SessionProject",
    "SessionRecord",
    "check_created",
    "check_page",
    "check_record",
    "is_session_id",
    "is_success",
]

_SESSION_ID = re.compile(r"sesh_[A-Za-z0-9_-]{1,64}")

Body = TypeVar("Body")


def is_session_id(value: object) -> bool:
    """Whether ``value`` is a string in the form of a session ID: ``sesh_`` and up to 64 more characters."""
    return isinstance(value, str) and _SESSION_ID.fullmatch(value) is not None


class CreatedSession(TypedDict):
    """The body of ``POST /sessions``."""

    id: str


class SessionProject(TypedDict):
    """A project that has datapoints in a session."""

    id: str
    name: str


class _RequiredSessionRecord(TypedDict):
    id: str
    projects: list[SessionProject]
    datapoints_count: int
    created_at: str


class SessionRecord(_RequiredSessionRecord, total=False):
    """A session; times are in ISO 8601. Fields without a value are left out."""

    updated_at: str
    reference_id: str
    first_inputs: dict[str, Any]
    last_output: str


class SessionPage(TypedDict):
    """The body of ``GET /sessions``; ``page`` counts from 1, ``total`` counts the sessions of all pages."""

    records: list[SessionRecord]
    page: int
    size: int
    total: int


@dataclass(frozen=True)
class Response(Generic[Body]):
    """A successful answer.

    Attributes:
        body: the decoded and checked body; ``None`` with ``skip_deserialization=True``.
        headers: the response headers, with case-insensitive names.
        status: the HTTP status code.
        round_trip_time: seconds from sending the request to the end of reading.
        response: the answer as a ``requests.Response``. With ``stream=True`` and
            ``skip_deserialization=True`` its content is not read yet, and the caller closes it.
    """

    body: Body
    headers: Mapping[str, str]
    status: int
    round_trip_time: float
    response: requests.Response = field(repr=False)


class Answer(Protocol):
    """An answer, of any HTTP library."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""

    @property
    def reason(self) -> str:
        """The reason phrase."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names in lower case are found."""

    @property
    def content(self) -> bytes:
        """The body."""


def is_success(answer: Answer) -> bool:
    """Whether the status is 2xx."""
    return 200 <= answer.status_code < 300  # noqa: PLR2004 - as HTTP defines it


def _check(body: Any, what: str, required: Mapping[str, type], optional: Mapping[str, type]) -> None:
    if not isinstance(body, dict):
        raise InvalidResponseError(f"{what} is not a JSON object but a {type(body).__name__}")
    for name in required:
        if name not in body:
            raise InvalidResponseError(f"{what} has no {name!r}")
    for name, kind in {**required, **optional}.items():
        if name in body and (
            not isinstance(body[name], kind) or (kind is int and isinstance(body[name], bool))
        ):
            raise InvalidResponseError(f"{name!r} of {what} is a {type(body[name]).__name__}")


def check_created(body: Any) -> CreatedSession:
    """Return the body of ``POST /sessions``.

    Raises:
        InvalidResponseError: the body breaks the protocol.
    """
    _check(body, "the created session", {"id": str}, {})
    if not is_session_id(body["id"]):
        raise InvalidResponseError("the ID of the created session is not of the form sesh_...")
    return body  # type: ignore[no-any-return]


def check_record(body: Any) -> SessionRecord:
    """Return the body of ``GET /sessions/{id}``, or raise as :func:`check_created` does."""
    _check(
        body,
        "the session",
        {"id": str, "projects": list, "datapoints_count": int, "created_at": str},
        {"updated_at": str, "reference_id": str, "first_inputs": dict, "last_output": str},
    )
    if not is_session_id(body["id"]):
        raise InvalidResponseError("the ID of the session is not of the form sesh_...")
    for project in body["projects"]:
        _check(project, "a project of the session", {"id": str, "name": str}, {})
    return body  # type: ignore[no-any-return]


def check_page(body: Any) -> SessionPage:
    """Return the body of ``GET /sessions``, or raise as :func:`check_created` does."""
    _check(body, "the page", {"records": list, "page": int, "size": int, "total": int}, {})
    for record in body["records"]:
        check_record(record)
    return body  # type: ignore[no-any-return]
