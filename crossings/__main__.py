"""Run each test file of this folder in an environment of its own, with the libraries that it names.

A file begins with the metadata of scripts, on one line: ``# dependencies = ["mcp<2,==1.30.0", "uvicorn"]``.
A line ``# tests = "tests/..."`` names a file of the ordinary tests that is run in its place.
With ``--newest``, pinned libraries (``==``) are replaced by the newest releases that the others allow.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from uv import find_uv_bin

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENVIRONMENTS = ROOT / ".venv-crossings"
# hl-sessions itself, with the packages by which the tests serve and call.
ALWAYS = ["--editable", ".[httpx,signing]", "pytest", "pytest-timeout"]

_DEPENDENCIES = re.compile(r"^# dependencies = (\[.*\])$", re.MULTILINE)
_TESTS = re.compile(r'^# tests = "(.*)"$', re.MULTILINE)
_PIN = re.compile(r",?==[^,;]+")


class Crossing:
    """One test file, and its environment."""

    def __init__(self, file: Path, *, is_newest: bool) -> None:
        text = file.read_text()
        elsewhere = _TESTS.search(text)
        self.file = file if elsewhere is None else ROOT / elsewhere[1]
        self.name = file.stem.removeprefix("test_")
        self.is_newest = is_newest
        self.folder = ENVIRONMENTS / (f"{self.name}-newest" if is_newest else self.name)
        found = _DEPENDENCIES.search(text)
        if found is None:
            raise SystemExit(f"{file.name} names no dependencies")
        self.pinned: list[str] = json.loads(found[1])

    def install(self) -> None:
        """Make the environment, unless it is there with these dependencies."""
        wanted = [_PIN.sub("", each) if self.is_newest else each for each in self.pinned]
        stamp = self.folder / "installed.json"
        if not self.is_newest and stamp.exists() and json.loads(stamp.read_text()) == wanted:
            return
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(self.folder))
        # The newest would be taken from a cache otherwise.
        refresh = ["--refresh"] if self.is_newest else []
        _uv("pip", "install", "--quiet", "--python", str(self.folder), *refresh, *ALWAYS, *wanted)
        stamp.write_text(json.dumps(wanted))

    def run(self) -> list[str]:
        """Run the tests, and return which fail, each with the line that says why."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        output = subprocess.run(
            [
                self.folder / "bin" / "python",
                *(
                    "-m",
                    "pytest",
                    "--quiet",
                    "--tb=short",
                    "-c",
                    HERE / "pytest.ini",
                    f"--junit-xml={report}",
                ),
                self.file,
            ],
            cwd=ROOT,
            env={**os.environ, "HOME": str(self.folder)},  # libraries keep files there
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if not report.exists():
            return [output.stdout]
        cases = ET.parse(report).getroot().iter("testcase")
        failures = [
            (case, failure) for case in cases for failure in case if failure.tag in {"failure", "error"}
        ]
        if failures and not self.is_newest:
            print(output.stdout)
        if output.returncode and not failures:
            return [output.stdout]
        return [f"{case.get('name')}: {failure.get('message', '')}" for case, failure in failures]

    def versions(self) -> str:
        """The installed releases of the pinned libraries, and the pins that they replace."""
        listed = json.loads(_uv("pip", "list", "--quiet", "--format=json", "--python", str(self.folder)))
        installed = {each["name"]: each["version"] for each in listed}
        pins = (each.partition("==") for each in self.pinned if "==" in each)
        versions = []
        for requirement, _, pin in pins:
            name = re.split(r"[<>!~=\[;]", requirement)[0]
            version = installed[name]
            versions.append(f"{name} {version}" if version == pin else f"{name} {pin} -> {version}")
        return ", ".join(versions)


def _uv(*arguments: str) -> str:
    return subprocess.run(
        [find_uv_bin(), *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tests that are asked for, and end with 1 if any fails."""
    parser = argparse.ArgumentParser(prog="crossings", description=__doc__)
    parser.add_argument("--newest", action="store_true", help="on the newest releases, and print the changes")
    parser.add_argument("names", nargs="*", help="mcp_1 for test_mcp_1.py, and so on; without one, all")
    options = parser.parse_args(arguments)
    files = [HERE / f"test_{name}.py" for name in options.names] or sorted(HERE.glob("test_*.py"))
    failed = 0
    for number, file in enumerate(files, 1):
        crossing = Crossing(file, is_newest=options.newest)
        print(f"{number}/{len(files)} {crossing.name}: ", end="", flush=True)
        begun = monotonic()
        try:
            crossing.install()
        except subprocess.CalledProcessError:
            print("cannot be installed", flush=True)
            failed += 1
            continue
        print(f"{crossing.versions()}: ", end="", flush=True)
        failures = crossing.run()
        failed += bool(failures)
        verdict = "has changed" if options.newest else "fails"
        result = (
            "\n".join([verdict, *(f"    {failure}" for failure in failures)])
            if failures
            else "as the guide says"
        )
        print(f"{result} ({monotonic() - begun:.0f} s)", flush=True)
    if failed:
        raise SystemExit(f"{failed} of {len(files)} are not as the guide says")


if __name__ == "__main__":
    main()
