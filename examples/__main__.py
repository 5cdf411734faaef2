"""Run an example with all that it needs: python examples fastapi_chat.

That is a server of sessions in a temporary folder, unless HL_SESSIONS_BASE_URL names one, a model that needs
no network, and for Celery a broker in the same folder, unless REDIS_URL names one. Ctrl-C ends it.
"""

import argparse
import os
import re
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hl_sessions.server.application import create_application
from hl_sessions.server.run.serving import base_url, in_background
from hl_sessions.server.settings import ServerSettings

FOLDER: Final = Path(__file__).parent
OURS: Final = {"__main__", "fake_model"}
PATIENCE: Final = 10  # seconds that an example has to end after Ctrl-C


def check(name: str) -> None:
    """Check that the libraries and the variables of an example are there, before anything is started.

    Raises:
        SystemExit: Some are missing; the message names them.
    """
    source = (FOLDER / f"{name}.py").read_text()
    imported = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
    if absent := sorted({module for module in imported if find_spec(module) is None}):
        install, *_ = re.findall("pip install [^`]+", source)
        raise SystemExit(f"{name} needs {', '.join(absent)}: {install}")
    read = re.findall(r'os\.environ\["(\w+)"\]', source)
    if unset := [variable for variable in read if variable not in os.environ]:
        raise SystemExit(f"{name} needs {' and '.join(unset)} in the environment")


@contextmanager
def services() -> Iterator[dict[str, str]]:
    """Run what examples need as long as the ``with`` block runs; gives the environment that says where."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="hl-sessions-examples-"))
        model = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(in_background(runpy.run_path(f"{FOLDER}/fake_model.py")["app"], model, grace=1))
        url = os.environ.get("HL_SESSIONS_BASE_URL")
        if url is None:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            application = create_application(ServerSettings(database=f"{folder}/sessions.sqlite3"))
            stack.enter_context(in_background(application, server, grace=1))
            url = base_url(server)
        redis = os.environ.get("REDIS_URL")
        yield {
            "HL_SESSIONS_BASE_URL": url,
            "OPENAI_BASE_URL": base_url(model, "/v1"),
            "OPENAI_API_KEY": "none",
            "CELERY_BROKER_URL": redis or f"sqla+sqlite:///{folder}/jobs.sqlite3",
            "CELERY_RESULT_BACKEND": redis or f"db+sqlite:///{folder}/jobs.sqlite3",
            "no_proxy": "127.0.0.1",
        }


def run(name: str) -> None:
    """Run an example until Ctrl-C, which reaches it, too; the page of one that ends before stays until then.

    Raises:
        SystemExit: The example lacks something, or has failed; then the code is its own.
    """
    check(name)
    with services() as environment:
        page = environment["HL_SESSIONS_BASE_URL"].removesuffix("v4")
        print(f"The page with the sessions: {page}", flush=True)
        example = subprocess.Popen([sys.executable, FOLDER / f"{name}.py"], env=os.environ | environment)
        try:
            if example.wait():
                raise SystemExit(example.returncode)
            print("Done. Ctrl-C ends the page, too.", flush=True)
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired):  # Gradio waits for pages that are still open
                example.wait(PATIENCE)
        finally:
            example.kill()


def main() -> None:
    """Run the example that the command line names."""
    names = sorted({path.stem for path in FOLDER.glob("*.py")} - OURS)
    parser = argparse.ArgumentParser(prog="examples", description=__doc__)
    parser.add_argument("name", choices=names)
    run(parser.parse_args().name)


if __name__ == "__main__":
    main()
