"""The three ways to make a call."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from hl_sessions import SessionsClient
from tests.sessions_api import SessionsAPI

API_KEY = "hl_sk_top\\secret'key\"0123"  # with what a repr or JSON text shows differently


@pytest.fixture
def client(sessions_api: SessionsAPI) -> Iterator[SessionsClient]:
    with SessionsClient(sessions_api.base_url, API_KEY, retries=0) as client:
        yield client


Call = Callable[..., Any]


def call_sync(client: SessionsClient, name: str, *args: Any, **options: Any) -> Any:
    result = getattr(client, name)(*args, **options)
    return list(result) if name == "iter" else result


async def _acall(client: SessionsClient, name: str, args: Any, options: Any) -> Any:
    result = getattr(client, "a" + name)(*args, **options)
    return [item async for item in result] if name == "iter" else await result


def call_asyncio(client: SessionsClient, name: str, *args: Any, **options: Any) -> Any:
    return asyncio.run(_acall(client, name, args, options))


def call_trio(client: SessionsClient, name: str, *args: Any, **options: Any) -> Any:
    return trio.run(_acall, client, name, args, options)


@pytest.fixture(params=[call_sync, call_asyncio, call_trio], ids=["sync", "asyncio", "trio"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method of a client by its name, ``create`` standing for ``acreate`` where there is a loop."""
    call: Call = request.param
    return call
