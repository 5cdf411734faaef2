"""The server behind a real nginx; ``page/test_browser.py`` shows its page in a browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from hl_sessions import APIStatusError, SessionsClient
from tests.nginx import DOCUMENTED, documented, nginx
from tests.servers import PostgreSQL, free_port, served
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

KEY = "the key behind nginx"


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server, set up as documented."""
    directory = tmp_path_factory.mktemp("nginx")
    with (
        served(directory / "database", api_key=KEY, root_path="/sessions") as base_url,
        nginx(directory, documented([base_url])) as address,
    ):
        yield f"http://{address}/sessions"


WAYS = {
    "as documented": ("/sessions", []),
    "prefix taken off": ("/sessions", [("http://hl_sessions;", "http://hl_sessions/;")]),
    "prefix named by nginx": (
        "",
        [("http://hl_sessions;", "http://hl_sessions/;"), ('Prefix "";', "Prefix /sessions;")],
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_page_and_the_api_are_below_the_prefix(tmp_path: Path, way: str) -> None:
    """A reader signs in, sees the logged datapoints, and can follow every link."""
    root_path, changes = WAYS[way]
    with (
        served(tmp_path / "database", api_key=KEY, root_path=root_path) as base_url,
        nginx(tmp_path, documented([base_url], *changes)) as address,
        requests.Session() as http,
    ):
        url = f"http://{address}/sessions"
        session_id = SessionsClient(f"{url}/v4", KEY).create().body["id"]
        answer = http.get(f"{url}/activity", timeout=PATIENCE)
        assert answer.url == f"{url}/sign-in?next=%2Fsessions%2Factivity"
        form = {"key": KEY, "next": "/sessions/activity"}
        answer = http.post(
            f"{url}/sign-in", data=form, headers={"Origin": f"http://{address}"}, timeout=PATIENCE
        )
        assert (answer.status_code, answer.url) == (200, f"{url}/activity")
        page = http.get(f"{url}/", timeout=PATIENCE)
        assert f'href="/sessions/sessions/{session_id}"' in page.text
        assert page.headers["Content-Encoding"] == "gzip"
        links = set(re.findall(r'\b(?:href|src|data-address)="([^"#]+)', page.text))
        assert len(links) > 8
        for link in links:
            assert http.get(f"http://{address}{link}", timeout=PATIENCE).status_code == 200, link


def test_several_servers_know_the_same_readers(tmp_path: Path, postgresql: PostgreSQL) -> None:
    """A reader who has signed in to one of them is let in by the others."""
    database = postgresql.new_database()
    with (
        served(database, api_key=KEY, root_path="/sessions") as first,
        served(database, api_key=KEY, root_path="/sessions") as second,
        nginx(tmp_path, documented([first, second])) as address,
        requests.Session() as http,
    ):
        url = f"http://{address}/sessions"
        headers = {"Origin": f"http://{address}"}
        http.post(f"{url}/sign-in", data={"key": KEY}, headers=headers, timeout=PATIENCE)
        answers = [http.get(f"{url}/", timeout=PATIENCE) for _ in range(10)]
        assert {(answer.status_code, answer.url) for answer in answers} == {(200, f"{url}/")}
        for base_url in (first, second):
            metrics = requests.get(f"{base_url.removesuffix('/v4')}/metrics", timeout=PATIENCE).text
            assert 'hl_sessions_http_requests_total{method="GET",route="/",status="200"}' in metrics


def test_the_documented_body_limit_is_that_of_the_server(behind: str) -> None:
    """A body over 1 MB arrives."""
    datapoint = {"project": "long", "session_reference_id": "long", "output": "x" * 1_500_000}
    with requests.Session() as http:
        http.headers["X-API-KEY"] = KEY
        answer = http.post(f"{behind}/v4/logs", json=datapoint, timeout=PATIENCE)
        assert answer.status_code == 200
        kept = http.get(f"{behind}/v4/logs/{answer.json()['id']}", timeout=PATIENCE)
    assert kept.headers["Content-Encoding"] == "gzip"
    assert kept.json()["output"] == datapoint["output"]


def test_without_it_a_long_body_is_refused_by_nginx(tmp_path: Path) -> None:
    """The client does not take the page of nginx for an answer of the server: its error says 413."""
    directive = re.findall(r" *client_max_body_size .*;\n", DOCUMENTED)[0]
    with (
        served(tmp_path / "database", api_key=KEY, root_path="/sessions") as base_url,
        nginx(tmp_path, documented([base_url], (directive, ""))) as address,
    ):
        answer = requests.post(
            f"http://{address}/sessions/v4/logs",
            json={"project": "long", "output": "x" * 1_500_000},
            headers={"X-API-KEY": KEY},
            timeout=PATIENCE,
        )
        assert answer.status_code == 413
        assert "nginx" in answer.text


def test_connections_are_kept_and_no_call_is_lost(behind: str) -> None:
    """One after the other, on connections that nginx reuses."""
    client = SessionsClient(f"{behind}/v4", KEY, retries=0)
    assert len({client.create().body["id"] for _ in range(100)}) == 100


def test_an_error_of_nginx_is_told_with_its_status(tmp_path: Path) -> None:
    """If there is no server behind it."""
    gone = f"http://127.0.0.1:{free_port()}/v4"
    with (
        nginx(tmp_path, documented([gone])) as address,
        pytest.raises(APIStatusError) as failure,
    ):
        SessionsClient(f"http://{address}/sessions/v4", KEY, retries=0).create()
    assert failure.value.status == 502
