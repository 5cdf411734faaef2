import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

import hl_sessions.demo
from tests.chromium import chromium
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

FOLDER = Path(hl_sessions.demo.__file__).parent


@pytest.fixture(scope="module")
def pages() -> Iterator[Any]:
    """Opens pages."""
    with chromium() as browser:
        yield browser.new_page


@pytest.fixture
def page(pages: Any, chat: Any) -> Iterator[Page]:
    """The page of the shared chat. Anything on its console, such as a refused script, fails the test."""
    page = pages()
    page.set_default_timeout(1000 * PATIENCE)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(chat.url)
    expect(page.get_by_label("Your message")).to_be_focused()
    yield page
    page.close()
    # Some tests have calls that are answered with an error.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


def test_a_message_shows_its_reply_and_its_session(page: Page, chat: Any, pausing_chat: Any) -> None:
    """The reply comes word by word, and the session under it is in the list with three datapoints."""
    page.goto(pausing_chat.url)
    page.get_by_label("Your message").fill("Do threads <b>share</b> the session?")
    page.keyboard.press("Enter")
    expect(page.locator(".message.bot")).to_have_text("Worker")
    pausing_chat.may_go_on.set()
    chip = page.get_by_title("Show this session in the list")
    expect(chip).to_be_visible()
    expect(page.locator(".message.you")).to_have_text("Do threads <b>share</b> the session?")
    expect(page.locator(".message.bot")).to_contain_text("Worker threads see the session")
    session_id = chip.locator("code").inner_text()
    card = page.locator(".session.is-current")
    expect(card.locator(".session-id")).to_have_text(session_id)
    expect(card.locator(".step")).to_have_text(["moderation", "retrieval", "answer"])
    expect(card.locator(".is-pending")).to_have_count(0)
    assert chat.steps(session_id) == ["moderation", "retrieval", "answer"]
    with page.expect_popup() as popup:
        card.get_by_role("link", name=session_id).click()
    expect(popup.value).to_have_url(f"{chat.api_url.removesuffix('v4')}sessions/{session_id}")
    expect(popup.value.get_by_role("heading", level=1)).to_have_text("Do threads <b>share</b> the session?")
    popup.value.close()


def test_a_session_of_an_earlier_reply_can_be_shown_again(page: Page) -> None:
    """A click on the ID under a reply marks its session in the list."""
    chips = page.get_by_title("Show this session in the list")
    for count in (1, 2):
        page.get_by_role("button", name="When is a session created?").click()
        expect(chips).to_have_count(count)
    current = page.locator(".session.is-current .session-id")
    expect(current).to_have_text(chips.nth(1).locator("code").inner_text())
    chips.nth(0).click()
    expect(current).to_have_text(chips.nth(0).locator("code").inner_text())


def test_an_end_of_the_demo_is_said_on_the_page(page: Page) -> None:
    """The list stays, and both the list and the chat show what is wrong."""
    page.route("**/*", lambda route: route.abort("connectionrefused"))
    expect(page.get_by_role("alert")).to_have_text(
        "The demo has ended. Start it again with: hl-sessions demo"
    )
    page.get_by_role("button", name="When is a session created?").click()
    expect(page.locator(".message.problem")).to_have_text("The chat application does not answer.")


def test_an_api_that_fails_is_said_on_the_page(page: Page) -> None:
    """The sentence of the chat application is shown, until the API is back."""
    page.route("**/sessions", lambda route: route.fulfill(status=502, json={"error": "Away"}))
    expect(page.get_by_role("alert")).to_have_text("Away")
    page.unroute("**/sessions")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_page_is_whole_and_closed_to_foreign_content(chat: Any) -> None:
    """It names no other host, has no inline code, and tells browsers to load nothing foreign."""
    response = requests.get(chat.url, timeout=PATIENCE)
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    references = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert [reference for reference in references if not reference.startswith("data:")] == [
        "/static/base.css",
        "/static/demo.css",
        "/static/demo.js",
    ]
    assert not re.search(r"<style|<script>|\son\w+=|style=", response.text)
    for reference in references[1:]:
        assert requests.get(chat.url.rstrip("/") + reference, timeout=PATIENCE).ok


def test_the_code_on_the_page_is_the_code_that_runs() -> None:
    """Every line that the page shows is in the source of the demo."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))
    page = (FOLDER / "static" / "index.html").read_text(encoding="utf-8")
    shown = html.unescape("\n".join(re.findall(r"<code>(.+?)</code>", page, re.DOTALL))).splitlines()
    assert len(shown) == 5
    assert [line for line in shown if line.strip() not in source] == []
