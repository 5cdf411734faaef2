"""Filters that are typed, and the sessions that they find."""

import html
import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

import pytest
import requests

from tests.server.page.conftest import LockedServer, Reader, url_of
from tests.server.page.test_session_list import link_of, rows_of
from tests.servers import served
from tests.waiting import PATIENCE

BEGIN = "2026-03-01T12:00:00"
REST = {"cheap": " red shoes", "expensive": " shoes that are red", "failed": ""}


def found(reader: Any, filter_text: str, **parameters: str) -> list[str]:
    """Return the first inputs of the sessions that a filter finds, in the order of the list."""
    answer = reader.get("/", params={"q": filter_text} | parameters)
    assert answer.status_code == HTTPStatus.OK, html.unescape(answer.text)
    return shown_on(answer.text)


def shown_on(page: str) -> list[str]:
    return [row["input"].partition(" ")[0] for row in rows_of(page)]


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
        "metadata": {"score": "9", "share": 2 / 3, "digits": 10**30, "a\\b": 0, "a:b": 0, "a b": 0},
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


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def finding_reader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Reader, str]]:
    """A reader with three sessions, and the text that they share, in a database without large sessions."""
    database = tmp_path_factory.mktemp("finding") / "finding.sqlite3"
    if request.param == "postgresql":
        database = request.getfixturevalue("postgresql").new_database()
    with served(database) as base_url:
        reader = Reader(url_of(base_url))
        log_three(reader, "finding")
        with reader.http:
            yield reader, "finding"


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
        ("metadata.share=0.6666666666666666", ["expensive"]),
        (f"metadata.digits={10**30}", ["expensive"]),
        ("metadata.a\\b=0", ["expensive"]),
        ("metadata.a\\b>=0", ["expensive"]),
        ("metadata.score>3", ["expensive"]),
        ("metadata.score<=2", ["cheap"]),
        ("metadata.score>8", []),
        ("-metadata.score>0", ["failed"]),
        ("reference:UNIQUE-failed", ["failed"]),
        ("tokens>15", ["expensive"]),
        ("tokens>1.5e1", ["expensive"]),
        ("cost<=1E-3", ["failed", "cheap"]),
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
        ("MODEL:large-1 Cost>0.05 -Environment:test", ["expensive"]),
    ],
)
def test_a_filter_finds_the_sessions_of_which_all_terms_hold(
    finding_reader: Any, filter_text: str, expected: Sequence[str]
) -> None:
    """Terms about the session itself, about one of its datapoints, or about all of them together."""
    reader, unique = finding_reader
    scope = f"reference:{unique}-cheap" if filter_text.startswith("reference") else unique
    text = filter_text.replace("UNIQUE", unique)
    assert found(reader, f'"{unique}" {text}' if scope == unique else text) == list(expected)


