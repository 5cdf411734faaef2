#!/usr/bin/env bash
#
# An error in the middle of a FastAPI endpoint of server-sent events ends the stream as if all had been sent.
#
# Expected: the connection is cut, so that the client sees an error instead of an end, as with StreamingResponse and
# with FastAPI's own JSON lines.
#
# Seen: with fastapi 0.165.0 and uvicorn 0.54.0 the client of an `EventSourceResponse` endpoint gets the events so far
# and a regular end of the body, from async and sync generators alike (fastapi/routing.py: the generator runs in a task
# of its own, whose stream is closed, and the error is raised after the body has ended). The server logs the error.
#
# Why it hurts: half an answer of a model looks whole: it is shown, kept and logged as such; a client that tries again
# after a broken stream does not. Send a last event of your own, and take a stream without it for broken.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  fastapi==0.165.0 starlette==1.10.0 uvicorn==0.54.0 h11==0.16.0 httpx==0.28.1 anyio==4.16.0
"$folder/environment/bin/python" - <<'PYTHON'
import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterable, Iterable
from importlib.metadata import version

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

app = FastAPI()


async def half():
    yield "half"
    await asyncio.sleep(0.1)
    raise RuntimeError("the model failed")


@app.get("/StreamingResponse")
async def plain():
    return StreamingResponse(half())


@app.get("/lines")
async def lines() -> AsyncIterable[str]:
    async for each in half():
        yield each


@app.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterable[str]:
    async for each in half():
        yield each


@app.get("/sync-events", response_class=EventSourceResponse)
def sync_events() -> Iterable[str]:
    yield "half"
    time.sleep(0.1)
    raise RuntimeError("the model failed")


def read(path):
    body = b""
    with httpx.stream("GET", f"{url}/{path}") as response:
        try:
            for chunk in response.iter_raw():
                body += chunk
        except httpx.RemoteProtocolError:
            return response.status_code, body, "cut"
    return response.status_code, body, "regular end"


listener = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listener.getsockname()[1]}"
server = uvicorn.Server(uvicorn.Config(app, http="h11", log_level="critical"))
threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
found = {path: read(path) for path in ("StreamingResponse", "lines", "events", "sync-events")}
server.should_exit = True
print("fastapi", version("fastapi"), found)
assert found == {
    "StreamingResponse": (200, b"half", "cut"),
    "lines": (200, b'"half"\n', "cut"),
    "events": (200, b'data: "half"\n\n', "regular end"),
    "sync-events": (200, b'data: "half"\n\n', "regular end"),
}
PYTHON
