"""The blocks of code in the pages of the guide about other libraries."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"


def run_block(page: str, heading: str) -> dict[str, Any]:
    """The names that a block defines: the only one below a heading."""
    code = _block(page, heading)
    namespace: dict[str, Any] = {"__name__": "block"}
    exec(compile(code, f"{page}: {heading}", "exec"), namespace)
    return namespace


def _block(page: str, heading: str) -> str:
    text = (DOCS / page).read_text()
    title, found = "", list[str]()
    for heading_above, code in re.findall(
        r"^##+ (.*?)$|^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    ):
        title = heading_above or title
        if code and title == heading:
            found.append(code)
    (code,) = found
    return code
