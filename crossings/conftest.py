"""Real servers on the loopback, and managers of a sessions API that counts its calls."""

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crossings.openai_api import call_tools
from hl_sessions import SessionManager
from tests.sessions_api import SessionsAPI
from tests.waiting import PATIENCE

# Libraries look these up when they are imported: none is to call home.
os.environ["CREWAI_DISABLE_TELEMETRY"] = "true"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["OPIK_ANALYTICS_ENABLE"] = "false"
os.environ["OPIK_SENTRY_ENABLE"] = "false"
os.environ["WANDB_ERROR_REPORTING"] = "false"

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HL_SESSIONS_BASE_URL", "HL_SESSIONS_API_KEY", "HUMANLOOP_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def sessions_api() -> Iterator[SessionsAPI]:
    api = SessionsAPI()
    yield api
    api.close()


@pytest.fixture
def manager(sessions_api: SessionsAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[SessionManager]:
    """The default manager."""
    with SessionManager(sessions_api.base_url, timeout=PATIENCE) as manager:
        monkeypatch.setattr("hl_sessions.defaults._default.manager", manager)
        yield manager


@pytest.fixture
def openai_url() -> Iterator[str]:
    """The base URL of a model that calls its tools."""
    api = SessionsAPI()
    api.answer = call_tools
    yield api.base_url
    api.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serves applications with uvicorn, each from a thread, and returns the URL; until the test ends."""
    import socket

    import uvicorn

    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(app: Any) -> str:
        is_up = threading.Event()

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                is_up.set()

        server = Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread, listener))
        assert is_up.wait(PATIENCE)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, _, _ in running:
        server.should_exit = True
    for _, thread, listener in running:
        thread.join(PATIENCE)
        listener.close()


@pytest.fixture
def open_page() -> Iterator[Callable[[str], Any]]:
    """Opens pages in a browser, each as a visitor of its own; for files that depend on Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # pages ask for fonts elsewhere
            ],
        )

        def open_one(url: str) -> Any:
            page = browser.new_context().new_page()
            page.set_default_timeout(1000 * PATIENCE)
            page.goto(url)
            return page

        yield open_one
        browser.close()
