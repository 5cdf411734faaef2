#!/usr/bin/env bash
#
# Under Langfuse's `@observe` a time-out inside of a streamed answer never fires, and a task group in it is an error.
#
# Expected: a decorator that traces changes nothing: `async with asyncio.timeout(...)` in an async generator ends the
# stream in time; a generator sees the context of the code that reads it, and has `send`.
#
# Seen: langfuse 5.0.4 runs each step of an async generator in a task of its own (langfuse/_client/observe.py,
# `__anext__`). The time-out cancels the task of the first step, which is over; leaving a task group of anyio, as all
# clients of MCP have one, in another task raises RuntimeError. Sync generators run in a copy of the context of the
# call: what the reader sets between two steps is not seen. What `@observe` returns has no `send`.
#
# Why it hurts: a hanging model is no longer given up on, from the day on which its function is traced. Set the time-out
# outside of the generator, or trace by `with` inside of it.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  langfuse==5.0.4 opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2 anyio==4.16.0
"$folder/environment/bin/python" - <<'PYTHON'
import asyncio
import os
from contextvars import ContextVar
from importlib.metadata import version

import anyio
from langfuse import Langfuse, observe

langfuse = Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:1")
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


def each(decorate):
    return [
        asyncio.run(read(decorate(with_timeout)())),
        asyncio.run(read(decorate(with_task_group)())),
        seen(decorate(sessions)()),
        hasattr(decorate(sessions)(), "send"),
    ]


found = {"plain": each(lambda function: function), "observed": each(observe())}
print("langfuse", version("langfuse"), found, flush=True)
failed = found != {
    "plain": [["first", "TimeoutError"], ["first"], ["s1", "s2"], True],
    "observed": [["first", "late"], ["first", "RuntimeError"], [None, None], False],
}
os._exit(failed)  # without the exporter's attempts to reach a server
PYTHON
