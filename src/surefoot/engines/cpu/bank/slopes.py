"""The slopes of losses, as kernels of banks call them: by their codes."""

import functools
from collections.abc import Callable

import numba
import numpy as np

from surefoot import losses, ops
from surefoot.engines.cpu import numba_ops
from surefoot.engines.cpu.compiling import APART, INNER
from surefoot.losses import Loss


def codes(own: Loss | None) -> dict[Loss, int]:
    """The losses that a kernel knows: all that share kernels, or one that has kernels of its own."""
    return losses.CODES if own is None else {own: 0}


def first_joint(own: Loss | None) -> int:
    """The code from which on losses are joint."""
    return sum(not loss.joint for loss in codes(own))


@functools.cache
def slope_by_code(own: Loss | None) -> Callable:
    """The slope of the loss with a given code."""
    names, calls = {}, []
    for loss, code in codes(own).items():
        names[f"slope_{code}"] = numba.njit(ops.bind(loss.slope, numba_ops, np.float64), **INNER)
        calls.append(f"slope_{code}(prediction, y{', parameter' if loss.parameter is not None else ''})")
    chain = "".join(f"{call} if loss == {code} else " for code, call in enumerate(calls[:-1]))
    source = f"lambda loss, prediction, y, parameter: {chain}{calls[-1]}"
    return numba.njit(eval(source, names), **APART)
