"""Whether what a learner's state says of one thing in several places agrees: files can be edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from surefoot.learn.learner import Learner

SETTLED = 2000
"""Examples of a first pass after which the weights of learning rates stay: fewer do not tell rates apart."""
LARGEST_LOSS = 1e30
"""Of all examples together; a larger one is divergence."""
LEAST_SPREAD = 1e-150
"""Of targets: squares of smaller ones are not numbers."""


def check_scales(learner: Learner) -> None:
    """Raises ValueError where a learner with these settings has another center, spread or heaviness."""
    settings = learner.settings
    scales = settings.scale_targets and settings.loss.center is not None
    heaviness, center, spread = learner.heaviness, learner.center, learner.spread
    _check(
        ("heaviness", heaviness, heaviness > 0 and (settings.scale_targets or heaviness == 1)),
        ("center", center, scales or center == 0),
        ("spread", spread, spread >= LEAST_SPREAD if scales else spread == 1),
    )


def check_state(learner: Learner) -> None:
    """Raises ValueError where numbers of examples, weights and features do not agree."""
    bank, mixture, examples = learner.bank, learner.mixture, learner.examples
    counts = [0, *(number for number, _ in learner.history), examples]
    seen, known = bank.table.seen[0], learner.known(learner.zeros.ids)
    has_least = learner.settings.loss.metric.least is not None
    _check(
        ("t", bank.t, bank.t <= examples <= bank.t * bank.batch_size),
        ("seen", seen, learner.missing or not bank.centers or seen == examples),
        ("seen", mixture.seen, mixture.seen == examples),
        ("first_pass", learner.first_pass, learner.first_pass <= examples),
        ("history", counts[1:-1], counts == sorted(counts)),
        ("total", mixture.total, mixture.total <= LARGEST_LOSS),
        ("since", learner._since, learner._since[1] <= learner.weight),
        ("weight", learner.weight, learner.weight >= 0),
        ("least", learner.least, has_least or learner.least == 0),
        ("frozen", mixture.frozen, learner.first_pass >= SETTLED or not mixture.frozen),
        ("zeros", learner.zeros.ids.tolist(), bool(np.all((known >= 0) & (known < bank.features)))),
    )


def _check(*facts: tuple[str, Any, bool]) -> None:
    """Raises ValueError for the first of these names and values that does not fit."""
    for name, found, fits in facts:
        if not fits:
            raise ValueError(f"{name}: found {found}, which does not fit the rest of the state")
