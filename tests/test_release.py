"""What a release is checked for is found, and what is written about the version and the extras is true."""

import re
import runpy
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT = Path(__file__).parent.parent
WHEEL = "hl_sessions-0-py3-none-any.whl"
METADATA = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings: dict[str, Any] = tomllib.load(file)["project"]
    return settings


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[Iterable[str]], str]:
    """Return what is said of a wheel with these files, or nothing."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs the checkout")
    check = runpy.run_path(str(ROOT / ".ci" / "release_check.py"))

    def check_wheel(names: Iterable[str]) -> str:
        with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
            for name in names:
                archive.writestr(name, "")
        try:
            check["check_wheel"](tmp_path / WHEEL)
        except check["CheckError"] as error:
            return str(error)
        return ""

    return check_wheel


def test_a_wheel_with_tests_or_without_templates_is_refused(refusal: Callable[[Iterable[str]], str]) -> None:
    """Each file that is missing, or too many, is named; the rest is not."""
    problems = refusal(["tests/test_layout.py", "hl_sessions/__pycache__/cli.cpython-313.pyc"]).splitlines()
    assert "tests/test_layout.py does not belong there" in problems
    assert "hl_sessions/__pycache__/cli.cpython-313.pyc does not belong there" in problems
    missing = [name for name, _, rest in (line.partition(" is ") for line in problems) if rest == "missing"]
    wanted = {"hl_sessions/py.typed", "hl_sessions/integrations/asgi.py", "pytest_hl_sessions.py"}
    folders = ("demo/static", "server/page/static", "server/page/templates", "server/database/migrations")
    assert wanted | {f"hl_sessions-0.dist-info/{name}" for name in METADATA} <= set(missing)
    assert all(any(name.startswith(f"hl_sessions/{folder}/") for name in missing) for folder in folders)
    assert refusal(missing) == ""


@pytest.mark.parametrize(
    ("page", "pattern"),
    [
        ("README.md", r"hl_sessions-(.+?)-py3-none-any\.whl"),
        ("docs/start.md", r"hl_sessions-(.+?)-py3-none-any\.whl"),
        ("docs/guide.md", r"^hl-sessions (\S+), CPython"),
    ],
)
def test_the_pages_name_the_version(page: str, pattern: str) -> None:
    """The commands that install a wheel, and what is shown of the output, have the version of the project."""
    named = re.findall(pattern, (ROOT / page).read_text(), re.MULTILINE)
    assert set(named) == {project()["version"]}


def test_the_changelog_begins_with_the_version_or_with_what_comes_after_it() -> None:
    """Below what is not released yet, the newest version is that of the project, with its day."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "[Unreleased]"]
    assert headings[-len(released) :] == released
    assert re.fullmatch(rf"\[{re.escape(project()['version'])}\] - \d{{4}}-\d\d-\d\d", released[0])


def test_each_extra_is_in_the_table_of_the_readme() -> None:
    """And no other one is."""
    _, _, table = (ROOT / "README.md").read_text().partition("| extra | for |")
    rows = re.findall(r"^\| (`.*?) \|", table.partition("\n\n")[0], re.MULTILINE)
    named = re.findall(r"`([a-z]+)`", " ".join(rows))
    assert sorted(named) == sorted(project()["optional-dependencies"])


def test_the_classifiers_name_the_pythons_that_are_tested() -> None:
    """They are those of ``make test-all``, and the oldest is the oldest on which it can be installed."""
    (versions,) = re.findall(r"^VERSIONS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    tested = {version for version in versions.split() if re.fullmatch(r"3\.\d+", version)}
    prefix = "Programming Language :: Python :: "
    named = [each.removeprefix(prefix) for each in project()["classifiers"] if each.startswith(prefix)]
    assert {each for each in named if re.fullmatch(r"3\.\d+", each)} == tested
    assert project()["requires-python"] == f">={min(tested, key=lambda version: int(version[2:]))}"
