#!/usr/bin/env bash
#
# Three tracing clients add a chunk without choices to each streamed answer, on which `chunk.choices[0]` raises.
#
# Expected: a client that only watches hands the application the chunks that it would get without it.
#
# Seen: PostHog's (posthog 7.91.1), Judgeval's (judgeval 1.6.0) and Maxim's (maxim-py 3.14.20) client ask OpenAI for the
# usage of a stream, `stream_options={"include_usage": True}`, and hand on the chunk that comes of it, the last one,
# whose `choices` are empty. PostHog's does so as well where the application has said `"include_usage": False`, and
# Maxim's writes it into the application's own dict. By OpenAI's client (3.57.0), and by Langfuse's of it (5.0.4), there
# is none.
#
# Why it hurts: the loop of most examples, `chunk.choices[0].delta.content`, raises IndexError after the last token: the
# user has read all of it, and then the request fails before the answer is kept; only where tracing is switched on.
# Begin the loop with `if not chunk.choices: continue`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  posthog==7.91.1 judgeval==1.6.0 maxim-py==3.14.20 langfuse==5.0.4 openai==3.57.0
cat >"$folder/stream.py" <<'PYTHON'
import http.server
import json
import logging
import os
import sys
import threading
from importlib.metadata import version

import openai


class Model(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        if "messages" not in request:
            self.end_headers()
            return self.wfile.write(b"{}")
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        shared = {"id": "answer-1", "created": 1, "model": "gpt-4o", "object": "chat.completion.chunk"}
        for delta, reason in (({"role": "assistant", "content": "It rains."}, None), ({}, "stop")):
            self.write({**shared, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        if request.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            self.write({**shared, "choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def write(self, chunk):
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def log_message(self, *arguments):
        pass


def client(name):
    if name == "openai":
        return openai.OpenAI(**options)
    if name == "langfuse":
        import langfuse.openai

        langfuse.Langfuse(tracing_enabled=True, public_key="key", secret_key="key", base_url=address)
        return langfuse.openai.OpenAI(**options)
    if name == "posthog":
        from posthog import Posthog
        from posthog.ai.openai import OpenAI

        return OpenAI(**options, posthog_client=Posthog("key", host=address, sync_mode=True))
    if name == "judgeval":
        from judgeval.trace import Tracer

        Tracer.init()
        return Tracer.wrap(openai.OpenAI(**options))
    from maxim import Maxim
    from maxim.logger.openai import MaximOpenAIClient

    maxim = Maxim({"api_key": "key", "base_url": address})
    return MaximOpenAIClient(openai.OpenAI(**options), logger=maxim.logger({"id": "logs"}))


def choices(**stream_options):
    stream = traced.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Rain?"}], stream=True, **stream_options
    )
    return [len(chunk.choices) for chunk in stream]


name = sys.argv[1]
logging.disable()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
options = {"api_key": "key", "base_url": f"{address}/v1"}
traced = client(name)
own = {}
plain, declined, _ = choices(), choices(stream_options={"include_usage": False}), choices(stream_options=own)
package = "maxim-py" if name == "maxim" else name
print(package, version(package), "choices of each chunk:", plain, "declined:", declined, "the caller's dict:", own)
expected = {
    "openai": ([1, 1], [1, 1], {}),
    "langfuse": ([1, 1], [1, 1], {}),
    "posthog": ([1, 1, 0], [1, 1, 0], {}),
    "judgeval": ([1, 1, 0], [1, 1], {}),
    "maxim": ([1, 1, 0], [1, 1], {"include_usage": True}),
}
sys.stdout.flush()
os._exit(0 if (plain, declined, own) == expected[name] else 1)
PYTHON
for name in openai langfuse posthog judgeval maxim; do
  "$folder/venv/bin/python" "$folder/stream.py" "$name" 2>"$folder/errors" || { cat "$folder/errors"; exit 1; }
done
