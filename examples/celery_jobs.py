"""Background jobs with Celery: the tasks of a chain log to the session of the request that sent them.

Needs the API (``hl-sessions serve``), a Redis and, in this folder, ``celery -A celery_jobs worker``; then:
``python celery_jobs.py``
"""

import os
from typing import Any

import requests
from celery import Celery

from hl_sessions import current_session, with_session
from hl_sessions.integrations.celery import connect

API = os.environ.get("HL_SESSIONS_BASE_URL", "http://127.0.0.1:8642/v4")
REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")

app = Celery("celery_jobs", broker=REDIS, backend=REDIS)
connect()  # where tasks are sent as well as in the workers


def log(source: str, text: str, output: str) -> None:
    """Log a datapoint of whatever session this runs in."""
    session = current_session()
    params = {} if session is None else session.log_params()
    datapoint: dict[str, Any] = {
        "project": "celery-jobs",
        "source": source,
        "inputs": {"text": text},
        "output": output,
    }
    requests.post(f"{API}/logs", json=datapoint | params, timeout=5).raise_for_status()


@app.task(autoretry_for=(requests.ConnectionError,))
def search(question: str) -> str:
    """Find what is known, again if need be: a retry has the session, too."""
    found = "42"
    log("search", question, found)
    return found


@app.task
def answer(found: str, question: str) -> str:
    """Answer from what was found."""
    text = f"{question} {found}!"
    log("answer", question, text)
    return text


@with_session
def chat(question: str) -> str:
    """Send a question to the workers and wait for the answer."""
    log("moderation", question, "fine")
    text: str = (search.s(question) | answer.s(question)).delay().get(timeout=30)
    return text


if __name__ == "__main__":
    print(chat("What is the answer?"))
