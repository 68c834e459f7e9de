"""Records by name, as they stand in a registry."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from surefoot.records.base import Record

R = TypeVar("R", bound=Record)


def find(name: str | R, registry: Mapping[str, R], kind: str, error: type[ValueError]) -> R:
    """The record of that name; a record is returned as it is.

    Args:
        name: the name, or the record itself.
        registry: of all records of a kind.
        kind: what messages call them, and the decorator in `surefoot` that makes them: "rule" or "loss".
        error: what is raised for an unknown name, with the nearest known one.
    """
    if isinstance(name, Record):
        if not isinstance(name, type(next(iter(registry.values())))):
            raise error(f"{name!r} is not a {kind}; expected one of {', '.join(registry)}")
        return name  # pyright: ignore[reportReturnType]
    if callable(name):
        called = getattr(name, "__name__", name)
        raise error(f"{called} is a function, not yet a {kind}; decorate it with surefoot.{kind}")
    if name not in registry:
        raise error(f"there is no {kind} {name!r}; {hint(str(name), registry)}")
    return registry[name]


def hint(name: str, known: Iterable[str]) -> str:
    """What may have been meant.

    >>> hint("adagra", ["sgd", "adagrad"]), hint("x", ["sgd"])
    ("did you mean 'adagrad'?", 'there are sgd')
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
