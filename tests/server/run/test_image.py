import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.waiting import PATIENCE, wait_until

CHECKOUT = Path(__file__).parents[3]
NAME = "hl-sessions-test"
KEY = "the key of the image"

pytestmark = pytest.mark.slow


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
    ).stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """An image of this checkout, if the machine has a container engine that can get its base."""
    try:
        docker("pull", "python:3.13-slim")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no engine, or no base image: {error}")
    docker("build", "--tag", NAME, "--file", str(CHECKOUT / "docs" / "Dockerfile"), str(CHECKOUT))
    yield NAME
    docker("rmi", NAME)


def test_the_image_serves_and_keeps_its_data_on_the_volume(image: str) -> None:
    """It is healthy, wants its configured key, and ends in order when it is stopped."""
    options = ["--detach", "--publish", "127.0.0.1::8642", "--env", f"HL_SESSIONS_API_KEY={KEY}"]
    container = docker("run", *options, image)
    try:
        url = f"http://{docker('port', container, '8642').splitlines()[0]}"

        def is_ready() -> bool:
            try:
                return requests.get(f"{url}/readyz", timeout=PATIENCE).ok
            except requests.ConnectionError:
                return False

        wait_until(is_ready)
        assert requests.post(f"{url}/v4/sessions", timeout=PATIENCE).status_code == 401
        headers = {"X-API-KEY": KEY}
        assert requests.post(f"{url}/v4/sessions", headers=headers, timeout=PATIENCE).status_code == 201
        assert "hl-sessions.sqlite3" in docker("exec", container, "ls", "/data")
        docker("stop", container)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    finally:
        docker("rm", "--force", "--volumes", container)
