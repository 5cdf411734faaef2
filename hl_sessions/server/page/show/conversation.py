"""The datapoints of a session as a conversation without repetitions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hl_sessions.server.page.queries.datapoints import Datapoint

MOST_MESSAGES: Final = 200
"""The number of messages of a datapoint that are shown, the last ones; the others are in its JSON."""


@dataclass(frozen=True)
class Message:
    """A message of the conversation.

    Args:
        role: Its author: usually ``user``, ``assistant``, ``system`` or ``tool``.
        content: A text, a list of parts, ``None``, or any other logged value.
        calls: Its tool calls, if any.
        place: Its place in the datapoint.
    """

    role: str
    content: Any
    calls: Any
    place: Sequence[str | int]


@dataclass(frozen=True)
class Turn:
    """The part of the conversation that one datapoint adds.

    Args:
        datapoint: The datapoint.
        messages: Its input messages that are new in the conversation, the last ones of them.
        left_out: The number of further new messages.
        repeated_messages: The number of its input messages that are not new.
        inputs: Its inputs, unless they equal those of the turn before.
        repeats_inputs: Whether they equal those of the turn before.
        output: Its output, if it has one.
        nested: The number of datapoints nested in it, at any depth.
        nested_errors: The number of those with an error.
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
    """Make a conversation of the datapoints that are not nested in another one of them."""
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
    """Return the ID of the outermost datapoint that each one is nested in, or its own."""
    parent_of = {datapoint["id"]: datapoint["parent_id"] for datapoint in datapoints}
    top_of: dict[str, str] = {}
    for own_id in parent_of:
        top = own_id
        path = {top}
        # A circle can only come from a change of the database by other programs; it ends where it began.
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
    # Outputs of a model without a role, such as thinking, have a type.
    role = message.get("role") or message.get("type") or "assistant"
    return Message(str(role), message.get("content"), calls, (*place, "content"))
