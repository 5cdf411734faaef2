"""The server behind proxies, below a path, and called like a proxy; run/test_nginx.py has a real one."""

import html
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.servers import served
from tests.waiting import PATIENCE

KEY = "the key of this server"


def ask(base_url: str, target: str, host: str | None, version: str = "1.1") -> tuple[int, str]:
    """Send a request with any target, and return the status and the whole answer."""
    address = urlsplit(base_url)
    header = "" if host is None else f"Host: {host}\r\n"
    with socket.create_connection((str(address.hostname), address.port or 0), PATIENCE) as connection:
        connection.sendall(f"GET {target} HTTP/{version}\r\n{header}Connection: close\r\n\r\n".encode())
        with connection.makefile("rb") as file:
            answer = file.read().decode()
    return int(answer.split()[1]), answer


@pytest.mark.parametrize(
    ("target", "host", "status", "expected"),
    [
        ("http://localhost:1/v4/projects?size=3", "localhost:1", 200, '"records"'),
        ("HTTP://LocalHost:1/v4/projects", "evil.example", 200, '"records"'),
        ("https://localhost", "evil.example", 200, "<title>Sessions"),
        ("http://localhost?q=needle", "evil.example", 200, 'value="needle"'),
        ("http://localhost/%76%34/projects", "evil.example", 200, '"records"'),
        ("http://evil.example/v4/projects", "localhost", 403, "names another machine"),
        ("http:///v4/projects", "localhost", 404, "Not Found"),
        ("http://me@localhost/v4/projects", "localhost", 404, "Not Found"),
        ("ftp://localhost/v4/projects", "localhost", 404, "Not Found"),
    ],
)
def test_the_target_may_be_a_whole_url(
    sqlite_base_url: str, target: str, host: str, status: int, expected: str
) -> None:
    """Its host takes precedence over the header, also for refusals."""
    answered, answer = ask(sqlite_base_url, target, host)
    assert answered == status
    assert expected in answer


def test_a_whole_url_needs_no_other_host_and_the_key(locked_base_url: str, api_key: str) -> None:
    """By HTTP/1.0 there may be no host. No target avoids the key."""
    assert ask(locked_base_url, "http://any/healthz", None, "1.0")[0] == 200
    assert ask(locked_base_url, "http://any/v4/projects", "any")[0] == 401


