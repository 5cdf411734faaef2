#!/usr/bin/env bash
#
# A streamed answer whose reader has left stays open under Starlette, if its generator is a synchronous one.
#
# Expected: the generator is closed when the client goes: its `finally` runs, and the connection to the model that it
# reads from is closed. So it is for an async generator, which is cancelled in its `await`.
#
# Seen: with starlette 1.10.0 and uvicorn 0.54.0 a synchronous generator in a StreamingResponse is neither continued nor
# closed (starlette/concurrency.py, `iterate_in_threadpool`): it is in a cycle of objects, and its `finally` runs when
# the garbage collector comes by, in whatever runs then. A quiet server has none for a long time.
#
# Why it hurts: what a `finally` keeps, the half of the answer that was shown, its tokens and the end of a span, comes
# minutes later or, at a restart, never. Until then the model's client has its connection. It is so for each user who
# presses "stop", and in no test that reads to the end. Stream by an async generator.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check starlette==1.10.0 uvicorn==0.54.0
cat > "$folder/application.py" <<'PYTHON'
import asyncio
import gc
import time

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

ended = []


def words():
    try:
        for _ in range(600):
            yield "word "
            time.sleep(0.05)
    finally:
        ended.append("sync")


async def async_words():
    try:
        for _ in range(600):
            yield "word "
            await asyncio.sleep(0.05)
    finally:
        ended.append("async")


async def stream(request):
    return StreamingResponse(words() if request.path_params["kind"] == "sync" else async_words())


async def look(request):
    return JSONResponse(ended)


async def collect(request):
    gc.collect()
    return JSONResponse(ended)


app = Starlette(routes=[Route("/stream/{kind}", stream), Route("/ended", look), Route("/collect", collect)])
PYTHON
cat > "$folder/run.py" <<'PYTHON'
import json
import subprocess
import sys
import time
from http.client import HTTPConnection
from importlib.metadata import version
from socket import create_connection, create_server


def ask(path):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    return json.load(connection.getresponse())


with create_server(("127.0.0.1", 0)) as listener:
    port = listener.getsockname()[1]
command = [sys.executable, "-m", "uvicorn", "application:app", "--port", str(port), "--log-level", "error"]
process = subprocess.Popen(command)
try:
    for _ in range(300):
        try:
            create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    for kind in ("sync", "async"):
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", f"/stream/{kind}")
        response = connection.getresponse()
        response.read(10)
        response.close()
        connection.close()
    time.sleep(3)
    later, collected = ask("/ended"), ask("/collect")
finally:
    process.terminate()
    process.wait(30)
print("starlette", version("starlette"), "ended three seconds after their readers have left:", later)
print("after gc.collect():", collected)
assert (later, collected) == (["async"], ["async", "sync"])
PYTHON
cd "$folder"
"$folder/venv/bin/python" run.py
