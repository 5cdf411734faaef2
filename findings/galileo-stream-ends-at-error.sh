#!/usr/bin/env bash
#
# Under Galileo's @log a stream that a coroutine function returns ends at an error, as if it were complete.
#
# Expected: a decorator that logs raises what the function raises, as it does for all else that it decorates.
#
# Seen: with galileo 2.7.0 the generator that an `async def` returns, sync or async, is wrapped by one that logs an
# exception and does not raise it (`_wrap_sync_generator_result` and `_wrap_async_generator_result` in
# galileo/decorator.py): the reader gets what came before it, and then the end. A generator function raises as without
# the decorator, and so does a function that raises itself.
#
# Why it hurts: half an answer is shown and kept as a whole one, no retry and no fallback takes place, and its trace
# looks complete; only where Galileo is on. The endpoint of a streamed answer is most often of this kind, as it awaits
# the call of the model. Decorate what is below it, and not what returns the stream.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check galileo==2.7.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import http.server
import json
import logging
import os
import sys
import threading
from importlib.metadata import version

IDENTIFIER = "11111111-1111-4111-8111-111111111111"


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = {"access_token": "e30.eyJleHAiOjQxMDI0NDQ4MDB9.x", "id": IDENTIFIER, "email": "reader@example.com"}
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


async def words():
    yield "It "
    raise ConnectionError("cut")


async def answer(question):
    return words()


async def answer_sync(question):
    def parts():
        yield "It "
        raise ConnectionError("cut")

    return parts()


async def answer_words(question):
    async for word in words():
        yield word


async def read(function):
    shown = []
    try:
        stream = function("Rain?")
        stream = await stream if asyncio.iscoroutine(stream) else stream
        if hasattr(stream, "__anext__"):
            async for word in stream:
                shown.append(word)
        else:
            shown.extend(stream)
        return shown, "complete"
    except ConnectionError:
        return shown, "error"


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
os.environ.update(
    GALILEO_CONSOLE_URL=address, GALILEO_API_URL=address, GALILEO_API_KEY="key",
    GALILEO_PROJECT_ID=IDENTIFIER, GALILEO_LOG_STREAM_ID=IDENTIFIER,
)
from galileo import log  # noqa: E402

logging.disable()
functions = (answer, answer_sync, answer_words)
plain = [asyncio.run(read(function)) for function in functions]
logged = [asyncio.run(read(log(function))) for function in functions]
print("galileo", version("galileo"), "without:", plain, "with @log:", logged)
sys.stdout.flush()
matches = plain == [(["It "], "error")] * 3 and logged == [(["It "], "complete")] * 2 + [(["It "], "error")]
os._exit(0 if matches else 1)
PYTHON
