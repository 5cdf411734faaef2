"""A separate process that makes the requests, so that it does not take time of the server."""

from __future__ import annotations

import multiprocessing
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

__all__ = ["client_process"]


@contextmanager
def client_process(run: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Call a function in another process, with one end of a pipe as its last argument; yield the other."""
    processes = multiprocessing.get_context("spawn")
    pipe, of_client = processes.Pipe()
    process = processes.Process(target=run, args=(*arguments, of_client), daemon=True)
    process.start()
    try:
        yield pipe
    finally:
        process.terminate()
        process.join()
