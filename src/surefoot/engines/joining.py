"""What two banks of models learned apart, joined: each part and statistic as its record says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from surefoot.engines import scaling
from surefoot.engines.bank import ModelBank
from surefoot.models import STATISTICS, Architecture
from surefoot.models.record import Join


@dataclass(frozen=True, eq=False)
class Learned:
    """What a bank has learned, without its memory: named arrays that others can be joined to, in any order.

    Attributes:
        architecture: of the models.
        ids: of the features that have occurred, rising, (n,).
        statistics: of these features, (n,) each, by name.
        numbers: of each part, for features as they are in the data: (n, width, outputs, rates), or of a part of the
            model (1, width, outputs, rates), (0, …) before the first step.
        weights: float64, of the same shapes: how much was learned about each number. The sum of its squared gradients,
            or what the rule has in place of it for each; else the number of examples, or of steps for a part of the
            model.
    """

    architecture: Architecture
    ids: np.ndarray
    statistics: Mapping[str, np.ndarray]
    numbers: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, bank: ModelBank) -> Learned:
        """What a bank has learned so far."""
        ids = bank.row_map.ids(0, bank.features)
        rows = np.argsort(ids, kind="stable")
        rows = rows[bank.table.statistic("count")[rows] > 0]
        numbers, weights = {}, {}
        for part, layout in bank.table.parts.items():
            chosen = rows if layout.of == "feature" else np.arange(int(bank.t > 0))
            numbers[part], weights[part] = bank.numbers(part)[chosen], weights_of(bank, part)[chosen]
        if bank.centers:
            numbers["bias"] -= scaling.offset(bank.table.centers(), bank.numbers("weight"))
        statistics = {name: bank.table.statistic(name)[rows] for name in STATISTICS}
        return cls(bank.architecture, ids[rows], statistics, numbers, weights)


def weights_of(bank: ModelBank, part: str) -> np.ndarray:
    """How much was learned about each number of a part, (features or 1, width, outputs, rates)."""
    layout, of_feature = bank.table.parts[part], bank.table.parts[part].of == "feature"
    slots = bank.steps[part][0].rule.slots
    scales = [name for name in layout.slots if slots[name].kind == "scale"]  # and not in common
    if scales:
        found = bank.table.numbers(part, scales[0]).astype(np.float64) - layout.slots[scales[0]]
        if of_feature and bank.normalize:  # gradients were those by the weights of scaled features
            found /= np.square(np.where(bank.table.scales() > 0, bank.table.scales(), 1.0))[:, None, None]
    else:
        count = bank.table.statistic("count") if of_feature else np.array([float(bank.t)])
        found = np.broadcast_to(count[:, None, None], bank.table.numbers(part).shape)
    return found.reshape(-1, layout.width, bank.outputs, bank.rates)


def joined(first: Learned, second: Learned) -> Learned:
    """Both as if one model had learned from the examples of both: statistics to rounding, numbers as well as can be.

    Features that only one has seen are as they are there.

    Raises:
        ValueError: models, or the numbers of outputs or rates, differ.
    """
    if first.architecture is not second.architecture:
        raise ValueError(
            f"found the models {first.architecture.name} and {second.architecture.name}, expected the same"
        )
    ids = np.union1d(first.ids, second.ids)
    places = [np.searchsorted(ids, learned.ids) for learned in (first, second)]
    of_both = [
        scaling.Statistics(*(spread(len(ids), at, learned.statistics[name]) for name in STATISTICS))
        for at, learned in zip(places, (first, second), strict=True)
    ]
    statistics = vars(scaling.joined(*of_both))
    numbers, weights = {}, {}
    for name, part in first.architecture.parts.items():
        both, heavy = (first.numbers[name], second.numbers[name]), (first.weights[name], second.weights[name])
        if both[0].shape[1:] != both[1].shape[1:]:
            raise ValueError(f"{name}: found numbers of shapes {both[0].shape[1:]} and {both[1].shape[1:]}")
        of_part, rows = places, len(ids)
        if part.of == "model":
            of_part, rows = [np.arange(len(array)) for array in both], max(map(len, both))
        numbers[name], weights[name] = merged(part.join, rows, of_part, both, heavy)
    return Learned(first.architecture, ids, statistics, numbers, weights)


def merged(join: Join, rows: int, places, arrays, weights) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays whose rows belong at these places, joined, and the sums of their weights."""
    (a, b), (of_a, of_b) = (
        [spread(rows, at, array) for at, array in zip(places, pair, strict=True)] for pair in (arrays, weights)
    )
    found = combine(join, a, b, of_a, of_b)
    for at, other, alone in ((places[0], places[1], a), (places[1], places[0], b)):
        only = np.setdiff1d(at, other)
        found[only] = alone[only]
    return found, of_a + of_b


def spread(rows: int, places: np.ndarray, array: np.ndarray) -> np.ndarray:
    """An array of this number of rows that has those of another at these places, and zeros elsewhere."""
    found = np.zeros((rows, *array.shape[1:]), array.dtype)
    found[places] = array
    return found


def combine(join: Join, a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
    """Numbers of two models with these weights, as one's; a number without a weight does not count in a mean."""
    if join == "sum":
        return a + b
    if join == "maximum":
        return np.maximum(a, b)
    total = of_a + of_b
    share = np.divide(of_b, total, out=np.full(total.shape, 0.5), where=total > 0)
    return np.where(share == 1.0, b, a + share * (b - a)).astype(a.dtype)
