"""Functions of tuples, written out for tuples of a known length."""

from collections.abc import Callable
from typing import Any

from numba.extending import overload

from surefoot.native.codegen import INLINE


def together(arguments: str, elements: list[str], names: dict[str, Any]) -> Callable:
    """A function of `arguments` that returns the tuple of the elements, each with its own number for {k}.

    Written out, because recursion over a tuple of arrays is slow to compile and to run.

    Args:
        names: the globals that the elements refer to.
    """
    written_out = "".join(element.replace("{k}", str(k)) + ", " for k, element in enumerate(elements))
    return eval(f"lambda {arguments}: ({written_out})", names)


def written(source: str, name: str, names: dict[str, Any]) -> Callable:
    """The function of that name that a source in Python defines, whose globals are these and no others."""
    space = dict(names)
    exec(source, space)
    return space[name]


def to_fixed_tuple(array, count):
    """The first `count` numbers of an array, for a count that is known when compiling."""


@overload(to_fixed_tuple, jit_options=INLINE, prefer_literal=True)  # pyright: ignore[reportArgumentType]
def _to_fixed_tuple(array, count):
    size = getattr(count, "literal_value", None)
    return None if size is None else together("array, count", ["array[{k}]"] * size, {})
