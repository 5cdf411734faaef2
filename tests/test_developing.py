"""The first things that a newcomer sees are true: the lines of ``make help``, and editor settings."""

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("command", [["make"], ["make", "help"]])
def test_make_tells_what_each_target_does(command: list[str]) -> None:
    """Each target has a line, as it could not be found otherwise."""
    run = subprocess.run(
        [*command, "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )

    told = dict(re.findall(r"^make ([a-z-]+) +(\S.+)$", run.stdout, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(target for target in phony.split() if not target.startswith("."))
    assert len(told) == len(run.stdout.splitlines())


def test_editors_are_told_what_the_formatter_does() -> None:
    """Lines that an editor breaks are as long as those that the formatter leaves."""
    editors = ConfigParser()
    editors.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings = tomllib.load(file)["tool"]["ruff"]

    assert editors["*.py"]["max_line_length"] == str(settings["line-length"])
    assert editors["*.py"]["indent_size"] == str(settings.get("indent-width", 4))
