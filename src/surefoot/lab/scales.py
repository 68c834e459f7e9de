"""How large weights and steps are where a run is in order: what shows a blow-up, and what a new start is made with.

Once steps that are too long have made the weights large, they are short compared with them. So weights are compared
with 1/√inputs, which they are made with, and steps with what the rate makes of gradients of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.engines import driver, reference
from surefoot.engines.state import State
from surefoot.lab.findings import TABLES, Case
from surefoot.lab.motion import DECAYS, altered, inputs_of
from surefoot.lab.rates import Rate

LARGE = 12.0
"""Weights this many times larger than 1/√inputs are large: they are 10 times what a run in order makes of them."""

RATHER_LARGE = 5.0
"""The same, where steps are fast."""

FAST = 0.15
"""The share of large weights that a step moves them by, if steps made them so."""

FIRST_OF_LARGE = 0.01
"""The share of large weights that a first step at this rate is at least, if steps made them so."""

LIVELY = 0.005
"""The same for the next step, where there is one weight matrix alone, whose right values may be large."""

STEEP = 3.0
"""gradient · parameter, by which the loss would fall if weights were shortened to nothing, that is too much."""

FIRST_OF_STEEP = 0.1
"""The share of such weights that a first step at this rate is at least."""

FASTEST = 0.6
"""The upper end of the band: ‖update‖/‖parameter‖ of a step, above which a run diverges."""

EXPLODED = 1e6
"""Root mean square of a parameter, above which it is the weights if gradients are not finite."""

LEAST = 0.1
"""The least that weights are compared with: rows of embeddings are made with 1, whatever their length."""

NEW_START, NEW_START_OF_PLAIN = 0.02, 0.1
"""The share of 1/√inputs by which steps along gradients of one move the weights after a new start; where gradients are
not divided by their size, they are mostly smaller than one."""

LATER = 100
"""The step that is looked at for it: rates of AdaGrad have fallen tenfold by then."""


def unit_step(case: Case, t: int) -> float:
    """By how much step t of a new start along gradients of one moves a coordinate, without decay."""
    step = altered(case.view.step, dict.fromkeys(DECAYS, 0.0), lr=Rate.of_start(case), lr_decay=0.0)
    x, g, slots = np.zeros((1, 1)), np.ones((1, 1)), step.rule.slots
    memory = [np.full((1, 1), 0.0 if slot.initial == "x" else float(step.initial(slot))) for slot in slots.values()]
    moved = 0.0
    for k in range(1, t + 1):
        acting = driver.coefficients(step, State(dict(zip(slots, memory, strict=True)), k - 1), k)
        with np.errstate(all="ignore"):
            _, new, memory, _ = reference.preview(step, x, g, memory, k, acting, given=case.view.given)
        moved, x = abs(float(new[0, 0] - x[0, 0])), new
    return moved


def root_mean_square(case: Case) -> float:
    return case.finding.parameter_norm / math.sqrt(max(case.view.size, 1))


@dataclass
class Weights:
    """A weight matrix, compared with 1/√inputs.

    Attributes:
        case: the parameter.
        natural: 1/√inputs, and at least `LEAST`.
        first: by how many times this the rate moves it in a first step along gradients of one.
    """

    case: Case
    natural: float
    first: float

    @property
    def size(self) -> float:
        return root_mean_square(self.case) / self.natural

    @property
    def pace(self) -> float:
        motion = self.case.motion
        return (motion.pace or 0.0) if motion else 0.0

    @property
    def uphill(self) -> float:
        """gradient · parameter."""
        return self.case.motion.uphill if self.case.motion else 0.0

    @property
    def new_start(self) -> float:
        """By what to multiply the rate for a new start."""
        later = unit_step(self.case, LATER)
        divides = any(slot.kind == "scale" for slot in self.case.view.step.rule.slots.values())
        return (NEW_START if divides else NEW_START_OF_PLAIN) * self.natural / later if later > 0 else math.inf

    def is_large(self, alone: bool, fastest: float) -> bool:
        """Whether steps at this rate made the weights large.

        Args:
            alone: whether there is no other matrix.
            fastest: the fastest pace of all of them.
        """
        if self.size < LARGE:
            return self.size > RATHER_LARGE and self.pace > FAST and self.first >= 1
        if fastest > FAST:
            return True
        by_steps = self.first >= 1 and self.first >= FIRST_OF_LARGE * self.size
        return by_steps and (self.pace > LIVELY or not alone)

    def is_steep(self) -> bool:
        """Whether the loss would fall if the weights were shortened, at a rate that is large compared with them.

        The first steps of RAdam are along gradients as they are, and make weights large that later ones hardly move.
        """
        made = 1 / self.natural if isinstance(self.case.module, TABLES) else 1.0
        if self.uphill <= STEEP:
            return False
        fresh = self.case.view.motion(fresh=True)
        return self.first >= max(made, FIRST_OF_STEEP * self.size) or fresh.update > FASTEST * fresh.reach


def weights_of(cases: Sequence[Case]) -> list[Weights]:
    """The weight matrices; vectors, where there is nothing else."""
    matrices = [case for case in cases if len(case.finding.shape) > 1]
    matrices = matrices or [case for case in cases if case.view.size > 1] or list(cases)
    firsts: dict[int, float] = {}
    made = []
    for case in matrices:
        if case.group not in firsts:
            # The first gradient of ADOPT gives its squares a value, and moves nothing.
            firsts[case.group] = unit_step(case, 1) or unit_step(case, 2)
        natural = max(1 / math.sqrt(inputs_of(case.finding.shape)), LEAST)
        made.append(Weights(case, natural, firsts[case.group] / natural))
    return made
