import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

PACKAGES = {"0.5.18": ["humanloop==0.5.18", "urllib3<2"], "0.7.35": ["humanloop==0.7.35"]}


@pytest.fixture(scope="session", params=PACKAGES)
def vendor_python(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Path:
    """The interpreter of an environment with the vendor's SDK, which our own dependencies exclude."""
    environment = pytestconfig.cache.mkdir(f"vendor-sdk-{request.param}-{sys.implementation.cache_tag}")
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = environment / "complete"
    if complete.exists():
        return python
    uv = [sys.executable, "-m", "uv", "--quiet"]
    for command in (
        [*uv, "venv", "--allow-existing", "--python", sys.executable, str(environment)],
        [*uv, "pip", "install", "--python", str(python), *PACKAGES[request.param]],
    ):
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if result.returncode:
            message = f"The vendor's SDK cannot be installed: {result.stderr}"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
    complete.touch()
    return python


def test_the_vendors_sdk_works_unchanged(vendor_python: Path, locked_base_url: str, api_key: str) -> None:
    """All its calls about sessions, logs, projects and feedback get answers that pass its own checks."""
    script = Path(__file__).with_name("vendor_sdk_calls.py")
    result = subprocess.run(
        [vendor_python, script, locked_base_url, api_key],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
