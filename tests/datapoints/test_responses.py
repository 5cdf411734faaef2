"""The fields from responses of language models: objects of their clients, and dicts."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from hl_sessions.datapoints.responses import StreamedFields, fields_of, fields_of_chunk, text_of_chunk
from hl_sessions.datapoints.values import freeze

CHAT: dict[str, Any] = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "object": "chat.completion",
    "created": 1741569952,
    "model": "gpt-4.1-2025-04-14",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello! How can I assist you today?",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    },
    "service_tier": "default",
}
CALL: dict[str, Any] = {
    "id": "call_abc123",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
CUSTOM_CALL: dict[str, Any] = {
    "id": "call_def456",
    "type": "custom",
    "custom": {"name": "run", "input": "print(1)"},
}

RESPONSE: dict[str, Any] = {
    "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
    "object": "response",
    "created_at": 1741476542,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "model": "gpt-4.1-2025-04-14",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "In a peaceful grove, ", "annotations": []},
                {"type": "output_text", "text": "a unicorn.", "annotations": []},
            ],
        },
    ],
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 123,
    },
}
MESSAGE: dict[str, Any] = {
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-20250514",
    "content": [
        {"type": "thinking", "thinking": "They greet.", "signature": "c2ln"},
        {"type": "text", "text": "Hi! ", "citations": None},
        {"type": "text", "text": "My name is Claude.", "citations": None},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 3000,
        "output_tokens": 25,
    },
}


def chat_completion(body: Any) -> Any:
    return pytest.importorskip("openai.types.chat").ChatCompletion.model_validate(body)


def chat_chunk(body: Any) -> Any:
    return pytest.importorskip("openai.types.chat").ChatCompletionChunk.model_validate(body)


def response(body: Any) -> Any:
    return pytest.importorskip("openai.types.responses").Response.model_validate(body)


def message(body: Any) -> Any:
    return pytest.importorskip("anthropic.types").Message.model_validate(body)


def response_event(body: Any) -> Any:
    import pydantic

    events = pytest.importorskip("openai.types.responses").ResponseStreamEvent
    return pydantic.TypeAdapter(events).validate_python(body)


def message_event(body: Any) -> Any:
    import pydantic

    events = pytest.importorskip("anthropic.types").RawMessageStreamEvent
    return pydantic.TypeAdapter(events).validate_python(body)


def as_dict(body: Any) -> Any:
    return body


def changed(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(body) | changes


def choice(**message: Any) -> list[dict[str, Any]]:
    return [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}]


def read(given: Any) -> Any:
    """The fields as they are logged."""
    fields = fields_of(given)
    assert fields is not None
    body, problems = freeze(fields)
    assert problems == ()
    return json.loads(body)


OF_CHAT = pytest.mark.parametrize("made_by", [as_dict, chat_completion])
OF_RESPONSE = pytest.mark.parametrize("made_by", [as_dict, response])
OF_MESSAGE = pytest.mark.parametrize("made_by", [as_dict, message])


@OF_CHAT
def test_a_chat_completion_is_understood(made_by: Callable[[Any], Any]) -> None:
    """OpenAI's older call, which many other servers answer, too."""
    assert read(made_by(CHAT)) == {
        "output": "Hello! How can I assist you today?",
        "prompt_tokens": 19,
        "output_tokens": 10,
        "config": {"type": "model", "model": "gpt-4.1-2025-04-14", "provider": "openai"},
    }


@OF_CHAT
def test_tool_calls_of_a_chat_completion_are_a_message(made_by: Callable[[Any], Any]) -> None:
    """With the text beside them, if there is one."""
    fields = read(made_by(changed(CHAT, choices=choice(content=None, tool_calls=[CALL, CUSTOM_CALL]))))
    assert fields["output_message"] == {"role": "assistant", "content": "", "tool_calls": [CALL, CUSTOM_CALL]}
    assert "output" not in fields
    fields = read(made_by(changed(CHAT, choices=choice(content="I will look.", tool_calls=[CALL]))))
    assert fields["output_message"] == {"role": "assistant", "content": "I will look.", "tool_calls": [CALL]}
    assert fields["output"] == "I will look."


@OF_CHAT
def test_a_refusal_is_the_output(made_by: Callable[[Any], Any]) -> None:
    """It is what the model said."""
    fields = read(made_by(changed(CHAT, choices=choice(content=None, refusal="I cannot help with that."))))
    assert fields["output"] == "I cannot help with that."


@OF_CHAT
def test_of_speech_the_transcript_is_the_output(made_by: Callable[[Any], Any]) -> None:
    """The sound is not kept."""
    audio = {"id": "audio_1", "data": "UklGRg==", "expires_at": 1741570000, "transcript": "Hello!"}
    assert read(made_by(changed(CHAT, choices=choice(content=None, audio=audio))))["output"] == "Hello!"


