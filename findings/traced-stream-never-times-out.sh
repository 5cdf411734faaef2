#!/usr/bin/env bash
#
# Under Langfuse's `@observe` and LangSmith's `@traceable` a time-out inside of a streamed answer never fires.
#
# Expected: a decorator that traces changes nothing: `async with asyncio.timeout(...)` in an async generator ends the
# stream in time, a task group in it is left as it was entered, and a generator sees the context of its reader.
#
# Seen: langfuse 5.0.4 (langfuse/_client/observe.py, `__anext__`) and langsmith 0.15.1 (langsmith/run_helpers.py) run
# each step of an async generator in a task of its own. The time-out cancels the task of the first step, which is over;
# leaving a task group of anyio, as clients of MCP have one, in another task raises RuntimeError. Sync generators run in
# a copy of the context of the call: what the reader sets between two steps is not seen. Logfire's `@instrument` changes
# nothing.
#
# Why it hurts: a hanging model is no longer given up on, from the day on which its function is traced. Set the time-out
# outside of the generator, or trace by `with` inside of it.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check langfuse==5.0.4 langsmith==0.15.1 \
  logfire==5.4.0 opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2 anyio==4.16.0

cat > "$folder/run.py" <<'PYTHON'
import asyncio
import logging
import os
from contextvars import ContextVar
from importlib.metadata import version

os.environ["LANGSMITH_TRACING"] = "true"
os.environ["LANGSMITH_API_KEY"] = "none"
os.environ["LANGSMITH_ENDPOINT"] = "http://127.0.0.1:1"

import anyio
import logfire
from langfuse import Langfuse, observe
from langsmith import traceable

logging.disable()  # that there is no server
langfuse = Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:1")
logfire.configure(send_to_logfire=False, console=False)
session = ContextVar("session", default=None)


async def with_timeout():
    async with asyncio.timeout(0.2):
        yield "first"
        await asyncio.sleep(1)
        yield "late"


async def with_task_group():
    async with anyio.create_task_group():
        yield "first"


def sessions():
    while True:
        yield session.get()


async def read(generator):
    read = []
    try:
        async for each in generator:
            read.append(each)
    except (TimeoutError, RuntimeError) as error:
        read.append(type(error).__name__)
    return read


def seen(generator):
    seen = []
    for name in ("s1", "s2"):
        session.set(name)
        seen.append(next(generator))
    session.set(None)
    return seen


def results(decorate):
    return [
        asyncio.run(read(decorate(with_timeout)())),
        asyncio.run(read(decorate(with_task_group)())),
        seen(decorate(sessions)()),
    ]


found = {
    "plain": results(lambda function: function),
    "logfire": results(logfire.instrument(allow_generator=True)),
    "langfuse": results(observe()),
    "langsmith": results(traceable),
}
for name, each in found.items():
    print(name, "" if name == "plain" else version(name), each, flush=True)
plain = [["first", "TimeoutError"], ["first"], ["s1", "s2"]]
changed = [["first", "late"], ["first", "RuntimeError"]]
expected = {
    "plain": plain,
    "logfire": plain,
    "langfuse": [*changed, [None, None]],
    "langsmith": [*changed, ["s1", "s1"]],
}
os._exit(found != expected)  # without the exporters' attempts to reach a server
PYTHON
"$folder/environment/bin/python" "$folder/run.py"
