"""The application: the routes, who may call them, and the database behind them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from hl_sessions.server.access import BASE_PATH, APIKeyMiddleware, LoopbackOnlyMiddleware
from hl_sessions.server.body_limit import BodyLimitMiddleware
from hl_sessions.server.database import Database
from hl_sessions.server.rejections import add_rejections
from hl_sessions.server.routes import router
from hl_sessions.server.settings import ServerSettings


def create_application(settings: ServerSettings) -> FastAPI:
    """Open the database and make the ASGI application on it, which closes the database at its end (lifespan).

    Args:
        settings: The database and the API key; where to listen is for ``hl_sessions.server.serving``.

    Raises:
        sqlalchemy.exc.DBAPIError: When the database cannot be opened.
    """
    database = Database.open(settings.database_url)

    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[None]:
        yield
        database.close()

    # FastAPI's own documentation pages load their scripts from the internet.
    application = FastAPI(openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    application.state.database = database
    application.include_router(router, prefix=BASE_PATH)
    add_rejections(application)
    # The last one added comes first: nobody's body is read before it is clear that they may call.
    application.add_middleware(BodyLimitMiddleware)
    if settings.api_key is None:
        application.add_middleware(LoopbackOnlyMiddleware)
    else:
        application.add_middleware(APIKeyMiddleware, api_key=settings.api_key)
    return application
