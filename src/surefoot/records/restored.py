"""Records as JSON gives them back, checked against the types of their fields: files can be edited."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Real
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

Count = Annotated[int, "at least 0"]
"""A whole number of at least 0, as a field's type."""
LARGEST = (1 << 63) - 1


def is_whole(value: Any, least: int = -(1 << 63), most: int = (1 << 64) - 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_real(value: Any) -> bool:
    """Whether a value is a finite number; truth values are not."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float is near
        return False


SIMPLE: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    float: ("a finite number", is_real),
    int: ("a whole number", is_whole),
    Count: (f"a whole number from 0 to {LARGEST}", lambda value: is_whole(value, 0, LARGEST)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("text", lambda value: isinstance(value, str)),
    type(None): ("null", lambda value: value is None),
}
"""What values of a type are called, and whether one is such."""


def restored(kind: Any, value: Any, name: str) -> Any:
    """A value as this type: a dataclass, a named tuple, a tuple, a mapping from text, or one of SIMPLE.

    Args:
        kind: the type, or a union of types.
        value: what JSON gives back.
        name: where it was, for messages.

    Raises:
        ValueError: it is of another type.

    >>> restored(tuple[int, ...], [1, 2], "sizes"), restored(float | None, 3, "rate")
    ((1, 2), 3.0)
    >>> restored(dict[str, float], {"eps": True}, "hyper")
    Traceback (most recent call last):
        ...
    ValueError: hyper.eps: found True, expected a finite number
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _of_union(inner, value, name)
    if kind in SIMPLE:
        called, fits = SIMPLE[kind]
        return kind(value) if _checked(fits(value), called, value, name) and kind is float else value
    if is_dataclass(kind):
        return _of_dataclass(kind, value, name)
    if origin is tuple or hasattr(kind, "_fields"):
        return _of_list(kind, value, name)
    _checked(isinstance(value, dict), "an object", value, name)
    return {key: restored(inner[1], own, f"{name}.{key}") for key, own in value.items()}


def _of_union(kinds: tuple, value: Any, name: str) -> Any:
    simple = [kind for kind in kinds if kind in SIMPLE]
    for kind in simple:
        if SIMPLE[kind][1](value):
            return restored(kind, value, name)
    others = [kind for kind in kinds if kind not in SIMPLE]
    if others and isinstance(value, dict | list):
        return restored(others[0], value, name)
    raise ValueError(f"{name}: found {_shown(value)}, expected {' or '.join(SIMPLE[kind][0] for kind in simple)}")


def _of_dataclass(kind: Any, value: Any, name: str) -> Any:
    _checked(isinstance(value, dict), "an object", value, name)
    known = [field.name for field in fields(kind)]
    if strange := sorted({*value} - {*known}):
        raise ValueError(f"{name}: found {strange[0]!r}, expected {', '.join(known)}")
    if gone := [key for key in known if key not in value]:
        raise ValueError(f"{name}: found no {gone[0]}")
    return kind(**{key: restored(hints(kind)[key], own, f"{name}.{key}") for key, own in value.items()})


def _of_list(kind: Any, value: Any, name: str) -> tuple:
    inner = [*hints(kind).values()] if hasattr(kind, "_fields") else get_args(kind)
    _checked(isinstance(value, list | tuple), "a list", value, name)
    if inner[-1] is Ellipsis:
        inner = [inner[0]] * len(value)
    _checked(len(value) == len(inner), f"a list of {len(inner)}", value, name)
    own = [restored(each, part, f"{name}[{k}]") for k, (each, part) in enumerate(zip(inner, value, strict=True))]
    return kind(*own) if hasattr(kind, "_fields") else tuple(own)


@cache
def hints(kind: type) -> dict[str, Any]:
    """The types of a record's fields."""
    return get_type_hints(kind, include_extras=True)


def _checked(fits: bool, called: str, value: Any, name: str) -> bool:
    if not fits:
        raise ValueError(f"{name}: found {_shown(value)}, expected {called}")
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
