"""Visits of pages in a browser, and the texts that the visitor sees."""

import re
from collections.abc import Callable
from typing import Any


def ask_twice(page: Any, ask: Callable[[], object], *, shown_at_first: int = 0) -> list[str]:
    """Return the session IDs, or "None", that a page shows at first and after each of two questions."""
    shown = page.get_by_text(re.compile("^(sesh_.*|None)$"))
    for number in range(shown_at_first + 2):
        if number >= shown_at_first:
            ask()
        shown.nth(number).wait_for()
    sessions: list[str] = shown.all_inner_texts()
    return sessions


def click_twice(page: Any, *, shown_at_first: int = 0) -> list[str]:
    """Do so on a page with one button."""
    return ask_twice(page, page.get_by_role("button").click, shown_at_first=shown_at_first)
