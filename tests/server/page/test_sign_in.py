import html
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from hl_sessions.server.page.security import attempts
from hl_sessions.server.run.serving import serving_in_background
from tests.server.page.conftest import Reader
from tests.servers import served
from tests.waiting import PATIENCE, StillClock, wait_until

PAGES = ("/", "/sessions/sesh_x", "/projects", "/activity", "/nothing")


def test_who_is_not_signed_in_gets_to_the_form_and_then_to_where_they_wanted(locked_server: Any) -> None:
    """Every page leads to the form, and the form leads on to that page."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    reader.http.cookies.clear()
    for path in PAGES:
        answer = reader.get(path)
        assert answer.url.startswith(f"{reader.url}/sign-in?next=")
        assert "API key" in answer.text
    answer = reader.get("/activity?window=7d")
    wanted = html.unescape(re.findall(r'name="next" value="([^"]+)"', answer.text)[0])
    assert wanted == "/activity?window=7d"
    answer = reader.sign_in(next=wanted)
    assert answer.status_code == 303
    assert answer.headers["Location"] == wanted
    assert reader.get("/activity?window=7d").url == f"{reader.url}{wanted}"
    assert reader.get("/sign-in").url == f"{reader.url}/"


def test_scripts_and_posts_of_strangers_are_refused(locked_server: Any) -> None:
    """They have no reader who could see a form."""
    headers = {"X-Requested-With": "fetch"}
    assert (
        requests.get(f"{locked_server.url}/sessions/rows", headers=headers, timeout=PATIENCE).status_code
        == 401
    )
    headers = {"Origin": locked_server.url}
    answer = requests.post(
        f"{locked_server.url}/datapoints/data_x/feedback", headers=headers, timeout=PATIENCE
    )
    assert answer.status_code == 401


def test_the_cookie_is_out_of_reach(locked_server: Any) -> None:
    """For scripts, for other sites and, with TLS, for listeners. It does not contain the key."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    cookie = reader.sign_in().headers["Set-Cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert "secure" not in attributes
    assert reader.api_key not in cookie
    behind_tls = reader.sign_in(next="/").request
    answer = reader.post(
        "/sign-in",
        data=behind_tls.body,
        headers={"X-Forwarded-Proto": "https"} | {"Content-Type": "application/x-www-form-urlencoded"},
        allow_redirects=False,
    )
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-hl_sessions_sign_in=")
    attributes = {part.strip().lower() for part in cookie.split(";")}
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= attributes
    assert not [attribute for attribute in attributes if attribute.startswith("domain")]


def test_the_cookie_of_https_is_none_without_it(locked_server: Any) -> None:
    """Nor the other way round: a cookie that another application on this host sets is not accepted."""
    plain = locked_server.reader_with_the_key_of_the_settings()
    (cookie,) = plain.http.cookies
    for scheme, name, is_let_in in [
        ("http", cookie.name, True),
        ("https", cookie.name, False),
        ("http", f"__Host-{cookie.name}", False),
        ("https", f"__Host-{cookie.name}", True),
    ]:
        answer = requests.get(
            locked_server.url,
            headers={"X-Forwarded-Proto": scheme, "Cookie": f"{name}={cookie.value}"},
            allow_redirects=False,
            timeout=PATIENCE,
        )
        assert (answer.status_code == 200) == is_let_in


@pytest.mark.parametrize(
    ("host", "origin", "site", "status"),
    [
        ("page.example", "http://page.example:8080", "same-origin", 303),
        ("internal", "https://page.example", "same-origin", 303),
        ("page.example", "null", "same-origin", 303),
        ("page.example:443", "https://page.example", None, 303),
        ("page.example", "https://page.example:443", None, 303),
        ("page.example:80", "http://page.example", None, 303),
        ("Page.Example:8080", "http://page.example:8080", None, 303),
        ("page.example", "http://page.example:8080", None, 403),
        ("page.example:443", "http://page.example", None, 403),
        ("page.example:80", "https://page.example", None, 403),
        ("page.example", "https://page.example.evil.example", None, 403),
        ("page.example", "https://evil.example", "cross-site", 403),
        ("page.example", "https://page.example", "cross-site", 403),
        ("page.example", "https://page.example", "same-site", 403),
        ("page.example", "https://page.example", "none", 403),
        ("page.example", "https://page.example", "", 403),
        ("page.example", "null", None, 403),
        ("page.example", "https://page.example:port", None, 403),
        ("", "https://", None, 403),
    ],
)
def test_the_form_is_known_for_that_of_the_page_behind_any_proxy(
    locked_server: Any, host: str, origin: str, site: str | None, status: int
) -> None:
    """By the header of the browser, even if a proxy has dropped the port; otherwise by name and port."""
    headers = {"Host": host, "Origin": origin} | ({} if site is None else {"Sec-Fetch-Site": site})
    answer = requests.post(
        f"{locked_server.url}/sign-in",
        data={"key": locked_server.settings.api_key},
        headers=headers,
        allow_redirects=False,
        timeout=PATIENCE,
    )
    assert answer.status_code == status
    assert (status == 403) == ("a proxy has changed the header Host" in answer.text)


