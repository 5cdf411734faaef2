#!/usr/bin/env bash
#
# The span of sending a Celery task ends before the message is sent, if the current app does not know the task.
#
# Expected: a PRODUCER span lasts from `before_task_publish` to `after_task_publish`, whichever app sends the message,
# and whether by `delay` or by `send_task`.
#
# Seen: with opentelemetry-instrumentation-celery 0.66b2 it does for a task of the current app. The spans of
# `send_task` with the name of a task of another service, and of `delay` in an app with `set_as_current=False`, have
# ended when the transport is given the message: `attach_context` in utils.py keeps a span in its task, and drops one
# without a task.
#
# Why it hurts: the time that a slow broker takes is in no span, and those of the broker's client are not below it. It
# is so for each service that sends by name to workers whose code it does not have.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  opentelemetry-instrumentation-celery==0.66b2 opentelemetry-sdk==1.45.2 celery==5.7.0

cat > "$folder/run.py" <<'PYTHON'
from celery import Celery
from kombu.transport import memory
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider

CeleryInstrumentor().instrument(tracer_provider=TracerProvider())
open_spans = []


class Channel(memory.Channel):
    def _put(self, *arguments, **options):
        open_spans.append(getattr(trace.get_current_span(), "name", None))
        super()._put(*arguments, **options)


memory.Transport.Channel = Channel
current = Celery("current", broker="memory://")
other = Celery("other", broker="memory://", set_as_current=False)


def answer(): ...


current.task(answer, name="current.answer").delay()
current.send_task("elsewhere.answer")
other.task(answer, name="other.answer").delay()
print("the span that is open when the message is sent:", open_spans)
assert open_spans == ["apply_async/current.answer", None, None]
PYTHON
"$folder/venv/bin/python" "$folder/run.py"
