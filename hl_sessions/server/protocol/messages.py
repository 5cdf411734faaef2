"""The messages of chats, in the shape of the published answers, which are older than many models.

Parts that this shape has no place for are answered as the nearest thing that it has, and kept as they were
logged in the field ``original``: a role or another field of a message, or the whole of a content part or a
tool call. Additional fields with other names are allowed.
"""

from typing import Any, Final

from pydantic_core import to_json

_ORIGINAL: Final = "original"
_TEXTS: Final = ("name", "tool_call_id")
_ROLES: Final = ("user", "assistant", "system", "tool")
_NEAREST_ROLES: Final = {"developer": "system", "function": "tool", "model": "assistant", "ai": "assistant"}
_DETAILS: Final = (None, "high", "low", "auto")


def answered_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as it is answered, without fields that are ``null``."""
    answer = _without_nulls(message)
    original = {name: answer.pop(name) for name in _TEXTS if not isinstance(answer.get(name, ""), str)}
    role = answer.get("role")
    if role not in _ROLES:
        answer["role"] = _nearest_role(role)
        if role is not None:
            original["role"] = role
    if not isinstance(answer.get("content", ""), str):
        answer["content"] = [_answered_part(part) for part in _as_list(answer["content"])]
    if "tool_calls" in answer:
        answer["tool_calls"] = [_answered_call(call) for call in _as_list(answer["tool_calls"])]
    if "tool_call" in answer:
        answer["tool_call"] = _answered_function(answer["tool_call"])
    if original:
        # A logged field of this name is kept as an original as well.
        logged = {_ORIGINAL: answer[_ORIGINAL]} if _ORIGINAL in answer else {}
        answer[_ORIGINAL] = original | logged
    return answer


def _nearest_role(role: Any) -> str:
    # An entry without a role is something that a model did, such as thinking or calling a function.
    return "assistant" if role is None else _NEAREST_ROLES.get(str(role), "user")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _answered_part(part: Any) -> dict[str, Any]:
    given = part if isinstance(part, dict) else {}
    if given.get("type") == "text" and isinstance(given.get("text"), str):
        return given
    image = given.get("image_url")
    if (
        given.get("type") == "image_url"
        and isinstance(image, dict)
        and isinstance(image.get("url"), str)
        and image.get("detail") in _DETAILS
    ):
        return {**given, "image_url": _without_nulls(image)}
    text = part if isinstance(part, str) else given.get("text")
    if not isinstance(text, str):
        text = f"[{given['type']}]" if isinstance(given.get("type"), str) else ""
    return {"type": "text", "text": text, _ORIGINAL: part}


def _answered_call(call: Any) -> dict[str, Any]:
    given = call if isinstance(call, dict) else {}
    call_id = given.get("id")
    if isinstance(call_id, str) and given.get("type") == "function" and _is_function(given.get("function")):
        return {**given, "function": _without_nulls(given["function"])}
    kind = given.get("type")
    # The details are in a field named like the type, as in {"type": "custom", "custom": {...}}, or beside it.
    details = given.get(kind if isinstance(kind, str) else "function")
    return {
        "id": call_id if isinstance(call_id, str) else "",
        "type": "function",
        "function": _nearest_function(details if isinstance(details, dict) else given),
        _ORIGINAL: call,
    }


def _answered_function(function: Any) -> dict[str, Any]:
    if _is_function(function):
        return _without_nulls(function)
    return {**_nearest_function(function if isinstance(function, dict) else {}), _ORIGINAL: function}


def _is_function(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("arguments"), str | None)
    )


def _nearest_function(given: dict[str, Any]) -> dict[str, Any]:
    name = given.get("name", given.get("type"))
    function = {"name": name if isinstance(name, str) else ""}
    arguments = given.get("arguments", given.get("input"))
    if arguments is not None:
        function["arguments"] = arguments if isinstance(arguments, str) else to_json(arguments).decode()
    return function


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if item is not None}
