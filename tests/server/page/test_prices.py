"""Costs that the page computes: the model ``large-1`` costs $2.50 and $10 for a million tokens."""

import html
import re
from typing import Any

CONFIG = {"type": "model", "model": "large-1"}
TOKENS = {"prompt_tokens": 400, "output_tokens": 20}
COMPUTED = "≈ $0.0012 computed"


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_a_cost_that_was_not_logged_is_computed(priced_reader: Any, unique: str) -> None:
    """It is marked wherever it is shown: at the datapoint, its session, a comparison and the sums."""
    shared = {"project": unique, "session_reference_id": unique, "source": "answer", "config": CONFIG}
    created = priced_reader.log(**shared, **TOKENS)
    session = f"/sessions/{created['session_id']}"
    for address in (session, f"{session}?view=timeline"):
        assert text_of(priced_reader.read(address)).count(COMPUTED) == 2
    assert f"Cost {COMPUTED}" in text_of(priced_reader.read(f"/activity?q={unique}"))
    other = priced_reader.log(**shared, prompt_cost=0.5)
    assert f"Cost {COMPUTED} $0.5000" in text_of(priced_reader.read(f"/datapoints/{other['id']}/compare"))
    both = "≈ $0.5012, $0.0012 of it computed"
    assert f"Cost {both}" in text_of(priced_reader.read(session))
    sums = text_of(priced_reader.read(f"/activity?q={unique}"))
    assert f"Cost {both}" in sums
    assert "large-1 1 2 0 400 20 $0.5000 ≈ $0.0012" in sums


def test_no_cost_is_computed_without_a_price_or_tokens(priced_reader: Any, unique: str) -> None:
    """A logged cost is never computed again, even if it is 0."""
    shared = {"project": unique, "session_reference_id": unique}
    created = priced_reader.log(
        {**shared, "config": {"type": "model", "model": "large-1-mini"}, **TOKENS},
        {**shared, "config": CONFIG},
        {**shared, **TOKENS},
        {**shared, "config": CONFIG, **TOKENS, "output_cost": 0},
    )
    for address in (f"/sessions/{created[0]['session_id']}", f"/activity?q={unique}"):
        assert "computed" not in priced_reader.read(address)


def test_a_computed_cost_is_told_by_no_call_of_the_api(priced_reader: Any, unique: str) -> None:
    """It is not stored."""
    created = priced_reader.log(project=unique, config=CONFIG, **TOKENS)
    answer = priced_reader.get(f"/v4/logs/{created['id']}").json()
    assert answer["prompt_tokens"] == TOKENS["prompt_tokens"]
    assert answer.get("prompt_cost") is None
    assert answer.get("output_cost") is None
