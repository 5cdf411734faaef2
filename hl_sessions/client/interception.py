"""The check whether another library has replaced the network of ``requests``."""

from __future__ import annotations

from requests.adapters import HTTPAdapter
from requests.sessions import Session
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

__all__ = ["is_intercepted"]


def is_intercepted() -> bool:
    """Whether another library has replaced a class or method by which ``requests`` sends.

    Test doubles do so, such as requests-mock, responses and vcrpy, and Pyodide, which has no sockets. Their
    replacements come from their own modules.
    """
    return not (
        Session.send.__module__ == "requests.sessions"
        and HTTPAdapter.send.__module__ == "requests.adapters"
        and HTTPConnectionPool.urlopen.__module__ == "urllib3.connectionpool"
        and HTTPConnectionPool.ConnectionCls.__module__ == "urllib3.connection"
        and HTTPSConnectionPool.ConnectionCls.__module__ == "urllib3.connection"
    )
