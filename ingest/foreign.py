"""Values that came out of a file, held against the types that a dataclass declares. Pure.

A dataclass takes anything. What it was filled with from JSON or TOML may be damaged, and is found out here, where it
comes in, and not somewhere in the middle of the work.
"""

import math
import zlib
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from zipfile import BadZipFile

T = TypeVar("T")

DAMAGED_NPZ = (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, BadZipFile, zlib.error)
"""What reading arrays from an npz may raise where the file is not what it should be. RuntimeError: a bit says that the
archive is encrypted, or compressed in a way that zipfile does not know."""


def checked(instance: T) -> T:
    """The same dataclass, when every field holds what its annotation says: numbers are finite, text can be written.

    Raises:
        TypeError: a field does not; the message names it.
    """
    hints = _hints(type(instance))  # type: ignore[arg-type]
    for field in fields(instance):  # type: ignore[arg-type]
        value = getattr(instance, field.name)
        if not _fits(value, hints[field.name]):
            raise TypeError(f"{field.name} is {value!r:.80}")
    return instance


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is not None:
        return isinstance(value, origin) and _fit_inside(value, inner)
    return _fits_plain(value, hint)


def _fit_inside(values: Any, inner: tuple[Any, ...]) -> bool:
    """Whether what a list, tuple or dict holds fits; nothing is said of what is inside a bare one."""
    if isinstance(values, dict):
        return all(_fits(name, inner[0]) and _fits(value, inner[1]) for name, value in values.items())
    return all(_fits(value, inner[0]) for value in values)


def _is_text(value: str) -> bool:
    """No halves of characters, save those that stand for the bytes of a file's name that is not UTF-8."""
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _fits_plain(value: Any, hint: Any) -> bool:
    if hint is int:
        return type(value) is int and abs(value) < 1 << 63
    if hint is float:
        return _fits(value, int) or (type(value) is float and math.isfinite(value))
    if hint is str:
        return isinstance(value, str) and _is_text(value)
    return isinstance(value, hint) and (not is_dataclass(hint) or checked(value) is value)
