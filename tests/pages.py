"""The blocks of code in the pages of the guide about other libraries."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"


def run_block(page: str, heading: str, addresses: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The names that a block defines: the only one below a heading.

    Each of the ``addresses`` that it names is replaced by the one of a test.
    """
    code = _block(page, heading)
    for named, real in (addresses or {}).items():
        assert named in code
        code = code.replace(named, real)
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
