"""Assembles the page as an application of its own, beside the API."""

from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hl_sessions.server.database.database import Database
from hl_sessions.server.database.errors import (
    DatabaseBusyError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    ReplacedFileError,
)
from hl_sessions.server.http.body_limit import BodyLimitMiddleware, BodyMemory
from hl_sessions.server.http.key_ring import KeyRing
from hl_sessions.server.page.prices import Prices
from hl_sessions.server.page.security.attempts import Attempts
from hl_sessions.server.page.security.headers import SecurityHeadersMiddleware
from hl_sessions.server.page.security.local_path import SIGN_IN, STATIC
from hl_sessions.server.page.security.same_origin import SameOriginMiddleware
from hl_sessions.server.page.security.sign_in import SignIn, SignInMiddleware
from hl_sessions.server.page.views.activity import show_activity
from hl_sessions.server.page.views.choice import ask_to_delete, delete_chosen, export_chosen
from hl_sessions.server.page.views.columns import choose_columns
from hl_sessions.server.page.views.comparison import show_comparison
from hl_sessions.server.page.views.completions import give_completions
from hl_sessions.server.page.views.datapoints import give_datapoint, show_datapoint
from hl_sessions.server.page.views.feedback import give_on_datapoint, give_on_session
from hl_sessions.server.page.views.judging import go_on, judge_session, show_queue
from hl_sessions.server.page.views.places import show_places
from hl_sessions.server.page.views.problems import HANDLERS, answer_refused_form
from hl_sessions.server.page.views.projects import define_type, show_projects
from hl_sessions.server.page.views.sessions import (
    show_newer,
    show_older,
    show_session,
    show_session_rows,
    show_sessions,
    tell_version,
)
from hl_sessions.server.page.views.sign_in import show_sign_in, sign_in, sign_out

_LONGEST_FORM: Final = 16 * 1024
"""The longest body of a form, in bytes; the form to sign in can be sent without a key."""

_WITHOUT_DATABASE: Final = {
    error: HANDLERS[error]
    for error in (DatabaseBusyError, DatabaseTimeoutError, DatabaseUnavailableError, ReplacedFileError)
}

# Not the pages: the length of a compressed one tells whether it repeats a text of the address.
_COMPRESSED: Final = (Middleware(GZipMiddleware, compresslevel=5),)

_STATIC_FILES: Final = Path(__file__).with_name("static")


def create_page(database: Database, keys: KeyRing, memory: BodyMemory, prices: Prices) -> Starlette:
    """Make the ASGI application of the page, to be mounted behind the routes of the API.

    Args:
        database: The database, with the data and the sign-ins.
        keys: The valid keys, which let readers in.
        memory: Counts the bodies of all requests.
        prices: The prices of models.
    """
    signing_in = SignIn(database, keys)
    page = Starlette(
        routes=[
            Route("/", show_sessions),
            Route("/completions", give_completions),
            Route("/columns", choose_columns, methods=["POST"]),
            Route("/sessions/rows", show_session_rows),
            Route("/sessions/delete", ask_to_delete, methods=["POST"]),
            Route("/sessions/delete/confirmed", delete_chosen, methods=["POST"]),
            Route("/sessions/export.{format}", export_chosen, methods=["POST"]),
            Route("/sessions/{session_id}", show_session),
            Route("/sessions/{session_id}/newer", show_newer),
            Route("/sessions/{session_id}/older", show_older),
            Route("/sessions/{session_id}/version", tell_version),
            Route("/sessions/{session_id}/feedback", give_on_session, methods=["POST"]),
            Route("/datapoints/{log_id}.json", give_datapoint),
            Route("/datapoints/{log_id}", show_datapoint),
            Route("/datapoints/{log_id}/compare", show_comparison),
            Route("/datapoints/{log_id}/feedback", give_on_datapoint, methods=["POST"]),
            Route("/judging", go_on),
            Route("/judging/{session_id}", show_queue),
            Route("/judging/{session_id}", judge_session, methods=["POST"]),
            Route("/projects", show_projects),
            Route("/projects/{project_id}/feedback-types", define_type, methods=["POST"]),
            Route("/places", show_places),
            Route("/activity", show_activity),
            Route(SIGN_IN, show_sign_in),
            Route(SIGN_IN, sign_in, methods=["POST"]),
            Route("/sign-out", sign_out, methods=["POST"]),
            Mount(STATIC, StaticFiles(directory=_STATIC_FILES), middleware=_COMPRESSED),
        ],
        middleware=[
            Middleware(SecurityHeadersMiddleware),
            Middleware(SameOriginMiddleware),
            # The sign-in of each request is looked up in the database.
            Middleware(ExceptionMiddleware, handlers=_WITHOUT_DATABASE),
            Middleware(SignInMiddleware, sign_in=signing_in),
            Middleware(
                BodyLimitMiddleware, max_body=_LONGEST_FORM, memory=memory, answer=answer_refused_form
            ),
        ],
        exception_handlers=HANDLERS,
    )
    page.router.redirect_slashes = False
    page.state.database = database
    page.state.prices = prices
    page.state.sign_in = signing_in
    page.state.attempts = Attempts()
    return page
