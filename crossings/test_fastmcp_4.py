"""Servers on fastmcp 4."""

# /// script
# dependencies = ["fastmcp==4.2.3", "mcp==2.3.0"]
# ///

from collections.abc import Callable
from typing import Any

import pytest

from crossings.fastmcp_calls import everything_read, make_server
from hl_sessions import SessionManager
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.integrations.mcp import connect

Serve = Callable[[Any], str]


@pytest.mark.parametrize("is_connected", [False, True])
@pytest.mark.parametrize("transport", ["http", "sse"])
def test_each_call_has_the_session_of_its_own_request(
    transport: str, is_connected: bool, serve: Serve, manager: SessionManager
) -> None:
    server = make_server()
    if is_connected:
        assert connect(server) is server
    url = serve(HLSessionMiddleware(server.http_app("/" + transport, transport=transport), manager))
    seen = everything_read(f"{url}/{transport}")
    assert len({*seen}) == len(seen)
    assert all(each.startswith("sesh_") for each in seen)
