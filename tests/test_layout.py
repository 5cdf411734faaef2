"""The directions of imports, and that the wheel holds what the tree holds."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from tests.waiting import PATIENCE

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT = Path(__file__).parents[1]


def read_settings() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings: dict[str, Any] = tomllib.load(file)["tool"]["setuptools"]
    return settings


def source_files() -> dict[str, Path]:
    """The place in a wheel of each file of the two source folders, and of the plugin for pytest."""
    modules = {"pytest_hl_sessions.py": ROOT / "pytest_hl_sessions.py"}
    return modules | {
        prefix + path.relative_to(folder).as_posix(): path
        for folder, prefix in [
            (ROOT / "hl_sessions", "hl_sessions/"),
            (ROOT / "integrations", "hl_sessions/integrations/"),
        ]
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (folder / "integrations") not in path.parents
    }


def test_imports_go_downward() -> None:
    """The contracts of ``pyproject.toml`` are kept."""
    if find_spec("importlinter") is None:
        pytest.skip("needs the lint dependencies")
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 broken." in result.stdout


def test_packages_are_the_folders_that_are_packages() -> None:
    """A folder that is forgotten would be missing from the wheel without an error."""
    folders = {Path(name).parent.as_posix() for name in source_files() if name.endswith("/__init__.py")}
    packages: list[str] = read_settings()["packages"]
    assert set(packages) == {folder.replace("/", ".") for folder in folders}
    assert packages == sorted(set(packages))


def test_integrations_are_one_folder_for_all_tools() -> None:
    """The link that type checkers follow and the mapping that the build follows lead to the same files."""
    assert (ROOT / "hl_sessions" / "integrations").samefile(ROOT / "integrations")
    assert read_settings()["package-dir"]["hl_sessions.integrations"] == "integrations"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel as built from it, made from a copy that the build may litter."""
    if find_spec("setuptools") is None:
        assert not os.environ.get("CI"), "the build dependencies are not installed"
        pytest.skip("needs the build dependencies")
    directory = tmp_path_factory.mktemp("build")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "node_modules")
    shutil.copytree(ROOT, directory / "source", symlinks=True, ignore=ignored)
    command = [find_uv_bin(), "build", "--offline", "--no-build-isolation", "--python", sys.executable]
    result = subprocess.run(
        [*command, "--out-dir", directory / "dist", directory / "source"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return directory / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


def test_sdist_holds_what_the_wheel_is_built_from_and_no_tests(dist: Path) -> None:
    """The source files, and what tells of them, are there; a part of the tests would be of use to nobody."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    sources = {path.relative_to(ROOT).as_posix() for path in source_files().values()}
    assert sources <= names
    beside = {name for name in names - sources if not name.startswith("hl_sessions.egg-info/")}
    made = {"PKG-INFO", "setup.cfg"}
    assert beside - made == {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"}


def test_wheel_holds_every_source_file_and_nothing_else(wheel: Path) -> None:
    """Modules, ``py.typed``, pages: the same bytes as in the tree."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name: archive.read(name) for name in archive.namelist()}
    metadata = {name for name in shipped if name.partition("/")[0].endswith(".dist-info")}
    sources = source_files()
    assert shipped.keys() - metadata == sources.keys()
    assert all(shipped[name] == path.read_bytes() for name, path in sources.items())
    assert {"hl_sessions/py.typed", "hl_sessions/integrations/asgi.py"} <= shipped.keys()
    assert any(name.startswith("hl_sessions/demo/static/") for name in shipped)
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)


def test_wheel_works_outside_of_the_tree(wheel: Path, tmp_path: Path) -> None:
    """The package, an integration and the command are found where the wheel is unpacked."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import hl_sessions, hl_sessions.integrations.asgi as asgi, hl_sessions.cli\n"
        "print(hl_sessions.__file__, asgi.__file__, asgi.HLSessionMiddleware.__module__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    package = tmp_path / "hl_sessions"
    assert result.stdout.split() == [
        str(package / "__init__.py"),
        str(package / "integrations" / "asgi.py"),
        "hl_sessions.integrations.asgi",
    ]
