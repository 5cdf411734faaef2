"""A page that lists many sessions, in Chromium: how long until it shows the first, and how many bytes."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from playwright.sync_api import sync_playwright

from benchmarks.neighbour_servers import NEIGHBOUR_SERVERS, QUESTION, own_server
from benchmarks.row import SECONDS, Row, within
from benchmarks.running_servers import running
from benchmarks.server_load import load
from benchmarks.stored_datapoints import store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from benchmarks.measure import Effort
    from benchmarks.running_servers import RunningServer

__all__ = ["first_content_rows"]

SESSIONS = 50_000
LIST = 100  # datapoints in a request
REQUESTS = 20  # at once, which no server takes a minute for
VISITS = 5
LONGEST_VISIT = 120_000  # milliseconds
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))


def first_content_rows(effort: Effort) -> Iterator[Row]:
    """Measure first visits of a browser, with a session for each datapoint; nothing without Chromium."""
    if not CHROMIUM.exists():
        return
    sessions = min(SESSIONS, effort.scopes // 20)
    servers = [own_server(), *(server for server in NEIGHBOUR_SERVERS if server.is_installed())]
    with ExitStack() as stack:
        contenders = [stack.enter_context(running(server)) for server in servers]
        for server in contenders:
            _fill(server, sessions)
        browser = stack.enter_context(_chromium())
        visits: dict[str, list[_Visit]] = {server.program.name: [] for server in contenders}
        for _ in range(min(effort.rounds, VISITS)):
            for server in contenders:
                visits[server.program.name].append(_visit(browser, server))
    title = f"list of {sessions:,} sessions in Chromium"
    seconds = {name: median(visit.seconds for visit in every) for name, every in visits.items()}
    yield within(f"{title}: until the first is shown", SECONDS, seconds, at_most=0.5)
    kilobytes = {name: median(visit.kilobytes for visit in every) for name, every in visits.items()}
    yield within(f"{title}: what has come by then", "kB", kilobytes, at_most=120)


class _Visit(NamedTuple):
    seconds: float
    kilobytes: float


def _fill(server: RunningServer, sessions: int) -> None:
    names = [f"session-{number}" for number in range(sessions)]
    lists = [names[start : start + LIST] for start in range(0, sessions, LIST)]
    with load(server.address, connections=REQUESTS) as clients:
        for start in range(0, len(lists), REQUESTS):
            some = lists[start : start + REQUESTS]
            store(server, clients, [server.program.request(each) for each in some], sum(map(len, some)))
            stored = sum(map(len, lists[: start + REQUESTS]))
            print(f"{server.program.name} has stored {stored:,} of {sessions:,} sessions", flush=True)


@contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _visit(browser: Browser, server: RunningServer) -> _Visit:
    """Open the page with nothing in the cache."""
    received = 0

    def count(event: dict[str, Any]) -> None:
        nonlocal received
        received += event["encodedDataLength"]

    host, port = server.address
    with browser.new_context() as context, context.new_page() as page:
        network = context.new_cdp_session(page)
        network.on("Network.loadingFinished", count)
        network.send("Network.enable")
        page.goto(f"http://{host}:{port}{server.program.page}", wait_until="commit")
        page.get_by_text(QUESTION.partition(",")[0]).first.wait_for(timeout=LONGEST_VISIT)
        return _Visit(page.evaluate("performance.now()") / 1e3, received / 1e3)
