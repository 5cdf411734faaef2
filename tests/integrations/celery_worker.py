"""The module of a worker: ``celery -A celery_worker worker``."""

import os

from celery_application import make_app, manager  # type: ignore[import-not-found]

from hl_sessions import SessionManager
from hl_sessions.integrations.celery import connect

app = make_app(os.environ["REDIS_URL"])
connect()
if "REPLACED_URL" in os.environ:
    connect(SessionManager(os.environ["REPLACED_URL"]))
with manager.session() as session:
    assert session.id  # so a connection is open when the pool forks
