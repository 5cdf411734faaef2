"""Runs examples by the command that the page on them names, each with what it brings along."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.interrupting import allow_interrupts
from tests.servers import free_port
from tests.waiting import PATIENCE, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"


class RunningExample:
    """An example that was started in a terminal of its own.

    Attributes:
        page: The address of the page with the sessions, as it was printed.
    """

    def __init__(self, name: str, **variables: str) -> None:
        allow_interrupts()  # also where no conftest of the tests has done it
        self._process = subprocess.Popen(
            [sys.executable, EXAMPLES, name],
            env=os.environ | {"PORT": str(free_port()), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.page = self.wait_for_line(r"The page with the sessions: (\S+)")

    def wait_for_line(self, pattern: str) -> str:
        """Wait until a line is printed that has this; gives its first group."""
        assert self._process.stdout is not None
        printed = []
        for line in self._process.stdout:
            if found := re.search(pattern, line):
                return found[found.lastindex or 0]
            printed.append(line)
        raise AssertionError("".join(printed))

    def datapoints(self, count: int) -> list[dict[str, Any]]:
        """Wait until there are so many, all of them complete; the oldest comes first."""
        wait_until(lambda: len(self._complete()) == count)
        return sorted(self._complete(), key=lambda datapoint: str(datapoint["created_at"]))

    def _complete(self) -> list[dict[str, Any]]:
        projects = requests.get(f"{self.page}v4/projects", timeout=PATIENCE).json()["records"]
        return [
            datapoint
            for project in projects
            for datapoint in requests.get(
                f"{self.page}v4/logs", params={"project_id": project["id"], "size": 50}, timeout=PATIENCE
            ).json()["records"]
            if datapoint.keys() & {"output", "duration"}
        ]

    def interrupt(self) -> str:
        """Press Ctrl-C, which reaches all processes of the terminal, and see the example end well.

        Returns:
            What it has printed from the last line that was waited for.
        """
        os.killpg(self._process.pid, signal.SIGINT)
        assert self._process.stdout is not None
        printed = self._process.stdout.read()  # communicate() would leave out what was read ahead of its line
        assert self._process.wait(PATIENCE) == 0, printed
        assert "Traceback" not in printed, printed
        return printed

    def wait(self) -> int:
        """Wait until it ends by itself; gives its exit code."""
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        """End what a test that fails has left."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@contextmanager
def running(name: str, **variables: str) -> Iterator[RunningExample]:
    """Run an example as long as the ``with`` block, which ends by Ctrl-C."""
    example = RunningExample(name, **variables)
    try:
        yield example
        example.interrupt()
    finally:
        example.kill()


def shape(datapoints: list[dict[str, Any]]) -> dict[str, str | None]:
    """Return which source is nested under which one, within one session."""
    assert len({datapoint["session_id"] for datapoint in datapoints}) == 1
    source_of = {datapoint["id"]: datapoint["source"] for datapoint in datapoints}
    return {each["source"]: source_of.get(each.get("parent_id")) for each in datapoints}
