#!/usr/bin/env bash
#
# What a Sanic handler sets in a ContextVar is still set in the next request of the same connection.
#
# Expected: each request has a context of its own, as under hypercorn, granian and gunicorn's ASGI worker.
#
# Seen: Sanic 25.12.1 handles all requests of a connection in one task (sanic/server/protocols/http_protocol.py), and so
# in one context. Under its own server the second request sees what the first one set. The same application under
# hypercorn 0.18.0 does not.
#
# Why it hurts: code that sets the user or the session of a request and does not reset it, as is usual elsewhere, logs
# the next request of the connection for it. Behind a proxy that keeps connections, this is another user's; with a new
# connection for each request, as in many tests, it is never seen. Reset what you set, or set it in each request.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  sanic==25.12.1 sanic-routing==23.12.0 hypercorn==0.18.0

cat > "$folder/application.py" <<'PYTHON'
from contextvars import ContextVar

from sanic import Sanic, text

session = ContextVar("session", default=None)
app = Sanic("chat")


@app.get("/<name>")
async def answer(request, name):
    before = session.get()
    if name != "none":
        session.set(name)
    return text(str(before))
PYTHON

cat > "$folder/run.py" <<'PYTHON'
import subprocess
import sys
import time
from http.client import HTTPConnection
from importlib.metadata import version
from socket import create_connection, create_server

COMMANDS = {
    "sanic": ["sanic", "application:app", "--single-process", "--host", "127.0.0.1", "--port"],
    "hypercorn": ["hypercorn", "application:app", "--bind"],
}


def ask(connection, path):
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def seen(server):
    with create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    address = f"127.0.0.1:{port}" if server == "hypercorn" else str(port)
    command = [sys.executable, "-m", *COMMANDS[server], address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        kept, other = (HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(2))
        answers = [ask(kept, "/ada"), ask(kept, "/none"), ask(other, "/none")]
        kept.close()
        other.close()
        return answers
    finally:
        process.terminate()
        process.wait(30)


found = {server: seen(server) for server in COMMANDS}
print("sanic", version("sanic"), "first request, second one, another connection:", found)
assert found == {"sanic": ["None", "ada", "None"], "hypercorn": ["None", "None", "None"]}
PYTHON
cd "$folder"
"$folder/venv/bin/python" run.py
