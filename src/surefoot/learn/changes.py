"""Features whose unit becomes smaller, or whose origin moves, in mid-stream: their statistics begin again.

A unit that becomes larger is followed at once, since the new values outweigh those before. Next to these, values of a
smaller unit hardly vary, and what hardly varies is hardly learned from; after a move of the origin it is the same. But
the values of a rising column also vary less than all before, and those of a season at its turn, of a sensor that has
died, or between two bursts: there the statistics are as they should be. The losses tell: if a unit has changed, the
model of before predicts as well as it did once the latest values are put into a unit of their own, and better than the
model of now, which takes them as they are.

So at four looks in each doubling of the rows, where values vary much less than all so far, and much less than between
the two looks before, or elsewhere, the next rows are predicted in this way, too. If that is significantly better, and
at least half of the loss that has been added since is gone, all values of these features count from then on as if they
had varied like the latest ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from surefoot.engines import restoring, scaling
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.engines.scaling import FEWEST, NOISE, Statistics
from surefoot.learn.mixture import Mixture, sum_of
from surefoot.models import STATISTICS

FIRST = 4096
"""Rows before the first look."""
LOOKS = 4
"""In each doubling of the rows."""
KEPT = 4
"""Looks that are kept: the latest, two between which a unit may have changed, and one before them."""
OFTEN = 0.5
"""Features are looked at that are centred and have values in this share of the rows."""
FALL = 16.0
"""How many times smaller the variance has to be."""
ANOTHER = 2.0
"""Variances that differ by this factor are of another unit, if those of some feature have fallen."""
MOVE = 4.0
"""By how many standard deviations before and after, together, an origin has to move."""
SIGNIFICANT = 3.0
"""Standard errors of the mean difference of losses."""
TRIED = 0.25
"""Rows of a trial, as a share of those between the last two looks."""
STEP = FIRST // LOOKS
"""Rows; all looks are after multiples of this number."""
FROM = len(STATISTICS)
"""Where the numbers of a look begin, after the statistics, and the biases, after three other numbers."""
ARRAYS = "bias", "slopes", "constants", "mean", "variance", "sums"
"""What of a trial are arrays."""


def until_look(rows: int, looks: int = LOOKS) -> int:
    """Rows until the next look, after this many; `looks` in each doubling.

    >>> until_look(0), until_look(4096), until_look(5200)
    (4096, 1024, 944)
    """
    if rows < FIRST:
        return FIRST - rows
    step = (1 << (rows.bit_length() - 1)) // looks
    return step - rows % step


@dataclass(frozen=True, eq=False)
class Trial:
    """Predictions by the model of before, of the latest values in a unit of their own, next to those that are made.

    Attributes:
        size: rows of the trial.
        base: the mean loss before a unit may have changed.
        bias: what is added to predictions, (outputs,).
        slopes, constants: what each value of a feature adds, slope · value + constant, (outputs, features).
        mean, variance: of each feature's latest values, (features,); NaN for those that have not changed.
        sums: rows so far, and sums of their weights, losses, losses by the model of before, differences and squares
            of these, (6,).
    """

    size: int
    base: float
    bias: np.ndarray
    slopes: np.ndarray
    constants: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    sums: np.ndarray

    def after(self, places: np.ndarray, part: Examples, mixed: np.ndarray, lost: np.ndarray, mixture: Mixture) -> Trial:
        """This after further rows; the sums are the same however many are given at once."""
        known = places >= 0
        rows = np.repeat(np.arange(len(part)), np.diff(part.indptr))[known]
        of, values = places[known], part.values[known].astype(np.float64)
        other = np.array(mixed, np.float64)
        for k in range(mixed.shape[1]):
            added = self.slopes[k, of] * values + self.constants[k, of]
            other[:, k] += np.bincount(rows, added, len(part)) + self.bias[k]
        by_other = mixture.values(other, part.targets) * part.weights
        less = lost - by_other
        terms = np.stack([np.ones(len(part)), part.weights, lost, by_other, less, less * less], axis=1)
        return replace(self, sums=sum_of(self.sums, terms))

    @property
    def left(self) -> int:
        return self.size - int(self.sums[0])

    def passed(self) -> bool:
        """Whether the model of before has predicted better, and nearly as well as before."""
        rows, weight, lost, by_other, less, squares = self.sums
        deviation = math.sqrt(max(squares - less * less / rows, 0.0))
        added = max(lost - self.base * weight, 0.0)
        return bool(less > SIGNIFICANT * deviation and by_other <= self.base * weight + 0.5 * added)


@dataclass(frozen=True, eq=False)
class Changes:
    """What was seen at the latest looks.

    Attributes:
        begun: rows after which statistics began again, the last time; 0 if they never did.
        ids: the features that are looked at, rising, int64.
        looks: statistics and numbers at each, NaN where a feature was not looked at, (3 + lanes, features).
        totals: at each, rows, what the mixture has lost, the weight of all examples, and biases, (3 + lanes,).
        trial: that is under way.
    """

    begun: int = 0
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    looks: tuple[np.ndarray, ...] = ()
    totals: tuple[np.ndarray, ...] = ()
    trial: Trial | None = None

    def until(self, rows: int) -> int:
        """Rows until something is due, after this many."""
        return self.until_look(rows) if self.trial is None else min(self.until_look(rows), self.trial.left)

    def until_look(self, rows: int) -> int:
        """Rows until the next look, after this many: as long as no feature is looked at, at doublings alone."""
        return until_look(rows, LOOKS if len(self.ids) else 1)

    def tried(self, bank: ModelBank, part: Examples, mixed: np.ndarray, lost: np.ndarray, mixture: Mixture) -> Changes:
        """These after rows of a trial; at its end, statistics begin again if it has passed.

        Args:
            bank: whose statistics these are.
            part: the rows.
            mixed, lost: what `mixture` predicted for them and lost.
        """
        assert self.trial is not None
        trial = self.trial.after(self._places(part.indices), part, mixed, lost, mixture)
        if trial.left > 0:
            return replace(self, trial=trial)
        if not trial.passed():
            return replace(self, trial=None)
        # Penalties of features that wait are those of the scale that they have: only those of the last row begin again.
        latest = part.indices[part.indptr[-2] : part.indptr[-1]]
        of = np.unique(self._places(latest)) if bank.waits else np.arange(len(self.ids))
        of = of[of >= 0]
        of = of[np.isfinite(trial.mean[of])]
        rows = bank.row_map.known(self.ids[of])
        bank.table.statistic("mean")[rows] = trial.mean[of]
        bank.table.statistic("deviations")[rows] = trial.variance[of] * bank.table.statistic("count")[rows]
        return Changes(int(self.totals[-1][0]) + trial.size)

    def _places(self, ids: np.ndarray) -> np.ndarray:
        """Where ids are among those that are looked at; −1 for others."""
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1)

    def after(
        self, bank: ModelBank, latest: np.ndarray, totals: tuple[float, float, float], kept: Callable[[], np.ndarray]
    ) -> Changes:
        """These after a look, which may begin a trial.

        Args:
            bank: that has learned.
            latest: the features of the latest row, int64; those that are often there are looked at from now on.
            totals: rows, what the mixture has lost, and the weight of all examples so far.
            kept: returns the weight of each rate in the model, (1 or outputs, rates).
        """
        table = bank.table
        ids, looks = self._with(bank, latest, OFTEN * totals[0])
        if not len(ids):
            return self
        rows, numbers = bank.row_map.known(ids), table.numbers("weight")
        look = np.empty((FROM + numbers.shape[2], len(ids)))
        for name, own in zip(STATISTICS, look, strict=False):
            own[:] = table.statistic(name)[rows]
        look[FROM:] = numbers[rows, 0].T
        total = np.concatenate([totals, table.numbers("bias")[0, 0]])
        found = Changes(self.begun, ids, (*looks[-KEPT + 1 :], look), (*self.totals[-KEPT + 1 :], total))
        if len(found.looks) < KEPT or not found._vary_less():
            return found
        return replace(found, trial=found._trial(table.seen[0], kept))

    def _with(self, bank: ModelBank, latest: np.ndarray, least: float) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """The ids, and those of the features of the latest row that are centred and have at least this many values; and
        the looks."""
        if len(latest) == len(self.ids) and np.array_equal(latest, self.ids):
            return self.ids, self.looks
        latest = np.asarray(latest, np.int64)
        rows = bank.row_map.known(latest)
        count, mean, deviations = (bank.table.statistic(name)[rows] for name in STATISTICS)
        often = (count >= least) & scaling.centred(bank.table.seen[0], count, mean, deviations)
        ids = np.union1d(self.ids, latest[often]) if often.any() else self.ids
        if len(ids) == len(self.ids):
            return self.ids, self.looks
        looks = [np.full((len(look), len(ids)), np.nan) for look in self.looks]
        for look, before in zip(looks, self.looks, strict=True):
            look[:, np.searchsorted(ids, self.ids)] = before
        return ids, tuple(looks)

    @np.errstate(all="ignore")
    def _vary_less(self) -> bool:
        """Whether the latest values of some feature may vary much less than all; most looks end here."""
        count, _, deviations = self.looks[-1][:FROM]
        latest = since(*self.looks[-2:])
        return bool((latest.deviations * (FALL * count) < deviations * latest.count).any())

    @np.errstate(all="ignore")
    def _trial(self, seen: float, kept: Callable[[], np.ndarray]) -> Trial | None:
        """A trial, if values of some feature vary much less than before."""
        last = self.looks[-1][:FROM]
        now, before, between, latest = Statistics(*last), *(since(*both) for both in pairwise(self.looks))
        of_all, variance, *earlier = (own.deviations / own.count for own in (now, latest, between, before))
        # Below, squares are lost in rounding, or there are none.
        of_some = scaling.centred(seen, *last) & (latest.count >= FEWEST)
        of_some &= variance > (of_all + now.mean * now.mean) * NOISE
        fell = of_some & (between.count >= FEWEST) & (variance * FALL < of_all)
        fell &= (variance * FALL < earlier[0]) | moved(latest, between)
        _, lost, weight = (self.totals[-3] - self.totals[-4])[:FROM]
        if not (fell.any() and weight > 0):
            return None
        other = (variance * ANOTHER < earlier[1]) | (variance > earlier[1] * ANOTHER) | moved(latest, before)
        changed = fell | (of_some & (before.count >= FEWEST) & other)
        of_now = scaling.centers(seen, *last), scaling.scales(seen, *last)
        of_then = np.where(changed, latest.mean, of_now[0]), np.where(changed, 1.0 / np.sqrt(variance), of_now[1])
        by = (self._linear(k, kept(), *of) for k, of in ((-3, of_then), (-1, of_now)))
        bias, slopes, constants = (np.nan_to_num(then - now) for then, now in zip(*by, strict=True))
        return Trial(
            size=max(int(TRIED * (self.totals[-1][0] - self.totals[-2][0])), 1),
            base=float(lost / weight),
            bias=bias,
            slopes=slopes,
            constants=constants,
            mean=np.where(changed, latest.mean, np.nan),
            variance=np.where(changed, variance, np.nan),
            sums=np.zeros(6),
        )

    def _linear(self, look: int, kept: np.ndarray, centers: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the numbers at a look add to predictions: biases, slopes and constants, as a Trial has them."""
        numbers, biases = self.looks[look][FROM:], self.totals[look][FROM:].reshape(-1, kept.shape[1])
        share = np.broadcast_to(kept, biases.shape)
        slopes = np.einsum("or,orf->of", share, numbers.reshape(*biases.shape, -1)) * scales
        return np.sum(share * biases, axis=1), slopes, -slopes * centers

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that changes: arrays, which are not copies, and numbers."""
        numbers: dict[str, Any] = {"begun": self.begun, "ids": len(self.ids), "looks": len(self.looks)}
        arrays = {"ids": self.ids}
        for k, (look, total) in enumerate(zip(self.looks, self.totals, strict=True)):
            arrays |= {f"look{k}": look, f"totals{k}": total}
        if self.trial is not None:
            arrays |= {name: getattr(self.trial, name) for name in ARRAYS}
            numbers |= {"size": self.trial.size, "base": self.trial.base}
        return arrays, numbers

    @classmethod
    def from_state(
        cls, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any], bank: ModelBank, features: int
    ) -> Changes:
        """Those that had this state.

        Raises:
            ValueError: it is not one, of a learner with this number of features.
        """
        count, looks = restoring.whole(numbers, "ids"), range(restoring.whole(numbers, "looks", KEPT))
        ids, long = restoring.ids(arrays, "ids", count, features), FROM + bank.outputs * bank.rates
        found = cls(
            restoring.whole(numbers, "begun"),
            ids,
            tuple(restoring.array(arrays, f"look{k}", np.float64, (long, count)) for k in looks),
            tuple(restoring.array(arrays, f"totals{k}", np.float64, (long,)) for k in looks),
        )
        if any(not np.isfinite(total).all() for total in found.totals):
            raise ValueError("totals: found what is not finite, expected numbers")
        if "size" not in numbers:
            return found
        shapes = zip(ARRAYS, shapes_of_trials(bank.outputs, count), strict=True)
        own = {name: restoring.array(arrays, name, np.float64, shape) for name, shape in shapes}
        trial = Trial(restoring.whole(numbers, "size"), restoring.real(numbers, "base"), **own)
        if not 0 <= trial.sums[0] < trial.size:
            raise ValueError(f"sums: found {trial.sums[0]} rows, expected less than {trial.size}")
        unchanged = np.isnan(trial.mean) & np.isnan(trial.variance)
        are_numbers = np.isfinite(trial.mean) & np.isfinite(trial.variance) & (trial.variance > 0)
        others = trial.bias, trial.slopes, trial.constants, trial.sums
        if not (unchanged | are_numbers).all() or not all(np.isfinite(array).all() for array in others):
            raise ValueError("variance: found what is not a number, or not above 0, expected others")
        return replace(found, trial=trial)


def shapes_of_trials(outputs: int, features: int) -> list[tuple[int, ...]]:
    """Of the arrays of a trial."""
    return [(outputs,), (outputs, features), (outputs, features), (features,), (features,), (6,)]


def since(before: np.ndarray, now: np.ndarray) -> Statistics:
    """Statistics of the values after those of `before`, (3, features), where `now` are those of all.

    >>> found = since(np.array([[1.0], [1.0], [0.0]]), np.array([[3.0], [2.0], [2.0]]))
    >>> found.count.item(), found.mean.item(), found.deviations.item()
    (2.0, 2.5, 0.5)
    """
    count = now[0] - before[0]
    mean = now[1] + before[0] / count * (now[1] - before[1])
    way = mean - before[1]
    between = way * way * before[0] * (count / now[0])
    return Statistics(count, mean, np.maximum(now[2] - before[2] - between, 0.0))


def moved(one: Statistics, other: Statistics) -> np.ndarray:
    """Whether the means are far from each other."""
    spread = np.sqrt(one.deviations / one.count) + np.sqrt(other.deviations / other.count)
    return np.abs(one.mean - other.mean) > MOVE * spread
