#!/usr/bin/env bash
#
# A command of redis-py whose answer is lost runs eleven times, and `SET ... NX` then denies what it has done.
#
# Expected: redis-py repeats a command at most once, when a pooled connection turns out to be closed. A server
# that does not answer costs one `socket_timeout`.
#
# Seen: a plain `redis.Redis()` of redis-py 8.1.0 has a Retry of 10 attempts for lost connections and
# time-outs alike (redis/client.py, the default of `retry`), also for commands that are not idempotent. An
# INCR whose answers are lost counts 11. A SET with NX that was carried out, and whose answer was lost,
# returns None ("somebody else has it"). With socket_timeout=0.1 a call to a silent server takes about 11
# times that and the pauses between.
#
# Why it hurts: "the first request of a conversation makes its session, under SET NX" leaves a key that nobody
# believes to own, so that all wait for its expiry; and a request waits for many seconds where its author
# allowed one. Pass `retry=Retry(NoBackoff(), 0)`, or write a token and compare it.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
"$folder/environment/bin/python" - <<'PYTHON'
import socket
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HELLO = b"%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"


class Server:
    """As much of Redis as is needed; it carries out each command, and loses as many answers as it is told."""

    def __init__(self, losses, silent=False):
        self.losses, self.silent = losses, silent
        self.kept, self.ran = {}, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as lines:
            while head := lines.readline():
                lengths = (int(lines.readline()[1:]) for _ in range(int(head[1:])))
                command = [lines.read(length + 2)[:-2].decode() for length in lengths]
                if command[0] in ("HELLO", "CLIENT"):
                    connection.sendall(HELLO if command[0] == "HELLO" else b"+OK\r\n")
                    continue
                self.ran.append(command)
                result = self.run(*command)
                if self.silent:
                    continue
                if self.losses > 0:
                    self.losses -= 1
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                connection.sendall(result)

    def run(self, name, key, value, *options):
        if name == "INCRBY":
            self.kept[key] = self.kept.get(key, 0) + int(value)
            return b":%d\r\n" % self.kept[key]
        if "NX" in options and key in self.kept:
            return b"_\r\n"
        self.kept[key] = value
        return b"+OK\r\n"


def incremented(**options):
    server = Server(losses=1000)
    try:
        redis.Redis(port=server.port, **options).incr("messages")
    except redis.ConnectionError as error:
        return server.kept["messages"], str(error)
    raise AssertionError("no error")


print("redis", redis.__version__)
counted, error = incremented()
print(f"INCR, all answers lost: {error!r}, and counted {counted}")
assert counted == 11
assert incremented(retry=Retry(NoBackoff(), 0))[0] == 1

server = Server(losses=1)
owned = redis.Redis(port=server.port).set("session-of-ada", "mine", nx=True)
print(f"SET NX, first answer lost: returns {owned}, ran {len(server.ran)} times, kept {server.kept}")
assert owned is None
assert server.kept == {"session-of-ada": "mine"}

server = Server(losses=0, silent=True)
started = time.monotonic()
try:
    redis.Redis(port=server.port, socket_timeout=0.1).incr("messages")
except redis.TimeoutError:
    pass
print(f"silent server, socket_timeout=0.1: ran {len(server.ran)} times, {time.monotonic() - started:.1f} s")
assert len(server.ran) == 11
PYTHON
