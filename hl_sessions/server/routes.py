"""The calls of the v4 API. Each one reads the request, asks the database, and answers."""

from typing import Final

from fastapi import APIRouter

from hl_sessions.server import feedback_routes, log_routes, project_routes, session_routes
from hl_sessions.server.openapi import PROBLEMS

router: Final = APIRouter(responses={**PROBLEMS})
for _routes in (session_routes, log_routes, project_routes, feedback_routes):
    router.include_router(_routes.router)
