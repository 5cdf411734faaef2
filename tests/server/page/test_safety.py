import html
import json
import re
from itertools import accumulate
from pathlib import Path
from time import process_time
from typing import Any

import pytest

import hl_sessions.server.page
from hl_sessions import NotFoundError
from hl_sessions.client.client import SessionsClient
from hl_sessions.server.page.show.json_text import fold_json, format_json, highlight_json
from hl_sessions.server.page.show.markdown import render_markdown

FOLDER = Path(hl_sessions.server.page.__file__).parent


@pytest.mark.parametrize("path", ["/", "/projects", "/activity", "/nothing", "/static/page.js", "/?from=x"])
def test_browsers_are_told_to_let_nothing_foreign_in(sqlite_reader: Any, path: str) -> None:
    """In every answer: scripts and styles are files of this server, and no other page may frame it."""
    headers = sqlite_reader.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == ("no-cache" if "static" in path else "no-store")


@pytest.mark.parametrize("path", ["", "/V4"])
def test_a_call_of_the_api_that_went_to_the_page_is_told_where_the_api_is(
    sqlite_reader: Any, path: str
) -> None:
    """It is not refused like that of a foreign page: the page has nothing to change there."""
    with (
        SessionsClient(sqlite_reader.url + path) as client,
        pytest.raises(NotFoundError, match=r"404 Not Found; .* ends with a version, as in /v4$") as caught,
    ):
        client.create()
    assert caught.value.body == {"detail": "There is no such call here: the API begins at /v4"}


def test_everything_that_the_page_uses_is_shipped_with_it(sqlite_reader: Any) -> None:
    """No reference leads to another host, and every reference leads to a file."""
    for file in [*FOLDER.glob("templates/*"), *FOLDER.glob("static/*")]:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"^\s*(//|/\*\*).*$", "", text, flags=re.MULTILINE).replace(
            "{{ base_url }}", ""
        )
        for name in re.findall(r'(?:src|href)="{{ prefix }}(/static/[^"]+)"|from "\./([^"]+)"', text):
            assert sqlite_reader.get(name[0] or f"/static/{name[1]}").ok


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt&#58;alert(1))",
        "[a](data:text/html,<script>alert(1)</script>)",
        "<javascript:alert(1)>",
        "![a](https://evil.example/pixel.png)",
        "[a]: javascript:alert(1)\n\n[a]",
        "|a|\n|:-:|\n|<b onclick=alert(1)>|",
        "```<script>\nalert(1)\n```",
        '[a](https://example.com/"onmouseover="alert(1))',
    ],
)
def test_markdown_gives_elements_to_read_only(text: str) -> None:
    """No element runs, loads, or would have to be stopped by the policy."""
    elements = re.findall(r"<(\w+)([^>]*)>", render_markdown(text))
    assert {name for name, _ in elements} <= {
        "p",
        "a",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
        "code",
    }
    for _, attributes in elements:
        for name, value in re.findall(r'([\w-]+)="([^"]*)"', attributes):
            assert name in {"href", "rel", "class"}
            assert name != "href" or value.startswith("https://")


def test_markdown_keeps_what_is_to_be_read() -> None:
    """Headings are below those of the page, and lines stay lines."""
    assert render_markdown("# One\n\ntwo  *three*\nfour") == (
        "<h4>One</h4>\n<p>two  <em>three</em><br />\nfour</p>\n"
    )
    assert 'rel="noopener noreferrer nofollow"' in render_markdown("<https://example.com>")


def test_json_is_shown_with_its_kinds_of_values() -> None:
    """Names, texts, numbers and constants are marked, and everything is escaped."""
    shown = highlight_json(format_json({"<a>": ['"<b>', -1.5e-7, None, "ü"]}))
    assert re.sub(r"</?span[^>]*>", "", shown) == (
        "{\n  &#34;&lt;a&gt;&#34;: [\n    &#34;\\&#34;&lt;b&gt;&#34;,\n    -1.5e-07,\n    null,"
        "\n    &#34;ü&#34;\n  ]\n}"
    )
    assert re.findall(r'class="json-(\w+)"', shown) == ["name", "string", "number", "constant", "string"]


def test_a_text_without_its_end_takes_no_longer() -> None:
    """Each of its quotes could begin a text, and each is looked at only once."""
    began = process_time()
    assert highlight_json('{"a": "' + '\\"' * 100_000).endswith("</span>")
    assert process_time() - began < 2


def test_what_is_large_in_json_is_folded() -> None:
    """Each object and each list by itself, with the number of its items. No text is lost."""
    text = format_json({"<a>": [{"b": [1, []]}] * 20, "c": {"d": "{"}, "e": []})
    shown = fold_json(text)
    assert re.findall(
        r'<details class="fold"( open)?><summary>.*?<span class="size">(\d+) items?<', shown
    ) == [
        ("", "20"),
        *[(" open", "1"), (" open", "2")] * 20,
        (" open", "1"),
    ]
    lines = re.sub(r' <span class="size">[^<]*</span></summary>', "\n", shown)
    assert html.unescape(re.sub(r"<[^>]+>", "", lines)).rstrip("\n") == text


@pytest.mark.parametrize("value", [[[[{"a": "b" * 50}]]], json.loads("[" * 90 + "1" + "]" * 90)])
def test_json_of_any_depth_and_without_its_end_is_folded(value: object) -> None:
    """Every opened element is closed, and none is deeper than browsers allow."""
    text = format_json(value)
    for end in range(0, len(text), 101):
        depths = list(
            accumulate(1 if tag == "<d" else -1 for tag in re.findall("<d|</d", fold_json(text[:end])))
        )
        assert depths[-1:] in ([], [0])
        assert max(depths, default=0) <= 16
