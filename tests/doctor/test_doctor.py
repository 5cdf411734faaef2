"""``hl-sessions doctor`` tells what is wrong, and what to do about it."""

import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import HL_SESSIONS, free_port, served
from tests.sessions_api import Answer, Request, SessionsAPI
from tests.waiting import PATIENCE

Result = subprocess.CompletedProcess[str]
Doctor = Callable[..., Result]

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"

SHOP = """
from flask import Flask
from hl_sessions.integrations.flask import HLSessions

app = Flask(__name__)
HLSessions(app)
"""

LAZY_MODULE = """
import sys, types

class Lazy(types.ModuleType):
    def __getattribute__(self, name):
        raise ImportError(name)

lazy = sys.modules["lazy"] = Lazy("lazy")
"""


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """Runs the command in the folder of the application ``shop:app``, which is what it is given."""

    def run(*arguments: str, shop: str = SHOP, **variables: str) -> Result:
        (tmp_path / "shop.py").write_text(shop)
        return subprocess.run(
            [HL_SESSIONS, "doctor", *arguments],
            cwd=tmp_path,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


def said(result: Result) -> str:
    """What was printed, in one line; nothing is wider than a terminal, and nothing went wrong meanwhile."""
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) < 80
    return " ".join(result.stdout.split())


def answer_reads(request: Request) -> Answer:
    """The answers of our server to a key that may only read."""
    if request.method != "GET":
        return Answer(403, {"detail": "This key is for reading"})
    return Answer(200, {"next": "start", "records": []})


def test_the_page_is_that_of_the_guide(doctor: Doctor, tmp_path: Path) -> None:
    """When all is well it fits a terminal, and is as in the guide but for versions, times and the port."""
    match = re.search(r"```console\n\$ hl-sessions doctor shop:app\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert match
    with served(tmp_path / "sessions.sqlite3") as base_url:
        result = doctor("shop:app", HL_SESSIONS_BASE_URL=base_url)
    said(result)
    shown = result.stdout.replace(base_url, "http://127.0.0.1:8642/v4")
    changing = r"\d+\.\d+\.\d+\w*|CPython|PyPy|\d+ ms|(?<=usable here: ).*(?:\n {10}.*)*"
    assert re.sub(changing, "...", shown) == re.sub(changing, "...", match[1])
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) <= 24


def test_a_key_is_told_what_it_may_do(doctor: Doctor, tmp_path: Path) -> None:
    """With the right one all is well and nothing was made; another one, or none, is refused."""
    database = tmp_path / "sessions.sqlite3"
    with served(database, api_key="a-key-of-the-server") as base_url:
        variables = {"HL_SESSIONS_BASE_URL": base_url}
        right = doctor("shop:app", HUMANLOOP_API_KEY="a-key-of-the-server", **variables)
        wrong = doctor("shop:app", HL_SESSIONS_API_KEY="another-key", **variables)
        missing = doctor("shop:app", **variables)
    assert "GET /projects is allowed with HUMANLOOP_API_KEY" in said(right)
    assert "POST /sessions is allowed with HUMANLOOP_API_KEY; none was made" in said(right)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    assert "refuses calls with HL_SESSIONS_API_KEY: 401 The API key is missing or wrong" in said(wrong)
    assert "refuses calls without a key: 401 The API key is missing or wrong" in said(missing)
    assert [result.returncode for result in (right, wrong, missing)] == [0, 1, 1]
    assert "the-server" not in right.stdout + wrong.stdout
    assert "another-key" not in wrong.stdout


def test_a_key_that_may_only_read_is_wrong(doctor: Doctor, sessions_api: SessionsAPI) -> None:
    """As nothing can be logged with it."""
    sessions_api.answer = answer_reads
    result = doctor(HL_SESSIONS_BASE_URL=sessions_api.base_url, HL_SESSIONS_API_KEY="a-key-for-reading")
    assert "ok GET /projects is allowed with HL_SESSIONS_API_KEY" in said(result)
    assert "wrong POST /sessions is refused with HL_SESSIONS_API_KEY: 403 This key is for" in said(result)
    assert result.returncode == 1


def test_what_does_not_work_is_wrong(doctor: Doctor) -> None:
    """An API that is down, in words; and an application that cannot be imported, by its error's last line.

    It has the place, and neither passwords nor a traceback.
    """
    shop = """
import os

def connect(url):
    raise ConnectionError(f"cannot reach {url} with " + os.environ["SHOP_TOKEN"] + " or password='hunter 5'")

connect("redis://shop:hunter2@cache/0?password=hunter3")
"""
    url = f"http://127.0.0.1:{free_port()}/v4"
    result = doctor("shop:app", shop=shop, HL_SESSIONS_BASE_URL=url, SHOP_TOKEN="hunter-4")
    assert (
        "wrong shop:app cannot be imported: ConnectionError: cannot reach"
        " redis://***@cache/0?password=*** with *** or password=*** (shop.py, line 5)"
    ) in said(result)
    assert f"wrong {url} (HL_SESSIONS_BASE_URL) does not answer: ConnectionRefusedError" in said(result)
    assert "hl-sessions serve starts a server" in said(result)
    assert "Traceback" not in result.stdout
    assert "2 wrong, 0 warnings." in result.stdout
    assert result.returncode == 1


