"""Feedback that is given on the page: how it is stored and shown, and the types of projects."""

import html
import re
from typing import Any

import pytest
import requests

from tests.waiting import PATIENCE


def api(reader: Any, method: str, path: str, **options: Any) -> Any:
    key = {} if reader.api_key is None else {"X-API-KEY": reader.api_key}
    answer = requests.request(method, f"{reader.url}/v4{path}", headers=key, timeout=PATIENCE, **options)
    assert answer.ok, answer.text
    return answer.json()


def given_on(reader: Any, path: str) -> list[tuple[str, Any, str | None]]:
    """Return type, value and user of the feedback that the API has on a datapoint or a session."""
    found = api(reader, "GET", path).get("feedback", [])
    return [(one["type"], one["value"], one.get("user")) for one in found]


def text_of(page: str) -> str:
    main = page[page.index("<main") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def test_a_rating_is_feedback_of_the_api(reader: Any, unique: str) -> None:
    """A click replaces the reader's last one, leaves others alone, and can be taken back."""
    logged = [{"type": "rating", "value": "good", "user": "anna"}, {"type": "rating", "value": "good"}]
    created = reader.log(project="rated", session_reference_id=unique, feedback=logged)
    datapoint, session = f"/datapoints/{created['id']}", f"/sessions/{created['session_id']}"
    others = [("rating", "good", "anna"), ("rating", "good", None)]
    for subject, path, before in ((datapoint, f"/logs/{created['id']}", others), (session, session, [])):
        address = f"{subject}/feedback"
        answer = reader.post(address, data={"type": "rating", "value": "good"}, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, subject)
        assert given_on(reader, path) == [*before, ("rating", "good", None)]
        answer = reader.post(
            f"{address}?project={created['project_id']}&view=timeline",
            data={"type": "rating", "value": "bad"},
        )
        assert answer.url.startswith(f"{reader.url}{session}?project={created['project_id']}&view=timeline")
        assert re.search(r'name="unset" value="bad" aria-pressed="true"', answer.text)
        assert given_on(reader, path) == [*before, ("rating", "bad", None)]
        reader.post(address, data={"type": "rating", "unset": "bad"})
        assert given_on(reader, path) == before
    assert "rating: good by anna" in text_of(reader.read(session))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            {"type": "rating", "value": "great"},
            "value: 'great' is no value of 'rating', which may be one of: good, bad.",
        ),
        ({"type": "note", "value": "x" * 4097}, "which may be a text of up to 4,096 bytes."),
        ({"type": "tone", "value": "formal"}, "type: 'tone' is none of: rating, note."),
        ({"value": "formal"}, "type: '' is none of: rating, note."),
        ({"type": "rating"}, "value is missing: an empty value takes your feedback back."),
    ],
)
def test_feedback_that_does_not_fit_is_refused(
    sqlite_reader: Any, unique: str, form: dict[str, str], message: str
) -> None:
    """The page names the field, the value, and the allowed values."""
    created = sqlite_reader.log(project=unique, session_reference_id=unique)
    answer = sqlite_reader.post(f"/sessions/{created['session_id']}/feedback", data=form)
    assert answer.status_code == 422
    assert message in text_of(answer.text)
    assert given_on(sqlite_reader, f"/sessions/{created['session_id']}") == []


def test_feedback_on_what_is_gone_is_told(reader: Any, unique: str) -> None:
    """It is not stored, because the datapoint or the session was deleted meanwhile."""
    created = reader.log(project=unique, session_reference_id=unique)
    requests.delete(f"{reader.url}/v4/sessions/{created['session_id']}", timeout=PATIENCE)
    for path in (
        f"/sessions/{created['session_id']}/feedback",
        f"/datapoints/{created['id']}/feedback",
    ):
        answer = reader.post(path, data={"type": "rating", "value": "good"})
        assert answer.status_code == 404
        assert "it was deleted, or never existed" in text_of(answer.text)


def test_the_key_of_the_reader_says_who_gave_it(locked_server: Any, unique: str) -> None:
    """Each reader has a rating and a note. Others see them with the key's name, and cannot change them."""
    anna, _ = locked_server.reader(f"anna {unique}")
    nobody = locked_server.reader_with_the_key_of_the_settings()
    created = nobody.log(project=unique, session_reference_id=unique)
    session = f"/sessions/{created['session_id']}"
    for value in ("good", "bad"):
        nobody.post(f"{session}/feedback", data={"type": "rating", "value": value})
    # The key of the settings has no name.
    assert given_on(nobody, session) == [("rating", "bad", None)]
    theirs = anna.log(project=unique, session_reference_id=unique)
    path = f"/sessions/{theirs['session_id']}"
    anna.post(f"{path}/feedback", data={"type": "note", "value": "Why?\r\n\0Because."})
    assert given_on(anna, path) == [("note", "Why?\n\ufffdBecause.", f"anna {unique}")]
    assert f"note: Why? \ufffdBecause. by anna {unique}" in text_of(anna.read(path))
    anna.post(f"{path}/feedback", data={"type": "note", "value": " "})
    assert given_on(anna, path) == []
    assert anna.post(f"{session}/feedback", data={"type": "rating", "value": "bad"}).status_code == 404


