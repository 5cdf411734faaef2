"""Whether something stands between ``requests`` and the network."""

from __future__ import annotations

from requests.adapters import HTTPAdapter
from requests.sessions import Session
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

__all__ = ["is_intercepted"]


def is_intercepted() -> bool:
    """Whether another library has put something of its own in the place of what ``requests`` sends with.

    Doubles of tests do, such as requests-mock, responses and vcrpy, and so does Pyodide, where there are no
    sockets. What is theirs comes from a module of theirs.
    """
    return not (
        Session.send.__module__ == "requests.sessions"
        and HTTPAdapter.send.__module__ == "requests.adapters"
        and HTTPConnectionPool.urlopen.__module__ == "urllib3.connectionpool"
        and HTTPConnectionPool.ConnectionCls.__module__ == "urllib3.connection"
        and HTTPSConnectionPool.ConnectionCls.__module__ == "urllib3.connection"
    )
