"""Measures how much memory a command takes."""

import subprocess
import sys
from pathlib import Path

from tests.servers import HL_SESSIONS

# The memory of a process counts from its parent on, so that its parent has to be a small one.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def memory_of(*arguments: str | Path) -> int:
    """The most memory that ``hl-sessions`` has with these arguments, in bytes."""
    command = [sys.executable, "-c", MEASURE, HL_SESSIONS, *arguments]
    measured = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(measured.stdout.splitlines()[-1])
