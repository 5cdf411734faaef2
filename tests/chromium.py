"""A browser for the tests of pages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.waiting import PATIENCE

_PROGRAM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a Chromium; CI has to have one, a laptop need not."""
    if not _PROGRAM.exists() and "CI" not in os.environ:
        pytest.skip(f"no browser at {_PROGRAM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_PROGRAM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        expect.set_options(timeout=1000 * PATIENCE)
        yield browser
        browser.close()