@pytest.mark.parametrize("key", ["wrong", "", "ключ", "\0"])
def test_a_wrong_key_is_told_and_not_repeated(locked_server: Any, key: str) -> None:
    """The form says that it was wrong, and remembers the page to go on to."""
    answer = requests.post(
        f"{locked_server.url}/sign-in",
        data={"key": key, "next": "/projects"},
        headers={"Origin": locked_server.url},
        timeout=PATIENCE,
    )
    assert answer.status_code == 401
    assert "This key is not valid, or was revoked." in answer.text
    assert 'name="next" value="/projects"' in answer.text
    assert "Set-Cookie" not in answer.headers
    assert 'value="wrong"' not in answer.text


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/a\r\nSet-Cookie: a=b", ""],
)
def test_the_form_leads_to_no_other_host(locked_server: Any, wanted: str) -> None:
    """Addresses outside of this server are ignored."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    assert reader.sign_in(next=wanted).headers["Location"] == "/"


def test_organisations_see_what_is_theirs(locked_server: Any, unique: str) -> None:
    """In the list, by the address of a session, in the projects, and in the activity."""
    one, _ = locked_server.reader(f"{unique}-one")
    other, _ = locked_server.reader(f"{unique}-other")
    created = one.log(
        project=f"{unique} secret", session_reference_id=unique, inputs={"q": "mine"}, output=unique
    )
    session_id, log_id = created["session_id"], created["id"]
    assert session_id in one.read("/")
    assert session_id in one.read(f"/?q={unique}")
    for path in (
        "/",
        f"/?q={unique}",
        f"/?q={session_id}",
        f"/?project={created['project_id']}",
        "/sessions/rows",
    ):
        assert f"/sessions/{session_id}" not in other.read(path)
    for path in (
        f"/sessions/{session_id}",
        f"/sessions/{session_id}/version",
        f"/datapoints/{log_id}.json",
        f"/?before={session_id}",
    ):
        assert one.get(path).ok
        assert other.get(path).status_code == 404
    assert (
        other.post(f"/datapoints/{log_id}/feedback", data={"type": "rating", "value": "good"}).status_code
        == 404
    )
    assert unique not in other.read("/projects")
    assert "<b>1</b> logged" in one.read("/activity")
    for query in ("", f"?project={created['project_id']}"):
        activity = other.read(f"/activity{query}")
        assert "<b>0</b> logged" in activity
        assert "secret" not in activity


def test_a_revoked_key_ends_the_sign_in(locked_server: Any) -> None:
    """Within a moment, also for readers who had signed in before."""
    reader, key_id = locked_server.reader("a leaver")
    assert reader.get("/").url == f"{reader.url}/"
    locked_server.revoke(key_id)
    with closing(sqlite3.connect(locked_server.settings.database)) as database:
        assert not database.execute("SELECT * FROM sign_ins WHERE key_id = ?", (key_id,)).fetchall()
    assert reader.get("/").url.startswith(f"{reader.url}/sign-in")
    headers = {"X-API-KEY": reader.api_key}
    wait_until(lambda: reader.get("/v4/projects", headers=headers).status_code == 401)
    assert reader.sign_in().status_code == 401


def test_a_sign_in_outlasts_the_server(locked_server: Any) -> None:
    """Another process on the same database accepts it, also after a restart or with a second worker."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    reader.sign_in()
    with serving_in_background(locked_server.settings) as base_url:
        url = base_url.removesuffix("/v4")
        answer = requests.get(url, cookies=reader.http.cookies.get_dict(), timeout=PATIENCE)
        assert answer.url == f"{url}/"


@pytest.mark.parametrize("place", [0, 5, -2])
def test_a_cookie_that_was_changed_is_none(locked_server: Any, place: int) -> None:
    """No one can make a cookie, nor one for another key."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    (cookie,) = reader.http.cookies
    changed = list(cookie.value)
    changed[place] = "A" if changed[place] != "A" else "B"
    answer = requests.get(
        f"{locked_server.url}/",
        cookies={cookie.name: "".join(changed)},
        allow_redirects=False,
        timeout=PATIENCE,
    )
    assert answer.status_code == 303


@pytest.mark.parametrize(
    "other",
    ['prefs={"theme":"dark"}', "list=[1, 2]", "flag", "name=Jörg", "a@b=1", 'quote="open'],
)
def test_cookies_of_others_are_in_nobodys_way(locked_server: Any, other: str) -> None:
    """A browser sends the cookies of all applications on this host, before ours or after it."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    (cookie,) = reader.http.cookies
    ours = f"{cookie.name}={cookie.value}"
    for cookies in (f"{other}; {ours}", f"{ours}; {other}"):
        answer = requests.get(
            f"{locked_server.url}/",
            headers={"Cookie": cookies.encode()},
            allow_redirects=False,
            timeout=PATIENCE,
        )
        assert answer.status_code == 200


