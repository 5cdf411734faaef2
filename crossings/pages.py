"""The blocks of code in the pages of the guide about other libraries."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"


def blocks(page: str) -> dict[str, str]:
    """The Python blocks of a page, by the heading above."""
    found: dict[str, str] = {}
    title = ""
    text = (DOCS / page).read_text()
    for heading, code in re.findall(r"^##+ (.*?)$|^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        title = heading or title
        if code:
            assert title not in found, f"{page} has two blocks below {title!r}: a heading each"
            found[title] = code
    return found


def run_block(page: str, heading: str) -> dict[str, Any]:
    """The names that a block defines."""
    namespace: dict[str, Any] = {"__name__": "block"}
    exec(compile(blocks(page)[heading], f"{page}: {heading}", "exec"), namespace)
    return namespace
