"""Sorts the fields of a saved log into columns of a datapoint, and the others into its metadata."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hl_sessions.server.humanloop.found import UnreadableError
from hl_sessions.server.protocol.configs import Config, described_config
from hl_sessions.server.protocol.requests import LogRequest
from hl_sessions.server.protocol.values import Timestamp

_METADATA: Final = "humanloop"
"""The field of the metadata of a datapoint that has all values without a column."""

_LONGEST_NAME: Final = 512  # as that of a ``Reference``
_CONFIG: Final[TypeAdapter[Any]] = TypeAdapter(Config)
_TIMESTAMP: Final[TypeAdapter[datetime]] = TypeAdapter(Timestamp)
_NAMES: Final = (
    *("inputs", "messages", "output", "output_message", "judgment", "error", "stdout"),
    *("source", "source_datapoint_id", "environment", "metadata", "save", "duration"),
    *("prompt_tokens", "output_tokens", "prompt_cost", "output_cost"),
    *("provider_request", "provider_response"),
)
_KINDS: Final = get_type_hints(LogRequest, include_extras=True)
_COLUMNS: Final[dict[str, TypeAdapter[Any]]] = {
    name: TypeAdapter(_KINDS[name], config=ConfigDict(strict=True, allow_inf_nan=False)) for name in _NAMES
}
_WITH_SECRETS: Final = ("provider_request", "provider_response")
_NEVER_KEPT: Final = frozenset({"providerapikeys"})  # not by ``POST /logs`` either
_SECRETS: Final = frozenset(
    {
        *("apikey", "xapikey", "providerapikeys", "openaiapikey", "anthropicapikey", "xgoogapikey"),
        *("authorization", "proxyauthorization", "bearertoken", "accesstoken", "authtoken", "apitoken"),
        *("secret", "clientsecret", "apisecret", "secretkey", "secretaccesskey", "password"),
        *("awsaccesskeyid", "awssecretaccesskey", "awssessiontoken", "azureadtoken", "cookie", "setupvalues"),
    }
)


def columns_and_rest(log: Mapping[str, Any], others: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a log that have a column, checked as ``POST /logs`` does, and the others.

    Args:
        log: The log.
        others: The names of fields that are handled elsewhere.
    """
    columns: dict[str, Any] = {"save": True}
    rest = {}
    passed_over = {*_COLUMNS, *others}
    for name, column in _COLUMNS.items():
        value = log.get(name)
        if value is None:
            continue
        value = without_secrets(value, _SECRETS if name in _WITH_SECRETS else _NEVER_KEPT)
        try:
            columns[name] = column.validate_python(value)
        except ValidationError:
            rest[name] = value
    for name, value in log.items():
        if name not in passed_over and value is not None and value not in ([], {}):
            rest[name] = without_secrets(value)
    return columns, rest


def add_to_metadata(columns: dict[str, Any], rest: dict[str, Any]) -> None:
    """Add the fields without a column to the metadata, beside those of the user."""
    if not rest:
        return
    metadata = dict(columns.get("metadata", {}))
    if _METADATA in metadata:
        rest["metadata"] = {_METADATA: metadata[_METADATA]}
    columns["metadata"] = metadata | {_METADATA: rest}


def described(config: Any, config_id: str) -> dict[str, Any] | None:
    """Return a config as it is stored, or ``None`` if the protocol does not allow it.

    Args:
        config: The config; ``None`` stands for an unknown one.
        config_id: Its ID.
    """
    try:
        checked = None if config is None else _CONFIG.validate_python(without_secrets(config))
    except ValidationError:
        return None
    return described_config(checked, config_id)


def moment(value: object) -> datetime | None:
    """Return a point in time in UTC, or ``None`` if the value is none."""
    try:
        return None if value is None else _TIMESTAMP.validate_python(value)
    except ValidationError:
        return None


def reference(value: object) -> str | None:
    """Return the caller's own ID of a record, or ``None`` if the value is none."""
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME else None


def name_of(*candidates: object) -> str:
    """Return the first candidate that is a name, cut to the longest length of a name.

    Raises:
        UnreadableError: When none of them is a name.
    """
    for candidate in candidates:
        if isinstance(candidate, str) and candidate:
            return candidate[:_LONGEST_NAME]
    raise UnreadableError("its project has no name")


def without_secrets(value: Any, secrets: frozenset[str] = _SECRETS) -> Any:
    """Return a value without the fields for keys of model providers and other services.

    Args:
        value: A value of JSON.
        secrets: The names of these fields, in lower case and without hyphens and underscores.
    """
    if isinstance(value, dict):
        return {
            name: without_secrets(part, secrets)
            for name, part in value.items()
            if name.replace("-", "").replace("_", "").lower() not in secrets
        }
    if isinstance(value, list):
        return [without_secrets(part, secrets) for part in value]
    return value
