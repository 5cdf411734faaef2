"""The modules that importing this package loads, and the errors for missing ones."""

import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

#: ``requests`` and ``wrapt``, and what they bring along, some of it only where it is installed.
EXPECTED = {
    "brotli",
    "brotlicffi",
    "certifi",
    "chardet",
    "charset_normalizer",
    "cryptography",
    "hl_sessions",
    "idna",
    "OpenSSL",
    "requests",
    "simplejson",
    "socks",
    "urllib3",
    "wrapt",
    "zstandard",
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in an interpreter that has loaded nothing yet."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def loaded_by(module: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"
    result = run(code)
    assert result.stderr == ""
    modules = {name.partition(".")[0] for name in result.stdout.split()} - sys.stdlib_module_names
    # Not what Cython and mypyc make up at run time.
    return {
        name for name in modules if "cython" not in name and "mypyc" not in name and not is_unlisted(name)
    }


def is_unlisted(module: str) -> bool:
    """Whether it is of the standard library, but not in ``sys.stdlib_module_names``, as some of PyPy."""
    spec = find_spec(module)
    origin = "built-in" if spec is None or spec.origin is None else spec.origin
    if origin in {"built-in", "frozen"}:
        return True
    installed, standard = (Path(sysconfig.get_path(kind)) for kind in ("purelib", "stdlib"))
    return standard in Path(origin).parents and installed not in Path(origin).parents


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("hl_sessions", {"hl_sessions"}),
        ("hl_sessions.integrations.asgi", {"hl_sessions", "requests"}),
        ("hl_sessions.integrations.wsgi", {"hl_sessions", "requests"}),
        ("hl_sessions.integrations.requests", {"hl_sessions", "requests"}),
        ("hl_sessions.integrations.logging", {"hl_sessions"}),
        ("hl_sessions.testing", {"hl_sessions", "requests"}),
    ],
)
def test_no_framework_and_no_server_is_loaded(module: str, needed: set[str]) -> None:
    """The package and the integrations without a framework load the two dependencies at the most."""
    loaded = loaded_by(module)
    assert needed <= loaded
    assert loaded <= EXPECTED


def test_importing_loads_nothing_that_may_never_be_needed() -> None:
    """The HTTP client is loaded with the first manager, a store with its name, wrapt with a decorator."""
    late = {"requests", "urllib3", "wrapt", "sqlite3", "ssl", "http.client", "asyncio", "importlib.metadata"}
    result = run(
        "import sys; before = set(sys.modules)\n"
        "import hl_sessions\n"
        "hl_sessions.current_session_id()\n"
        f"print(*(set(sys.modules) - before) & {late!r})\n"
        "hl_sessions.SessionManager(), hl_sessions.with_session(print), hl_sessions.stores.SQLiteStore\n"
        "print({'requests', 'wrapt', 'sqlite3'} <= set(sys.modules))\n"
    )
    assert (result.stdout, result.stderr) == ("\nTrue\n", "")


def test_importing_touches_no_network_and_starts_no_thread() -> None:
    """Nothing happens before it is asked for."""
    result = run(
        "import socket, threading\n"
        "def refuse(*_): raise AssertionError('a socket')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import hl_sessions\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert hl_sessions.current_session_id() is None\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("integration", "missing"),
    [
        ("starlette", ["starlette"]),
        ("flask", ["flask"]),
        ("django", ["django"]),
        ("fastapi", ["fastapi"]),
        ("httpx", ["httpx", "httpx2"]),
        ("aiohttp", ["aiohttp"]),
        ("grpc", ["grpc"]),
        ("sanic", ["sanic"]),
        ("celery", ["celery"]),
        ("opentelemetry", ["opentelemetry.sdk.trace"]),
        ("dramatiq", ["dramatiq"]),
        ("huey", ["huey"]),
        ("procrastinate", ["procrastinate"]),
        ("arq", ["arq", "arq.connections"]),
        ("faststream", ["faststream"]),
        ("saq", ["saq"]),
        ("taskiq", ["taskiq"]),
        ("rq", ["rq"]),
        ("mcp", ["mcp"]),
        ("gradio", ["gradio"]),
        ("structlog", ["structlog"]),
        ("loguru", ["loguru"]),
        ("sentry", ["sentry_sdk"]),
        ("humanloop", ["humanloop"]),
    ],
)
def test_missing_framework_is_told_with_the_command_that_installs_it(
    integration: str, missing: list[str]
) -> None:
    """The ``ImportError`` of an integration names its extra."""
    result = run(
        f"import sys; sys.modules.update(dict.fromkeys({missing!r}));"
        f" import hl_sessions.integrations.{integration}"
    )
    last_line = result.stderr.splitlines()[-1]
    assert last_line.startswith("ImportError: ")
    assert f"pip install 'hl-sessions[{integration}]'" in last_line


@pytest.mark.parametrize(
    ("module", "never"), [("starlette", "fastapi"), ("starlette", "flask"), ("flask", "starlette")]
)
def test_integration_loads_its_own_framework_only(module: str, never: str) -> None:
    """The integration of one framework does not need the others."""
    loaded = loaded_by(f"hl_sessions.integrations.{module}")
    assert module in loaded
    assert never not in loaded
