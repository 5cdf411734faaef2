#!/usr/bin/env bash
#
# If Celery's test worker is imported before `sentry_sdk.init`, no task that fails reaches Sentry.
#
# Expected: `init` turns the integration for Celery on if Celery is installed, whatever has been imported before it.
#
# Seen: with sentry-sdk 2.75.0 and Celery 5.7.0 neither the error nor the transaction of a task is sent, and no log
# says so. `celery.contrib.testing.worker` imports `celery.worker.consumer`, which has `build_tracer` from another
# module by `from ... import`. The integration puts its own into that other module, too late for the consumer.
#
# Why it hurts: tests of what reaches Sentry fail, or pass as nothing does, depending on which one is imported first.
# Sentry's tags, such as that of a session, seem to be lost.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check sentry-sdk==2.75.0 celery==5.7.0

cat > "$folder/run.py" <<'PYTHON'
import sys

if sys.argv[1] == "before":
    from celery.contrib.testing.worker import start_worker

import sentry_sdk
from celery import Celery
from sentry_sdk.transport import Transport

sent = []


class InMemory(Transport):
    def capture_envelope(self, envelope):
        sent.extend(item.type for item in envelope.items)


sentry_sdk.init("http://key@127.0.0.1/1", transport=InMemory, traces_sample_rate=1.0)
if sys.argv[1] == "after":
    from celery.contrib.testing.worker import start_worker

app = Celery("bot", broker="memory://", backend="cache+memory://")


@app.task
def answer():
    raise ValueError


with start_worker(app, perform_ping_check=False, pool="solo", loglevel="critical"):
    failed = answer.delay().get(propagate=False, timeout=60)
sentry_sdk.flush()
print("imported", sys.argv[1], "init: the task raised", repr(failed), "and Sentry was sent", sent)
assert isinstance(failed, ValueError)
assert sorted(sent) == ([] if sys.argv[1] == "before" else ["event", "transaction"])
PYTHON
for moment in after before; do
  "$folder/venv/bin/python" "$folder/run.py" "$moment"
done
