"""Deletes and exports chosen sessions of the list."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timezone
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple

from fastapi import HTTPException
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hl_sessions.server.database.errors import DatabaseError
from hl_sessions.server.finding.filters import InvalidFilterError
from hl_sessions.server.http.access import organisation_of
from hl_sessions.server.http.exchange import exchange_of
from hl_sessions.server.http.parts_response import parts_response
from hl_sessions.server.http.placement import prefix_of
from hl_sessions.server.http.reading import database_of, read_for, scan_for
from hl_sessions.server.page.queries.choice import Choice, count_chosen, find_chosen
from hl_sessions.server.page.queries.project_list import name_projects
from hl_sessions.server.page.show.rendering import render
from hl_sessions.server.page.views.problems import problem
from hl_sessions.server.records.deleting import Deleted, delete_some_of_sessions
from hl_sessions.server.records.exporting import CSV, IDS, JSON_LINES, ExportFormat, export_sessions
from hl_sessions.server.records.parts import Part, read_on

_TOLD_EVERY: Final = 0.5
"""Seconds between two reports of the progress of a deletion."""

_STEPS: Final = b"<!-- steps -->"
"""The mark for the progress in the page of a deletion."""


class _File(NamedTuple):
    format: ExportFormat
    media_type: str


_FILES: Final = {
    "jsonl": _File(JSON_LINES, "application/jsonl"),
    "csv": _File(CSV, "text/csv; charset=utf-8; header=present"),
    "txt": _File(IDS, "text/plain; charset=utf-8"),
}


async def ask_to_delete(request: Request) -> Response:
    """Ask whether to delete the chosen sessions, and show how much that is."""
    choice = Choice.read(await request.form(), request.query_params)
    chosen = await scan_for(request, count_chosen, choice)
    if not chosen.sessions:
        return await problem(request, 404, "Nothing to delete", "The chosen sessions are already deleted.")
    if choice.are_all:
        choice = choice.as_known(chosen.changed_at)
    names = {project.id: project.name for project in await read_for(request, name_projects)}
    written = choice.wanted.written(names.get(choice.wanted.project_id or ""))
    return await render(request, "delete.html", choice=choice, chosen=chosen, filter_text=written)


async def delete_chosen(request: Request) -> Response:
    """Delete the chosen sessions, and report the progress; continue even if the reader leaves."""
    form = await request.form()
    choice = Choice.read(form, request.query_params)
    if choice.are_all and choice.unchanged_since is None:
        raise InvalidFilterError("unchanged_since is missing: begin the deletion again")
    count = _read_count(form.get("count")) if choice.are_all else len(choice.session_ids)
    steps = _delete(request, choice)
    if len(choice.session_ids) == 1:
        *_, deleted = [deleted async for deleted in steps]
        if deleted.sessions:
            return RedirectResponse(f"{prefix_of(request.scope)}/{choice.wanted.query()}", 303)
    response = _WholeResponse(_tell(request, choice, count, steps), media_type="text/html")
    # Otherwise nginx would hold everything back until the end.
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def export_chosen(request: Request) -> Response:
    """Send the chosen sessions as a file."""
    extension = request.path_params["format"]
    file = _FILES.get(extension)
    if file is None:
        raise HTTPException(404)
    choice = Choice.read(await request.form(), request.query_params)

    def begin(connection: Connection, organisation_id: int) -> list[Part]:
        chosen = find_chosen(connection, organisation_id, choice)
        return read_on(connection, export_sessions(organisation_id, chosen.some_behind, file.format))

    name = f"sessions-{datetime.now(timezone.utc):%Y-%m-%d}.{extension}"
    return parts_response(
        request,
        await scan_for(request, begin),
        file.media_type,
        {"Content-Disposition": f'attachment; filename="{name}"'},
    )


class _WholeResponse(StreamingResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the parts, and continue after the client has gone: a confirmed deletion is carried out."""
        await self.stream_response(send)


async def _delete(request: Request, choice: Choice) -> AsyncIterator[Deleted]:
    """Delete the chosen sessions in steps, and yield the numbers of deleted records so far."""
    database, organisation_id = database_of(request), organisation_of(request)
    exchange = exchange_of(request.scope)
    exchange.deleted = deleted = Deleted()
    # Not by ``scan_for``, which would stop when the client goes.
    chosen = await database.scan(partial(find_chosen, organisation_id=organisation_id, choice=choice))
    after = 0
    while found := await database.read(partial(chosen.some_behind, after=after)):
        after = found[-1][0]
        left: Sequence[str] = [session_id for _, session_id in found]
        while left:
            started = monotonic()
            step, left = await database.write(
                partial(delete_some_of_sessions, organisation_id=organisation_id, session_ids=left)
            )
            exchange.deleted = deleted = deleted + step
            yield deleted
            # Half of the time is left to other requests, also those of other processes.
            await asyncio.sleep(monotonic() - started)
    yield deleted


async def _tell(
    request: Request, choice: Choice, count: int, steps: AsyncIterator[Deleted]
) -> AsyncIterator[bytes]:
    values: dict[str, Any] = {"choice": choice, "count": count}
    head, _, tail = await _rendered(request, "deletion.html", values)
    yield head
    deleted, error = Deleted(), None
    told = monotonic()
    try:
        async for deleted in steps:
            if monotonic() - told > _TOLD_EVERY:
                told = monotonic()
                yield b"".join(await _rendered(request, "deletion_step.html", values | {"deleted": deleted}))
    except DatabaseError as caught:
        error = caught
    values |= {"deleted": deleted, "error": error}
    yield b"".join(await _rendered(request, "deletion_end.html", values))
    yield tail


async def _rendered(request: Request, template: str, values: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    response = await render(request, template, **values)
    return bytes(response.body).partition(_STEPS)


def _read_count(value: object) -> int:
    text = str(value)
    if not text.isascii() or not text.isdigit():
        raise InvalidFilterError("count has to be a number: begin the deletion again")
    return int(text)
