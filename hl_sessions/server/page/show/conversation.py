"""The datapoints of a session as a conversation, in which nothing is said twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hl_sessions.server.page.queries.datapoints import Datapoint

MOST_MESSAGES: Final = 200
"""How many messages of a datapoint are shown, the last ones; the link to all of it leads to the rest."""


@dataclass(frozen=True)
class Message:
    """Something that was said.

    Args:
        role: Who said it: usually ``user``, ``assistant``, ``system`` or ``tool``.
        content: A text, or a list of parts, or ``None``; or anything else that was logged.
        calls: The tools that it calls, if any.
        place: Where it stands in the datapoint.
    """

    role: str
    content: Any
    calls: Any
    place: Sequence[str | int]


@dataclass(frozen=True)
class Turn:
    """What one datapoint adds to the conversation.

    Args:
        datapoint: The datapoint.
        messages: The messages that went into it and were not there before, the last ones of them.
        left_out: How many more such messages there are.
        repeated_messages: How many messages went into it that were.
        inputs: Its inputs, unless they are those of the turn before.
        repeats_inputs: Whether they are.
        output: What came out of it, if anything.
        nested: How many datapoints are nested in it, at any depth.
        nested_errors: How many of them have an error.
    """

    datapoint: Datapoint
    messages: Sequence[Message]
    left_out: int
    repeated_messages: int
    inputs: dict[str, Any] | None
    repeats_inputs: bool
    output: Message | None
    nested: int
    nested_errors: int


def tell(datapoints: Sequence[Datapoint]) -> list[Turn]:
    """Make a conversation of the datapoints that are nested in no other one of these."""
    top_of = _tops(datapoints)
    nested = Counter(top for own, top in top_of.items() if own != top)
    errors = Counter(
        top_of[datapoint["id"]]
        for datapoint in datapoints
        if datapoint["error"] is not None and top_of[datapoint["id"]] != datapoint["id"]
    )
    turns: list[Turn] = []
    said: list[tuple[str, Any]] = []
    last_inputs: dict[str, Any] | None = None
    for datapoint in datapoints:
        own_id = datapoint["id"]
        if top_of[own_id] != own_id:
            continue
        messages = [
            _message(message, ("messages", index))
            for index, message in enumerate(datapoint["messages"] or ())
        ]
        repeated = _common_length(said, messages)
        new = messages[repeated:]
        inputs = datapoint["inputs"] or None
        repeats_inputs = inputs is not None and inputs == last_inputs
        output = _output(datapoint)
        turns.append(
            Turn(
                datapoint=datapoint,
                messages=new[-MOST_MESSAGES:],
                left_out=max(len(new) - MOST_MESSAGES, 0),
                repeated_messages=repeated,
                inputs=None if repeats_inputs else inputs,
                repeats_inputs=repeats_inputs,
                output=output,
                nested=nested[own_id],
                nested_errors=errors[own_id],
            )
        )
        last_inputs = inputs
        if messages:
            said = [(message.role, message.content) for message in messages]
            if output is not None:
                said.append((output.role, output.content))
    return turns


def _tops(datapoints: Sequence[Datapoint]) -> dict[str, str]:
    """Give, by the ID of each datapoint, the ID of the outermost one that it is nested in, or its own."""
    parent_of = {datapoint["id"]: datapoint["parent_id"] for datapoint in datapoints}
    top_of: dict[str, str] = {}
    for own_id in parent_of:
        top = own_id
        path = {top}
        # A circle, which only a change behind the server's back can make, ends where it began.
        while top not in top_of and (parent := parent_of[top]) in parent_of and parent not in path:
            top = parent
            path.add(top)
        top_of.update(dict.fromkeys(path, top_of.get(top, top)))
    return top_of


def _common_length(said: Sequence[tuple[str, Any]], messages: Sequence[Message]) -> int:
    length = 0
    for before, message in zip(said, messages, strict=False):
        if before != (message.role, message.content):
            break
        length += 1
    return length


def _output(datapoint: Datapoint) -> Message | None:
    if datapoint["output"] is not None:
        calls = (datapoint["output_message"] or {}).get("tool_calls")
        return Message("assistant", datapoint["output"], calls, ("output",))
    if datapoint["output_message"] is not None:
        return _message(datapoint["output_message"], ("output_message",))
    return None


def _message(message: dict[str, Any], place: tuple[str | int, ...]) -> Message:
    calls = message.get("tool_calls") or message.get("tool_call")
    # What a model does without a role, such as to think, has a type.
    role = message.get("role") or message.get("type") or "assistant"
    return Message(str(role), message.get("content"), calls, (*place, "content"))
