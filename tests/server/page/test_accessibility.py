"""Axe, which checks the Web Content Accessibility Guidelines, finds no problem in any view."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.server.page.conftest import PHONE, Reader
from tests.servers import served

pytestmark = pytest.mark.slow

AXE = Path(__file__).parents[3] / ".npm/axe-core/node_modules/axe-core/axe.min.js"
DESKTOP = {"width": 1280, "height": 800}
ZOOMED = {"width": 640, "height": 400}  # a desktop at 200 %


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        pytest.skip("there is no axe-core: run 'make accessibility'")
    return AXE.read_text()


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The address of each view, on a server with something to show in each."""
    with served(tmp_path_factory.mktemp("views") / "views.sqlite3") as base_url:
        reader = Reader(base_url.removesuffix("/v4"))
        yield {name: reader.url + path for name, path in fill(reader).items()}
        reader.http.close()


def fill(reader: Reader) -> dict[str, str]:
    """Log datapoints of all kinds, and return the path of each view."""
    answer = {
        "project": "shop assistant",
        "session_reference_id": "chat",
        "source": "answer",
        "environment": "production",
        "config": {"type": "model", "model": "large-1"},
        "inputs": {"question": "Where is my order?", "order": {"number": 4711, "parts": ["shoe", "lace"]}},
        "messages": [{"role": "user", "content": "Where is my order?"}],
        "output": "On *Thursday*.\n\n| Weight | Price |\n|---|---|\n| 2 kg | 9 € |\n\n```sql\nSELECT 1\n```",
        "metadata": {"customer": "acme", "score": 4},
        "duration": 1.5,
        "prompt_tokens": 120,
        "output_tokens": 30,
        "prompt_cost": 0.01,
        "output_cost": 0.02,
    }
    first, second, nested = reader.log(
        answer | {"reference_id": "first", "feedback": [{"type": "rating", "value": "good"}]},
        answer | {"reference_id": "second", "output": None, "error": "TimeoutError: it took too long"},
        answer | {"reference_id": "nested", "parent_reference_id": "first", "source": "retrieval"},
    )
    session = f"/sessions/{first['session_id']}"
    reader.post(f"{session}/feedback", data={"type": "note", "value": "The customer was happy."})
    for form in (
        {"type": "tone", "kind": "list", "values": "formal, casual"},
        {"type": "score", "kind": "number"},
    ):
        reader.post(f"/projects/{first['project_id']}/feedback-types", data=form)
    return {
        "list": "/",
        "filtered list": "/?q=order&errors=1",
        "empty list": "/?q=nowhere",
        "refused filter": "/?q=cost>much&from=yesterday",
        "sorted list": "/?q=model:large-1&sort=-duration",
        "conversation": session,
        "timeline": f"{session}?view=timeline",
        "datapoint": f"/datapoints/{first['id']}",
        "nested datapoint": f"/datapoints/{nested['id']}",
        "comparison": f"/datapoints/{first['id']}/compare?with={second['id']}",
        "judging": f"/judging/{first['session_id']}",
        "nothing to judge": "/judging?q=nowhere",
        "projects": "/projects",
        "activity": "/activity",
        "sums": "/activity?q=order",
        "nothing there": "/sessions/sesh_none",
    }


def objections(page: Page, axe: str) -> list[str]:
    """Return the problems that Axe finds, with the elements."""
    page.evaluate(axe)
    found: dict[str, Any] = json.loads(page.evaluate("axe.run().then(JSON.stringify)"))
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(
    ("viewport", "scheme"),
    [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (ZOOMED, "dark")],
    ids=["light", "dark", "phone", "zoomed"],
)
def test_axe_objects_to_nothing(
    viewport: Any, scheme: Any, axe: str, views: dict[str, str], open_page: Callable[..., Page]
) -> None:
    """No view scrolls sideways either."""
    page = open_page("about:blank", viewport=viewport, color_scheme=scheme)
    found = {}
    for name, address in views.items():
        page.goto(address)
        found[name] = objections(page, axe)
        if page.evaluate("document.documentElement.scrollWidth") > viewport["width"]:
            found[name].append("it scrolls sideways")
    assert {name: those for name, those in found.items() if those} == {}


def test_axe_objects_to_no_dialog(axe: str, views: dict[str, str], open_page: Callable[..., Page]) -> None:
    """Those for keys and for jumping, and the completions."""
    page = open_page(views["list"])
    for keys in ("?", "Control+k"):
        page.keyboard.press(keys)
        page.get_by_role("dialog").wait_for()
        assert objections(page, axe) == []
        page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Search").press("ArrowDown")
    page.get_by_role("listbox", name="Suggestions").wait_for()
    assert objections(page, axe) == []


def test_axe_objects_to_no_deletion(axe: str, open_page: Callable[..., Page], tmp_path: Path) -> None:
    """The question, on a desktop and on a phone, and the result."""
    with served(tmp_path / "deleted.sqlite3") as base_url:
        reader = Reader(base_url.removesuffix("/v4"))
        for _ in range(2):
            reader.log(project="deleted", session_reference_id="deleted")
        reader.log(project="deleted", session_reference_id="too")
        reader.http.close()
        for viewport in (DESKTOP, PHONE):
            page = open_page(reader.url, viewport=viewport)
            page.get_by_label("All on this page").check()
            assert objections(page, axe) == []
            page.get_by_role("button", name="Delete").click()
            page.get_by_role("heading", name="Delete 2 sessions").wait_for()
            assert objections(page, axe) == []
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("link", name="To the sessions").wait_for()
        assert objections(page, axe) == []


def test_axe_objects_to_no_sign_in(axe: str, locked_server: Any, open_page: Callable[..., Page]) -> None:
    """The form, and the list with the button to sign out."""
    page = open_page(locked_server.url)
    assert objections(page, axe) == []
    page.get_by_label("Key").fill(locked_server.settings.api_key)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()
    assert objections(page, axe) == []


def test_no_view_shifts_its_layout(views: dict[str, str], open_page: Callable[..., Page]) -> None:
    """Content that is shown first stays where it is."""
    shifted = """async () => {
      await document.fonts.ready;
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const observer = new PerformanceObserver(() => {});
      observer.observe({ type: "layout-shift", buffered: true });
      return observer.takeRecords().reduce((sum, entry) => sum + entry.value, 0);
    }"""
    found = {}
    for name, address in views.items():
        page = open_page(address)
        found[name] = page.evaluate(shifted)
    # On a busy machine "just now" becomes "5 s ago", which moves the words behind it: about 0.00002.
    assert {name: value for name, value in found.items() if value > 0.001} == {}
