#!/usr/bin/env bash
#
# A function under Humanloop's @flow that raises returns None instead, and under @tool raises something else.
#
# Expected: a decorator that logs a function logs its error and lets it out. On `async def` it awaits the
# function.
#
# Seen: with humanloop 0.8.38 a @flow function that raises KeyError returns None; the error is in the log only
# (humanloop/decorators/flow.py). Under @tool it is UnboundLocalError (decorators/tool.py returns a result
# that was never set). Under @prompt it is the KeyError. An `async def` under @flow returns None, too, and
# never runs. (A fresh installation needs `requests`, which 0.8.38 imports and does not ask for.)
#
# Why it hurts: the SDK outlived its API, so these decorators are what people replace by a session per call.
# Code under them has learned to live without exceptions: callers test for None, retries and error handlers
# were never reached, and come alive on the day of the change.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check humanloop==0.8.38 requests==2.32.5
cat > "$folder/chat.py" <<'PYTHON'
import http.server
import json
import logging
import os
import threading
from importlib.metadata import version

from humanloop import Humanloop

IDS = {"id": "log_1", "flow_id": "fl_1", "tool_id": "tl_1", "prompt_id": "pr_1", "version_id": "v_1"}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(IDS).encode())

    do_PATCH = do_POST

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
logging.disable()
client = Humanloop(api_key="key", base_url=f"http://127.0.0.1:{server.server_port}/v5")
ran = []


@client.flow(path="chat/flow")
def flow(user):
    raise KeyError(user)


@client.tool(path="chat/tool")
def tool(user: str) -> str:
    raise KeyError(user)


@client.prompt(path="chat/prompt")
def prompt(user):
    raise KeyError(user)


@client.flow(path="chat/flow")
async def async_flow(user):
    ran.append(user)
    return "fine"


def outcome(function):
    try:
        return repr(function(user="ada"))
    except Exception as error:
        return type(error).__name__


found = {function.__name__: outcome(function) for function in (flow, tool, prompt, async_flow)}
print("humanloop", version("humanloop"), found, "async_flow ran:", bool(ran), flush=True)
wanted = {"flow": "None", "tool": "UnboundLocalError", "prompt": "KeyError", "async_flow": "None"}
os._exit(found != wanted or bool(ran))  # without its exporter's farewell
PYTHON
"$folder/environment/bin/python" -W ignore::RuntimeWarning "$folder/chat.py"
