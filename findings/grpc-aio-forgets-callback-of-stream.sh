#!/usr/bin/env bash
#
# A grpc.aio server never calls what a synchronous method that streams has given to `context.add_callback`.
#
# Expected: `add_callback` registers a function that is called when the call has ended, in each kind of method.
# `grpc.aio` runs synchronous methods in threads, with a context that has the same methods as that of `grpc.server`.
#
# Seen: with grpcio 1.85.3 `grpc.aio.server` calls that of a method with one answer. That of a stream is not called
# when it has ended, nor when the server has (aio/server.pyx.pxi, `_finish_handler_with_stream_responses`).
#
# Why it hurts: what is closed, counted or logged at the end of a call is not, for streamed answers only, once a server
# is moved to asyncio. A `finally` around the `yield` is run.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.3

cat > "$folder/run.py" <<'PYTHON'
import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc.aio


called = []


def answer(request, context):
    context.add_callback(lambda: called.append("answer"))
    return request


def stream(request, context):
    context.add_callback(lambda: called.append("stream"))
    try:
        yield request
    finally:
        called.append("finally")


async def main():
    server = grpc.aio.server(ThreadPoolExecutor(1))
    one, many = grpc.unary_unary_rpc_method_handler(answer), grpc.unary_stream_rpc_method_handler(stream)
    server.add_registered_method_handlers("Bot", {"answer": one, "stream": many})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert [part async for part in channel.unary_stream("/Bot/stream")(b"Why?")] == [b"Why?"]
        assert await channel.unary_unary("/Bot/answer")(b"Why?") == b"Why?"
    await server.stop(None)


asyncio.run(main())
print(called)
assert called == ["finally", "answer"]
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
