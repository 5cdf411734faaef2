"""The blocks of docs/testing.md are the tests of an application, and pass."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()


def test_the_blocks_pass(pytester: pytest.Pytester) -> None:
    """Each as the file that its first line names, or as one of its own."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for number, code in enumerate(blocks):
        name = re.match(r"# (\w+)\.py\n", code)
        pytester.makepyfile(**{name[1] if name else f"test_block_{number}": code})
    # What a store has to do is tested with ours, and takes its time. In this process, modules that the blocks
    # are the first to import would be imported again by later tests, with classes of their own.
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-k", "not TestMyStore")
    assert result.parseoutcomes()["passed"] == len(re.findall(r"^ *def test_", "".join(blocks), re.MULTILINE))
    assert not {"failed", "errors", "warnings"} & result.parseoutcomes().keys()
