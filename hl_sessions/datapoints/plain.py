"""Values that JSON does not know, one step closer to those that it knows."""

from __future__ import annotations

import base64
import enum
import os
from collections import UserString
from collections.abc import Mapping, MappingView, Sequence
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

#: Of more values an array is a picture or a sound, not one that people read.
MOST_VALUES: Final = 10_000

_NOT_SET: Final = object()


class UnfitValueError(ValueError):
    """A value is better left out.

    Attributes:
        problem: what is wrong, to be read after the place of the value.
        placeholder: the text to keep instead.
    """

    def __init__(self, problem: str, placeholder: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.placeholder = placeholder


def plain(value: Any) -> Any:
    """Return what a person expects of a value in JSON.

    What it holds is as it was: a set of dates becomes a list of dates. Nothing is consumed: an iterator
    becomes a text, as everything unknown does. Proxies, such as those of werkzeug, are what they stand for.

    Raises:
        UnfitValueError: When it is too large.
        Exception: Whatever a method of the value raises.
    """
    return _conversion(value.__class__)(value)  # of a proxy the class of what it stands for


@lru_cache(maxsize=256)
def _conversion(kind: type) -> Callable[[Any], Any]:
    for sign, convert in _CONVERSIONS:
        if hasattr(kind, sign) if isinstance(sign, str) else issubclass(kind, sign):
            return convert
    return str


def _attributes(value: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return those that are set."""
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
        # A model may hold what its own types do not allow. Pydantic would warn of it.
        return value.model_dump(mode="json", warnings=False)
    except Exception:  # noqa: BLE001 - of fields that JSON does not know, which are converted here, or of a cycle
        return vars(value)


def _array(value: Any) -> Any:
    """Return the numbers of an array or scalar as NumPy has them, or PyTorch, or pandas."""
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
    """Return a number, if its digits in JSON are just those of the value, else text."""
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


def _sorted(value: AbstractSet[Any]) -> list[Any]:
    try:
        return sorted(value)
    except Exception:  # noqa: BLE001 - of values without an order, whatever their comparison raises
        return list(value)


#: Those of the first sign that fits: a class, or an attribute of the class, by which libraries are known that
#: need not be installed. Of texts, numbers and None only proxies come here.
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
)
