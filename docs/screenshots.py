"""Takes the picture of the demo that the documentation shows: ``python docs/screenshots.py``.

Needs playwright and a Chromium; ``CHROMIUM`` names one that is not at ``/usr/bin/chromium``.
"""

import os
from pathlib import Path
from socket import create_server
from typing import Final

from playwright.sync_api import Page, expect, sync_playwright

from hl_sessions.demo.running import running_demo

PICTURE: Final = Path(__file__).with_name("demo.png")


def take_screenshots() -> None:
    """Start a demo, chat with it, and keep what the page looks like then."""
    os.environ["no_proxy"] = "127.0.0.1"
    with (
        create_server(("127.0.0.1", 0)) as chat,
        create_server(("127.0.0.1", 0)) as api,
        running_demo(chat, api, database=None, seconds_per_word=0.01),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(
            viewport={"width": 1280, "height": 800}, color_scheme="light", locale="en-GB", timezone_id="UTC"
        )
        page.goto(f"http://127.0.0.1:{chat.getsockname()[1]}/")
        _chat_on(page)
        page.screenshot(path=PICTURE, animations="disabled")
        browser.close()


def _chat_on(page: Page) -> None:
    examples = page.get_by_role("group", name="Example questions").get_by_role("button")
    for count, example in enumerate(examples.all(), 1):
        example.click()
        expect(page.get_by_title("Show this session in the list")).to_have_count(count)
    expect(page.locator(".datapoint:not(.is-pending)")).to_have_count(9)
    # Nothing is to look focused, or as if the mouse were over it.
    page.mouse.move(0, 0)


if __name__ == "__main__":
    take_screenshots()