@OF_CHAT
def test_of_a_chat_completion_much_may_be_missing(made_by: Callable[[Any], Any]) -> None:
    """Compatible servers count no tokens, and a filter may leave no choice."""
    assert read(made_by(changed(CHAT, usage=None, choices=[]))) == {
        "output": "",
        "config": {"type": "model", "model": "gpt-4.1-2025-04-14", "provider": "openai"},
    }


@OF_RESPONSE
def test_a_response_is_understood(made_by: Callable[[Any], Any]) -> None:
    """OpenAI's newer call."""
    assert read(made_by(RESPONSE)) == {
        "output": "In a peaceful grove, a unicorn.",
        "prompt_tokens": 36,
        "output_tokens": 87,
        "config": {"type": "model", "model": "gpt-4.1-2025-04-14", "provider": "openai"},
    }


@OF_RESPONSE
def test_tool_calls_of_a_response_are_a_message(made_by: Callable[[Any], Any]) -> None:
    """In the shape of those of a chat completion."""
    output = [
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": CALL["id"],
            **CALL["function"],
            "status": "completed",
        },
        {"type": "custom_tool_call", "call_id": CUSTOM_CALL["id"], **CUSTOM_CALL["custom"]},
    ]
    fields = read(made_by(changed(RESPONSE, output=output)))
    assert fields["output_message"] == {"role": "assistant", "content": "", "tool_calls": [CALL, CUSTOM_CALL]}
    assert "output" not in fields


@OF_RESPONSE
def test_a_refusal_of_a_response_is_the_output(made_by: Callable[[Any], Any]) -> None:
    """As that of a chat completion."""
    body = copy.deepcopy(RESPONSE)
    body["output"][1]["content"] = [{"type": "refusal", "refusal": "I cannot help with that."}]
    assert read(made_by(body))["output"] == "I cannot help with that."


@OF_MESSAGE
def test_a_message_is_understood(made_by: Callable[[Any], Any]) -> None:
    """Anthropic's call; the tokens of its cache are tokens of the prompt, as OpenAI counts them."""
    assert read(made_by(MESSAGE)) == {
        "output": "Hi! My name is Claude.",
        "prompt_tokens": 3210,
        "output_tokens": 25,
        "config": {"type": "model", "model": "claude-sonnet-4-20250514", "provider": "anthropic"},
    }


@OF_MESSAGE
def test_tool_calls_of_a_message_are_one_of_openai(made_by: Callable[[Any], Any]) -> None:
    """The wire has but one shape of them."""
    content = [
        {"type": "text", "text": "I will look."},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}},
    ]
    fields = read(made_by(changed(MESSAGE, content=content)))
    assert fields["output"] == "I will look."
    assert fields["output_message"] == {
        "role": "assistant",
        "content": "I will look.",
        "tool_calls": [
            {
                "id": "toolu_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
            }
        ],
    }


def test_of_the_class_of_another_client_the_provider_is_unknown() -> None:
    """Its shape is OpenAI's, but the model may be of anybody."""
    chat = pytest.importorskip("openai.types.chat")
    foreign: Any = type("ModelResponse", (chat.ChatCompletion,), {"__module__": "litellm.types.utils"})
    assert read(foreign.model_validate(CHAT))["config"] == {"type": "model", "model": "gpt-4.1-2025-04-14"}


@pytest.mark.parametrize(
    "value",
    [
        "text",
        None,
        5,
        pytest.param(object(), id="object"),
        [],
        {},
        {"object": "chat.completion"},
        {"object": "response", "output": "text"},
        {"type": "message", "role": "assistant", "content": "of no model"},
        {"type": "message", "role": "user", "model": "x", "content": []},
        CHAT["choices"],
        RESPONSE["output"][1],
    ],
)
def test_all_else_is_no_response(value: Any) -> None:
    """It is logged as it is."""
    assert fields_of(value) is None


def test_an_answer_of_any_shape_is_read_as_far_as_it_goes() -> None:
    """Nothing that a server may answer is an error of the application."""
    assert fields_of(changed(CHAT, model=None, usage="many", choices=["?", None])) == {"output": ""}
    assert fields_of(
        changed(RESPONSE, model=None, usage={"input_tokens": "1"}, output=[None, {"type": "message"}])
    ) == {"output": ""}
    broken = changed(MESSAGE, usage=None, content=[None, {"type": "tool_use"}])
    fields = fields_of(broken)
    assert fields is not None
    assert fields["output_message"]["tool_calls"] == [
        {"id": None, "type": "function", "function": {"name": None, "arguments": "{}"}}
    ]


