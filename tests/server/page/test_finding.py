"""Filters that are typed, and what they find."""

import html
import re
from collections.abc import Sequence
from typing import Any

import pytest

BEGIN = "2026-03-01T12:00:00"


def found(reader: Any, filter_text: str, **parameters: str) -> list[str]:
    """The first inputs of the sessions that a filter finds, in the order of the list."""
    answer = reader.get("/", params={"q": filter_text} | parameters)
    assert answer.status_code == 200, html.unescape(answer.text)
    cells = re.findall(r'<th role="rowheader"[^>]*><a [^>]*>(.*?)</a>', answer.text)
    return [html.unescape(re.sub("<[^>]*>", "", cell)).partition(" ")[0] for cell in cells]


def log_three(reader: Any, unique: str) -> list[Any]:
    """Three sessions: a cheap one, an expensive one of two datapoints, one with an error."""
    cheap = {
        "project": unique,
        "session_reference_id": f"{unique}-cheap",
        "inputs": {"text": f"cheap {unique} red shoes"},
        "source": "answer",
        "environment": "test",
        "config": {"model": "small-1"},
        "metadata": {"customer": "acme", "score": 2, "vip": True},
        "prompt_tokens": 10,
        "output_tokens": 5,
        "prompt_cost": 0.001,
        "duration": 0.5,
        "created_at": BEGIN,
    }
    expensive = {
        "project": f"{unique} other",
        "session_reference_id": f"{unique}-expensive",
        "inputs": {"text": f"expensive {unique} shoes that are red"},
        "source": "answer",
        "environment": "production",
        "config": {"model": "large-1"},
        "metadata": {"customer": "best of all", "score": 4.5, "vip": False},
        "prompt_tokens": 1000,
        "output_cost": 0.25,
        "duration": 1.0,
        "created_at": "2026-03-01T12:03:00",
    }
    second = {
        **expensive,
        "source": "summary",
        "created_at": "2026-03-01T12:07:00",
        "metadata": {"score": "9"},
    }
    failed = {
        "project": unique,
        "session_reference_id": f"{unique}-failed",
        "inputs": {"text": f"failed {unique}"},
        "error": "Timed out",
        "created_at": "2026-03-02T12:00:00",
    }
    created: list[Any] = reader.log(cheap, expensive, second, failed)
    return created


@pytest.mark.parametrize(
    ("filter_text", "expected"),
    [
        ("red shoes", ["cheap"]),
        ('red "shoes"', ["expensive", "cheap"]),
        ("shoes -cheap", ["expensive"]),
        ('-"red shoes"', ["failed", "expensive"]),
        ("project:UNIQUE", ["failed", "cheap"]),
        ('project:"UNIQUE other"', ["expensive"]),
        ("-project:UNIQUE", ["expensive"]),
        ("source:summary", ["expensive"]),
        ("source!=summary", ["failed", "cheap"]),
        ("model:large-1", ["expensive"]),
        ("model=small-1 shoes", ["cheap"]),
        ("-model:large-1", ["failed", "cheap"]),
        ("environment:test", ["cheap"]),
        ("metadata.customer=acme", ["cheap"]),
        ('metadata.customer:"best of all"', ["expensive"]),
        ("metadata.vip=true", ["cheap"]),
        ("metadata.score=4.5", ["expensive"]),
        ("metadata.score>3", ["expensive"]),
        ("metadata.score<=2", ["cheap"]),
        ("metadata.score>8", []),
        ("-metadata.score>0", ["failed"]),
        ("reference:UNIQUE-failed", ["failed"]),
        ("tokens>15", ["expensive"]),
        ("tokens>=15", ["expensive", "cheap"]),
        ("tokens:0", ["failed"]),
        ("cost>0.05", ["expensive"]),
        ("cost<=0.001", ["failed", "cheap"]),
        ("duration>2", ["expensive"]),
        ("duration>=4m", ["expensive"]),
        ("duration<600ms", ["failed", "cheap"]),
        ("datapoints>1", ["expensive"]),
        ("datapoints=1", ["failed", "cheap"]),
        ("errors>0", ["failed"]),
        ("-errors>0", ["expensive", "cheap"]),
        ("active<2026-03-02", ["expensive", "cheap"]),
        ("active>2026-03-01T12:07", ["failed"]),
        ("active:2026-03-01T12:07", ["expensive"]),
        ("began<2026-03-02", []),
        ("model:large-1 cost>0.05 -environment:test", ["expensive"]),
    ],
)
def test_a_filter_finds_the_sessions_of_which_all_terms_hold(
    finding_reader: Any, filter_text: str, expected: Sequence[str]
) -> None:
    """Of the session itself, of one of its datapoints, or of all of them together."""
    reader, unique = finding_reader
    scope = f"reference:{unique}-cheap" if filter_text.startswith("reference") else unique
    text = filter_text.replace("UNIQUE", unique)
    assert found(reader, f'"{unique}" {text}' if scope == unique else text) == list(expected)


@pytest.fixture(scope="module", params=["open_url", "open_url_on_postgresql"], ids=["sqlite", "postgresql"])
def finding_reader(request: pytest.FixtureRequest) -> Any:
    """A reader with three sessions, and the text that they share."""
    from tests.server.page.conftest import Reader

    reader, unique = Reader(request.getfixturevalue(request.param)), f"finding{request.param}"
    log_three(reader, unique)
    return reader, unique
