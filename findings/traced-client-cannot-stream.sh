#!/usr/bin/env bash
#
# A client of OpenAI that Galileo, Maxim, Judgeval or Lunary traces raises where it is to stream as OpenAI documents it.
#
# Expected: with `chat.completions.stream()`, and `with ... create(stream=True) as stream`, a traced client streams as a
# plain one.
#
# Seen: with openai 3.57.0 the first raises under all four: TypeError under galileo 2.7.0 and maxim-py 3.14.20, which do
# not know OpenAI's mark for "not given" (`Omit`), AttributeError under judgeval 1.6.0 and lunary 1.4.41, which hand on
# a plain generator. The second raises under the last three. With langfuse 5.0.4 and posthog 7.91.1 both work.
#
# Why it hurts: the application streams in each test and on each machine without tracing, and raises where it is on. The
# first is the way to a streamed answer with its parsed parts and its whole message at the end, the second that which
# gives the connection back when a reader leaves. Loop over `create(stream=True)` there, and close what has a `close`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  galileo==2.7.0 maxim-py==3.14.20 judgeval==1.6.0 lunary==1.4.41 langfuse==5.0.4 posthog==7.91.1 openai==3.57.0
cat >"$folder/stream.py" <<'PYTHON'
import http.server
import json
import logging
import os
import sys
import threading
from importlib.metadata import version

import openai

IDENTIFIER = "11111111-1111-4111-8111-111111111111"


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        streams = self.path.endswith("/completions")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if streams else "application/json")
        self.end_headers()
        if not streams:
            answer = {"access_token": "e30.eyJleHAiOjQxMDI0NDQ4MDB9.x", "id": IDENTIFIER, "email": "reader@example.com"}
            return self.wfile.write(json.dumps(answer).encode())
        shared = {"id": "answer-1", "created": 1, "model": "gpt-4o", "object": "chat.completion.chunk"}
        for delta, reason in (({"role": "assistant", "content": "It rains."}, None), ({}, "stop")):
            choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
            self.wfile.write(f"data: {json.dumps({**shared, 'choices': choices})}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


def client(name):
    if name == "galileo":
        os.environ.update(
            GALILEO_CONSOLE_URL=address, GALILEO_API_URL=address, GALILEO_API_KEY="key",
            GALILEO_PROJECT_ID=IDENTIFIER, GALILEO_LOG_STREAM_ID=IDENTIFIER,
        )
        from galileo.openai import openai as traced

        return traced.OpenAI(**options)
    if name == "maxim-py":
        from maxim import Maxim
        from maxim.logger.openai import MaximOpenAIClient

        logger = Maxim({"api_key": "key", "base_url": address}).logger({"id": "logs"})
        return MaximOpenAIClient(openai.OpenAI(**options), logger=logger)
    if name == "judgeval":
        from judgeval.trace import Tracer

        Tracer.init()
        return Tracer.wrap(openai.OpenAI(**options))
    if name == "lunary":
        import lunary

        lunary.config(app_id=IDENTIFIER, api_url=address)
        monitored = openai.OpenAI(**options)
        lunary.monitor(monitored)
        return monitored
    if name == "langfuse":
        import langfuse.openai

        langfuse.Langfuse(public_key="key", secret_key="key", base_url=address)
        return langfuse.openai.OpenAI(**options)
    if name == "posthog":
        from posthog import Posthog
        from posthog.ai.openai import OpenAI

        return OpenAI(**options, posthog_client=Posthog("key", host=address, sync_mode=True))
    return openai.OpenAI(**options)


def outcome(open_stream):
    try:
        with open_stream() as stream:
            for _ in stream:
                pass
    except (AttributeError, TypeError) as error:
        return type(error).__name__
    return "streams"


name = sys.argv[1]
logging.disable()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
options = {"api_key": "key", "base_url": f"{address}/v1"}
completions = client(name).chat.completions
question = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Rain?"}]}
found = (outcome(lambda: completions.stream(**question)), outcome(lambda: completions.create(**question, stream=True)))
print(name, version(name), "stream():", found[0], "with create(stream=True):", found[1])
expected = {
    "galileo": ("TypeError", "streams"),
    "maxim-py": ("TypeError", "TypeError"),
    "judgeval": ("AttributeError", "TypeError"),
    "lunary": ("AttributeError", "TypeError"),
}
sys.stdout.flush()
os._exit(0 if found == expected.get(name, ("streams", "streams")) else 1)
PYTHON
for name in openai langfuse posthog galileo maxim-py judgeval lunary; do
  "$folder/venv/bin/python" "$folder/stream.py" "$name" >"$folder/printed" 2>&1 || { cat "$folder/printed"; exit 1; }
  grep "stream():" "$folder/printed"
done
