#!/usr/bin/env bash
#
# What is run by `asyncio.Runner` does not see the contextvars that are set before each call of `run`.
#
# Expected: `runner.run(coroutine)` is `asyncio.run(coroutine)` without a new loop each time, so the coroutine runs in a
# copy of the context of the call.
#
# Seen: with Python 3.11 to 3.13 the runner copies the context once, when `with` is entered, and runs all coroutines in
# that one copy (asyncio/runners.py). A session, span or log context that is set between two calls is not seen, and one
# that a coroutine sets is seen by the next one.
#
# Why it hurts: a console bot or worker that keeps its loop, and so its HTTP connections, logs all messages outside of
# their sessions; or in that of a message before. Give `runner.run(..., context=contextvars.copy_context())`.
set -euo pipefail

python3 - <<'PYTHON'
import asyncio
import sys
from contextvars import ContextVar, copy_context

session = ContextVar("session", default=None)


async def answer():
    return session.get()


async def begin(name):
    session.set(name)


found = {"Runner": [], "Runner, with context": [], "asyncio.run": []}
with asyncio.Runner() as runner:
    for message in ("s1", "s2"):
        token = session.set(message)
        found["Runner"].append(runner.run(answer()))
        found["Runner, with context"].append(runner.run(answer(), context=copy_context()))
        found["asyncio.run"].append(asyncio.run(answer()))
        session.reset(token)
    runner.run(begin("left by another"))
    found["Runner"].append(runner.run(answer()))
print("Python", sys.version.split()[0], found)
assert found == {
    "Runner": [None, None, "left by another"],
    "Runner, with context": ["s1", "s2"],
    "asyncio.run": ["s1", "s2"],
}
PYTHON