def test_a_wrong_setting_of_the_application_is_told(doctor: Doctor) -> None:
    """Its middleware takes the default manager, and nothing was asked for that yet."""
    shop = """
from hl_sessions.integrations.asgi import HLSessionMiddleware

async def serve(scope, receive, send): ...

app = HLSessionMiddleware(serve)
"""
    result = doctor("shop:app", shop=shop, HL_SESSIONS_BASE_URL="http://127.0.0.1/v4?key=hunter2")
    assert "wrong HL_SESSIONS_BASE_URL='http://127.0.0.1/v4?...' must not have a query" in said(result)
    assert "hunter2" not in result.stdout
    assert result.returncode == 1


def test_a_middleware_that_is_not_outermost_is_a_warning(doctor: Doctor, tmp_path: Path) -> None:
    """It tells what stands around it. A dependency that opens a scope in vain is a warning, too."""
    pytest.importorskip("fastapi")
    with served(tmp_path / "sessions.sqlite3", api_key="a-key-of-the-server") as base_url:
        shop = f"""
from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from hl_sessions import SessionManager
from hl_sessions.integrations.starlette import HLSessionMiddleware
from hl_sessions.stores import SQLiteStore

store = SQLiteStore("chats.db")
manager = SessionManager({base_url!r}, "a-key-of-the-server", store=store, project="shop")

def session():
    with manager.session() as session:
        yield session

def user(session=Depends(session)):
    return "me"

app = FastAPI()
app.add_middleware(HLSessionMiddleware, manager=manager)
app.add_middleware(CORSMiddleware)

@app.get("/")
async def home(user=Depends(user)): ...
"""
        result = doctor("shop:app", shop=shop)
    assert "warning outside of HLSessionMiddleware is CORSMiddleware:" in said(result)
    assert "warning the dependency session() opens its scope in a worker thread" in said(result)
    assert f"ok {base_url} (set by the application) answers" in said(result)
    assert "GET /projects is allowed with the key of the application" in said(result)
    assert "conversations are kept in SQLiteStore(" in said(result)
    assert "no project is set" not in result.stdout
    assert "loaded by shop:app: asgi, starlette" in said(result)
    assert "0 wrong, 2 warnings." in result.stdout
    assert result.returncode == 0
    assert "the-server" not in result.stdout


def test_the_middlewares_of_django_are_those_of_its_settings(
    doctor: Doctor, sessions_api: SessionsAPI
) -> None:
    """In the handler of a project they do not show."""
    pytest.importorskip("django")
    sessions_api.answer = answer_reads
    shop = """
import os
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from hl_sessions import SessionManager
from hl_sessions.integrations.django import header

ours = "hl_sessions.integrations.django.HLSessionMiddleware"
settings.configure(
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", ours],
    HL_SESSIONS={"manager": SessionManager(os.environ.pop("SHOP_URL")), "key": header("X-Chat-ID")},
)
app = get_wsgi_application()
"""
    result = doctor("shop:app", shop=shop, SHOP_URL=sessions_api.base_url)
    outer = "is django.middleware.common.CommonMiddleware:"
    assert f"warning outside of hl_sessions.integrations.django.HLSessionMiddleware {outer}" in said(result)
    assert "-> make it the first of MIDDLEWARE" in said(result)
    assert "conversations are kept in MemoryStore(maxsize=100000) - each process has its own" in said(result)
    assert f"ok {sessions_api.base_url} (set by the application) answers" in said(result)


def test_what_the_loaded_libraries_do_is_a_warning(doctor: Doctor, sessions_api: SessionsAPI) -> None:
    """A queue without its integration, and gevent without its patches; not what is installed only.

    The command ends, though a thread of the application does not.
    """
    pytest.importorskip("gevent")
    sessions_api.answer = lambda request: (
        Answer(422, {"detail": []}) if request.method == "POST" else answer_reads(request)
    )
    thread = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    shop = f"import celery, gevent, rq\nimport hl_sessions.integrations.celery\n{SHOP}{thread}"
    result = doctor("shop:app", shop=shop, HL_SESSIONS_BASE_URL=sessions_api.base_url)
    _, _, libraries = said(result).partition(" Libraries ")
    assert re.findall(r"warning (\S+)", libraries) == ["gevent", "rq"]
    assert "-> use hl_sessions.integrations.rq (docs/jobs.md)" in libraries
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        ("signal.raise_signal(signal.SIGINT)", 130),
        ("(pipe := os.pipe(), os.close(pipe[0]), os.dup2(pipe[1], 1))", 1),
    ],
    ids=["ctrl-c", "no reader of the output"],
)
def test_it_ends_at_once_when_nobody_waits_for_it(doctor: Doctor, happens: str, code: int) -> None:
    """Though a thread of the application does not end."""
    thread = "threading.Thread(target=threading.Event().wait).start()"
    result = doctor("shop:app", shop=f"import os, signal, threading\n{thread}\n{happens}\n")
    assert (result.returncode, result.stderr) == (code, "")


