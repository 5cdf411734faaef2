#!/usr/bin/env bash
#
# Under AnyIO's pytest plugin a test sees the ContextVars of the test before it, as soon as they share an event loop.
#
# Expected: each test has a context of its own. A fixture of the whole module shares the loop and what it yields, and
# what a test sets ends with it, as under pytest-asyncio with `loop_scope="module"`.
#
# Seen: with anyio 4.16.0 and an `anyio_backend` fixture for the module, which each async fixture for the module needs,
# all tests run in one task, and so in one context (`_call_in_runner_task` in anyio/_backends/_asyncio.py): the second
# test sees what the first has set. So it is with Trio. With the backend for each test, which is the default, it sees
# nothing. pytest-asyncio 1.5.0 takes a new copy for each test.
#
# Why it hurts: a test that needs a session passes, as one before it has left its own, and fails if it runs alone, or in
# another order, or on another worker. One fixture that is made wider, to start a server once, changes all tests. Set
# and reset in a fixture of each test.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  anyio==4.16.0 trio==0.35.0 pytest==9.2.0 pytest-asyncio==1.5.0
cat > "$folder/common.py" <<'PYTHON'
from contextvars import ContextVar

session = ContextVar("session", default=None)
seen = {}


async def first():
    session.set("first")


async def second(name):
    seen[name] = session.get()
PYTHON
for backend in asyncio trio; do
  for scope in module function; do
    cat > "$folder/test_${backend}_${scope}.py" <<PYTHON
import common
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="$scope")
def anyio_backend():
    return "$backend"


@pytest.fixture(scope="$scope")
async def server(anyio_backend):
    yield "address"


async def test_first(server):
    await common.first()


async def test_second(server):
    await common.second("anyio, $backend, $scope")
PYTHON
  done
done
cat > "$folder/test_pytest_asyncio.py" <<'PYTHON'
import common
import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server():
    yield "address"


async def test_first(server):
    await common.first()


async def test_second(server):
    await common.second("pytest-asyncio, module")
PYTHON
cat > "$folder/run.py" <<'PYTHON'
from importlib.metadata import version

import common
import pytest

assert pytest.main(["-q", "-p", "no:cacheprovider", "-W", "ignore"]) == 0
print("anyio", version("anyio"), "pytest-asyncio", version("pytest-asyncio"), "the second test sees:")
for name, value in common.seen.items():
    print(f"{name}: {value}")
assert common.seen == {
    "anyio, asyncio, module": "first", "anyio, asyncio, function": None, "anyio, trio, module": "first",
    "anyio, trio, function": None, "pytest-asyncio, module": None,
}
PYTHON
cd "$folder"
"$folder/venv/bin/python" run.py
