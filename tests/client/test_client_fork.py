"""A client in a process that forks, as servers with preloaded applications do."""

import asyncio
import os

import pytest

from hl_sessions import SessionsClient
from tests.forking import FORKS, exit_code_of_child
from tests.sessions_api import SessionsAPI

pytestmark = FORKS


def test_a_child_has_a_connection_of_its_own(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """Parent and children use the client at will, and never each other's connection."""
    client.create()
    for _ in range(2):
        assert exit_code_of_child(client.create) == 0
        client.create()
    assert [request.connection for request in sessions_api.requests] == [1, 2, 1, 3, 1]


def test_a_child_has_threads_of_its_own(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """An async call works in a child though the parent's threads are not there."""

    def create() -> None:
        asyncio.run(client.acreate())

    create()
    assert exit_code_of_child(create) == 0
    create()
    assert [request.connection for request in sessions_api.requests] == [1, 2, 1]


def test_a_child_of_a_closed_client_has_a_closed_one(
    client: SessionsClient, sessions_api: SessionsAPI
) -> None:
    """A fork opens nothing again."""
    client.close()
    assert exit_code_of_child(client.create) == 1
    assert sessions_api.requests == []


def test_a_child_has_no_connections_of_its_parent(client: SessionsClient, sessions_api: SessionsAPI) -> None:
    """Else they would stay open when the parent closes them."""
    client.create()
    (kept,) = client._transport._connections._kept
    descriptor = kept.socket.fileno()

    def look() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)

    assert exit_code_of_child(look) == 0
    client.create()
    assert [request.connection for request in sessions_api.requests] == [1, 1]


def test_no_call_of_a_child_has_the_idempotency_key_of_another_process(sessions_api: SessionsAPI) -> None:
    """A server that knows them would make one session of both calls."""
    with SessionsClient(sessions_api.base_url) as client:
        for _ in range(2):
            assert exit_code_of_child(client.create) == 0
        client.create()
    keys = [request.headers["Idempotency-Key"] for request in sessions_api.requests]
    assert len(set(keys)) == len(keys) == 3