def chunk(*choices: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1741569952,
        "model": "gpt-4.1",
        "choices": [{"finish_reason": None, **choice} for choice in choices],
        **others,
    }


DELTA = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "sequence_number": 1, "logprobs": []}


@pytest.mark.parametrize(
    ("made_by", "body", "text"),
    [
        (as_dict, "text", "text"),
        (chat_chunk, chunk({"index": 0, "delta": {"role": "assistant", "content": ""}}), ""),
        (chat_chunk, chunk({"index": 0, "delta": {"content": "Hel"}}), "Hel"),
        (chat_chunk, chunk({"index": 0, "delta": {"refusal": "I cannot"}}), "I cannot"),
        (chat_chunk, chunk({"index": 0, "delta": {"audio": {"id": "audio_1", "transcript": "Hel"}}}), "Hel"),
        (chat_chunk, chunk({"index": 1, "delta": {"content": "another choice"}}), ""),
        (chat_chunk, chunk({"index": 0, "delta": {}, "finish_reason": "stop"}), ""),
        (chat_chunk, chunk(usage=CHAT["usage"]), ""),
        (response_event, {"type": "response.output_text.delta", "delta": "Hel", **DELTA}, "Hel"),
        (response_event, {"type": "response.refusal.delta", "delta": "I cannot", **DELTA}, "I cannot"),
        (response_event, {"type": "response.created", "response": RESPONSE, "sequence_number": 0}, ""),
        (
            response_event,
            {"type": "response.function_call_arguments.delta", "delta": '{"ci', **DELTA},
            "",
        ),
        (message_event, {"type": "message_start", "message": MESSAGE}, ""),
        (
            message_event,
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
            "Hel",
        ),
        (
            message_event,
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": "Hm"},
            },
            "",
        ),
        (as_dict, {"type": "text", "text": "Hel", "snapshot": "Hel"}, ""),
        (as_dict, {"type": "content.delta", "delta": "Hel", "snapshot": "Hel"}, "Hel"),
        (as_dict, {"type": "refusal.delta", "delta": "I cannot", "snapshot": "I cannot"}, "I cannot"),
        (as_dict, {"type": "chunk", "chunk": chunk({"index": 0, "delta": {"content": "Hel"}})}, ""),
        (chat_completion, CHAT, "Hello! How can I assist you today?"),
        (response, RESPONSE, "In a peaceful grove, a unicorn."),
        (message, MESSAGE, "Hi! My name is Claude."),
        (as_dict, b"Hel", None),
        (as_dict, None, None),
        (as_dict, {"delta": "Hel"}, None),
        (as_dict, object(), None),
    ],
)
def test_a_part_of_a_stream_is_its_text(made_by: Callable[[Any], Any], body: Any, text: str | None) -> None:
    """As an object of the client and as a dict."""
    assert text_of_chunk(made_by(body)) == text
    assert text_of_chunk(body) == text


MESSAGE_DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 15},
}


@pytest.mark.parametrize(
    ("made_by", "body", "fields"),
    [
        (
            chat_chunk,
            chunk({"index": 0, "delta": {"content": "Hel"}}),
            {"config": {"type": "model", "model": "gpt-4.1", "provider": "openai"}},
        ),
        (
            chat_chunk,
            chunk(usage=CHAT["usage"]),
            {
                "prompt_tokens": 19,
                "output_tokens": 10,
                "config": {"type": "model", "model": "gpt-4.1", "provider": "openai"},
            },
        ),
        (
            as_dict,
            {"type": "chunk", "chunk": chunk(usage=CHAT["usage"]), "snapshot": CHAT},
            {
                "prompt_tokens": 19,
                "output_tokens": 10,
                "config": {"type": "model", "model": "gpt-4.1", "provider": "openai"},
            },
        ),
        (response_event, {"type": "response.output_text.delta", "delta": "Hel", **DELTA}, {}),
        (
            response_event,
            {"type": "response.completed", "response": RESPONSE, "sequence_number": 9},
            {
                "prompt_tokens": 36,
                "output_tokens": 87,
                "config": {"type": "model", "model": "gpt-4.1-2025-04-14", "provider": "openai"},
            },
        ),
        (
            message_event,
            {"type": "message_start", "message": MESSAGE},
            {
                "prompt_tokens": 3210,
                "output_tokens": 25,
                "config": {"type": "model", "model": "claude-sonnet-4-20250514", "provider": "anthropic"},
            },
        ),
        (
            message,
            MESSAGE,
            {
                "prompt_tokens": 3210,
                "output_tokens": 25,
                "config": {"type": "model", "model": "claude-sonnet-4-20250514", "provider": "anthropic"},
            },
        ),
        (message_event, MESSAGE_DELTA, {"output_tokens": 15}),
        (message_event, {"type": "message_stop"}, {}),
        (as_dict, {"type": "message_start"}, {}),
        (as_dict, {"type": "response.completed"}, {}),
        (as_dict, {"type": "chunk"}, {}),
        (as_dict, "text", {}),
        (as_dict, None, {}),
    ],
)
def test_a_part_of_a_stream_tells_tokens_and_model(
    made_by: Callable[[Any], Any], body: Any, fields: dict[str, Any]
) -> None:
    """Where it has them, which is mostly in the first or in the last part."""
    assert fields_of_chunk(made_by(body)) == fields
    assert fields_of_chunk(body) == fields


