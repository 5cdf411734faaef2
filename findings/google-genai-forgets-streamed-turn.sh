#!/usr/bin/env bash
#
# Google's chats forget a whole turn, question and answer, if the last chunk of the streamed answer has no text.
#
# Expected: a chunk that only tells the reason of the end, or the usage, changes nothing: the next message is sent with
# the question and the answer before it.
#
# Seen: google-genai 3.6.1 takes such a chunk for an invalid answer, and sends the next message without the turn
# (google/genai/chats.py: each chunk has to have parts). `get_history()` shows the turn, as it returns another history
# than the one that is sent. Gemini ends many streams so (pull request 2631 of pydantic-ai shows one).
#
# Why it hurts: the model does not know what it was told a moment ago, for some answers and not for others, only if
# they are streamed; a log of `get_history()` shows that it was told. What is sent is `get_history(curated=True)`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-genai==3.6.1 httpx==0.28.1
"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

import httpx
from google import genai

USAGE = {"totalTokenCount": 9}
TEXT = {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "Hello Ada."}]}}]}
WITH_TEXT = {"candidates": [{"index": 0, "finishReason": "STOP", **TEXT["candidates"][0]}], "usageMetadata": USAGE}
REASON = {
    "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model"}}], "usageMetadata": USAGE,
}


def second_request(chunks):
    """The texts that are sent with the second message, and the number of contents in the history."""
    sent = []

    def answer(request):
        sent.append([content["parts"][0]["text"] for content in json.loads(request.content)["contents"]])
        body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=body)

    http_client = httpx.Client(transport=httpx.MockTransport(answer))
    options = genai.types.HttpOptions(base_url="http://server", httpx_client=http_client)
    chat = genai.Client(api_key="key", http_options=options).chats.create(model="m")
    list(chat.send_message_stream("I am Ada."))
    history = len(chat.get_history())
    list(chat.send_message_stream("Who am I?"))
    return sent[1], history


found = {
    "text last": second_request([WITH_TEXT]),
    "reason last": second_request([TEXT, REASON]),
    "usage last": second_request([WITH_TEXT, {"usageMetadata": USAGE}]),
}
for name, (texts, history) in found.items():
    print("google-genai", version("google-genai"), name, texts, "contents in the history:", history)
assert found["text last"] == (["I am Ada.", "Hello Ada.", "Who am I?"], 2)
assert found["reason last"] == (["Who am I?"], 3)
assert found["usage last"] == (["Who am I?"], 2)
PYTHON
