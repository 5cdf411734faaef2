"""The guide as a site: whole, and read without another host."""

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

import hl_sessions
from hl_sessions import carrying, errors, stores, testing
from tests.chromium import chromium
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"


@pytest.mark.parametrize("module", [hl_sessions, errors, stores, carrying, testing])
def test_the_reference_has_every_public_name(module: ModuleType) -> None:
    """A name that users may import is described."""
    text = (ROOT / "docs" / "api.md").read_text()
    described = set(re.findall(r"^::: [\w.]+\.(\w+)$|`hl_sessions\.(\w+)\(", text, re.MULTILINE))
    assert set(module.__all__) <= {name for names in described for name in names}


def test_the_reference_has_every_integration() -> None:
    """Each module that users may name in an import has its part, and each part is of a module."""
    text = (ROOT / "docs" / "api-integrations.md").read_text()
    for name in re.findall(r"^::: hl_sessions\.integrations\.(\w+)", text, re.MULTILINE):
        assert (ROOT / "integrations" / f"{name}.py").is_file()
    imported = {
        name
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for name in re.findall(r"from hl_sessions\.integrations\.(\w+) import", page.read_text())
    }
    assert imported
    assert [name for name in sorted(imported) if f"::: hl_sessions.integrations.{name}\n" not in text] == []


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address and the folder of the site as ``make docs`` builds it."""
    if not MKDOCS.is_file():
        pytest.skip("needs make docs")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [MKDOCS, "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.fixture
def browser() -> Iterator[BrowserContext]:
    with chromium() as browser:
        context = browser.new_context()
        context.set_default_timeout(1000 * PATIENCE)
        yield context


@pytest.mark.slow
def test_no_page_names_what_another_host_has(site: tuple[str, Path]) -> None:
    """Links lead elsewhere; scripts, styles, fonts and pictures are of the site."""
    _, folder = site
    pages = sorted(folder.rglob("*.html"))
    assert {"index.html", "guide.html", "api.html", "flask_chat.html"} <= {page.name for page in pages}
    elsewhere = re.compile(
        r'<(?!a\b)[^>]*\b(?:src|href|srcset|data)="(?:https?:)?//[^"]*"|url\(["\']?https?:[^)]*\)'
    )
    texts = {file.name: file.read_text() for file in [*pages, *folder.rglob("*.css")]}
    assert {name: elsewhere.findall(text) for name, text in texts.items() if elsewhere.search(text)} == {}


@pytest.mark.slow
def test_reading_and_searching_ask_no_other_host(site: tuple[str, Path], browser: BrowserContext) -> None:
    """A search finds a section, its link leads there, and all came from where the page came from."""
    url, _ = site
    page = browser.new_page()
    asked: list[str] = []
    refused: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda response: refused.append(response.url) if response.status >= 400 else None)
    page.goto(f"{url}/index.html")
    page.keyboard.press("/")
    page.keyboard.type("StoreConformance")
    page.locator(".md-search-result__link").get_by_text("A store of your own").first.click()
    expect(page.get_by_role("heading", name="A store of your own")).to_be_in_viewport()
    assert [address for address in asked if not address.startswith((f"{url}/", "data:", "blob:"))] == []
    assert refused == []
