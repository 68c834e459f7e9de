"""Calls of a kernel whose arguments stay the same arrays: laid out once, since that is most of what a call costs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from surefoot.native import Kernel
from surefoot.native.loader import forms, leaves, ordinary


def bound(kernel: Kernel, arguments: tuple) -> Callable[[], Any]:
    """A function that calls a kernel with these arguments, whose arrays may have other content each time.

    Args:
        kernel: which has been called with arguments of these types before.
        arguments: none of whose numbers change.
    """
    arguments = ordinary(arguments)
    names = getattr(kernel._calls.get(forms(arguments)), "__globals__", {})
    if "entry" not in names:  # a function that Numba calls
        return lambda: kernel(*arguments)
    flat = [leaf for k, argument in enumerate(arguments) for _, leaf in leaves(argument, f"a{k}")]
    words = names["pack"](*(id(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in flat))
    entry, expected, check, result = names["entry"], names["expected"], names["check"], names["Result"]()
    place = ctypes.byref(result)

    def call(kept: list = flat) -> Any:  # the words are the addresses of what is kept
        status = entry(words, expected, place, None)
        if status:
            check(status, result)
        return result.value

    return call
