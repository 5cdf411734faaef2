import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.waiting import PATIENCE


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_error_output_that_nobody_reads_stops_nothing(
    tmp_path: Path, spawn: Callable[..., Any], workers: str
) -> None:
    """The errors are those of a damaged file, more than a pipe holds."""
    server = spawn(tmp_path, "--workers", workers)
    url = server.base_url
    given = [{"project": "p", "output": "x" * 1000}] * 300
    assert requests.post(f"{url}/logs", json=given, timeout=PATIENCE).ok
    path = tmp_path / "hl-sessions.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        damaged = length // 20
        file.seek(damaged)
        file.write(os.urandom(length - damaged))
    for _ in range(40):
        assert requests.get(f"{url}/arrivals?after=start", timeout=PATIENCE).status_code == 500
    assert requests.get(f"{url.removesuffix('/v4')}/healthz", timeout=PATIENCE).ok
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0
    _, errors = server.process.communicate()
    assert "database disk image is malformed" in errors
