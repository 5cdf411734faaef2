"""Applications of several frameworks under Sentry's integrations; prints what went to Sentry.

It is a process of its own: the integrations patch the frameworks, and Sentry has no way back.
"""

import json
import logging
import os
import sys
from typing import Any

import sentry_sdk
from celery import Celery
from django.conf import settings  # type: ignore[import-untyped]
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from fastapi import FastAPI
from flask import Flask
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.flask import FlaskIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration
from sentry_sdk.transport import Transport
from starlette.testclient import TestClient
from werkzeug.test import Client

from hl_sessions import configure, current_session_id
from hl_sessions.integrations import celery, fastapi, flask, sentry
from tests.waiting import PATIENCE

sent: list[dict[str, Any]] = []
read: dict[str, Any] = {}


class Collecting(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        sent.extend(item.payload.json for item in envelope.items if item.payload.json is not None)


def answer(framework: str, what: str) -> None:
    """Do what each application does."""
    case = f"{framework} {what}"
    sentry_sdk.set_tag("case", case)
    with sentry_sdk.start_span(op="gen_ai.chat", name=case):
        pass
    if what != "unread":
        read[case] = current_session_id()
    if what == "nested":
        with manager.session(key="inner"):
            read["inner"] = current_session_id()
            sentry_sdk.capture_message("inner")
            with sentry_sdk.start_span(op="gen_ai.chat", name=f"{framework} inner"):
                pass
        with sentry_sdk.start_span(op="gen_ai.chat", name=f"{framework} after"):
            pass
    if what in {"failing", "untraced"}:
        raise ValueError(case)


fastapi_app = FastAPI()
fastapi_app.add_middleware(fastapi.HLSessionMiddleware, key=fastapi.path_param("chat"))


@fastapi_app.get("/fastapi/{what}/{chat}")
async def fastapi_view(what: str, chat: str) -> None:
    answer("fastapi", what)


flask_app = Flask("application")
flask.HLSessions(flask_app)


@flask_app.get("/flask/<what>")
def flask_view(what: str) -> str:
    answer("flask", what)
    return ""


def django_view(_: Any, what: str) -> HttpResponse:
    answer("django", what)
    return HttpResponse()


urlpatterns = [path("django/<what>", django_view)]
celery_app = Celery("tasks", broker="memory://", backend="cache+memory://")


@celery_app.task(name="celery")  # type: ignore[untyped-decorator]
def celery_task(what: str) -> None:
    answer("celery", what)


def serve(*cases: str) -> None:
    """Send each of the applications its requests, and the worker its tasks."""
    fastapi_client = TestClient(fastapi_app, raise_server_exceptions=False)
    flask_client, django_client = flask_app.test_client(), Client(get_wsgi_application())
    for what in cases:
        with manager.session() as other:  # an ASGI server may have left another request in the context
            read["another"] = other.id
            fastapi_client.get(f"/fastapi/{what}/chat-42")
        flask_client.get(f"/flask/{what}")
        django_client.get(f"/django/{what}")
        with manager.session():
            celery_task.delay(what).get(timeout=PATIENCE, propagate=False, interval=0.01)


def start_sentry(**options: Any) -> None:
    integrations = [CeleryIntegration(), DjangoIntegration(), FastApiIntegration(), FlaskIntegration()]
    sentry_sdk.init(
        "http://public@127.0.0.1:1/1",
        default_integrations=False,
        integrations=[*integrations, StarletteIntegration()],
        transport=Collecting(),
        **options,
    )


logging.disable()
manager = configure(sys.argv[1])
settings.configure(
    ALLOWED_HOSTS=["*"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=["hl_sessions.integrations.django.HLSessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of tests",
)
start_sentry(traces_sample_rate=1.0)
celery.connect()
sentry.connect()

from celery.contrib.testing.worker import start_worker  # noqa: E402 - Sentry patches what this imports

with start_worker(celery_app, perform_ping_check=False):
    serve("answering", "failing", "unread", "nested")
    sentry_sdk.capture_message("afterwards")
    start_sentry()
    serve("untraced")
    json.dump({"read": read, "sent": sent}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # stopping the worker takes seconds
