"""A number belongs to one process at a time, until it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from hl_sessions.process.claims import Claims
from tests.forking import exit_code_of_child, forks

pytest.importorskip("fcntl")

CLAIM_AND_STAY = """
import sys, time
from pathlib import Path
from hl_sessions.process.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.claim(7), flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "owners"


def test_a_number_is_that_of_a_process_until_it_is_killed(path: Path) -> None:
    command = [sys.executable, "-c", CLAIM_AND_STAY, str(path)]
    claims = Claims(path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert not claims.claim(7)
        assert claims.claim(8)
        process.kill()
    assert claims.claim(7)
    assert claims.numbers == [8, 7]
    claims.close()


def test_a_number_is_claimed_once_in_a_process(path: Path) -> None:
    """Until it is given up; what others have claimed stays theirs."""
    first, second = Claims(path), Claims(path)
    assert first.claim(7)
    assert second.claim(8)
    assert not second.claim(7)
    first.close()
    assert second.claim(7)
    third = Claims(path)
    assert not third.claim(8)
    second.close()
    assert third.claim(8)
    third.close()


@forks
def test_a_forked_child_has_none(path: Path) -> None:
    """The parent keeps its numbers, whether the child claims or closes."""
    claims = Claims(path)
    assert claims.claim(7)

    def work() -> None:
        assert not claims.numbers
        assert not claims.claim(7)
        assert claims.claim(8)
        claims.close()

    assert exit_code_of_child(work) == 0
    other = subprocess.run(
        [sys.executable, "-c", CLAIM_AND_STAY.replace("time.sleep(600)", ""), str(path)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout == "False\n"
    assert claims.claim(8)
    claims.close()
