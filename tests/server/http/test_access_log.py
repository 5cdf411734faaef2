"""The access log tells callers nothing, and delays no request."""

import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.types import Message

from hl_sessions.server.http.access_log import AccessLog
from hl_sessions.server.http.exchange import Exchange
from hl_sessions.server.http.line_writer import MOST_WAITING
from hl_sessions.server.http.metrics import Metrics
from tests.servers import served
from tests.waiting import PATIENCE

LONG_PATH = "/v4/" + 1020 * "x"
AT_ONCE = 50


async def send(_message: Message) -> None:
    """Accept a message, and drop it."""


def lost_lines(metrics: str) -> float:
    (lost,) = re.findall(r"^hl_sessions_access_log_lost_lines_total (\S+)$", metrics, re.MULTILINE)
    return float(lost)


def test_a_log_whose_reader_has_gone_stops_nothing() -> None:
    """Requests are answered although their lines cannot be written: the lines count as lost."""
    reader, writer = os.pipe()
    os.close(reader)
    metrics = Metrics()
    log = AccessLog(writer, metrics)
    log.start()
    for _ in range(3):
        log.write({"method": "GET", "raw_path": b"/"}, Exchange("id", send), 200, 0.1)
    log.close()
    os.close(writer)
    assert lost_lines(metrics.render().decode()) == 3


def test_a_server_without_an_output_has_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So Python starts if a shell or a supervisor has closed its standard output."""
    monkeypatch.setattr(sys, "stdout", None)
    with served(tmp_path / "database", access_log=True) as base_url:
        assert requests.post(f"{base_url}/sessions", timeout=PATIENCE).status_code == 201


@pytest.mark.slow
def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path, spawn: Callable[..., Any]) -> None:
    """Requests are answered, lost lines are counted and reported once, and the process can end."""
    server = spawn(tmp_path, HL_SESSIONS_ACCESS_LOG="true")
    port = int(server.base_url.split(":")[-1].removesuffix("/v4"))
    request = f"GET {LONG_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as connection,
        connection.makefile("rb") as answers,
    ):
        for _ in range(MOST_WAITING // len(LONG_PATH) // AT_ONCE + 2):
            connection.sendall(AT_ONCE * request)
            answered = 0
            while answered < AT_ONCE:
                answered += answers.readline().count(b"HTTP/1.1 404")
    root = server.base_url.removesuffix("/v4")
    assert requests.get(f"{root}/healthz", timeout=PATIENCE).status_code == 200
    assert lost_lines(requests.get(f"{root}/metrics", timeout=PATIENCE).text) > 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    assert server.process.stderr.read().splitlines() == [
        "lines of the access log are lost: nothing reads the standard output, or its disk is full"
    ]
