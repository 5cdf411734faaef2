"""Servers on fastmcp 3."""

# /// script
# dependencies = ["fastmcp<4,==3.4.11", "mcp<2,==1.30.0"]
# ///

from collections.abc import Callable
from typing import Any

import pytest

from crossings.fastmcp_calls import everything_read, make_server
from hl_sessions import SessionManager
from hl_sessions.integrations.asgi import HLSessionMiddleware
from hl_sessions.integrations.mcp import connect
from tests.sessions_api import SessionsAPI

Serve = Callable[[Any], str]


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_connected_each_call_has_the_session_of_its_own_request(
    transport: str, serve: Serve, manager: SessionManager, sessions_api: SessionsAPI
) -> None:
    server = make_server()
    assert connect(connect(server)) is server
    url = serve(HLSessionMiddleware(server.http_app("/" + transport, transport=transport), manager))
    seen = everything_read(f"{url}/{transport}")
    assert len({*seen}) == len(seen) == sessions_api.posts
    assert all(each.startswith("sesh_") for each in seen)


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_without_it_all_calls_have_the_session_of_the_first_request(
    transport: str, serve: Serve, manager: SessionManager
) -> None:
    url = serve(HLSessionMiddleware(make_server().http_app("/" + transport, transport=transport), manager))
    seen = everything_read(f"{url}/{transport}")
    assert len({*seen}) == 1
    assert seen[0].startswith("sesh_")


def test_a_stateless_server_needs_no_help(serve: Serve, manager: SessionManager) -> None:
    url = serve(HLSessionMiddleware(make_server().http_app("/mcp", stateless_http=True), manager))
    seen = everything_read(f"{url}/mcp")
    assert len({*seen}) == len(seen)
