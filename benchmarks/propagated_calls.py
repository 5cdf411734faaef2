"""Calls to another service on the loopback that carry the session, over a connection that is kept open."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import requests

from benchmarks.api import sessions_api
from benchmarks.measure import Effort, calls, compare, paired_medians
from benchmarks.row import OURS, Row, limited
from hl_sessions import SessionManager
from hl_sessions.carrying import SharedSecret
from hl_sessions.integrations import httpx as httpx_integration
from hl_sessions.integrations import requests as requests_integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["propagated_call_rows"]

BARE = "bare call"
SECRET = "a secret of many characters"
HOSTS = ["127.0.0.1"]

_CLIENTS: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "requests": (requests.Session, requests_integration.propagate),
    "httpx": (httpx.Client, httpx_integration.propagate),
}


def propagated_call_rows(effort: Effort) -> Iterator[Row]:
    """Measure calls of each client, unsigned and signed, the session known."""
    effort = replace(effort, rounds=effort.rounds * 10, turn=0)  # a call each
    with sessions_api() as api, SessionManager(api.base_url) as manager, manager.session() as session:
        if session.id is None:
            raise RuntimeError("the session could not be created")
        for name, (make, propagate) in _CLIENTS.items():
            with make() as bare, make() as plain, make() as signed:
                propagate(plain, hosts=HOSTS)
                propagate(signed, hosts=HOSTS, secret=SharedSecret(SECRET))
                clients = {BARE: bare, "plain": plain, "signed": signed}
                runs = {kind: calls(_call(client, api.url)) for kind, client in clients.items()}
                seconds = paired_medians(compare(runs, effort), BARE)
            for kind, times in (("plain", 1.03), ("signed", 1.06)):
                figures = {BARE: seconds[BARE], OURS: seconds[kind]}
                title = f"propagated call, {name}{', signed' if kind == 'signed' else ''}"
                yield limited(title, figures, times=times, reference=BARE)


def _call(client: Any, url: str) -> Callable[[], object]:
    return lambda: client.post(url)