@pytest.mark.parametrize(
    ("filter_text", "problem"),
    [
        ("modle:large-1", "at character 1: no filter is called modle; there are project, source, model,"),
        ("red cost>much", "at character 10: cost> has to be followed by a number such as 0.05."),
        ("cost>", "at character 6: cost> has to be followed by a number such as 0.05."),
        ("cost>1e100", "at character 6: cost> has to be followed by a number such as 0.05."),
        ("tokens>99999999999999999999", "at character 8: tokens> has to be followed by a number"),
        (
            "duration>2d",
            "at character 10: duration> has to be followed by a duration such as 2, 500ms, 2s, 3m",
        ),
        ("began>yesterday", "at character 7: began> has to be followed by a day or a minute in UTC such as"),
        (
            "active<2026-02-30",
            "at character 8: active< has to be followed by a day or a minute in UTC such as",
        ),
        ("model>large", "at character 6: model may be followed by : or = or !=."),
        ("metadata.score>high", "at character 16: metadata.score> has to be followed by a number"),
        ("metadata:acme", "at character 1: no filter is called metadata;"),
        ("feedback:=good", "at character 10: feedback: has to be followed by a type of feedback"),
        ('feedback:""=good', "at character 10: feedback: has to be followed by a type of feedback"),
        ('feedback:"tone"good', "at character 16: a space has to follow"),
        ('feedback:tone="good', "at character 15: this quote is not closed"),
        ('model:"large', "at character 7: this quote is not closed"),
        ('"red"shoes', "at character 6: a space has to follow"),
        ('""', "at character 1: a text has to have 1 to 200 characters."),
        (" ".join(["-a"] * 21), "a filter may have up to 20 terms."),
        (
            "cost > 0.05",
            "at character 5: no space may be there: cost>0.05. A text with > in it is put in quotes",
        ),
        ("red -Cost >=0.05 -a", "at character 10: no space may be there: cost>=0.05."),
        ("cost> 0.05", "at character 6: no space may be there: cost>0.05."),
        ('model : "large 1"', 'at character 6: no space may be there: model:"large 1".'),
        ("METADATA.Score = 3", "at character 15: no space may be there: metadata.Score=3."),
        (
            "the cost = high",
            "at character 12: cost= has to be followed by a number such as 0.05, without a space.",
        ),
        (
            "model:large-1 OR model:small-2",
            "at character 15: there is no OR: all terms have to match, and a minus",
        ),
        ("NOT model:large-1", "at character 1: there is no NOT: all terms have to match, and a minus"),
    ],
)
def test_a_filter_that_cannot_be_understood_leaves_the_list(
    finding_reader: tuple[Reader, str], filter_text: str, problem: str
) -> None:
    """The page names the place and the way out. The field keeps the text, and the other filters apply."""
    reader, unique = finding_reader
    project = rows_of(reader.read(f"/?q=project:{unique}"))
    project_id = link_of(reader.read(f"/sessions/{project[0]['id']}"), unique).partition("=")[2]
    answer = reader.get("/", params={"q": filter_text, "project": project_id})
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert problem in html.unescape(answer.text)
    assert f'value="{html.escape(filter_text).replace("&quot;", "&#34;")}"' in answer.text
    assert shown_on(answer.text) == ["failed", "cheap"]


@pytest.mark.parametrize(
    "text",
    [
        '5" wide',
        "Error: not found",
        "error: not found",
        "if a==b",
        "👩\u200d👧 می\u200cروم",  # of characters that only join or part others
        "赤い\u3000靴",
        "see https://example.com/a?b=c",
        "at app.py:12",
        "12:30",
        "C:\\x",
        "- and --flag and a - b",
        "{key",
        "Model: HTTP://x.example, Source://x and Name:",
        "a > b, user <a@b.example> and x = y",
        "or and not Or",
        '"cost > 0.05 OR model : large-1"',
    ],
)
def test_what_is_no_filter_is_a_text(reader: Any, unique: str, text: str) -> None:
    """Even if it looks like one."""
    logged = f"{unique} {text}"
    created = reader.log(
        project=unique, session_reference_id=unique, inputs={"text": logged, "quoted": text.strip('"')}
    )
    reader.log(project=unique, session_reference_id=f"{unique}-other", inputs={"text": unique})
    answer = reader.get("/", params={"q": f"{unique} {text}"})
    assert [row["id"] for row in rows_of(answer.text)] == [created["session_id"]]


def test_fields_and_terms_are_one_filter(finding_reader: tuple[Reader, str]) -> None:
    """A project, days and errors limit the list together with the typed filter."""
    reader, unique = finding_reader
    (cheap,) = rows_of(reader.read(f"/?q=model:small-1 {unique}"))
    project_id = link_of(reader.read(f"/sessions/{cheap['id']}"), unique).partition("=")[2]
    assert found(reader, "tokens:0", project=project_id) == ["failed"]
    assert found(reader, f"project:{project_id}", errors="1") == ["failed"]
    assert found(reader, "model:large-1", project=project_id) == []
    assert found(reader, unique, until="2000-01-01") == []


