"""The responses of language models, as fields of a datapoint.

The clients of OpenAI and Anthropic are not imported. Their responses are recognised by their type fields, and
may be objects of their classes, objects of compatible clients, or dicts. Fields that a response lacks are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from hl_sessions.datapoints.values import freeze

__all__ = ["StreamedFields", "fields_of", "fields_of_chunk", "text_of_chunk"]

#: Packages that are named like their provider. Responses of others, such as LiteLLM, may be of any provider.
_PROVIDERS: Final = frozenset({"anthropic", "groq", "openai"})
_TEXT_DELTAS: Final = frozenset(
    {"content.delta", "refusal.delta", "response.output_text.delta", "response.refusal.delta"}
)
#: The types of whole responses: OpenAI's have none.
_KINDS_OF_RESPONSES: Final = frozenset({None, "message"})
_LAST_EVENTS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})


def fields_of(response: Any) -> dict[str, Any] | None:
    """Return the fields of a response of a language model, ``None`` for any other object.

    They are ``output`` (the text), ``output_message`` (if tools are called), ``prompt_tokens``,
    ``output_tokens`` and ``config`` (the model and its provider). The response may be a
    ``ChatCompletion`` or ``Response`` of OpenAI, or a ``Message`` of Anthropic. Of several choices the
    first is used. The cost is not estimated.
    """
    kind = _kind(response, "object")
    if kind == "chat.completion" and isinstance(_get(response, "choices"), list):
        return _of_chat_completion(response)
    if kind == "response" and isinstance(_get(response, "output"), list):
        return _of_response(response)
    # A message of OpenAI's responses has this type and role, too, but no model.
    is_message = _kind(response, "type") == "message" and _get(response, "role") == "assistant"
    if is_message and isinstance(_get(response, "model"), str):
        return _of_message(response)
    return None


def text_of_chunk(chunk: Any) -> str | None:
    """Return the text in a chunk of a streamed response, ``None`` for any other object.

    A chunk may be a text, a ``ChatCompletionChunk``, or an event of OpenAI's responses or of Anthropic's
    messages; a whole response is like a single chunk. The text of a chunk without text is empty.
    """
    if isinstance(chunk, str):
        return chunk
    if _kind(chunk, "object") == "chat.completion.chunk":
        return "".join(
            _text_of_chat(_get(choice, "delta"))
            for choice in _list(_get(chunk, "choices"))
            if _get(choice, "index") == 0
        )
    kind = _kind(chunk, "type")
    if kind in _KINDS_OF_RESPONSES and (whole := fields_of(chunk)) is not None:
        return _text(whole.get("output"))
    if kind is None:
        return None
    delta = _get(chunk, "delta")
    # Anthropic's helper sends each text a second time, as a separate event.
    if kind == "content_block_delta" and _get(delta, "type") == "text_delta":
        return _text(_get(delta, "text"))
    return _text(delta) if kind in _TEXT_DELTAS else ""


def fields_of_chunk(chunk: Any) -> dict[str, Any]:
    """Return the fields besides the text in a chunk of a streamed response; most chunks have none.

    If two chunks have the same field, the later one is right.
    """
    kind = _kind(chunk, "type")
    if _kind(chunk, "object") == "chat.completion.chunk":
        told = _of_chat_completion(chunk)
    elif kind == "chunk":  # of OpenAI's helper, which sends its text as a separate event
        return fields_of_chunk(_get(chunk, "chunk"))
    elif kind == "message_start":
        told = fields_of(_get(chunk, "message")) or {}
    elif kind == "message_delta":
        told = _of_message(chunk)
    elif kind in _LAST_EVENTS:
        told = fields_of(_get(chunk, "response")) or {}
    elif kind in _KINDS_OF_RESPONSES:
        told = fields_of(chunk) or {}
    else:
        return {}
    return {name: value for name, value in told.items() if name != "output"}


class _Piece(NamedTuple):
    """A piece of the call of a tool in a chunk. The first one has the name, the others more of the input."""

    index: Any
    call_id: Any
    name: Any
    input: str
    is_custom: bool = False


class StreamedFields:
    """The fields besides the text of the chunks of a streamed response, or of several ones."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        #: The first piece of each call, and the pieces of its input.
        self._calls: list[tuple[_Piece, list[str]]] = []
        #: The newest call at each place of a response.
        self._newest: dict[Any, tuple[_Piece, list[str]]] = {}

    def add(self, chunk: Any) -> None:
        """Add the fields of a chunk."""
        self._fields.update(fields_of_chunk(chunk))
        if _kind(chunk, "type") == "message_start":
            self._newest.clear()  # Anthropic numbers all blocks of a message, not only its calls
        for piece in _pieces_of_calls(chunk):
            call = self._newest.get(piece.index)
            # Some servers repeat the name in each piece, and some have the same place for all calls.
            if piece.name and not (call and piece.call_id and piece.call_id == call[0].call_id):
                call = self._newest[piece.index] = (piece, [])
                self._calls.append(call)
            if call is not None:
                call[1].append(piece.input)

    def fields(self, text: str) -> dict[str, Any]:
        """Return the fields; ``output_message`` has the calls of tools, and the text of all chunks."""
        if not self._calls:
            return self._fields
        calls = []
        for first, inputs in self._calls:
            given = "".join(inputs)
            if first.is_custom:
                calls.append(_custom_call(first.call_id, first.name, given))
            else:
                calls.append(_function_call(first.call_id, first.name, given or "{}"))
        return {**self._fields, "output_message": _message(text, calls)}


