"""A Flask application: each request is a session, streamed replies included.

Needs the API (``hl-sessions serve``), then: ``flask --app examples/flask_chat.py run``
and: ``curl -N 'http://127.0.0.1:5000/chat?question=Why'``
"""

from collections.abc import Iterator

from flask import Flask, Response, request

from hl_sessions import configure, datapoint, log
from hl_sessions.integrations.flask import HLSessions

configure(project="flask-chat")
app = Flask(__name__)
HLSessions(app)


@app.get("/chat")
def chat() -> Response:
    """Answer word by word."""
    question = request.args["question"]
    log(source="moderation", inputs={"question": question}, output="allowed")
    return Response(answer(question), mimetype="text/plain")


@datapoint(source="answer")  # until the last word: the request is over then, its session is not
def answer(question: str) -> Iterator[str]:
    """Yield the words of the answer, which together are the output of its datapoint."""
    for word in f"You asked: {question}".split():
        yield word + " "