def all_linked(call: Callable[..., requests.Response], prefix: str) -> set[str]:
    """Follow all links from the first page, without forms that change something, and return their targets."""
    seen: set[str] = set()
    waiting = {f"{prefix}/", f"{prefix}/nothing"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = call("GET", path)
        if answer.status_code == 303:
            waiting |= {answer.headers["Location"].partition("#")[0]} - seen
            continue
        # In a sorted list, only that link leads to the neighbours of a session.
        is_nowhere = re.search(r"/nothing$|/(newer|older)\?", path)
        assert answer.status_code == (404 if is_nowhere else 200), path
        if "html" in answer.headers["Content-Type"]:
            attributes = r'\b(?:href|src|action|data-address|data-from)="([^"#]+)'
            text = re.sub(r'<form[^>]* method="post"[^>]*>', "", answer.text)
            waiting |= {html.unescape(link) for link in re.findall(attributes, text)} - seen
    return seen


@pytest.mark.parametrize(
    ("way", "prefix"),
    [
        pytest.param("root path", "/sessions", marks=pytest.mark.slow),
        ("root path with a slash", "/team-a/log_1.x"),
        pytest.param("header", "/projects", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "is_passed_on", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["passed on", "taken off"]
)
def test_everything_leads_below_the_prefix(
    tmp_path: Path, way: str, prefix: str, *, is_passed_on: bool
) -> None:
    """Whether the proxy strips it or not, even if a path of the server begins like it."""
    root_path = {"root path": prefix, "root path with a slash": f"{prefix}/"}.get(way, "")
    with (
        served(tmp_path / "database", api_key=KEY, root_path=root_path) as base_url,
        requests.Session() as http,
    ):
        root = base_url.removesuffix("/v4")
        if way == "header":
            http.headers["X-Forwarded-Prefix"] = prefix

        def call(method: str, path: str, **options: Any) -> requests.Response:
            """Do what the proxy would do with a path that a browser asks for."""
            assert path.startswith(f"{prefix}/")
            path = path if is_passed_on else path.removeprefix(prefix)
            options = {"allow_redirects": False, "timeout": PATIENCE, **options}
            return http.request(method, root + path, **options)

        own = {"Origin": root}
        by_key = {"X-API-KEY": KEY}
        refused = call("GET", f"{prefix}/activity?window=7d")
        assert refused.status_code == 303
        assert refused.headers["Location"].startswith(f"{prefix}/sign-in?next=")
        form = call("GET", refused.headers["Location"])
        wanted = html.unescape(re.findall(r'name="next" value="([^"]+)"', form.text)[0])
        assert wanted == f"{prefix}/activity?window=7d"
        for given, leads_to in (
            (wanted, wanted),
            ("/elsewhere", f"{prefix}/"),
            ("//evil.example/", f"{prefix}/"),
            ("", f"{prefix}/"),
        ):
            signed_in = call("POST", f"{prefix}/sign-in", data={"key": KEY, "next": given}, headers=own)
            assert signed_in.headers["Location"] == leads_to
        assert f"; Path={prefix};" in signed_in.headers["Set-Cookie"]
        # The client of these requests would not send a cookie for a path that it does not see.
        http.headers["Cookie"] = signed_in.headers["Set-Cookie"].partition(";")[0]

        assert "Send the first datapoint" in call("GET", f"{prefix}/").text
        created = call(
            "POST",
            f"{prefix}/v4/logs",
            json={"project": "p", "session_reference_id": "r", "inputs": {"q": 1}, "output": "x" * 10_000},
            headers=by_key,
        ).json()
        seen = all_linked(call, prefix)
        assert f"{prefix}/sessions/{created['session_id']}/version" in seen
        assert f"{prefix}/datapoints/{created['id']}.json" in seen
        assert f"{prefix}/static/page.js" in seen
        assert f"{prefix}/projects" in seen
        assert f"{prefix}/judging/{created['session_id']}" in seen

        rated = call(
            "POST",
            f"{prefix}/datapoints/{created['id']}/feedback",
            data={"type": "rating", "value": "good"},
            headers=own,
        )
        assert rated.headers["Location"] == f"{prefix}/datapoints/{created['id']}"
        chosen = {"session": created["session_id"]}
        question = call("POST", f"{prefix}/sessions/delete", data=chosen, headers=own).text
        assert f'action="{prefix}/sessions/delete/confirmed"' in question
        deleted = call("POST", f"{prefix}/sessions/delete/confirmed", data=chosen, headers=own)
        assert deleted.headers["Location"] == f"{prefix}/"
        document = call("GET", f"{prefix}/v4/openapi.json", headers=by_key).json()
        assert document["servers"] == [{"url": prefix}]
        assert call("GET", f"{prefix}/v4/projects").status_code == 401
        assert call("GET", f"{prefix}/v5/projects").json()["detail"].startswith("This is a call of another")
        assert call("POST", f"{prefix}/sign-out", headers=own).headers["Location"] == f"{prefix}/sign-in"
        # Without the proxy the page is there, too.
        assert requests.get(f"{root}/healthz", timeout=PATIENCE).status_code == 200


def test_the_page_shows_the_address_that_callers_use(tmp_path: Path) -> None:
    """With scheme, name and prefix of the proxy; an open prefix without a slash is the first page."""
    with served(tmp_path / "database", api_key=KEY, root_path="/sessions") as base_url:
        root = base_url.removesuffix("/v4")
        headers = {"Host": "page.example", "X-Forwarded-Proto": "https"}
        signed_in = requests.post(
            f"{root}/sign-in",
            data={"key": KEY},
            headers={**headers, "Origin": "https://page.example"},
            allow_redirects=False,
            timeout=PATIENCE,
        )
        cookie = signed_in.headers["Set-Cookie"]
        assert re.match(r"__Secure-\w+=", cookie)
        assert "; Path=/sessions;" in cookie
        assert "; Secure" in cookie
        other = f"{cookie.partition('=')[0]}=that-of-a-server-at-the-root"
        headers["Cookie"] = f"{cookie.partition(';')[0]}; {other}"
        page = requests.get(f"{root}/sessions", headers=headers, timeout=PATIENCE).text
        assert "configure(&#34;https://page.example/sessions/v4&#34;," in page


@pytest.mark.parametrize(
    "given", ["//evil.example", "evil", "/a//b", "/a/../b", "/a?b", "/a b", "/é", '/"', "/v4", "/v4/x", "/;"]
)
def test_a_prefix_is_a_path_or_nothing(tmp_path: Path, given: str) -> None:
    """It stands in links and headers, so it must not lead elsewhere."""
    with pytest.raises(ValueError, match="the root path "), served(tmp_path / "database", root_path=given):
        pass


def test_nobody_but_trusted_proxies_names_a_prefix(
    locked_base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Malformed paths, headers of other peers, and prefixes other than the setting are ignored."""

    def location(base_url: str, prefix: str) -> str:
        answer = requests.get(
            base_url.removesuffix("/v4"),
            headers={"X-Forwarded-Prefix": prefix.encode()},
            allow_redirects=False,
            timeout=PATIENCE,
        )
        return answer.headers["Location"].partition("?")[0]

    assert location(locked_base_url, "/ours/") == "/ours/sign-in"
    for prefix in ("/", "", "//evil.example", "https://evil.example", "/é", "/a\\b"):
        assert location(locked_base_url, prefix) == "/sign-in"
    with served(tmp_path / "database", api_key=KEY, root_path="/ours") as base_url:
        assert location(base_url, "/theirs") == "/ours/sign-in"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.0/24")
    with served(tmp_path / "database", api_key=KEY) as base_url:
        assert location(base_url, "/theirs") == "/sign-in"


def test_a_proxy_on_this_machine_is_known_on_a_socket_for_both(
    tmp_path: Path, spawn: Callable[..., Any]
) -> None:
    """On a server on ``::``, the IPv4 address of a peer is written differently."""
    server = spawn(tmp_path, "--host", "::", "--api-key", KEY)
    port = server.base_url.split(":")[-1].removesuffix("/v4")
    for host in ("127.0.0.1", "[::1]"):
        answer = requests.get(
            f"http://{host}:{port}/",
            headers={"X-Forwarded-Prefix": "/ours"},
            allow_redirects=False,
            timeout=PATIENCE,
        )
        assert answer.headers["Location"].startswith("/ours/sign-in")
