"""What the guide says of other libraries is what ``make test-crossings`` tests."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CROSSINGS = {path.name: path.read_text() for path in (ROOT / "crossings").glob("test_*.py")}
CLIENTS = (ROOT / "tests" / "integrations" / "test_model_clients.py").read_text()
NAMES = ("agents.md", "chat-pages.md", "jobs.md", "logs-and-traces.md")
PAGES = "".join((ROOT / "docs" / name).read_text() for name in NAMES)
RUN_HERE = {"One message, one session"}  # by the tests of the guide: FastAPI is among their dependencies


@pytest.mark.parametrize(
    ("page", "chapter"),
    [("agents.md", ""), ("chat-pages.md", ""), ("logs-and-traces.md", "Model clients and frameworks")],
)
def test_every_block_is_run(page: str, chapter: str) -> None:
    """A new block needs a test, most of them in ``crossings/``, which names the heading above it."""
    tests = "".join([*CROSSINGS.values(), CLIENTS])
    text = (ROOT / "docs" / page).read_text()
    if chapter:
        text = text.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    heading, count = "", 0
    for found, is_block in re.findall(r"^##+ (.*?)$|^(```python)$", text, re.MULTILINE):
        heading = found or heading
        if is_block and heading not in RUN_HERE:
            count += 1
            assert f'run_block("{page}", "{heading}")' in tests
    assert count


@pytest.mark.parametrize("name", CROSSINGS)
def test_the_versions_are_those_that_are_tested(name: str) -> None:
    """The guide names each version that is pinned."""
    dependencies = re.search(r"^# dependencies = (\[.*\])$", CROSSINGS[name], re.MULTILINE)
    assert dependencies
    pins = [each.partition("==")[2] for each in json.loads(dependencies[1]) if "==" in each]
    assert pins
    assert [version for version in pins if version not in PAGES] == []
