#!/usr/bin/env bash
#
# Over HTTP/2 a browser sends each cookie in a header of its own, and of two cookies some frameworks read one.
#
# Expected: whatever the server and framework, the application sees all cookies.
#
# Seen: Chromium sends one `cookie` field for each cookie over HTTP/2, as RFC 9113 (8.2.3) allows. hypercorn's
# HTTP/2 library joins them again; granian 2.8.9 hands them to an ASGI application one by one, as the ASGI
# specification allows (its pull request 717 says why). Then Django 5.2.19 joins them with a comma, which is
# no separator of cookies (django/core/handlers/asgi.py; 6.1 has it right), so that the first cookie's value
# swallows the second; Litestar 2.25.0 reads the first one only (litestar/connection/base.py), Falcon 4.4.0
# the last one only (falcon/asgi/request.py). Starlette 1.10.0 reads all.
#
# Why it hurts: the session cookie is there on the developer's machine, over HTTP/1.1, and gone, or
# unverifiable, as soon as HTTP/2 is on and the browser has a second cookie: each request starts a new
# conversation. Tests with httpx do not show it: it sends one field.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  granian==2.8.9 Django==5.2.19 litestar==2.25.0 falcon==4.4.0 starlette==1.10.0 h2==4.4.1
cd "$folder"

cat > applications.py <<'PYTHON'
import django
import falcon.asgi
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import JsonResponse
from django.urls import path
from litestar import Litestar, Request, get
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

settings.configure(ROOT_URLCONF="applications", ALLOWED_HOSTS=["*"], SECRET_KEY="no secret")
django.setup()
urlpatterns = [path("", lambda request: JsonResponse(request.COOKIES))]
DJANGO = ASGIHandler()


@get("/", sync_to_thread=False)
def in_litestar(request: Request) -> dict[str, str]:
    return dict(request.cookies)


LITESTAR = Litestar([in_litestar])


class InFalcon:
    async def on_get(self, request, response):
        response.media = dict(request.cookies)


FALCON = falcon.asgi.App()
FALCON.add_route("/", InFalcon())


async def in_starlette(request):
    return JSONResponse(request.cookies)


STARLETTE = Starlette(routes=[Route("/", in_starlette)])
PYTHON

cat > ask.py <<'PYTHON'
import json
import socket
import subprocess
import sys
import time
from importlib.metadata import version

from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded


def cookies_seen(application, cookie_headers):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["granian", "--interface", "asgi", "--http", "2", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", *command, f"applications:{application}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        return json.loads(answer(connection(port), cookie_headers))
    finally:
        server.terminate()
        server.wait(30)


def connection(port):
    for _ in range(300):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start")


def answer(sock, cookie_headers):
    with sock:
        protocol = H2Connection()
        protocol.initiate_connection()
        request = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]
        protocol.send_headers(1, request + [("cookie", each) for each in cookie_headers], end_stream=True)
        sock.sendall(protocol.data_to_send())
        body = b""
        while True:
            for event in protocol.receive_data(sock.recv(65536)):
                if isinstance(event, DataReceived):
                    body += event.data
                if isinstance(event, StreamEnded):
                    return body
            sock.sendall(protocol.data_to_send())


print("granian", version("granian"))
for application, seen in (
    ("STARLETTE", {"theme": "dark", "session": "k"}),
    ("DJANGO", {"theme": "dark,session=k"}),
    ("LITESTAR", {"theme": "dark"}),
    ("FALCON", {"session": "k"}),
):
    apart = cookies_seen(application, ["theme=dark", "session=k"])
    joined = cookies_seen(application, ["theme=dark; session=k"])
    print(f"{application.lower()} {version(application)}: two headers {apart}, one header {joined}")
    assert joined == {"theme": "dark", "session": "k"}
    assert apart == seen
PYTHON
"$folder/environment/bin/python" ask.py
