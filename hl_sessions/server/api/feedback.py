"""The call for feedback."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import TypeAdapter

from hl_sessions.server.api.calls import Entries, create_entries, write_for
from hl_sessions.server.api.openapi import NOT_FOUND, body_of
from hl_sessions.server.protocol.answers import FeedbackAnswer
from hl_sessions.server.protocol.requests import FeedbackRequest
from hl_sessions.server.records.feedback_creation import create_feedback
from hl_sessions.server.records.refusals import UnknownSubjectError

_FEEDBACK_REQUESTS: Final = TypeAdapter(Entries[FeedbackRequest])

router: Final = APIRouter(tags=["Feedback"])


@router.post(
    "/feedback",
    responses={200: {"model": FeedbackAnswer | list[FeedbackAnswer]}, **NOT_FOUND},
    openapi_extra=body_of(FeedbackRequest, or_list_of=FeedbackRequest),
)
async def post_feedback(request: Request) -> Response:
    """Store feedback on datapoints or sessions, or take it back.

    The body is one feedback or a list. Of a list all are stored, or none.
    """
    return await create_entries(request, FeedbackRequest, _FEEDBACK_REQUESTS, _create_feedback)


async def _create_feedback(request: Request, given: Sequence[FeedbackRequest]) -> Sequence[dict[str, Any]]:
    try:
        return await write_for(request, create_feedback, given)
    except UnknownSubjectError as error:
        raise HTTPException(404, str(error)) from None
