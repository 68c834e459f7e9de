"""Whether a gradient looks clipped: then it is small because of that, and not because the run has converged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from surefoot.engines.numerics import decode
from surefoot.lab.findings import Case

ROUND = 1e-4
"""How far the norm of a gradient is from a number of one digit, if it is clipped to that: `clip_grad_norm_` divides by
the norm and 1e-6. One norm in a thousand is as near by chance."""

ALIKE = 0.5
"""The share of coordinates that have the same size, if each is clipped."""


def clipped_to(moving: Sequence[Case]) -> str | None:
    """What the gradients are clipped to, in a few words; None if they do not look so."""
    norm = math.hypot(*(case.motion.gradient for case in moving if case.motion))
    if is_round(norm):
        return f"a norm of {norm:.0e}"
    sizes = np.concatenate([np.abs(decode(case.view.gradient[1])).ravel() for case in moving] or [np.zeros(0)])
    largest = sizes.max(initial=0.0)
    alike = np.count_nonzero(sizes == largest)
    return f"{largest:.2g} each" if len(sizes) > 1 and largest > 0 and alike > ALIKE * len(sizes) else None


def is_round(norm: float) -> bool:
    """Whether it is a number of one digit, as one would choose it.

    >>> is_round(9.99998e-7), is_round(1.234e-6), is_round(0.0)
    (True, False, False)
    """
    return norm > 0 and abs(norm / float(f"{norm:.0e}") - 1) < ROUND
