"""The conversion of values to types that JSON knows, one step at a time."""

from __future__ import annotations

import base64
import enum
import os
from collections import UserString
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import prod
from operator import attrgetter, methodcaller
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["UnfitValueError", "plain"]

#: An array with more values is a picture or a sound, which is not read as numbers.
MOST_VALUES: Final = 10_000

_NOT_SET: Final = object()


class UnfitValueError(ValueError):
    """A value is better left out.

    Attributes:
        problem: the problem, as a text that follows the place of the value.
        placeholder: the text to keep instead of the value.
    """

    def __init__(self, problem: str, placeholder: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.placeholder = placeholder


def plain(value: Any) -> Any:
    """Return the natural JSON form of a value.

    Its parts are not converted: a set of dates becomes a list of dates. Unknown types become texts. A proxy,
    such as those of werkzeug, is converted like its target.

    Raises:
        UnfitValueError: the value is too large, or would have to be awaited or consumed.
        Exception: any exception of a method of the value.
    """
    return _conversion(value.__class__)(value)  # for a proxy, the class of its target


@lru_cache(maxsize=256)
def _conversion(kind: type) -> Callable[[Any], Any]:
    for sign, convert in _CONVERSIONS:
        if hasattr(kind, sign) if isinstance(sign, str) else issubclass(kind, sign):
            return convert
    return str


def _attributes(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the attributes that are set."""
    found = {name: getattr(value, name, _NOT_SET) for name in names}
    return {name: attribute for name, attribute in found.items() if attribute is not _NOT_SET}


def _dataclass(value: Any) -> dict[str, Any]:
    return _attributes(value, [field.name for field in fields(value)])


def _attrs(value: Any) -> dict[str, Any]:
    return _attributes(value, [attribute.name for attribute in value.__attrs_attrs__])


def _struct(value: Any) -> dict[str, Any]:
    return _attributes(value, value.__struct_fields__)


def _pydantic(value: Any) -> Any:
    try:
        # A model may hold values that its own types do not allow, of which Pydantic would warn.
        return value.model_dump(mode="json", warnings=False)
    except Exception:  # noqa: BLE001 - a field of a type that JSON lacks, which is converted here, or a cycle
        return vars(value)


def _array(value: Any) -> Any:
    """Return the numbers of an array or scalar of NumPy, PyTorch or pandas."""
    shape = tuple(value.shape) if hasattr(value, "shape") else (len(value),)
    size = prod(shape)
    if size > MOST_VALUES:
        name = type(value).__name__
        raise UnfitValueError(
            f"is a {name} of {size} values, and no more than {MOST_VALUES} are kept",
            f"<{name} of shape {shape}>",
        )
    if getattr(getattr(value, "dtype", None), "kind", None) == "M":
        value = value.astype(str)  # else nanoseconds since 1970
    return value.tolist()


def _exception(value: BaseException) -> str:
    name, message = type(value).__name__, str(value)
    return f"{name}: {message}" if message else name


def _number(value: Decimal | Fraction) -> float | str:
    """Return a number, if JSON has exactly the digits of the value, else a text."""
    try:
        number = float(value)
        is_exact = type(value)(repr(number)) == value
    except (ValueError, ArithmeticError):  # a signalling NaN, or a fraction that is too large
        return str(value)
    return number if is_exact else str(value)


def _text(value: bytes | bytearray | memoryview) -> str:
    data = bytes(value)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()


def _range(value: range) -> list[int] | str:
    return str(value) if value[MOST_VALUES:] else list(value)


def _awaitable(value: object) -> Any:
    name = type(value).__name__
    raise UnfitValueError(f"is a {name}, which was not awaited", f"<{name}>")


def _iterator(value: object) -> Any:
    name = type(value).__name__
    raise UnfitValueError(f"is a {name}, which is not consumed: log what it yields", f"<{name}>")


def _sorted(value: AbstractSet[Any]) -> list[Any]:
    try:
        return sorted(value)
    except Exception:  # noqa: BLE001 - values without an order may raise any exception
        return list(value)


#: The conversion of the first sign that fits: a class, or an attribute of the class. Attributes identify
#: libraries that may not be installed. Of texts, numbers and None, only proxies are converted here.
_CONVERSIONS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (enum.Enum, attrgetter("value")),
    ((str, UserString), str),
    (bool, bool),
    (int, int),
    (float, float),
    (type(None), lambda _: None),
    ((date, time), methodcaller("isoformat")),
    (timedelta, timedelta.total_seconds),
    ((Decimal, Fraction), _number),
    (os.PathLike, os.fspath),
    ((bytes, bytearray, memoryview), _text),
    (BaseException, _exception),
    (range, _range),
    ("model_dump", _pydantic),
    ("__dataclass_fields__", _dataclass),
    ("__attrs_attrs__", _attrs),
    ("__struct_fields__", _struct),  # msgspec
    ("__fields_set__", methodcaller("dict")),  # Pydantic 1
    ("tolist", _array),
    ("isoformat", methodcaller("isoformat")),
    (Mapping, dict),
    (MappingView, list),
    (AbstractSet, _sorted),
    (Sequence, list),
    (Awaitable, _awaitable),
    ((Iterator, AsyncIterator), _iterator),
)
