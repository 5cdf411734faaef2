"""The fields of a datapoint as a copy at one moment, and as JSON."""

from __future__ import annotations

import json
import re
from json import encoder
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hl_sessions.datapoints.plain import UnfitValueError, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MOST_LEVELS", "Frozen", "Snapshot", "freeze", "snapshot"]

#: The parser of the server reads 200 levels, those around a datapoint included.
MOST_LEVELS: Final = 100
#: If one value cannot be kept, there are often many of the same kind.
_MOST_PROBLEMS: Final = 10
_MOST_KEYS_OF_A_PLACE: Final = 8
#: Only keys that look like names are shown, as others may be a user's text.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")

_UNCHANGING: Final = frozenset({str, int, float, bool, type(None)})
_KEYS_OF_JSON: Final = (str, int, float, type(None))


class Snapshot(NamedTuple):
    """A copy of fields at one moment.

    Attributes:
        fields: the fields, independent of the originals.
        problems: a text for each value that could not be kept. It names the place, never the value.
    """

    fields: dict[str, Any]
    problems: tuple[str, ...]


class Frozen(NamedTuple):
    """Fields in the form in which they are sent.

    Attributes:
        body: a JSON object, in UTF-8.
        problems: like those of a snapshot.
    """

    body: bytes
    problems: tuple[str, ...]


def snapshot(fields: Mapping[str, Any]) -> Snapshot:
    """Return a copy of the fields to freeze later, in a quarter of the time that JSON would take.

    Like :func:`freeze`, it takes values of any type. Some problems, such as NaN, are found only by that.
    """
    try:
        return Snapshot(_copy(dict(fields), 0), ())
    except Exception:  # noqa: BLE001 - raised by a value, by a key, or for too many levels
        return _visit(fields)


def freeze(fields: Mapping[str, Any]) -> Frozen:
    """Return the fields as JSON.

    Types that JSON lacks are converted by :mod:`hl_sessions.datapoints.plain`. Values that cannot be
    converted are replaced, and named as problems. The given objects are not changed, and no
    :class:`Exception` of theirs is raised.
    """
    try:
        return Frozen(_encode(fields).encode(), ())
    except Exception:  # noqa: BLE001 - raised by the encoder, or by a value
        kept, problems = _visit(fields)
        return Frozen(_encode(kept).encode(), problems)


def _copy(value: Any, level: int) -> Any:
    kind = type(value)
    if kind in _UNCHANGING:
        return value
    if level > MOST_LEVELS:
        raise RecursionError
    # Without a call for most parts.
    if kind is dict:
        if not _UNCHANGING.issuperset(map(type, value)):
            raise TypeError  # only a visit converts keys to texts
        return {
            key: part if type(part) in _UNCHANGING else _copy(part, level + 1) for key, part in value.items()
        }
    if kind is list or kind is tuple:
        return [part if type(part) in _UNCHANGING else _copy(part, level + 1) for part in value]
    return _copy(plain(value), level)


def _visit(fields: Mapping[str, Any]) -> Snapshot:
    visit = _Visit()
    named = [(visit.name(name), value) for name, value in fields.items()]
    kept = {name: visit.value(value, name) for name, value in named}
    problems = visit.problems[:_MOST_PROBLEMS]
    if len(visit.problems) > _MOST_PROBLEMS:
        problems.append(f"and {len(visit.problems) - _MOST_PROBLEMS} more")
    return Snapshot(kept, tuple(problems))


def _fast_encode(fields: Any) -> str:
    # Like json.dumps(), but without an encoder, a generator and a further function at each call. The dict
    # holds the objects that are being encoded, to find cycles: threads must not share it.
    encode = _make_encoder({}, plain, encoder.encode_basestring, None, ":", ",", False, False, False)  # noqa: FBT003
    return "".join(encode(fields, 0))


_make_encoder: Final[Any] = getattr(encoder, "c_make_encoder", None)
_portable_encode: Final = json.JSONEncoder(
    default=plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


def _is_fast_encode_there() -> bool:
    try:
        return _fast_encode({}) == "{}"
    except TypeError:  # PyPy does not have it, and in CPython it is not documented
        return False


_encode: Final[Callable[[Any], str]] = _fast_encode if _is_fast_encode_there() else _portable_encode


class _Visit:
    """A visit to every value, which keeps those that JSON can hold, and notes the places of others."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._place: list[str | int] = []
        self._above: set[int] = set()

    def value(self, value: Any, key: str | int) -> Any:
        """Return a value in types that JSON knows."""
        self._place.append(key)
        try:
            return self._known(value)
        except UnfitValueError as unfit:
            self._note(unfit.problem)
            return unfit.placeholder
        except RecursionError:  # the application has few frames left
            return self._too_deep()
        except Exception as error:  # noqa: BLE001 - a value of the application may raise any
            name = type(value).__name__
            self._note(f"is a {name}, which raised {type(error).__name__} when it was turned into JSON")
            return f"<{name}>"
        finally:
            self._place.pop()

    def _known(self, value: Any) -> Any:
        # By its type, like the encoder: isinstance() would accept a proxy, too.
        kind = type(value)
        if value is None or issubclass(kind, bool):
            return value
        if issubclass(kind, str):
            return self._text(value)
        if issubclass(kind, (int, float)):
            return self._number(value)
        if id(value) in self._above:
            raise UnfitValueError("contains itself", "<cycle>")
        if len(self._place) > MOST_LEVELS:
            return self._too_deep()
        self._above.add(id(value))
        try:
            return self._parts(value, kind)
        finally:
            self._above.discard(id(value))

    def _parts(self, value: Any, kind: type) -> Any:
        if issubclass(kind, dict):
            named = [(self.name(name), part) for name, part in list(value.items())]
            return {name: self.value(part, name) for name, part in named}
        if issubclass(kind, (list, tuple)):
            return [self.value(part, index) for index, part in enumerate(value)]
        return self._known(plain(value))

    def name(self, key: Any) -> str:
        """Return the key as a text, as JSON has it."""
        try:
            if not isinstance(key, _KEYS_OF_JSON):
                simple = plain(key)
                key = simple if isinstance(simple, _KEYS_OF_JSON) else str(key)
            return self._text(key if isinstance(key, str) else json.dumps(key))
        except Exception as error:  # noqa: BLE001 - a key of the application may raise any
            name = type(key).__name__
            self._note(f"has a key that is a {name}, whose text raised {type(error).__name__}")
            return f"<{name}>"

    def _text(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self._note("holds half of a surrogate pair")
            # Two matching halves become one character.
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value

    def _number(self, value: float) -> float | None:
        if isinstance(value, float) and not isfinite(value):
            self._note("is NaN" if isnan(value) else "is infinite")
            return None
        try:
            json.dumps(value)
        except ValueError:  # Python refuses conversions that would take very long
            self._note("is an integer of too many digits")
            return None
        return value

    def _too_deep(self) -> str:
        self._note("is nested too deeply")
        return "<too deep>"

    def _note(self, problem: str) -> None:
        field, *keys = self._place or ["the name of a field"]
        shown = "".join(map(_show, keys[:_MOST_KEYS_OF_A_PLACE]))
        rest = "..." if len(keys) > _MOST_KEYS_OF_A_PLACE else ""
        self.problems.append(f"{field}{shown}{rest} {problem}")


def _show(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if _NAME.fullmatch(key) else "[*]"
