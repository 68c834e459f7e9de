"""A learner's state, put together again, and whether what it says in several places agrees: files can be edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surefoot.engines import restoring
from surefoot.learn.changes import Changes
from surefoot.learn.first_values import FirstValues
from surefoot.learn.rates import chosen
from surefoot.learn.target_scale import LARGEST_TARGET, LEAST_SPREAD, Before, TargetScale
from surefoot.learn.zeros import Zeros
from surefoot.records.restored import Count, restored

SETTLED = 2000
"""Examples of a first pass after which the weights of learning rates stay: fewer do not tell rates apart."""
LARGEST_LOSS = 1e30
"""Of all examples together; a larger one is divergence."""

NUMBERS = ("center", "spread", "heaviness", "examples", "first_pass", "weight", "least", "features")
"""What of a learner's state are plain numbers."""


def state(learner: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """See `Learner.state`."""
    own = {
        "bank": learner.bank.state(),
        "mixture": learner.mixture.state(),
        "changes": learner.changes.state(),
        "targets": learner.target_scale.state(),
        "first": learner.first_values.state(),
        "zeros": ({"ids": learner.zeros.ids}, len(learner.zeros.ids)),
    }
    arrays = {f"{part}.{name}": array for part, (found, _) in own.items() for name, array in found.items()}
    numbers = {name: getattr(learner, name) for name in NUMBERS} | {part: found for part, (_, found) in own.items()}
    first = learner.settings.rates()
    return arrays, numbers | {
        "rates": [first.index(rate) for rate in learner.rates],
        "history": [*learner.history],
        "since": learner._since,
        "before": [*learner.before],
        "missing": int(learner.missing),
    }


def restore(learner: Any, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
    """Gives a learner that has just been made a state.

    Raises:
        ValueError: it is not that of a learner with these settings.
    """

    def own(part: str) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
        prefix = f"{part}."
        chosen = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
        if not isinstance(numbers.get(part), Mapping):
            raise ValueError(f"{part}: found {numbers.get(part)!r}, expected an object")
        return chosen, numbers[part]

    for name in NUMBERS:
        setattr(learner, name, restoring.real(numbers, name))
    for name in ("examples", "first_pass"):
        setattr(learner, name, restoring.whole(numbers, name))
    learner.features = restoring.whole(numbers, "features", 1 << 63)
    learner.history = [*restored(tuple[tuple[Count, float], ...], numbers.get("history"), "history")]
    learner._since = restored(tuple[float, float], numbers.get("since"), "since")
    learner.before = restored(Before, numbers.get("before"), "before")
    check_scales(learner)
    first = len(learner.rates)
    rates = restored(tuple[Count, ...], numbers.get("rates"), "rates")
    learner.rates = tuple(learner.rates[k] for k in chosen([*rates], first))
    learner.bank, learner.mixture = learner.new_bank(0), learner.new_mixture(first)
    learner.bank.restore(*own("bank"))
    learner.zeros = Zeros(restoring.ids(arrays, "zeros.ids", restoring.whole(numbers, "zeros"), learner.features))
    learner.first_values = FirstValues.from_state(*own("first"), learner.bank)
    learner.mixture.restore(*own("mixture"), rates=len(learner.rates))
    learner.changes = Changes.from_state(*own("changes"), learner.bank, learner.features)
    learner.target_scale = TargetScale.from_state(*own("targets"), learner.examples)
    if learner._row_map is None and learner.features > learner.bank.features:
        raise ValueError(f"features: found {learner.features}, expected at most {learner.bank.features}")
    check_state(learner)


def check_scales(learner: Any) -> None:
    """Raises ValueError where a learner with these settings has another center, spread or heaviness."""
    settings = learner.settings
    scales = settings.centers_targets
    heaviness, center, spread = learner.heaviness, learner.center, learner.spread
    _check(
        ("heaviness", heaviness, heaviness > 0 and (settings.scale_targets or heaviness == 1)),
        ("center", center, abs(center) <= LARGEST_TARGET if scales else center == 0),
        ("spread", spread, LEAST_SPREAD <= spread <= LARGEST_TARGET if scales else spread == 1),
    )


def check_state(learner: Any) -> None:
    """Raises ValueError where numbers of examples, weights and features do not agree."""
    bank, mixture, examples, before = learner.bank, learner.mixture, learner.examples, learner.before
    since = examples - before.examples
    counts = [0, *(number for number, _ in learner.history), examples]
    seen, known = bank.table.seen[0], learner.known(learner.zeros.ids)
    ids = learner.ids()
    largest = -1 if ids is None or not len(ids) else int(ids.max())
    has_least = learner.settings.loss.metric.least is not None
    _check(
        ("before", before, 0 <= before.examples <= examples and 0 <= before.weight <= learner.weight),
        ("before", before, learner.settings.centers_targets or not any(before)),
        ("before, seen", mixture.seen, mixture.seen == since),
        ("t", bank.t, bank.t <= since <= bank.t * bank.batch_size),
        ("seen", seen, not bank.centers or seen == (0 if learner.missing else examples)),
        ("first_pass", learner.first_pass, learner.first_pass <= examples),
        ("history", counts[1:-1], counts == sorted(counts)),
        ("total", mixture.total, mixture.total <= LARGEST_LOSS),
        ("since", learner._since, learner._since[1] <= learner.weight),
        ("weight", learner.weight, learner.weight >= 0),
        ("least", learner.least, has_least or learner.least == 0),
        ("frozen", mixture.frozen, learner.first_pass >= SETTLED or not mixture.frozen),
        ("ids", largest, largest < learner.features),
        ("zeros", learner.zeros.ids.tolist(), bool(np.all((known >= 0) & (known < bank.features)))),
    )


def _check(*facts: tuple[str, Any, bool]) -> None:
    """Raises ValueError for the first of these names and values that does not fit."""
    for name, found, fits in facts:
        if not fits:
            raise ValueError(f"{name}: found {found}, which does not fit the rest of the state")
