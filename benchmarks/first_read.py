"""The first read in a scope, which creates the session, with an API that answers at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import requests
import urllib3

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, calls, compare, paired_medians
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["first_read_rows"]

REQUESTS = "requests.Session.post"


def first_read_rows(effort: Effort) -> Iterator[Row]:
    """Measure the first read; connections are kept open by all."""
    with (
        sessions_api() as api,
        SessionManager(api.base_url) as manager,
        requests.Session() as http,
        urllib3.PoolManager() as pool,
    ):

        def first_read() -> object:
            with manager.session() as session:
                return session.id

        def post() -> object:
            return http.post(api.url).json()["id"]

        def post_with_urllib3() -> object:
            return json.loads(pool.request("POST", api.url).data)["id"]

        runs = {
            REQUESTS: calls(post),
            OURS: calls(first_read),
            "urllib3.PoolManager": calls(post_with_urllib3),
        }
        figures = paired_medians(compare(runs, effort), REQUESTS)
    yield limited("first read, API at 0 ms", figures, times=0.6, reference=REQUESTS)