def test_feedback_is_found_by_its_type_and_value(reader: Any, unique: str) -> None:
    """A text or a number, on any datapoint of the session."""
    for number, given in enumerate([("rating", "very good"), ("rating", 5), ("note", "fine"), None]):
        feedback = [{"type": given[0], "value": given[1]}] if given else None
        shared = {"project": unique, "session_reference_id": f"{unique}-{number}"}
        reader.log({**shared, "inputs": {"n": f"{number} "}, "feedback": feedback}, {**shared, "output": "x"})
    for filter_text, expected in {
        "feedback:rating": ["1", "0"],
        'feedback:rating="very good"': ["0"],
        "feedback:rating=5": ["1"],
        "-feedback:rating": ["3", "2"],
        "feedback:rating=good": [],
    }.items():
        assert found(reader, f"project:{unique} {filter_text}") == expected, filter_text


def test_any_type_of_feedback_can_be_written_in_quotes(reader: Any, unique: str) -> None:
    """Beside its value, which may be in quotes, too. Suggestions have the quotes."""
    for number, kind in enumerate(("a=b", "a", 'very "b"')):
        reader.log(
            project=unique,
            session_reference_id=f"{unique}-{number}",
            inputs={"n": f"{number} "},
            feedback={"type": f"{unique} {kind}" if number else f"{unique}={kind}", "value": "b=good"},
        )
    for filter_text, expected in {
        f'feedback:"{unique}=a=b"=b=good': ["0"],
        f'feedback:"{unique}=a=b"="b=good"': ["0"],
        f'-feedback:"{unique}=a=b"': ["2", "1"],
        f'feedback:"{unique} a"': ["1"],
        f'feedback:"{unique} a"="b=good"': ["1"],
        f'feedback!="{unique} a"=b=good': ["2", "0"],
        f'feedback:"{unique} very \\"b\\""=b=good': ["2"],
        f"feedback:{unique}=a=b": [],
        f'feedback:"{unique}=a=b"=good': [],
    }.items():
        assert found(reader, f"project:{unique} {filter_text}") == expected, filter_text
    typed, options = completed(reader, f"shoes feedback:{unique}=")
    assert (typed, options) == (f"feedback:{unique}=", [f'feedback:"{unique}=a=b" '])
    assert completed(reader, f'feedback:"{unique}=')[1] == options
    assert completed(reader, f"{options[0]}model:large")[0] == "model:large"


def test_sessions_are_found_by_what_callers_tell_of_them(reader: Any, unique: str) -> None:
    """With those that have no datapoint, and so no project."""
    told = {"name": f"Red shoes {unique}", "user": f"user of {unique}", "reference_id": unique}
    answer = reader.http.post(f"{reader.url}/v4/sessions", json=told)
    assert answer.ok, answer.text
    session_id = answer.json()["id"]
    for filter_text in (
        f'name:"RED SHOES {unique}"',
        f"name:{unique}",
        f'name="Red shoes {unique}"',
        f'user:"user of {unique}"',
        f"reference:{unique}",
        f"name:{unique} datapoints:0 errors:0 tokens:0 cost:0",
        f"name:{unique} -project:x -model:x -source:x -environment:x -metadata.x:1 -feedback:x -duration>0",
        f"name:{unique} began>=2026-01-01 active>2026-01-01T10:30",
    ):
        answer = reader.get("/", params={"q": filter_text})
        assert [row["id"] for row in rows_of(answer.text)] == [session_id], filter_text
        answer = reader.get("/", params={"q": filter_text, "sort": "-cost"})
        assert [row["id"] for row in rows_of(answer.text)] == [session_id], filter_text
    for filter_text in (f"name=Red {unique}", f"user:user {unique}", f"name:{unique} began<2026-01-01"):
        assert rows_of(reader.get("/", params={"q": filter_text}).text) == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("began", ["cheap", "expensive", "failed"]),
        ("-active", ["failed", "expensive", "cheap"]),
        ("cost", ["failed", "cheap", "expensive"]),
        ("-tokens", ["expensive", "cheap", "failed"]),
        ("-errors", ["failed", "expensive", "cheap"]),
        ("duration", ["failed", "cheap", "expensive"]),
        ("-datapoints", ["expensive", "failed", "cheap"]),
        ("-user", ["failed", "expensive", "cheap"]),
    ],
)
def test_the_list_is_sorted_by_a_column(
    finding_reader: tuple[Reader, str], sort: str, expected: Sequence[str]
) -> None:
    """Equal ones are in order of arrival. Neighbours have the same order, and so has a search."""
    reader, unique = finding_reader
    assert found(reader, unique, sort=sort) == expected
    page = reader.get("/", params={"q": unique, "sort": sort}).text
    first, second, last = (row["id"] for row in rows_of(page))
    answer = reader.get(
        link_of(reader.read(link_of(page, f"{expected[0]} {unique}{REST[expected[0]]}")), "After →")
    )
    assert answer.url.startswith(f"{reader.url}/sessions/{second}?")
    answer = reader.get(link_of(answer.text, "After →"))
    assert answer.url.startswith(f"{reader.url}/sessions/{last}?")
    answer = reader.get(link_of(reader.get(link_of(answer.text, "← Before")).text, "← Before"))
    assert answer.url.startswith(f"{reader.url}/sessions/{first}?")


