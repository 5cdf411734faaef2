"""Check what is published, step by step: build it, look into it, and use it as its users will.

Nothing is installed from the checkout, and no dependency is pinned: each Python gets an environment of its
own, with the wheel and what is newest now; the oldest one another, with what is oldest. The check ends at the
first step that fails, with what failed.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tarfile
import tempfile
import zipfile
from argparse import ArgumentParser
from contextlib import ExitStack, contextmanager
from email.parser import HeaderParser
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from email.message import Message

ROOT: Final = Path(__file__).resolve().parents[1]
DIST: Final = ROOT / "dist"
TOOLS: Final = ROOT / ".venv-release" / "bin"
SECONDS: Final = 600
"""How long a command may take."""

METADATA: Final = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
BESIDE_THE_PACKAGES: Final = {
    *("CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml"),  # of the checkout
    *("PKG-INFO", "setup.cfg"),  # of setuptools
}

ONE_SESSION: Final = """
import sys
import hl_sessions

with hl_sessions.SessionManager(sys.argv[1]) as manager, manager.session() as session:
    manager.log(project="release", source="check", inputs={"python": sys.version}, output="fine")
    manager.flush(timeout=60)
    print(session.id, hl_sessions.__file__)
"""


class CheckError(Exception):
    """A release must not be made of this."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is checked, and how long that took."""
    print(f"{name}: ", end="", flush=True)
    begun = monotonic()
    try:
        yield
    except (CheckError, OSError, subprocess.TimeoutExpired) as error:
        print("FAILED", flush=True)
        raise SystemExit(f"release-check: {name}: {error}") from None
    print(f"{monotonic() - begun:.1f} s", flush=True)


