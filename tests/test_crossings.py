"""What the guide says of other libraries is what ``make test-crossings`` tests."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CROSSINGS = {path.name: path.read_text() for path in (ROOT / "crossings").glob("test_*.py")}
PAGES = "".join((ROOT / "docs" / page).read_text() for page in ("agents.md", "chat-pages.md", "jobs.md"))
RUN_HERE = {"One message, one session"}  # by the tests of the guide: FastAPI is among their dependencies


@pytest.mark.parametrize("page", ["agents.md", "chat-pages.md"])
def test_every_block_is_run(page: str) -> None:
    """A new block needs a test in ``crossings/``, which names the heading above it."""
    tests = "".join(CROSSINGS.values())
    text = (ROOT / "docs" / page).read_text()
    heading = ""
    for found, is_block in re.findall(r"^##+ (.*?)$|^(```python)$", text, re.MULTILINE):
        heading = found or heading
        if is_block and heading not in RUN_HERE:
            assert f'run_block("{page}", "{heading}")' in tests


@pytest.mark.parametrize("name", CROSSINGS)
def test_the_versions_are_those_that_are_tested(name: str) -> None:
    """The guide names each version that is pinned."""
    dependencies = re.search(r"^# dependencies = (\[.*\])$", CROSSINGS[name], re.MULTILINE)
    assert dependencies
    pins = [each.partition("==")[2] for each in json.loads(dependencies[1]) if "==" in each]
    assert pins
    assert [version for version in pins if version not in PAGES] == []
