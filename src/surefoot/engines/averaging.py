"""The average of the iterates, weighted by their learning rates: in float64, the same for every engine."""

import numpy as np

from surefoot import ops
from surefoot.engines.numerics import BLOCK, decode
from surefoot.engines.state import State
from surefoot.modifiers import averaging

BLENDED = ops.bind(averaging.function, ops.ARRAY_OPS)


def blend(average, x, share: float) -> None:
    """average ← average + share · (x − average), a few rows at a time."""
    rows = max(1, BLOCK * max(len(x), 1) // max(x.size, 1)) if x.ndim else 1
    for b in range(0, len(x) if x.ndim else 1, rows):
        part = np.s_[b : b + rows] if x.ndim else ()
        average[part] = BLENDED(average[part], decode(x[part]).astype(np.float64), share)


def blend_rows(x, state: State, rows) -> None:
    """Gives the rows' averages the weight of the steps in which the rows stood still."""
    average, seen = averages(state)
    if state.weight > 0:
        share = (1 - seen[rows] / state.weight).reshape(-1, *(1 for _ in x.shape[1:]))
        average[rows] = BLENDED(average[rows], decode(x[rows]).astype(np.float64), share)


def blend_touched(lr: float, x, state: State, rows) -> None:
    """Takes the rows just stepped into the average."""
    average, seen = averages(state)
    weight = state.weight + lr
    if weight > 0:
        average[rows] = BLENDED(average[rows], decode(x[rows]).astype(np.float64), lr / weight)
    seen[rows] = weight


def flush(x, state: State) -> None:
    blend_rows(x, state, np.arange(x.shape[0]))
    averages(state)[1][:] = state.weight


def averages(state: State) -> tuple[np.ndarray, np.ndarray]:
    """The average of the iterates, and the weight of each row's last touch, of a state that keeps them."""
    if state.average is None or state.average_seen is None:
        raise ValueError("the state keeps no average; expected one made with average=True")
    return state.average, state.average_seen
