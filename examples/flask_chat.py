"""A Flask application: each request is a session, streamed replies included.

Needs the API (``hl-sessions serve``), then: ``flask --app examples/flask_chat.py run``
and: ``curl -N 'http://127.0.0.1:5000/chat?question=Why'``
"""

import os
from collections.abc import Iterator
from typing import Any

import requests
from flask import Flask, Response, request

from hl_sessions import current_session
from hl_sessions.integrations.flask import HLSessions

API = os.environ.get("HL_SESSIONS_BASE_URL", "http://127.0.0.1:8642/v4")

app = Flask(__name__)
HLSessions(app, response_header="X-Session-ID")


def log(source: str, text: str, output: str) -> None:
    """Log a datapoint of whatever request this runs in."""
    session = current_session()
    params = {} if session is None else session.log_params()
    datapoint: dict[str, Any] = {
        "project": "flask-chat",
        "source": source,
        "inputs": {"text": text},
        "output": output,
    }
    requests.post(f"{API}/logs", json=datapoint | params, timeout=5).raise_for_status()


@app.get("/chat")
def chat() -> Response:
    """Answer word by word."""
    question = request.args["question"]
    log("moderation", question, "allowed")

    def words() -> Iterator[str]:
        reply = f"You asked: {question}"
        for word in reply.split():
            yield word + " "
        log("answer", question, reply)  # the request is over, its session is not

    return Response(words(), mimetype="text/plain")
