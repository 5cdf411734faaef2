"""What the guide says of other libraries is what ``make test-crossings`` tests."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CROSSINGS = {path.name: path.read_text() for path in (ROOT / "crossings").glob("test_*.py")}
AGENTS = (ROOT / "docs" / "agents.md").read_text()
PAGES = "".join(
    (ROOT / "docs" / page).read_text()
    for page in ("agents.md", "chat-pages.md", "jobs.md", "logs-and-traces.md")
)


def test_every_block_about_agents_is_run() -> None:
    """A new block needs a test in ``crossings/``, which names the heading above it."""
    tests = "".join(CROSSINGS.values())
    heading = ""
    for found, is_block in re.findall(r"^##+ (.*?)$|^(```python)$", AGENTS, re.MULTILINE):
        heading = found or heading
        if is_block:
            assert f'run_block("agents.md", "{heading}")' in tests


@pytest.mark.parametrize("name", CROSSINGS)
def test_the_versions_are_those_that_are_tested(name: str) -> None:
    """The guide names each version that is pinned."""
    dependencies = re.search(r"^# dependencies = (\[.*\])$", CROSSINGS[name], re.MULTILINE)
    assert dependencies
    pins = [each.partition("==")[2] for each in json.loads(dependencies[1]) if "==" in each]
    assert pins
    assert [version for version in pins if version not in PAGES] == []
