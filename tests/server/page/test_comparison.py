import html
import re
from http import HTTPStatus
from time import process_time
from typing import Any

from hl_sessions.server.page.queries.cut_values import MAX_SHOWN


def marked_on(page: str, tag: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)]


def names_on(page: str) -> list[str]:
    return re.findall(r'<h2 id="difference-(\w+)">', page)


def test_two_datapoints_are_compared_word_by_word(reader: Any, unique: str) -> None:
    """The older one is on the left, whichever is named first. Equal values are only named."""
    shared = {"project": unique, "session_reference_id": unique, "source": "reply"}
    inputs = {"lines": list(range(50))}
    older = reader.log(
        **shared,
        inputs=inputs,
        metadata={"a": [1, 2]},
        output="In two days, on Thursday.\nBye <b>",
        duration=2.0,
    )
    newer = reader.log(
        **shared, inputs=inputs, metadata={"a": [1, 3]}, output="In three days, on Friday.\nBye <b>"
    )
    for one, other in ((newer, older), (older, newer)):
        page = reader.read(f"/datapoints/{one['id']}/compare?id={other['id']}")
        assert names_on(page) == ["output", "metadata"]
        assert marked_on(page, "del") == ["two", "Thursday", "2"]
        assert marked_on(page, "ins") == ["three", "Friday", "3"]
        assert "Bye &lt;b&gt;" in page
        assert re.search("The same in both: .*inputs", page)
        assert re.search(r"Duration</th><td>2.0 s</td><td>.</td>", page)


def test_it_is_compared_with_the_one_before_of_its_source(reader: Any, unique: str) -> None:
    """In its session, or else in its project. The reader may choose among these, or enter any ID."""
    shared = {"project": unique, "source": "reply"}
    elsewhere = reader.log(**shared, output="elsewhere")
    first, other, second, third = reader.log(
        *(
            {**shared, "session_reference_id": unique, "output": f"output {number}", "source": source}
            for number, source in enumerate(("reply", "search", "reply", "reply"))
        )
    )
    for one, compared, output in ((third, second, 2), (second, first, 0), (first, second, 2)):
        page = reader.read(f"/datapoints/{one['id']}/compare")
        assert f'<option value="{compared["id"]}" selected>' in page
        assert f"{output}" in marked_on(page, "del") + marked_on(page, "ins")
        assert set(re.findall('<option value="([^"]+)"', page)) == {
            datapoint["id"] for datapoint in (elsewhere, first, second, third) if datapoint is not one
        }
    assert "elsewhere" in reader.read(f"/datapoints/{third['id']}/compare?id={elsewhere['id']}")
    assert "No other datapoint" in reader.read(f"/datapoints/{other['id']}/compare")
    assert "id has to be" in reader.get(f"/datapoints/{third['id']}/compare?id=x").text
    unknown = reader.get(f"/datapoints/{third['id']}/compare?id=data_unknown")
    assert unknown.status_code == HTTPStatus.NOT_FOUND


def test_large_values_are_compared_in_a_moment(reader: Any, unique: str) -> None:
    """Only the shown parts are compared, and the page says so."""
    words = [" ".join(f"w{(number * step) % 997}" for number in range(40_000)) for step in (7, 11)]
    lines = ["x\n" * MAX_SHOWN + ending for ending in "ab"]
    first, second = reader.log(
        *(
            {"project": unique, "output": word, "error": line, "metadata": {"a": word, "b": [*word[:9000]]}}
            for word, line in zip(words, lines, strict=True)
        )
    )
    began = process_time()
    page = reader.read(f"/datapoints/{first['id']}/compare?id={second['id']}")
    assert process_time() - began < 3
    assert names_on(page) == ["output", "error", "metadata"]
    assert page.count("Only the beginnings are compared") == 3


def test_nothing_of_another_organisation_is_compared(locked_server: Any, unique: str) -> None:
    """From neither side."""
    owner, stranger = (locked_server.reader(f"{name} {unique}")[0] for name in ("owner", "stranger"))
    theirs, own = (one.log(project=unique, output="secret") for one in (owner, stranger))
    for one, other in ((theirs, own), (own, theirs)):
        answer = stranger.get(f"/datapoints/{one['id']}/compare?id={other['id']}")
        assert answer.status_code == HTTPStatus.NOT_FOUND
