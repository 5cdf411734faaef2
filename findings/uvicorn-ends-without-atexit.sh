#!/usr/bin/env bash
#
# On SIGTERM, which container platforms send, uvicorn shuts down gracefully, and `atexit` functions never run.
#
# Expected: the server returns after the shutdown of the application, and Python ends as always: non-daemon threads are
# waited for, and functions of `atexit` are called, as with hypercorn and gunicorn on the same signal.
#
# Seen: uvicorn 0.54.0 handles the signal, completes the lifespan's shutdown, and then raises the same signal again with
# its former handler, the default one: the process dies of it (status -15). `atexit` is not called. Hypercorn 0.18.0
# ends with status 0, and it is.
#
# Why it hurts: an exporter that sends what waits at `atexit`, as telemetry SDKs do, loses its last batch at each
# deployment. The end of the lifespan is the last moment that an application has.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 hypercorn==0.18.0

cat > "$folder/application.py" <<'PYTHON'
import atexit
import os


def say(what):
    os.write(1, f"{what}\n".encode())


async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    say("started")
    await receive()
    say("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


atexit.register(say, "atexit")
PYTHON

cat > "$folder/run.py" <<'PYTHON'
import signal
import subprocess
import sys


def seen(*command):
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline().strip()]
    process.send_signal(signal.SIGTERM)
    lines += process.stdout.read().split()
    result = (process.wait(), *lines)
    print(command[0], *result)
    return result


assert seen("uvicorn", "application:app", "--port", "0", "--log-level", "error") == (-15, "started", "shutdown")
assert seen("hypercorn", "application:app", "--bind", "127.0.0.1:0", "--log-level", "error") == (
    0,
    "started",
    "shutdown",
    "atexit",
)
PYTHON
cd "$folder" && "$folder/venv/bin/python" run.py
