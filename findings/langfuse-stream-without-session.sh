#!/usr/bin/env bash
#
# Langfuse's propagate_attributes as a decorator gives a coroutine function its session, and a generator none.
#
# Expected: a decorator that works on `def` and `async def` functions works on generators and async
# generators, too: an answer that is streamed is one. OpenInference's `using_session` does.
#
# Seen: with langfuse 5.0.4 the observations made in a generator, sync or async, have no `session.id`: nothing
# is raised or logged. The decorator leaves the session when the generator is made, before its first line runs
# (opentelemetry/util/_decorator.py, _AgnosticContextManager.__call__, opentelemetry-api 1.45.2, looks for
# coroutine functions only). openinference-instrumentation 0.1.72 is right in all four.
#
# Why it hurts: an endpoint that begins to stream its answer loses the session in the traces on that day, with
# the decorator still on top of it. Use `with propagate_attributes(...)` inside of the generator.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  langfuse==5.0.4 openinference-instrumentation==0.1.72 opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2
"$folder/environment/bin/python" - <<'PYTHON'
import asyncio
import os
from importlib.metadata import version

from langfuse import Langfuse, propagate_attributes
from openinference.instrumentation import using_session
from opentelemetry.context import get_value

langfuse = Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:1")


def in_langfuse():
    with langfuse.start_as_current_observation(name="answer") as observation:
        return dict(observation._otel_span.attributes).get("session.id")


def in_openinference():
    return get_value("session.id")


def sessions(decorate, read):
    """The session that each kind of function sees."""

    @decorate(session_id="s1")
    def function():
        return read()

    @decorate(session_id="s1")
    async def coroutine():
        return read()

    @decorate(session_id="s1")
    def generator():
        yield read()

    @decorate(session_id="s1")
    async def async_generator():
        yield read()

    async def first():
        return [each async for each in async_generator()][0]

    return [function(), asyncio.run(coroutine()), next(generator()), asyncio.run(first())]


found = {
    "langfuse": sessions(propagate_attributes, in_langfuse),
    "openinference-instrumentation": sessions(using_session, in_openinference),
}
print("function, coroutine, generator, async generator:", flush=True)
for name, each in found.items():
    print(name, version(name), each, flush=True)
failed = (
    found["langfuse"] != ["s1", "s1", None, None]
    or found["openinference-instrumentation"] != ["s1"] * 4
)
os._exit(failed)  # without the exporter's attempts to reach a server
PYTHON
