#!/usr/bin/env bash
#
# What a test sets in a ContextVar is set in the application under TestClient, and the reverse under ASGITransport.
#
# Expected: the application runs in another thread (TestClient), or in a task of its own, and knows as little of the
# test's context as under a server. Two requests have two contexts.
#
# Seen: with starlette 1.10.0 the application sees what the test has set. With httpx 0.28.1 and httpx2 2.16.2 it runs
# in the test's own context: the second request, and the test, see what the first one has set. Under uvicorn 0.54.0
# neither happens.
#
# Why it hurts: a test that opens a session, or sets a user, finds it in the endpoint, and passes although nothing in
# the application sets it. The same suite with the other client fails at its second request, with a session of the
# first. Call the client in `contextvars.Context().run(...)`, or in a task with `context=contextvars.Context()`.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  starlette==1.10.0 httpx2==2.16.2 httpx==0.28.1 uvicorn==0.54.0 h11==0.16.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import socket
import threading
from contextvars import ContextVar
from importlib.metadata import version

import httpx
import httpx2
import uvicorn
from starlette.testclient import TestClient

session = ContextVar("session", default="none")


async def app(scope, receive, send):
    seen = session.get()
    session.set("of the application")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": seen.encode()})


def by(client):
    """What the application sees in two requests, and the test after them."""
    session.set("of the test")
    return [client.get("/").text, client.get("/").text, session.get()]


async def by_transport(library):
    session.set("of the test")
    async with library.AsyncClient(transport=library.ASGITransport(app), base_url="http://test") as client:
        return [(await client.get("/")).text, (await client.get("/")).text, session.get()]


def by_server():
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        found = by(client)
    server.should_exit = True
    thread.join(30)
    return found


found = {
    "uvicorn": by_server(),
    "starlette": by(TestClient(app)),
    "httpx": asyncio.run(by_transport(httpx)),
    "httpx2": asyncio.run(by_transport(httpx2)),
}
for name, texts in found.items():
    print(name, version(name), texts)
in_one_context = ["of the test", "of the application", "of the application"]
assert found == {
    "uvicorn": ["none", "none", "of the test"],
    "starlette": ["of the test", "of the test", "of the test"],
    "httpx": in_one_context,
    "httpx2": in_one_context,
}
PYTHON
