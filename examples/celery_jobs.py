"""Background jobs with Celery: the tasks of a chain log to the session of the request that sent them.

Needs the API (``hl-sessions serve``), a Redis and, in this folder, ``celery -A celery_jobs worker``; then:
``python celery_jobs.py``
"""

import os

from celery import Celery

from hl_sessions import configure, datapoint, log, with_session
from hl_sessions.integrations.celery import connect

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")

app = Celery("celery_jobs", broker=REDIS, backend=REDIS)
configure(project="celery-jobs")
connect()  # where tasks are sent as well as in the workers

KNOWN = {"What is the answer?": "42"}


@app.task(autoretry_for=(ConnectionError,))
@datapoint(source="search")  # each attempt: its argument is the input, its result the output
def search(question: str) -> str:
    """Find what is known, again if need be: a retry has the session, too."""
    return KNOWN.get(question, "nothing")


@app.task
def answer(found: str, question: str) -> str:
    """Answer from what was found."""
    text = f"{question} {found}!"
    log(source="answer", inputs={"question": question, "found": found}, output=text)
    return text


@with_session
def chat(question: str) -> str:
    """Send a question to the workers and wait for the answer."""
    log(source="moderation", inputs={"question": question}, output="fine")
    text: str = (search.s(question) | answer.s(question)).delay().get(timeout=30)
    return text


if __name__ == "__main__":
    print(chat("What is the answer?"))