def clean_environment() -> dict[str, str]:
    """Return the variables of this process but for those that change what Python or the package does."""
    changing = ("HL_SESSIONS_", "HUMANLOOP_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(changing)}


def run(*command: str | Path, status: int = 0) -> str:
    """Run a command outside of the checkout, and return what it prints.

    Raises:
        CheckError: It ended with another status.
    """
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            command,
            cwd=elsewhere,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    if done.returncode != status:
        said = f"{shlex.join(map(str, command))} ended with {done.returncode}, not {status}"
        raise CheckError(f"{said}:\n{done.stdout}")
    return done.stdout


def expect(text: str, output: str) -> None:
    """Raise an error unless a text is in the output of a command."""
    if text not in output:
        raise CheckError(f"{text!r} is not in:\n{output}")


def tracked_files() -> set[str]:
    """Return the files of the packages that git keeps, by their paths in the checkout."""
    listed = run("git", "-C", ROOT, "ls-files", "-z", "hl_sessions", "integrations", "pytest_hl_sessions.py")
    return set(listed.split("\0")) - {"", "hl_sessions/integrations"}  # a link for tools


def check_sdist(sdist: Path) -> None:
    """Compare the files of an sdist with those that git keeps.

    Raises:
        CheckError: Some are missing, or others are there, such as tests or caches.
    """
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    compare(
        {name for name in names if not name.startswith("hl_sessions.egg-info/")},
        tracked_files() | BESIDE_THE_PACKAGES,
    )


def check_wheel(wheel: Path) -> None:
    """Compare the files of a wheel with those that git keeps: modules, ``py.typed``, templates, migrations.

    Raises:
        CheckError: Some are missing, or others are there, such as tests or caches.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    project, version = wheel.name.split("-")[:2]
    compare(
        names,
        {
            f"hl_sessions/{name}" if name.startswith("integrations/") else name for name in tracked_files()
        }.union(f"{project}-{version}.dist-info/{name}" for name in METADATA),
    )


def compare(names: set[str], expected: set[str]) -> None:
    """Raise an error that names the files that are missing, and those that are too many."""
    problems = [
        *(f"{name} is missing" for name in sorted(expected - names)),
        *(f"{name} does not belong there" for name in sorted(names - expected)),
    ]
    if problems:
        raise CheckError("\n".join(problems))


def read_metadata(wheel: Path) -> Message:
    """Return what a wheel says about itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def check_metadata(files: Sequence[Path], metadata: Message) -> None:
    """Check what a package index would refuse.

    Raises:
        CheckError: The description cannot be shown, or a classifier does not exist.
    """
    run(TOOLS / "twine", "check", "--strict", *files)
    known = run(TOOLS / "python", "-m", "trove_classifiers").splitlines()
    unknown = sorted(set(metadata.get_all("Classifier", [])) - set(known))
    if unknown:
        raise CheckError(f"no classifiers of the package index: {', '.join(unknown)}")


class Environment:
    """An environment with one Python, and no package to begin with."""

    def __init__(self, python: str, folder: Path) -> None:
        self.bin = folder / "bin"
        self.python = self.bin / "python"
        run(TOOLS / "uv", "venv", "--quiet", "--python", python, folder)

    def install(self, *arguments: str | Path) -> None:
        """Install what requirements and options ask for, the newest of it unless they say another thing."""
        run(TOOLS / "uv", "pip", "install", "--quiet", "--python", self.python, *arguments)

    def hl_sessions(self, *arguments: str, status: int = 0) -> str:
        """Run the command of the package, and return what it prints."""
        return run(self.bin / "hl-sessions", *arguments, status=status)

    @contextmanager
    def serving(self, database: Path) -> Iterator[str]:
        """Run a server, and yield the base URL of its API.

        Raises:
            CheckError: It ends before it listens.
        """
        with subprocess.Popen(
            [self.bin / "hl-sessions", "serve", "--port", "0", "--db", str(database)],
            cwd=database.parent,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                said, _, api_url = process.stdout.readline().strip().rpartition(" ")
                if said != "Listening on":
                    raise CheckError(f"the server said {said!r}, and did not listen")
                yield api_url
            finally:
                process.terminate()


def check_without_extras(environment: Environment, api_url: str) -> None:
    """Make a session, log into it, and run the command, which needs an extra.

    Raises:
        CheckError: The server has no session with the datapoint, or the command does not name the extra.
    """
    session_id, file = run(environment.python, "-I", "-c", ONE_SESSION, api_url).split()
    expect(str(environment.bin.parent), file)
    with urlopen(f"{api_url}/sessions/{session_id}", timeout=SECONDS) as response:
        count = json.load(response)["datapoints_count"]
    if count != 1:
        raise CheckError(f"{session_id} has {count} datapoints, not 1")
    for option in ("--version", "--help"):
        expect("pip install 'hl-sessions[server]'", environment.hl_sessions(option, status=1))


def check_server(environment: Environment, version: str) -> None:
    """Run the command, and hold a conversation with the demo.

    Raises:
        CheckError: The version is another one, or the conversation did not make its sessions.
    """
    expect(version, environment.hl_sessions("--version"))
    environment.hl_sessions("demo", "--script")


def find_pythons(versions: Sequence[str]) -> dict[str, str]:
    """Return where the Pythons are that this machine has, by their versions."""
    found = {}
    for version in versions:
        search = subprocess.run(
            [ROOT / ".ci" / "find-python", version], stdout=subprocess.PIPE, text=True, check=False
        )
        if search.returncode:
            print(f"Python {version}: left out, as it is not found")
        else:
            found[version] = search.stdout.strip()
    return found


def check_use(wheel: Path, metadata: Message, pythons: Mapping[str, str]) -> None:
    """Install a wheel on each Python, and use it: without extras, and as a server where it has all parts."""
    complete = [version for version in pythons if version[0].isdigit() and not version.endswith("t")]
    if not complete:
        raise SystemExit("release-check: no CPython is found")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with step("Start a server"):
            server = Environment(pythons[complete[-1]], folder / "server")
            server.install(f"{wheel}[server]")
            api_url = stack.enter_context(server.serving(folder / "sessions.sqlite3"))
        environments = {}
        for version, python in pythons.items():
            with step(f"Python {version}: a session, without extras"):
                environments[version] = Environment(python, folder / version)
                environments[version].install(wheel)
                check_without_extras(environments[version], api_url)
        for version in dict.fromkeys((complete[0], complete[-1])):
            with step(f"Python {version}: each extra can be installed"):
                for extra in metadata.get_all("Provides-Extra", []):
                    environments[version].install(f"{wheel}[{extra}]", "--dry-run")
        for version in complete:
            with step(f"Python {version}: the demo"):
                environments[version].install(f"{wheel}[server]")
                check_server(environments[version], metadata["Version"])
        with step(f"Python {complete[0]}: the demo, on the oldest dependencies"):
            oldest = Environment(pythons[complete[0]], folder / "oldest")
            oldest.install("--resolution=lowest-direct", "--extra=server", "-r", ROOT / "pyproject.toml")
            oldest.install("--no-deps", wheel)
            check_server(oldest, metadata["Version"])


def main() -> None:
    """Check everything, and end with 1 at the first step that fails."""
    parser = ArgumentParser(prog="release-check", description=__doc__)
    parser.add_argument("versions", nargs="+", help="of Python: 3.10, 3.13t (free-threaded), pypy3.11")
    pythons = find_pythons(parser.parse_args().versions)

    with step("Build the sdist, and the wheel from it"):
        run("make", "--silent", "--directory", ROOT, "wheel")
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    metadata = read_metadata(wheel)
    with step("Check the metadata"):
        check_metadata([sdist, wheel], metadata)
    with step(f"Look into {sdist.name}"):
        check_sdist(sdist)
    with step(f"Look into {wheel.name}"):
        check_wheel(wheel)

    check_use(wheel, metadata, pythons)
    with step("Build the guide"):
        run("make", "--silent", "--directory", ROOT, "docs")
    print(f"{sdist.name} and {wheel.name} can be published")


if __name__ == "__main__":
    main()
