"""Where learning begins, and where it begins again since targets are of another scale: see `target_scale`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.learn.changes import Changes
from surefoot.learn.mixture import sum_of
from surefoot.learn.target_scale import LEAST_SPREAD, RISE, Before, TargetScale
from surefoot.models import STATISTICS

CENTERS = {"mean": np.mean, "median": np.median}


def start(learner: Any, initial: Mapping[str, np.ndarray]) -> None:
    """Sets numbers before the first step.

    Raises:
        ValueError: they would be those of scaled features or targets, or the rule starts from the origin.
    """
    settings = learner.settings
    if settings.normalize or settings.scale_targets:
        raise ValueError(
            "initial: numbers can be given for features and targets as they are; expected normalize=False and "
            "scale_targets=False"
        )
    for part, numbers in initial.items():
        if settings.rule_of(part).from_origin and np.any(numbers):
            raise ValueError(f"initial: {settings.rule_of(part).name} starts from 0; leave out {part!r}")
        learner.bank.start(part, numbers)


@np.errstate(under="ignore")
def begin(learner: Any, targets: np.ndarray, weights: np.ndarray) -> None:
    """See `Learner.begin`."""
    settings = learner.settings
    loss, y = settings.loss, targets[: settings.first_targets]
    learner.heaviness = float(weights[: settings.first_weights].mean()) or 1.0
    if loss.center is not None:
        learner.center = float(CENTERS[loss.center](y))
        spread = float(np.std(y)) or abs(learner.center)
        learner.spread = max(spread, LEAST_SPREAD) if spread else 1.0
        learner.target_scale = TargetScale(len(y))
        learner.bank.change(learner.steps(learner.rates), learner.parameter)
        learner.mixture = learner.new_mixture()
    elif loss.initial is not None and learner.has_bias and not settings.rule_of("bias").from_origin:
        learner.bank.start("bias", loss.initial(y))


def look(learner: Any) -> None:
    """Looks at the scale of targets: where another is due, learning begins again."""
    scale = learner.center, learner.spread, learner.settings.loss.center == "median"
    learner.target_scale = learner.target_scale.looked()
    if changed := learner.target_scale.changed(*scale):
        learner.target_scale = changed
        begin_again(learner, changed.scale())


def begin_again(learner: Any, scale: tuple[float, float]) -> None:
    """Lets learning begin again, with targets of this center and spread; statistics of features go on."""
    before = learner.before
    lost, by_model = before.lost + learner.mixed, before.lost_by_model + learner.lost_by_model
    learner.before = Before(learner.examples, learner.weight, lost, by_model)
    learner.center, learner.spread = scale
    bank = learner.new_bank(learner.bank.features)
    take_statistics(bank, learner.bank)
    learner.bank, learner.mixture = bank, learner.new_mixture()
    learner.changes = Changes(learner.changes.begun)


def take_statistics(bank: ModelBank, before: ModelBank) -> None:
    """Gives a bank that has learned nothing the statistics of another's features."""
    rows = np.flatnonzero(before.table.statistic(STATISTICS[0]))  # memory of others takes no space
    for name in STATISTICS:
        bank.table.statistic(name)[rows] = before.table.statistic(name)[rows]
    bank.table.seen[:], bank.sharing, bank.skipped = before.table.seen, before.sharing, before.skipped


def scaled(learner: Any, part: Examples) -> Examples:
    """Examples with targets as they are learned from."""
    away = part.targets - learner.center
    with np.errstate(under="ignore"):
        targets = np.where(out_of_reach(learner, part.targets), np.copysign(RISE, away), away / learner.spread)
    bases = None if part.bases is None else part.bases / learner.spread
    return replace(part, targets=targets, bases=bases)


def out_of_reach(learner: Any, targets: np.ndarray) -> np.ndarray:
    """Which of these targets are not learned from as they are, (n,) bool."""
    return learner.target_scale.is_out_of_reach(targets, learner.center, learner.spread)


def add_lost(learner: Any, part: Examples, targets: np.ndarray, predicted: np.ndarray) -> None:
    """Adds what was lost by targets that were out of reach besides what was by those learned from in their place.

    Args:
        part: examples as they were learned from.
        targets: of these, as they are.
        predicted: for these, (n, outputs), as targets are learned from.
    """
    far = out_of_reach(learner, targets)
    if not far.any():
        return
    loss, parameter, before = learner.settings.loss, learner.settings.parameter, learner.before
    own, nearer = (p[far] * learner.spread + learner.center for p in (predicted[:, 0], part.targets))
    more = loss.values(own, targets[far], parameter) - loss.values(own, nearer, parameter)
    lost, by_model = (float(sum_of(np.array(b), more * part.weights[far])) for b in (before.lost, before.lost_by_model))
    learner.before = before._replace(lost=lost, lost_by_model=by_model)