def _pieces_of_calls(chunk: Any) -> Iterator[_Piece]:
    """Yield the pieces of calls of tools in a chunk; OpenAI's responses have the whole calls in the last."""
    kind = _kind(chunk, "type")
    index = _get(chunk, "index")
    if _kind(chunk, "object") == "chat.completion.chunk":
        for choice in _list(_get(chunk, "choices")):
            if _get(choice, "index") == 0:
                yield from map(_piece_of_chat, _list(_get(_get(choice, "delta"), "tool_calls")))
    elif kind == "chunk":
        yield from _pieces_of_calls(_get(chunk, "chunk"))
    elif kind == "content_block_start":
        block = _get(chunk, "content_block")
        if _get(block, "type") == "tool_use":
            given = _get(block, "input")  # mostly still empty
            arguments = _as_json(given) if given else ""
            yield _Piece(index, _get(block, "id"), _get(block, "name"), arguments)
    elif kind == "content_block_delta":
        yield _Piece(index, None, None, _text(_get(_get(chunk, "delta"), "partial_json")))


def _piece_of_chat(call: Any) -> _Piece:
    index, call_id = _get(call, "index"), _get(call, "id")
    function, custom = _get(call, "function"), _get(call, "custom")
    if custom is not None:
        return _Piece(index, call_id, _get(custom, "name"), _text(_get(custom, "input")), is_custom=True)
    return _Piece(index, call_id, _get(function, "name"), _text(_get(function, "arguments")))


def _of_chat_completion(response: Any) -> dict[str, Any]:
    message = next((_get(choice, "message") for choice in _list(_get(response, "choices"))), None)
    usage = _get(response, "usage")
    return _fields(
        response,
        provider="openai",
        text=_text_of_chat(message),
        calls=_list(_get(message, "tool_calls")),
        prompt_tokens=_count(_get(usage, "prompt_tokens")),
        output_tokens=_count(_get(usage, "completion_tokens")),
    )


def _text_of_chat(message: Any) -> str:
    """Return the text of a message of a chat completion, or of its change in a chunk."""
    spoken = _get(_get(message, "audio"), "transcript")
    return _text(_get(message, "content")) or _text(_get(message, "refusal")) or _text(spoken)


def _of_response(response: Any) -> dict[str, Any]:
    items, usage = _list(_get(response, "output")), _get(response, "usage")
    return _fields(
        response,
        provider="openai",
        text="".join(_text(_get(item, "content")) for item in items if _get(item, "type") == "message"),
        calls=[call for call in map(_call_of_response, items) if call is not None],
        prompt_tokens=_count(_get(usage, "input_tokens")),
        output_tokens=_count(_get(usage, "output_tokens")),
    )


def _call_of_response(item: Any) -> dict[str, Any] | None:
    call_id, name = _get(item, "call_id"), _get(item, "name")
    if _get(item, "type") == "function_call":
        return _function_call(call_id, name, _get(item, "arguments"))
    if _get(item, "type") == "custom_tool_call":
        return _custom_call(call_id, name, _get(item, "input"))
    return None


def _of_message(response: Any) -> dict[str, Any]:
    blocks, usage = _list(_get(response, "content")), _get(response, "usage")
    # Unlike OpenAI's number of input tokens, this one excludes tokens of the cache, read or written.
    cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
    input_tokens = _count(_get(usage, "input_tokens"))
    return _fields(
        response,
        provider="anthropic",
        text=_text(blocks),
        calls=[
            _function_call(_get(block, "id"), _get(block, "name"), _as_json(_get(block, "input")))
            for block in blocks
            if _get(block, "type") == "tool_use"
        ],
        prompt_tokens=None
        if input_tokens is None
        else input_tokens + sum(_count(_get(usage, name)) or 0 for name in cached),
        output_tokens=_count(_get(usage, "output_tokens")),
    )


def _fields(
    response: Any,
    *,
    provider: str,
    text: str,
    calls: list[Any],
    prompt_tokens: int | None,
    output_tokens: int | None,
) -> dict[str, Any]:
    model = _get(response, "model")
    if not isinstance(response, Mapping):
        package = type(response).__module__.partition(".")[0]
        provider = package if package in _PROVIDERS else ""
    config = {"type": "model", "model": model} | ({"provider": provider} if provider else {})
    fields = {
        "output": text if text or not calls else None,
        "output_message": _message(text, calls) if calls else None,
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "config": config if isinstance(model, str) else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _message(text: str, calls: list[Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "tool_calls": calls}


def _custom_call(call_id: Any, name: Any, given: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "custom", "custom": {"name": name, "input": given}}


def _function_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _as_json(arguments: Any) -> str:
    return freeze(arguments).body.decode() if isinstance(arguments, Mapping) else "{}"


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _kind(value: Any, name: str) -> str | None:
    """Return an attribute that is a text; others, such as an array, may have no truth value when compared."""
    kind = _get(value, name)
    return kind if isinstance(kind, str) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(content: Any) -> str:
    """Return a text, or the joined texts of the parts of a list."""
    if isinstance(content, str):
        return content
    return "".join(_text(_get(part, "text")) or _text(_get(part, "refusal")) for part in _list(content))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
