#!/usr/bin/env bash
#
# A streamed answer whose reader leaves is in no trace of MLflow.
#
# Expected: its span ends when the generator is closed, with what was streamed until then, as an error or as a part.
#
# Seen: with mlflow 3.17.2 (mlflow-skinny) the wrapper of `@mlflow.trace` round a generator ends its span at the last
# item or at an Exception (`_wrap_generator` in mlflow/tracing/fluent.py), and GeneratorExit is neither. A generator
# that is closed after its first item, sync or async, is the root of no trace, and no span within the trace of its
# caller, which is OK. Nothing is logged.
#
# Why it hurts: each user who presses "stop" or leaves the page takes the whole trace of the answer along, with all that
# was called and paid for it. The answers that users did not want to read to the end are those that one looks for. Open
# the span in the generator by `with mlflow.start_span(...)`, which ends it in any case.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1 pandas==3.1.1
cd "$folder"
export MLFLOW_TRACKING_URI="sqlite:///$folder/mlflow.db"
"$folder/venv/bin/python" - 2>errors <<'PYTHON' || { cat errors; exit 1; }
import asyncio
import contextlib
import gc
from importlib.metadata import version

import mlflow


@mlflow.trace
def words(question):
    yield "It "
    yield "rains."


@mlflow.trace
async def words_async(question):
    yield "It "
    yield "rains."


@mlflow.trace
def endpoint(question):
    with contextlib.closing(words(question)) as answer:
        return next(answer)


async def leave():
    async with contextlib.aclosing(words_async("left")) as answer:
        await anext(answer)


list(words("read"))
with contextlib.closing(words("left")) as answer:
    next(answer)
asyncio.run(leave())
endpoint("left")
gc.collect()
mlflow.flush_trace_async_logging()
traces = mlflow.search_traces(return_type="list")
found = sorted([(span.name, str(span.status.status_code), span.outputs) for span in each.data.spans] for each in traces)
print("mlflow-skinny", version("mlflow-skinny"), found)
assert found == [
    [("endpoint", "SpanStatusCode.OK", "It ")],
    [("words", "SpanStatusCode.OK", ["It ", "rains."])],
]
PYTHON
