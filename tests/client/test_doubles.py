"""Doubles that tests of an application put in the place of the network, and sessions that are handed in."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from requests.adapters import BaseAdapter
from requests_mock.exceptions import NoMockAddress

from hl_sessions import APIConnectionError, SessionManager, SessionsClient
from tests.client.conftest import Call
from tests.faults import FaultServer, Play, Wire
from tests.sessions_api import SessionsAPI
from tests.waiting import ends_within

responses = pytest.importorskip("responses", reason="is not made for this interpreter")
vcr = pytest.importorskip("vcr", reason="is not made for this interpreter")

ID = "sesh_AAAAAAAAAAAAAAAAAAAA"
URL = "http://127.0.0.1:1/v4"  # where nobody listens


def test_requests_mock(call: Call) -> None:
    """What it has registered is the answer; nothing reaches the network."""
    with requests_mock.Mocker() as mocker, SessionsClient(URL, "key") as client:
        mocker.post(f"{URL}/sessions", status_code=201, json={"id": ID})
        assert call(client, "create").body == {"id": ID}
        assert mocker.request_history[0].headers["X-API-KEY"] == "key"


def test_responses(call: Call) -> None:
    """As with requests-mock."""
    with responses.RequestsMock() as double, SessionsClient(URL, "key") as client:
        double.post(f"{URL}/sessions", status=201, json={"id": ID})
        assert call(client, "create").body == {"id": ID}


def test_vcrpy(sessions_api: SessionsAPI, call: Call, tmp_path: Path) -> None:
    """A recorded answer is played again."""
    cassette = str(tmp_path / "cassette.yaml")
    with SessionsClient(sessions_api.base_url) as client:
        with vcr.use_cassette(cassette):
            first = call(client, "create").body
        with vcr.use_cassette(cassette, record_mode="none"):
            assert call(client, "create").body == first
        assert sessions_api.posts == 1
        assert call(client, "create").body != first
        assert sessions_api.posts == 2


@pytest.mark.parametrize("start", [requests_mock.Mocker, responses.RequestsMock])
def test_a_double_that_knows_nothing_keeps_calls_from_the_network(
    sessions_api: SessionsAPI, start: Callable[[], Any]
) -> None:
    """A test that thinks it is closed is."""
    with SessionManager(sessions_api.base_url, on_error="raise", retries=0) as manager:
        with start(), ends_within(0), manager.session() as session:
            with pytest.raises((APIConnectionError, NoMockAddress)):
                session.id  # noqa: B018
            with pytest.raises((APIConnectionError, NoMockAddress)):
                asyncio.run(session.aid())
        assert sessions_api.requests == []
        with manager.session() as session:
            assert session.id


def test_a_failure_that_a_double_plays_is_tried_again() -> None:
    """As one of the network."""
    with responses.RequestsMock() as double, SessionsClient(URL, retries=1) as client:
        double.post(f"{URL}/sessions", status=503, headers={"Retry-After": "0"})
        double.post(f"{URL}/sessions", status=201, json={"id": ID})
        assert client.create().body == {"id": ID}


class Adapter(BaseAdapter):
    """Answers by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.options: list[dict[str, Any]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        self.options.append(options)
        response = requests.Response()
        response.status_code, response._content, response.request = (
            201,
            b'{"id": "%s"}' % ID.encode(),
            request,
        )
        response._content_consumed = True
        return response

    def close(self) -> None:
        """There is nothing."""


def test_a_session_that_is_handed_in_sends(call: Call) -> None:
    """Its adapter for the URL is used, with its settings, and it is left open."""
    http, adapter = requests.Session(), Adapter()
    http.mount("http://127.0.0.1:1/", adapter)
    http.verify, http.proxies = "ca.pem", {"http": "http://proxy.invalid"}
    http.trust_env = False
    with SessionsClient(URL, "key", http_session=http) as client:
        assert call(client, "create").body == {"id": ID}
    [options] = adapter.options
    assert options["verify"] == "ca.pem"
    assert options["proxies"]["http"] == "http://proxy.invalid"
    assert options["timeout"] is not None


def test_the_adapter_of_requests_itself_keeps_the_time_limit(
    serve: Callable[[Play], FaultServer], call: Call
) -> None:
    """A session that is handed in as it was made waits no longer than the client may."""

    def play(wire: Wire) -> None:
        wire.read_request()

    with (
        requests.Session() as http,
        SessionsClient(serve(play).base_url, timeout=0.2, retries=0, http_session=http) as client,
        ends_within(0.2),
        pytest.raises(APIConnectionError),
    ):
        call(client, "create")