def is_let_in(url: str, cookie: str) -> bool:
    answer = requests.get(url, headers={"Cookie": cookie}, allow_redirects=False, timeout=PATIENCE)
    return answer.status_code == 200


def test_a_copy_of_the_database_opens_nothing(locked_server: Any) -> None:
    """It contains no cookie, and nothing that a cookie could be made from."""
    reader, key_id = locked_server.reader("whose backup got lost")
    (cookie,) = reader.http.cookies
    assert is_let_in(reader.url, f"{cookie.name}={cookie.value}")
    path = locked_server.settings.database
    with closing(sqlite3.connect(path)) as database:
        query = "SELECT hash FROM keys WHERE id = ? UNION SELECT hash FROM sign_ins WHERE key_id = ?"
        hashes = [hash_ for (hash_,) in database.execute(query, (key_id, key_id))]
        everything = "\n".join(database.iterdump())
    assert cookie.value.partition(".")[2] not in everything
    assert len(hashes) == 2
    for hash_ in hashes:
        assert not is_let_in(reader.url, f"{cookie.name}={key_id}.{hash_}")


def test_another_key_of_the_settings_ends_the_sign_ins_of_the_first(tmp_path: Path) -> None:
    """With the same database and the same ID of the key, the server was started with another key."""
    earlier: list[str] = []
    for key in ("the first of two keys", "the second of two keys"):
        with served(tmp_path / "database", api_key=key) as base_url:
            reader = Reader(base_url.removesuffix("/v4"), key)
            assert not [cookie for cookie in earlier if is_let_in(reader.url, cookie)]
            assert reader.sign_in().status_code == 303
            ((name, value),) = reader.http.cookies.items()
            earlier.append(f"{name}={value}")
            assert is_let_in(reader.url, earlier[-1])
            reader.http.close()


def test_a_sign_in_expires_and_its_row_goes_with_the_next_one(locked_server: Any) -> None:
    """Regardless of what the browser does with the cookie."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    with closing(sqlite3.connect(locked_server.settings.database, isolation_level=None)) as database:
        database.execute("UPDATE sign_ins SET expires_at = '2020-01-01 00:00:00.000000'")
        assert reader.get("/").url.startswith(f"{reader.url}/sign-in")
        reader.sign_in()
        assert database.execute("SELECT count(*) FROM sign_ins").fetchone() == (1,)


def test_who_tries_keys_has_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten wrong keys, ever longer up to ten seconds. Other peers, and the API, are not affected."""
    clock = StillClock()
    monkeypatch.setattr(attempts, "monotonic", clock.monotonic)
    key = "the key of the settings"
    with served(tmp_path / "database", api_key=key) as base_url:
        url = base_url.removesuffix("/v4")

        def attempt(key: str, peer: str = "2001:db8::1") -> requests.Response:
            return requests.post(
                f"{url}/sign-in",
                data={"key": key, "next": "/projects"},
                headers={"Origin": url, "X-Forwarded-For": peer},
                allow_redirects=False,
                timeout=PATIENCE,
            )

        for _ in range(attempts.FREE_FAILURES):
            assert attempt("wrong").status_code == 401
        for seconds in (1, 2, 4, 8, 10, 10):
            refused = attempt(key, "2001:db8::2")
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, str(seconds))
            assert f"try again in {seconds} seconds" in refused.text
            assert 'name="next" value="/projects"' in refused.text
            clock.offset += seconds
            assert attempt("wrong").status_code == 401
        assert attempt(key).status_code == 429
        assert attempt(key, "192.0.2.1").status_code == 303
        assert (
            requests.post(f"{base_url}/sessions", headers={"X-API-KEY": key}, timeout=PATIENCE).status_code
            == 201
        )
        clock.offset += 10
        assert attempt(key).status_code == 303


def test_signing_out_ends_it(locked_server: Any) -> None:
    """The cookie is deleted, and copies of it open nothing. A foreign page cannot sign a reader out."""
    reader = locked_server.reader_with_the_key_of_the_settings()
    (cookie,) = reader.http.cookies
    copy = f"{cookie.name}={cookie.value}"
    assert reader.post("/sign-out", headers={"Origin": "https://evil.example"}).status_code == 403
    assert reader.get("/").url == f"{reader.url}/"
    assert is_let_in(reader.url, copy)
    assert "API key" in reader.post("/sign-out").text
    assert not is_let_in(reader.url, copy)
    assert reader.get("/").url.startswith(f"{reader.url}/sign-in")


def test_an_open_server_asks_for_nothing(sqlite_reader: Any) -> None:
    """It has no sign-in and no sign-out. A foreign name for this machine gets nothing."""
    assert sqlite_reader.get("/sign-in").url == f"{sqlite_reader.url}/"
    assert "Sign out" not in sqlite_reader.read("/")
    assert sqlite_reader.get("/", headers={"Host": "evil.example"}).status_code == 403
