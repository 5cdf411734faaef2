import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from hl_sessions.server.settings import ServerSettings
from tests.waiting import PATIENCE

CALLS = [
    ("POST", "/sessions"),
    ("GET", "/sessions/sesh_AAAAAAAAAAAAAAAAAAAAAAAA"),
    ("POST", "/logs"),
    ("GET", "/nothing"),
    ("GET", ""),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("given", [None, "", "wrong", "Bearer wrong", "Bearer ", "kéy".encode()], ids=repr)
def test_with_a_key_others_are_unauthorized(
    locked_client: Any, method: str, path: str, given: str | bytes | None
) -> None:
    """Every call needs the key."""
    headers = {} if given is None else {"X-API-KEY": given}
    response = locked_client(method, path, headers=headers)
    assert response.status_code == 401
    assert response.json().keys() == {"detail"}


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer  ", "Token "])
def test_the_key_lets_in_with_or_without_a_prefix(locked_client: Any, api_key: str, prefix: str) -> None:
    """The SDK can be told to put a word before the key."""
    assert locked_client("POST", "/sessions", headers={"X-API-KEY": prefix + api_key}).status_code == 201


@pytest.mark.parametrize("headers", [{}, {"X-API-KEY": "any"}])
def test_without_a_key_every_key_is_let_in(client: Any, headers: dict[str, str]) -> None:
    """A client with some configured key works with the open server, too."""
    assert client("POST", "/sessions", headers=headers).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8642"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "[::"},
        {"Host": "0.0.0.0"},
        {"Host": "10.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[bad"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1"},
        {"Host": "localhost:8642", "Origin": "http://localhost:3000"},
        {"Host": "localhost:8642", "Origin": "http://127.0.0.1:8642"},
        {"Host": "localhost", "Origin": "http://localhost:8642"},
        {"Host": "localhost", "Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
def test_without_a_key_no_foreign_page_is_let_in(client: Any, headers: dict[str, str]) -> None:
    """Neither a foreign name for this machine nor a page of another host or port is let in."""
    response = client("POST", "/sessions", headers=headers)
    assert response.status_code == 403
    assert response.json().keys() == {"detail"}


@pytest.mark.parametrize(
    "name",
    ["Forwarded", "X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Anything", "X-Real-IP", "Via"],
)
@pytest.mark.parametrize("path", ["/v4/sessions", "/", "/healthz"])
def test_without_a_key_nothing_is_let_in_by_a_proxy(
    sqlite_base_url: str, locked_base_url: str, api_key: str, name: str, path: str
) -> None:
    """A proxy would call for the whole world. Requests with its headers are refused, with the way out."""
    root = sqlite_base_url.removesuffix("/v4")
    for value in ("127.0.0.1", ""):
        answer = requests.request(
            "POST" if path == "/v4/sessions" else "GET",
            root + path,
            headers={name: value},
            timeout=PATIENCE,
        )
        assert answer.status_code == 403
        detail = answer.json()["detail"]
        assert repr(name.lower()) in detail
        assert "hl-sessions keys create" in detail
    behind_a_proxy = {name: "127.0.0.1", "X-API-KEY": api_key}
    answer = requests.post(f"{locked_base_url}/sessions", headers=behind_a_proxy, timeout=PATIENCE)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "LOCALHOST:1"},
        {"Host": "[::1]:8642"},
        {"Host": "127.0.0.2"},
        {"Host": "localhost:8642", "Origin": "http://localhost:8642"},
        {"Host": "localhost", "Origin": "http://localhost"},
        {"Host": "[::1]:8642", "Origin": "http://[::1]:8642"},
        {"Host": "LocalHost:80", "Origin": "http://localhost"},
        {"Host": "localhost", "Origin": "http://localhost:8642", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
def test_without_a_key_this_machine_is_let_in(client: Any, headers: dict[str, str]) -> None:
    """By every name of the loopback, with any port, and from a page of that same name and port."""
    assert client("POST", "/sessions", headers=headers).status_code == 201


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v4/projects", "/"])
def test_a_call_by_http_1_0_needs_no_host(sqlite_base_url: str, path: str) -> None:
    """Many health checks use it, and no browser can send such a call."""
    address = urlsplit(sqlite_base_url)
    with socket.create_connection((str(address.hostname), address.port or 0), PATIENCE) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert b" 200 OK\r\n" in connection.recv(100)


@pytest.mark.parametrize(
    "path", ["/healthz", "/v4/projects", "/v4/openapi.json", "/v4/nothing", "/", "/nothing"]
)
def test_head_answers_as_get_does_without_a_body(sqlite_base_url: str, path: str) -> None:
    """Status and headers are the same, with the length of the omitted body, and the connection stays open."""
    url = sqlite_base_url.removesuffix("/v4") + path
    with requests.Session() as http:
        answers = [http.request(method, url, timeout=PATIENCE) for method in ("HEAD", "GET")]
    head, get = answers
    assert head.content == b""
    assert int(head.headers["Content-Length"]) > 0
    assert head.status_code == get.status_code
    assert head.headers.keys() == get.headers.keys()
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


def test_the_key_is_in_no_repr(api_key: str) -> None:
    """Settings can be logged."""
    assert api_key not in repr(ServerSettings(api_key=api_key))
