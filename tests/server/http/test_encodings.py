"""Valid JSON is accepted in any encoding."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import served
from tests.waiting import PATIENCE

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("escaped", "kept", "replaced"),
    [
        (r"\u0000", "\ufffd", 1),
        (r"a\u0000\u0000b", "a\ufffd\ufffdb", 2),
        (r"\\u0000", "\\u0000", None),
        (r"\\\u0000", "\\\ufffd", 1),
        (r"\ud800", "\ufffd", 1),
        (r"\uDEAD\uBEEF", "\ufffd\ubeef", 1),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600", 1),
        (r"\ud83d\ude00\u0000", "\U0001f600\ufffd", 1),
        (r"\ud83d\\ude00", "\ufffd\\ude00", 1),
        (r"\ufffd", "\ufffd", None),
    ],
)
def test_what_cannot_be_stored_is_replaced_and_counted(
    client: Any, unique: str, escaped: str, kept: str, replaced: int | None
) -> None:
    """U+FFFD takes its place, in texts and in names, and a header has the number."""
    body = f'{{"project": "{unique}", "output": "{escaped}", "metadata": {{"n": [{{"m{escaped}": 1}}]}}}}'
    created = client("POST", "/logs", data=body)
    assert created.status_code == 200
    count = None if replaced is None else str(2 * replaced)
    assert created.headers.get("X-Replaced-Characters") == count
    log_id = created.json()["id"]
    log = client.ok("GET", f"/logs/{log_id}")
    assert (log["output"], log["metadata"]) == (kept, {"n": [{f"m{kept}": 1}]})
    for path, field in ((f"/logs/{log_id}", "error"), (f"/projects/{log['project_id']}", "name")):
        changed = client("PATCH", path, data=f'{{"{field}": "{unique}{escaped}"}}')
        assert changed.json()[field] == unique + kept
        assert changed.headers.get("X-Replaced-Characters") == (replaced and str(replaced))


def test_one_such_text_does_not_refuse_the_list(client: Any, unique: str) -> None:
    """All entries are stored, with feedback and references."""
    log = {"project": unique, "reference_id": f"{unique}\0", "feedback": {"type": "note", "value": "\0"}}
    created = client(
        "POST", "/logs", json=[{"project": unique}, log, {"project": unique, "output": "\ud800"}]
    )
    assert len(created.json()) == 3
    assert created.headers["X-Replaced-Characters"] == "3"
    found = client.ok("PATCH", "/logs", params={"reference_id": f"{unique}\ufffd"}, json={})
    assert found["feedback"][0]["value"] == "\ufffd"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_json_is_read_in_every_unicode_encoding(client: Any, unique: str, encoding: str) -> None:
    """With or without a byte order mark."""
    body = json.dumps({"project": unique, "output": "Zoë 😀"}, ensure_ascii=False)
    log_id = client.ok("POST", "/logs", data=body.encode(encoding))["id"]
    assert client.ok("GET", f"/logs/{log_id}")["output"] == "Zoë 😀"


def test_half_a_surrogate_pair_in_utf_16_is_replaced(client: Any, unique: str) -> None:
    """UTF-16 can have it without an escape."""
    body = json.dumps({"project": unique, "output": "a\ud83d\0"}, ensure_ascii=False)
    body = body.replace("\\u0000", r"\u0000\ud83d")
    response = client("POST", "/logs", data=body.encode("utf-16", "surrogatepass"))
    assert response.headers["X-Replaced-Characters"] == "3"
    log = client.ok("GET", f"/logs/{response.json()['id']}")
    assert log["output"] == "a\ufffd\ufffd\ufffd"


@pytest.mark.parametrize("body", [b"\xff\xfe{", b"\xff\xfe{\x00\x00", b"\xfe\xff\xd8\x00", b"\xef\xbb\xbf"])
def test_what_is_no_json_in_any_encoding_is_refused(client: Any, body: bytes) -> None:
    """Like in UTF-8."""
    response = client("POST", "/logs", data=body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["type"] == "json_invalid"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZip", "identity", ""])
def test_a_body_may_be_compressed(client: Any, unique: str, encoding: str) -> None:
    """By gzip, under each of its names."""
    body = json.dumps({"project": unique, "output": "x" * MIB}).encode()
    sent = gzip.compress(body) if "gzip" in encoding.lower() else body
    created = client("POST", "/logs", data=sent, headers={"Content-Encoding": encoding})
    assert len(client.ok("GET", f"/logs/{created.json()['id']}")["output"]) == MIB


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "PAYLOAD"])
def test_another_compression_is_refused(client: Any, encoding: str) -> None:
    """The answer names the supported one."""
    response = client("POST", "/logs", data=b"{}", headers={"Content-Encoding": encoding})
    assert (response.status_code, response.headers["Accept-Encoding"]) == (415, "gzip")
    assert "gzip" in response.json()["detail"]
    assert "PAYLOAD" not in response.text


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"x", zlib.compress(b"{}")],
    ids=["nothing", "not compressed", "cut off", "more behind it", "zlib"],
)
def test_what_is_not_compressed_as_its_header_says_is_refused(client: Any, body: bytes) -> None:
    """So is a truncated body."""
    response = client("POST", "/logs", data=body, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body"]


def test_the_limit_is_that_of_what_was_compressed(tmp_path: Path) -> None:
    """It is exact to the byte, and a body that would be 64 times as long is not decompressed further."""
    headers = {"Content-Encoding": "gzip"}
    start = '{"project": "p", "output": "'
    body = f'{start}{"x" * (MIB - len(start) - 2)}"}}'.encode()
    bomb = zlib.compressobj(9, wbits=31)
    parts = [bomb.compress(bytes(MIB)) for _ in range(64)]
    with served(tmp_path / "small", max_body=MIB) as base_url, requests.Session() as http:
        for sent, status in (
            (gzip.compress(body), 200),
            (gzip.compress(body + b" "), 413),
            (b"".join([*parts, bomb.flush()]), 413),
        ):
            response = http.post(f"{base_url}/logs", data=sent, headers=headers, timeout=PATIENCE)
            assert response.status_code == status
        assert response.json() == {"detail": f"The body is longer than {MIB} bytes"}