def test_two_readers_of_an_organisation_do_not_replace_each_other(locked_server: Any, unique: str) -> None:
    """Each sees the feedback of the other, with its name, and cannot take it back."""
    first, _ = locked_server.reader(f"one {unique}")
    second, _ = locked_server.reader(f"one {unique}", "two")
    created = first.log(project=unique, session_reference_id=unique)
    session = f"/sessions/{created['session_id']}"
    first.post(f"{session}/feedback", data={"type": "rating", "value": "good"})
    second.post(f"{session}/feedback", data={"type": "rating", "value": "bad"})
    second.post(f"{session}/feedback", data={"type": "rating", "unset": "bad"})
    assert given_on(first, session) == [("rating", "good", f"one {unique}")]
    assert f"rating: good by one {unique}" in text_of(second.read(session))


def test_types_of_a_project_are_forms_on_its_sessions(reader: Any, unique: str) -> None:
    """They are defined on the page of the projects. A type for numbers takes numbers."""
    created = reader.log(project=unique, session_reference_id=unique)
    session, datapoint = f"/sessions/{created['session_id']}", f"/datapoints/{created['id']}"
    define = f"/projects/{created['project_id']}/feedback-types"
    for form in (
        {"type": "tone", "kind": "list", "values": "formal, casual,"},
        {"type": "score", "kind": "number"},
        {"type": "Hint", "kind": "text"},
    ):
        answer = reader.post(define, data=form, allow_redirects=False)
        assert answer.headers["Location"] == f"/projects#{created['project_id']}"
    assert "Feedback: rating, note, tone, score, Hint" in text_of(reader.read("/projects"))
    page = reader.read(session)
    assert page.count('value="casual"') == page.count('type="number"') == 2
    for path in (session, datapoint):
        for kind, value in (("tone", "formal"), ("score", "1e2"), ("score", "0.5"), ("Hint", "<b>")):
            assert reader.post(f"{path}/feedback", data={"type": kind, "value": value}).ok
        assert reader.post(f"{path}/feedback", data={"type": "score", "value": "much"}).status_code == 422
    expected = [("tone", "formal", None), ("score", 0.5, None), ("Hint", "<b>", None)]
    assert given_on(reader, session) == given_on(reader, f"/logs/{created['id']}") == expected
    assert "Hint: <b>" in text_of(reader.read(session))
    reader.post(define, data={"remove": "tone"})
    assert "Feedback: rating, note, score, Hint" in text_of(reader.read("/projects"))
    # Existing feedback stays, and can be taken back.
    assert "tone: formal" in text_of(reader.read(session))
    reader.post(f"{session}/feedback", data={"type": "tone", "unset": "formal"})
    assert given_on(reader, session) == expected[1:]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"type": "tone", "kind": "list", "values": " , "}, "values: a list needs at least one value"),
        ({"type": "tone", "kind": "list", "values": "a, a"}, "a value of 'tone' is there twice"),
        ({"type": "tone", "kind": "date"}, "kind may be list, number or text."),
        ({"type": " ", "kind": "text"}, "type: String should have at least 1 character."),
        ({"type": "rating", "kind": "number"}, "'rating' is there in every project as it is"),
    ],
)
def test_a_type_that_cannot_be_is_refused(
    sqlite_reader: Any, unique: str, form: dict[str, str], message: str
) -> None:
    """The page says which field is wrong."""
    project_id = sqlite_reader.log(project=unique)["project_id"]
    answer = sqlite_reader.post(f"/projects/{project_id}/feedback-types", data=form)
    assert answer.status_code == 422
    assert message in text_of(answer.text)


def test_types_of_others_are_not_changed(locked_server: Any, unique: str) -> None:
    """A project of another organisation does not exist for the reader."""
    owner, stranger = (locked_server.reader(f"{name} {unique}")[0] for name in ("owner", "stranger"))
    project_id = owner.log(project=unique)["project_id"]
    form = {"type": "score", "kind": "number"}
    assert stranger.post(f"/projects/{project_id}/feedback-types", data=form).status_code == 404
    assert "score" not in owner.read("/projects")
