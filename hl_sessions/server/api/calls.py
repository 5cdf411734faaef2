"""The parts that the calls of the API share: parameters, bodies, and the access to the database."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from time import monotonic
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

from fastapi import HTTPException, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError
from sqlalchemy import Connection

from hl_sessions.server.http.access import organisation_of
from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.idempotency import RequestsUnderWay, idempotency_key_of
from hl_sessions.server.http.json_body import json_response, read_json
from hl_sessions.server.http.parts_response import parts_response
from hl_sessions.server.http.reading import database_of
from hl_sessions.server.http.rejections import InvalidRequestError
from hl_sessions.server.records.idempotency import IdempotencyKey, make_once
from hl_sessions.server.records.parts import Part
from hl_sessions.server.records.refusals import InvalidEntryError, absence

# Beyond it, the offset of a page would not fit into an integer of the database.
PageNumber = Annotated[int, Query(ge=1, lt=2**31)]
# The published document has 0 as the default of some lists, and the vendor's examples send it.
PageNumberOrZero = Annotated[
    int, Query(ge=0, lt=2**31, description="0 is the same as 1."), AfterValidator(lambda page: max(page, 1))
]
PageSize = Annotated[int, Query(ge=1, le=100)]

TEXT_PATTERN: Final = r"^[^\u0000]*$"
"""The pattern of a text parameter: some databases refuse NUL characters."""

SearchText = Annotated[str, Query(max_length=1000, pattern=TEXT_PATTERN)]

_IGNORED_FIELDS: Final = b"x-ignored-fields"
# The reference ID becomes a header.
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_NAMED: Final = 20

Model = TypeVar("Model", bound=BaseModel)
Entry = TypeVar("Entry")
# A request is one transaction, and other requests wait for it.
Entries = Annotated[list[Entry], Field(max_length=10_000)]
Argument = TypeVar("Argument")
Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


async def write_for(
    request: Request,
    change: Callable[Concatenate[Connection, int, Parameters], Result | Exception],
    *arguments: Parameters.args,
    **named: Parameters.kwargs,
) -> Result:
    """Return the result of ``change`` for the calling organisation, once it is durable.

    Of several requests with the same idempotency key only the first makes the change, and all get its answer.

    Args:
        request: The call.
        change: Called with the connection, the ID of the organisation, and the arguments. An exception that
            it returns is raised here; it must not have changed anything before. Returning ``None`` means that
            it refuses, too.
    """
    organisation_id = organisation_of(request)
    key = await idempotency_key_of(request)

    def make(connection: Connection, _arguments: Sequence[None] = ()) -> list[Result | Exception]:
        return [change(connection, organisation_id, *arguments, **named)]

    def write(connection: Connection) -> Result | Exception:
        [outcome] = make_once(make, connection, [(key, None)])
        return outcome

    return await _alone(request, key, lambda: database_of(request).write(write))


async def write_together_for(
    request: Request,
    changes: Callable[
        [Connection, Sequence[tuple[IdempotencyKey | None, Argument]]], Sequence[Result | Exception]
    ],
    argument: Argument,
    size: int = 1,
) -> Result:
    """Like ``write_for``, together with other requests: see ``Database.write_together``.

    Args:
        request: The call.
        changes: Called with the key and the argument of each request, for ``make_once``.
        argument: The argument of this request.
        size: The number of records in this request.
    """
    key = await idempotency_key_of(request)
    write = database_of(request).write_together
    return await _alone(request, key, lambda: write(changes, (key, argument), size))


async def delete_in_steps(
    request: Request,
    delete_some: Callable[[Connection, int, str], bool | None],
    kind: str,
    identifier: str,
) -> Response:
    """Delete a record with everything that belongs to it, in short steps between which other requests run.

    Args:
        request: The call.
        delete_some: Takes a step, and returns whether it was the last one; ``None`` if there is no such
            record.
        kind: The kind of the record, such as ``session``.
        identifier: The ID of the record.
    """
    is_gone: bool | None = False
    is_there = False
    while is_gone is False:
        started = monotonic()
        is_gone = await write_for(request, delete_some, identifier)
        if is_gone is None and not is_there:
            raise not_found(kind, identifier)
        is_there = True
        # Half of the time is left to other requests, also those of other processes.
        await asyncio.sleep(0 if is_gone else monotonic() - started)
    return Response(status_code=204)


def found(record: Mapping[str, Any] | None, kind: str, name: str) -> Response:
    """Make the answer with the record, or raise ``not_found`` if there is none."""
    if record is None:
        raise not_found(kind, name)
    return json_response(record)


def found_parts(request: Request, parts: Sequence[Part] | None, kind: str, name: str) -> Response:
    """Like ``found``, for a record in parts."""
    if parts is None:
        raise not_found(kind, name)
    return parts_response(request, parts)


def minimal_response(request: Request) -> Response | None:
    """Make the answer without a body if the caller prefers that (RFC 7240); else return ``None``."""
    if "return=minimal" not in request.headers.get("prefer", ""):
        return None
    return Response(status_code=204, headers={"Preference-Applied": "return=minimal"})


def not_found(kind: str, name: str) -> HTTPException:
    """Make the error for an unknown ID.

    Args:
        kind: The kind of the record, such as ``session``.
        name: The ID.
    """
    return HTTPException(404, absence(kind, name))


async def read_object(request: Request, model: type[Model]) -> Model:
    """Read and check the JSON object in the body.

    Raises:
        InvalidRequestError: When the body is no such object.
    """
    return checked_object(request, model, await read_json(request))


def checked_object(request: Request, model: type[Model], body: Any) -> Model:
    """Check a body that has to be a JSON object.

    Raises:
        InvalidRequestError: When the body is no such object.
    """
    _tell_what_is_ignored(request, model, [body])
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise InvalidRequestError.in_body(error) from None


def checked_entries(
    request: Request, model: type[Entry], entries: TypeAdapter[list[Entry]], body: Any
) -> Sequence[Entry]:
    """Check a body that is one object or a list of them, and return the objects.

    Raises:
        InvalidRequestError: When the body is anything else.
    """
    is_list = isinstance(body, list)
    bodies = body if is_list else [body]
    _tell_what_is_ignored(request, model, bodies)
    try:
        return entries.validate_python(bodies)
    except ValidationError as error:
        raise InvalidRequestError.in_body(error, skipped=0 if is_list else 1) from None


async def create_entries(
    request: Request,
    model: type[Entry],
    entries: TypeAdapter[list[Entry]],
    create: Callable[[Request, Sequence[Entry]], Awaitable[Sequence[Any]]],
) -> Response:
    """Create the one entry in the body, or all entries of the list in it, and answer in the same form.

    Raises:
        InvalidRequestError: When an entry is refused; then none is created.
    """
    given, is_list = await _read_entries(request, model, entries)
    try:
        created = await create(request, given)
    except InvalidEntryError as error:
        index = (error.index,) if is_list else ()
        raise InvalidRequestError.at(("body", *index, error.field), error.message) from None
    return json_response(created if is_list else created[0])


async def _read_entries(
    request: Request, model: type[Entry], entries: TypeAdapter[list[Entry]]
) -> tuple[Sequence[Entry], bool]:
    """Read and check entries, and tell whether they are a list; the parsed body is no longer kept then."""
    body = await read_json(request)
    return checked_entries(request, model, entries, body), isinstance(body, list)


def refuse_other_filters(request: Request, known: set[str]) -> None:
    """Refuse unknown parameters: if a filter were ignored, the whole list would pass for the filtered one.

    Raises:
        InvalidRequestError: When there is such a parameter.
    """
    for name in request.query_params:
        if name not in known:
            raise InvalidRequestError.at(("query", name), "This parameter is not supported", "not_supported")


async def _alone(
    request: Request, key: IdempotencyKey | None, write: Callable[[], Coroutine[Any, Any, Result]]
) -> Result:
    if key is None:
        return await write()
    under_way: RequestsUnderWay = request.app.state.under_way
    return await under_way.do_alone(key, write)


def _tell_what_is_ignored(request: Request, model: type[Any], bodies: Sequence[Any]) -> None:
    """List the ignored fields in a header of the answer."""
    fields = model.model_fields if issubclass(model, BaseModel) else model.__annotations__
    known = fields.keys()
    ignored: set[str] = set()
    for body in bodies:
        if isinstance(body, dict) and not body.keys() <= known:
            ignored |= body.keys() - known
    if ignored:
        named = sorted(filter(_FIELD_NAME.fullmatch, ignored))[:_MOST_NAMED]
        if len(named) < len(ignored):
            named.append("...")
        exchange_of(request.scope).headers[_IGNORED_FIELDS] = ", ".join(named).encode()