def test_the_parts_of_a_sorted_list_have_each_session_once(reader: Any, unique: str) -> None:
    """Forwards and backwards, with many equal values. The headings lead to other orders."""
    reader.log(
        *(
            {
                "project": unique,
                "session_reference_id": f"{unique}-{number}",
                "inputs": {"n": str(number)},
                "prompt_cost": number // 40,
            }
            for number in range(120)
        )
    )
    page = reader.read(link_of(reader.read(f"/?q=project:{unique}&sort=cost"), "Duration"))
    assert 'aria-sort="descending"' in page
    assert "sort=-duration" in link_of(page, "After →")
    page = reader.read(f"/?q=project:{unique}&sort=cost")
    assert re.search(r'aria-sort="ascending"><a [^>]*>Cost</a>', page)
    parts = [page]
    while "After →" in page:
        page = reader.read(link_of(page, "After →"))
        parts.append(page)
    seen = [row["input"] for part in parts for row in rows_of(part)]
    assert seen == [str(number) for number in range(120)]
    back = reader.read(link_of(parts[-1], "← Before"))
    assert rows_of(back) == rows_of(parts[-2])
    # The values of a comparison are shown, too.
    compared = rows_of(reader.read(f"/?q=project:{unique}+cost>1"))
    assert {row["cost"] for row in compared} == {"$2.00"}
    assert "cost" not in rows_of(reader.read(f"/?q=project:{unique}"))[0]


def test_columns_are_chosen_and_remembered(reader: Any, unique: str) -> None:
    """The columns of a form apply to this page and later ones. The link to the session is always there."""
    reader.log(
        project=unique,
        session_reference_id=unique,
        inputs={"n": "1"},
        prompt_tokens=1200,
        output_cost=0.5,
        config={"model": "large-1"},
    )
    address = f"/?q=project:{unique}"
    data = {"column": ["tokens", "cost", "model", "active", "user", "nothing"], "next": address}
    answer = reader.post("/columns", data=data)
    assert answer.url.startswith(f"{reader.url}/?q=project:")
    (row,) = rows_of(answer.text)
    assert row["tokens"].split() == ["1,200", "tokens"]
    assert (row["cost"], row["model"], row["user"]) == ("$0.5000", "large-1", "")
    assert "output" not in row
    (again,) = rows_of(reader.read(address))
    assert again.keys() == row.keys()
    rows = re.search(r'id="rows"[^>]* data-address="([^"]*)"', answer.text)
    assert rows
    (live,) = rows_of(Reader(reader.url).read(html.unescape(rows[1])))
    assert live.keys() == row.keys()
    assert not reader.http.post(
        f"{reader.url}/columns", data=data, headers={"Origin": "https://evil.example"}
    ).ok
    answer = reader.post("/columns", data={"column": "cost", "next": "https://evil.example/"})
    assert answer.url == f"{reader.url}/"