def piece_of_call(index: int, **function: str) -> dict[str, Any]:
    return {"index": index, "function": function}


def chat_calls(*calls: dict[str, Any]) -> dict[str, Any]:
    return chunk({"index": 0, "delta": {"tool_calls": list(calls)}})


def block(index: int, **content_block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content_block}


def input_delta(index: int, partial_json: str) -> dict[str, Any]:
    delta = {"type": "input_json_delta", "partial_json": partial_json}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def called(call_id: str | None, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


TWO_CALLS = [
    chat_calls({"id": "call_1", "type": "function", **piece_of_call(0, name="weather", arguments="")}),
    chat_calls(piece_of_call(0, arguments='{"city": ')),
    chat_calls({"id": "call_2", "type": "function", **piece_of_call(1, name="time", arguments="{")}),
    chat_calls(piece_of_call(0, arguments='"Paris"}'), piece_of_call(1, arguments="}")),
    chunk({"index": 1, "delta": {"tool_calls": [piece_of_call(0, arguments="of another choice")]}}),
    chunk({"index": 0, "delta": {}, "finish_reason": "tool_calls"}),
    chunk(usage=CHAT["usage"]),
]
TWO = [called("call_1", "weather", '{"city": "Paris"}'), called("call_2", "time", "{}")]
MESSAGE_CALLS = [
    {"type": "message_start", "message": changed(MESSAGE, content=[])},
    block(0, type="text", text=""),
    block(1, type="tool_use", id="toolu_1", name="weather", input={}),
    input_delta(1, ""),
    input_delta(1, '{"city": "Pa'),
    input_delta(1, 'ris"}'),
    block(2, type="tool_use", id="toolu_2", name="time", input={}),
    MESSAGE_DELTA,
    {"type": "message_start", "message": changed(MESSAGE, content=[])},
    block(1, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
    input_delta(1, '{"query": "of the server"}'),
]


@pytest.mark.parametrize(
    ("made_by", "chunks", "calls"),
    [
        pytest.param(chat_chunk, TWO_CALLS, TWO, id="chat"),
        pytest.param(
            as_dict, [{"type": "chunk", "chunk": part} for part in TWO_CALLS], TWO, id="OpenAI's helper"
        ),
        pytest.param(
            chat_chunk,
            [
                chat_calls({"id": call["id"], "type": "function", **piece_of_call(0, **call["function"])})
                for call in TWO
            ],
            TWO,
            id="one place for all calls",
        ),
        pytest.param(
            chat_chunk,
            [
                chat_calls({"id": "call_1", "type": "function", **piece_of_call(0, name="f", arguments=part)})
                for part in ("{", "}")
            ],
            [called("call_1", "f", "{}")],
            id="a name in each piece",
        ),
        pytest.param(
            as_dict,
            [
                chat_calls({"index": 0, "id": "call_def456", "custom": {"name": "run", "input": "print"}}),
                chat_calls({"index": 0, "custom": {"input": "(1)"}}),
            ],
            [CUSTOM_CALL],
            id="custom",
        ),
        pytest.param(
            message_event,
            MESSAGE_CALLS,
            [called("toolu_1", "weather", '{"city": "Paris"}'), called("toolu_2", "time", "{}")],
            id="messages",
        ),
        pytest.param(
            as_dict,
            [block(0, type="tool_use", id="toolu_1", name="weather", input={"city": "Paris"})],
            [called("toolu_1", "weather", '{"city":"Paris"}')],
            id="a whole block",
        ),
    ],
)
def test_the_calls_of_tools_in_a_stream_are_a_message(
    made_by: Callable[[Any], Any], chunks: list[Any], calls: list[Any]
) -> None:
    """As they are in a whole response."""
    for made in (made_by, as_dict):
        streamed = StreamedFields()
        for part in chunks:
            streamed.add(made(part))
        message = {"role": "assistant", "content": "I will look.", "tool_calls": calls}
        assert streamed.fields("I will look.")["output_message"] == message