def test_what_another_library_only_looks_for_is_no_warning(doctor: Doctor, sessions_api: SessionsAPI) -> None:
    """Sentry's SDK imports gevent, where it is installed, to see whether it is used.

    A module that is loaded by the first look into it, and fails, is left alone.
    """
    pytest.importorskip("gevent")
    pytest.importorskip("sentry_sdk")
    sessions_api.answer = lambda request: (
        Answer(422, {"detail": []}) if request.method == "POST" else answer_reads(request)
    )
    shop = f"import sentry_sdk, sys\nassert 'gevent' in sys.modules\n{SHOP}{LAZY_MODULE}"
    result = doctor("shop:app", shop=shop, HL_SESSIONS_BASE_URL=sessions_api.base_url)
    assert said(result).endswith("All is well.")


def test_an_application_that_patches_everything_works(doctor: Doctor, sessions_api: SessionsAPI) -> None:
    """The doctor has done nothing by then that gevent's patches would break."""
    pytest.importorskip("gevent")
    sessions_api.answer = lambda request: (
        Answer(422, {"detail": []}) if request.method == "POST" else answer_reads(request)
    )
    shop = f"from gevent import monkey\nmonkey.patch_all()\n{SHOP}"
    result = doctor("shop:app", shop=shop, HL_SESSIONS_BASE_URL=sessions_api.base_url)
    assert said(result).endswith("All is well.")
    assert result.returncode == 0


def test_a_closed_pipe_ends_it_without_a_word(sessions_api: SessionsAPI) -> None:
    """As that of ``head`` is when it has read enough."""
    sessions_api.answer = answer_reads
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [HL_SESSIONS, "doctor"],
        env=os.environ | {"HL_SESSIONS_BASE_URL": sessions_api.base_url},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 1


def test_no_extra_is_needed(sessions_api: SessionsAPI) -> None:
    """Neither what the server needs nor a framework is loaded."""
    sessions_api.answer = answer_reads
    missing = ("click", "fastapi", "flask", "sqlalchemy", "starlette", "celery")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r})); sys.argv = ['hl-sessions', 'doctor'];"
        " from hl_sessions.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HL_SESSIONS_BASE_URL": "ftp://127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "wrong HL_SESSIONS_BASE_URL='ftp://127.0.0.1' is not an http or https URL" in said(result)
    assert result.returncode == 1


def test_a_terminal_has_colours_and_is_told_what_goes_on(sessions_api: SessionsAPI, tmp_path: Path) -> None:
    """Nobody wonders why nothing happens while an application is imported or the API is waited for."""
    sessions_api.answer = answer_reads
    (tmp_path / "shop.py").write_text(SHOP)
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [HL_SESSIONS, "doctor", "shop:app"],
        cwd=tmp_path,
        env=os.environ | {"HL_SESSIONS_BASE_URL": sessions_api.base_url},
        stdout=end,
        stderr=end,
    )
    os.close(end)
    output = _read_all(terminal)
    assert process.wait(PATIENCE) == 1
    assert "importing shop:app ...\r\x1b[K" in output
    assert f"waiting for {sessions_api.base_url}, 5 seconds at most ...\r\x1b[K" in output
    assert "\x1b[32mok     \x1b[0m HLSessionMiddleware stands outermost" in output
    assert "\x1b[31mwrong  \x1b[0m POST /sessions is refused without a key" in output


def _read_all(terminal: int) -> str:
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux tells of the end of a terminal
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts).decode()
        parts.append(part)


def test_the_commands_tell_of_it(doctor: Doctor) -> None:
    """``--help`` says what it does, in the width of a terminal. The list of the commands has it, uncut."""
    own = doctor("--help")
    assert own.stdout.startswith("usage: hl-sessions doctor [-h] [module:app]\n")
    assert "HL_SESSIONS_BASE_URL" in said(own)
    pytest.importorskip("fastapi")
    every: Any = subprocess.run([HL_SESSIONS, "--help"], capture_output=True, text=True, check=True)
    assert "\n  doctor  Say what is wrong with the API, an application or its libraries.\n" in every.stdout
    assert "..." not in every.stdout.partition("\nCommands:")[2]
