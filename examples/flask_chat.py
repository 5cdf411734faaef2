"""A Flask application: a moderation, a retrieval, and an answer that a model streams.

``python examples flask_chat`` runs it with a server of sessions and a model that needs no network. It needs
``pip install 'hl-sessions[server,flask]' openai``.
"""

import os
from collections.abc import Iterator

from flask import Flask, Response, request
from openai import OpenAI

from hl_sessions import configure, datapoint, log
from hl_sessions.integrations.flask import HLSessions

configure(project="flask-chat")
app = Flask(__name__)
HLSessions(app)
model = OpenAI()

TEXTS = {"return": "Shoes may be returned within 30 days.", "ship": "We ship to Norway in 3 to 5 days."}


@app.get("/chat")
def chat() -> Response:
    """Answer word by word."""
    question = request.args["question"]
    log(source="moderation", inputs={"question": question}, output="allowed")
    return Response(answer(question), mimetype="text/plain")


@datapoint(source="answer")  # until the last word: the request is over then, its session is not
def answer(question: str) -> Iterator[str]:
    """Yield the words of the model, which together are the output of the datapoint."""
    stream = model.chat.completions.create(
        model="fake-model",
        messages=[{"role": "system", "content": retrieve(question)}, {"role": "user", "content": question}],
        stream=True,
    )
    for chunk in stream:
        for choice in chunk.choices:
            yield choice.delta.content or ""


@datapoint(source="retrieval")  # nested under the answer
def retrieve(question: str) -> str:
    """Find the texts to answer from."""
    return " ".join(text for word, text in TEXTS.items() if word in question.lower())


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "5000"))
    print(f"Ask: curl -N 'http://127.0.0.1:{port}/chat?question=Do+you+ship+to+Norway?'", flush=True)
    app.run(port=port)
