"""Whether float16 is to blame: squares of gradients that it cannot hold or rounds to nothing, and an ε that is 0."""

from __future__ import annotations

import math

import numpy as np

from surefoot.lab.findings import Case
from surefoot.optim.conversion import has_squares, square_of

LEAST_SQUARE = 2.0**-25
"""What float16 rounds to nothing."""


def is_narrow(case: Case) -> bool:
    """Whether steps are divided by the root of squares that are kept in float16."""
    return case.view.step.state_dtype == "float16" and has_squares(case.view.step)


def loses_eps(case: Case) -> bool:
    """Whether nothing keeps the divisor from 0, where a square rounds to nothing."""
    hyper = case.view.step.hyper
    return is_narrow(case) and not any(np.float16(hyper.get(name, 0.0)) for name in ("eps", "eps_root"))


def least_eps(case: Case) -> float:
    """The ε with which steps along gradients whose squares are lost are no longer than others, in one digit.

    A gradient is lost if its square, times the share that a new square has in the state, rounds to nothing.
    """
    step = case.view.step
    square = square_of(step.rule)
    kept = 0.0 if square is None or square.share is None else step.hyper[square.share]
    eps = math.sqrt(LEAST_SQUARE / (1 - kept))
    unit = 10.0 ** math.floor(math.log10(eps))
    return math.ceil(eps / unit) * unit
