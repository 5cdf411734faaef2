"""The fields of a datapoint, fixed at one moment, and as JSON."""

from __future__ import annotations

import json
import re
from json import encoder
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hl_sessions.datapoints.plain import UnfitValueError, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Frozen", "Snapshot", "freeze", "snapshot"]

#: The parser of the server reads 200, those around a datapoint included.
_MOST_LEVELS: Final = 100
#: One value that cannot be kept is often one of many of its kind.
_MOST_PROBLEMS: Final = 10
_MOST_KEYS_OF_A_PLACE: Final = 8
#: Only what looks like a name is shown: other keys may be what a user said.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")

_UNCHANGING: Final = frozenset({str, int, float, bool, type(None)})
_KEYS_OF_JSON: Final = (str, int, float, type(None))


class Snapshot(NamedTuple):
    """Fields at one moment.

    Attributes:
        fields: what nobody else can change.
        problems: what could not be kept as it was. Each one names the place, and never the value.
    """

    fields: dict[str, Any]
    problems: tuple[str, ...]


class Frozen(NamedTuple):
    """Fields as they are sent.

    Attributes:
        body: a JSON object, in UTF-8.
        problems: as those of a snapshot.
    """

    body: bytes
    problems: tuple[str, ...]


def snapshot(fields: Mapping[str, Any]) -> Snapshot:
    """Return the fields as they are now, to be frozen later, in a quarter of the time that JSON would take.

    Like :func:`freeze`, it takes anything. Some problems, such as NaN, are found only there.
    """
    try:
        return Snapshot({name: _copy(value, 1) for name, value in fields.items()}, ())
    except Exception:  # noqa: BLE001 - of whatever is asked for its text, of a key, or of too many levels
        return _visit(fields)


def freeze(fields: Mapping[str, Any]) -> Frozen:
    """Return the fields as JSON.

    Values that JSON does not know become what a person expects: see :mod:`hl_sessions.datapoints.plain`. What
    cannot be turned into JSON is replaced, and named. Nothing is changed of what is given, and no
    :class:`Exception` of it raised.
    """
    try:
        return Frozen(_encode(fields).encode(), ())
    except Exception:  # noqa: BLE001 - of JSON, or of whatever is asked for its text
        kept, problems = _visit(fields)
        return Frozen(_encode(kept).encode(), problems)


def _copy(value: Any, level: int) -> Any:
    kind = type(value)
    if kind in _UNCHANGING:
        return value
    if level > _MOST_LEVELS:
        raise RecursionError
    # Most parts are spared the call.
    if kind is dict:
        if not _UNCHANGING.issuperset(map(type, value)):
            raise TypeError  # only a visit turns keys into texts
        return {
            key: part if type(part) in _UNCHANGING else _copy(part, level + 1) for key, part in value.items()
        }
    if kind is list or kind is tuple:
        return [part if type(part) in _UNCHANGING else _copy(part, level + 1) for part in value]
    return _copy(plain(value), level)


def _visit(fields: Mapping[str, Any]) -> Snapshot:
    visit = _Visit()
    kept = {name: visit.value(value, name) for name, value in fields.items()}
    problems = visit.problems[:_MOST_PROBLEMS]
    if len(visit.problems) > _MOST_PROBLEMS:
        problems.append(f"and {len(visit.problems) - _MOST_PROBLEMS} more")
    return Snapshot(kept, tuple(problems))


def _fast_encode(fields: Any) -> str:
    # What json.dumps() does, without an encoder, a generator and a function more at each call. The dict holds
    # what is being encoded, for cycles: threads must not share it.
    encode = _make_encoder({}, plain, encoder.encode_basestring, None, ":", ",", False, False, False)  # noqa: FBT003
    return "".join(encode(fields, 0))


_make_encoder: Final[Any] = getattr(encoder, "c_make_encoder", None)
_portable_encode: Final = json.JSONEncoder(
    default=plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


def _is_fast_encode_there() -> bool:
    try:
        return _fast_encode({}) == "{}"
    except TypeError:  # PyPy has none, and of CPython it is not documented
        return False


_encode: Final[Callable[[Any], str]] = _fast_encode if _is_fast_encode_there() else _portable_encode


class _Visit:
    """A visit to every value, which keeps what JSON can hold and notes where there is something else."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._place: list[str | int] = []
        self._above: set[int] = set()

    def value(self, value: Any, key: str | int) -> Any:
        """Return the same of what JSON knows."""
        self._place.append(key)
        try:
            return self._known(value)
        except UnfitValueError as unfit:
            self._note(unfit.problem)
            return unfit.placeholder
        except RecursionError:  # the application had few frames left
            return self._too_deep()
        except Exception as error:  # noqa: BLE001 - whatever the value raises when it is asked
            name = type(value).__name__
            self._note(f"is a {name}, which raised {type(error).__name__} when it was turned into JSON")
            return f"<{name}>"
        finally:
            self._place.pop()

    def _known(self, value: Any) -> Any:
        # By its type, as the encoder does: isinstance() believes a proxy, too.
        kind = type(value)
        if value is None or issubclass(kind, bool):
            return value
        if issubclass(kind, str):
            return self._text(value)
        if issubclass(kind, (int, float)):
            return self._number(value)
        if id(value) in self._above:
            raise UnfitValueError("contains itself", "<cycle>")
        if len(self._place) > _MOST_LEVELS:
            return self._too_deep()
        self._above.add(id(value))
        try:
            return self._parts(value, kind)
        finally:
            self._above.discard(id(value))

    def _parts(self, value: Any, kind: type) -> Any:
        if issubclass(kind, dict):
            named = [(self._name(name), part) for name, part in list(value.items())]
            return {name: self.value(part, name) for name, part in named}
        if issubclass(kind, (list, tuple)):
            return [self.value(part, index) for index, part in enumerate(value)]
        return self._known(plain(value))

    def _name(self, key: Any) -> str:
        """Return the text that is the key in JSON."""
        try:
            if not isinstance(key, _KEYS_OF_JSON):
                simple = plain(key)
                key = simple if isinstance(simple, _KEYS_OF_JSON) else str(key)
            return self._text(key if isinstance(key, str) else json.dumps(key))
        except Exception as error:  # noqa: BLE001 - whatever the key raises when it is asked
            name = type(key).__name__
            self._note(f"has a key that is a {name}, whose text raised {type(error).__name__}")
            return f"<{name}>"

    def _text(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self._note("holds half of a surrogate pair")
            # Two halves that belong together become one character.
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value

    def _number(self, value: float) -> float | None:
        if isinstance(value, float) and not isfinite(value):
            self._note("is NaN" if isnan(value) else "is infinite")
            return None
        try:
            json.dumps(value)
        except ValueError:  # Python refuses what would take it very long
            self._note("is an integer of too many digits")
            return None
        return value

    def _too_deep(self) -> str:
        self._note("is nested too deeply")
        return "<too deep>"

    def _note(self, problem: str) -> None:
        field, *keys = self._place
        shown = "".join(map(_show, keys[:_MOST_KEYS_OF_A_PLACE]))
        rest = "..." if len(keys) > _MOST_KEYS_OF_A_PLACE else ""
        self.problems.append(f"{field}{shown}{rest} {problem}")


def _show(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if _NAME.fullmatch(key) else "[*]"