def completed(reader: Any, filter_text: str) -> tuple[str, list[str]]:
    answer = reader.get("/completions", params={"q": filter_text}).json()
    return answer["typed"], [option["text"] for option in answer["options"]]


def test_a_filter_is_completed(finding_reader: tuple[Reader, str]) -> None:
    """By names, and by recently logged values."""
    reader, unique = finding_reader
    assert completed(reader, "red -mo") == ("-mo", ["-model:"])
    assert completed(reader, "e") == ("e", ["environment:", "errors>"])
    assert "metadata." in completed(reader, "red ")[1]
    assert completed(reader, f"project:{unique}")[1] == [f"project:{unique} ", f'project:"{unique} other" ']
    typed, options = completed(reader, f'cost>1 project:"{unique} o')
    assert (typed, options) == (f'project:"{unique} o', [f'project:"{unique} other" '])
    assert "model:large-1 " in completed(reader, "MODEL:LARGE")[1]
    assert "metadata.customer=" in completed(reader, "Metadata.cus")[1]
    assert completed(reader, "metadata.a")[1] == ["metadata.a\\b="]
    assert 'metadata.customer="best of all" ' in completed(reader, "metadata.customer=best")[1]
    for nothing in ("shoes", "cost>", "nothing:a", '"mod', "\0", "-"):
        assert "model:large-1 " not in completed(reader, nothing)[1]


def test_phones_leave_the_first_letter_of_a_filter_small(finding_reader: tuple[Reader, str]) -> None:
    """Values of filters are often small: ``Large-1`` is another model."""
    reader, _ = finding_reader
    field = re.search(r'<input id="q"[^>]*>', reader.read("/"))
    assert field
    assert 'autocapitalize="none"' in field[0]


def test_feedback_on_a_session_is_offered(reader: Any, unique: str) -> None:
    """As it is that on a datapoint: the queue of what is not judged gives it to sessions."""
    logged = reader.log(project=unique, session_reference_id=unique)
    given = {"type": f"correction-{unique}", "value": "Blue."}
    feedback = {"session_id": logged["session_id"], **given}
    assert requests.post(f"{reader.url}/v4/feedback", json=feedback, timeout=PATIENCE).ok
    assert completed(reader, "feedback:corr")[1] == [f"feedback:correction-{unique} "]


def test_filters_and_completions_know_one_organisation(locked_server: LockedServer, unique: str) -> None:
    """Nothing of another organisation is found or suggested."""
    mine, theirs = (locked_server.reader(f"{unique} {side}")[0] for side in ("mine", "theirs"))
    for reader in (mine, theirs):
        reader.log(
            project=f"{unique}", session_reference_id=unique, source=reader.api_key, metadata={"key": unique}
        )
    for filter_text in (f"project:{unique}", f"metadata.key={unique}", unique, f"reference:{unique}", ""):
        for sort in ("", "-cost"):
            (row,) = rows_of(mine.get("/", params={"q": filter_text, "sort": sort}).text)
            assert row["id"] not in theirs.read("/")
    assert completed(mine, "source:")[1] == [f"source:{mine.api_key} "]
    assert found(mine, f"source:{theirs.api_key}") == []


def test_values_of_a_session_lead_to_those_that_share_them(finding_reader: tuple[Reader, str]) -> None:
    """From the model, the source and the environment of a datapoint."""
    reader, unique = finding_reader
    (row,) = rows_of(reader.read(f"/?q=model:small-1 {unique}"))
    page = reader.read(f"/sessions/{row['id']}")
    for value, address in {
        "small-1": "/?q=model%3Asmall-1",
        "test": "/?q=environment%3Atest",
        "answer": "/?q=source%3Aanswer",
    }.items():
        assert link_of(page, value) == address
        assert row["id"] in [one["id"] for one in rows_of(reader.read(address))]
