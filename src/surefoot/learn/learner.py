"""The learner: linear models at several learning rates, trained in one pass and mixed by how well they predict."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from surefoot.engines import restoring, scaling
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples
from surefoot.engines.feature_table import RowMap, pieces
from surefoot.engines.hashed_rows import HashedRows
from surefoot.engines.step import Step
from surefoot.learn import beginning, learner_state
from surefoot.learn.changes import STEP, Changes
from surefoot.learn.first_values import KEPT, FirstValues
from surefoot.learn.guard import Guard
from surefoot.learn.learner_state import LARGEST_LOSS, SETTLED
from surefoot.learn.mixture import Mixture, sum_of
from surefoot.learn.rates import WIDTHS, Rate
from surefoot.learn.settings import Settings
from surefoot.learn.target_scale import Before, TargetScale
from surefoot.learn.zeros import Zeros

NEGLIGIBLE = 1e-3
"""The weights of rates that are dropped before further passes."""
FIRST_NOTE = 32
"""Examples before the first entry of the history; then at every doubling."""
ROWS = 8192
"""Examples that are learned from at once."""
LARGEST_PENALTY = 1e30
"""Of scaled weights, all of which are 0 long before."""


UNSCALED = 0.0, 1.0
"""Center and spread of targets that are learned as they are."""


class DivergedError(ArithmeticError):
    """The loss grew without bound, or weights are not finite; the message says what to do."""


def until_doubled(examples: int) -> int:
    """Examples until the next entry of the history, after this many.

    >>> until_doubled(0), until_doubled(32), until_doubled(41)
    (32, 32, 23)
    """
    return (FIRST_NOTE << (examples // FIRST_NOTE).bit_length()) - examples


class Learner:
    """Learns linear models from a stream of examples.

    Args:
        settings: what is learned, and how.
        features: how many there are to begin with; they have rows in the table unless there is a `row_map`.
        initial: numbers of parts to begin with, (features or 1, width, outputs) or what broadcasts to it, by name;
            needs settings by which neither features nor targets are scaled.
        row_map: from ids of features to rows of the table; unless given, ids are rows.
        missing: an absent number is missing, as in tables, rather than 0, as in sparse matrices.

    Attributes:
        examples: how many it has learned from.
        features: one more than the largest that has occurred.
        rates: the learning rates that are trained.
        history: (examples, mean progressive loss since the last entry) at doubling numbers of examples.
        guard: held by those that learn, and by those that predict meanwhile; see `Guard`.

    >>> learner = Learner(Settings())
    >>> X = Examples(np.array([0, 1, 2]), np.array([0, 1]), np.ones(2, np.float32), np.array([1.0, 0.0]), np.ones(2))
    >>> for _ in range(20):
    ...     _ = learner.learn(X)
    >>> weights, bias = learner.weights()
    >>> bool(weights[0, 0] > 0 > weights[1, 0])
    True
    """

    def __init__(
        self,
        settings: Settings,
        features: int = 0,
        *,
        initial: Mapping[str, np.ndarray] | None = None,
        row_map: RowMap | None = None,
        missing: bool = False,
    ):
        self.settings, self._row_map, self.missing = settings, row_map, missing
        self.rates = tuple(settings.rates())
        self.center, self.spread, self.heaviness, self._begun = 0.0, 1.0, 1.0, False
        self.features, self.zeros, self.first_values = features, Zeros(), FirstValues()
        self.bank = self.new_bank(features if row_map is None else 0)
        self.changes, self.target_scale, self.before = Changes(), TargetScale(), Before()
        if initial:
            beginning.start(self, initial)
        self.mixture = self.new_mixture()
        self.examples, self.first_pass, self.weight, self.least = 0, 0, 0.0, 0.0
        self.history: list[tuple[int, float]] = []
        self._since = (0.0, 0.0)
        self.guard = Guard()

    @property
    def learning_rate(self) -> Rate:
        """The rate with the largest weight in the model."""
        return self.rates[self.best]

    @property
    def best(self) -> int:
        """Which rate has the largest weight in the model."""
        return int(self._kept.sum(axis=0).argmax())

    @property
    def _kept(self) -> np.ndarray:
        """The weight of each rate in the model, for each mixture."""
        return self.mixture.kept(self.lasting)

    @property
    def lasting(self) -> np.ndarray:
        """Which of the rates the model may be of, (rates,) bool."""
        return np.array([rate.lasting for rate in self.rates])

    def shares(self) -> np.ndarray:
        """The weight of each rate in the model, on average over the outputs that have one each; they add up to 1."""
        return self._kept.mean(axis=0)

    @property
    def lost(self) -> float:
        """The progressive loss so far, as its metric has it, of each example times its weight.

        Each is predicted before it is learned from.
        """
        return self.settings.loss.metric.factor * (self.before.lost + self.mixed - self.least)

    @property
    def loss(self) -> float:
        """The mean progressive loss."""
        return self.lost / self.weight if self.weight else math.nan

    @property
    def loss_of_model(self) -> float:
        """The mean progressive loss of the best rate that the model may be of; it does not follow the latest labels."""
        lost = self.before.lost_by_model + self.lost_by_model - self.least
        return self.settings.loss.metric.factor * lost / self.weight if self.weight else math.nan

    @property
    def mixed(self) -> float:
        """What the mixture has lost since learning began, or began again, in the unit of the data."""
        return self.mixture.total * self._unit

    @property
    def lost_by_model(self) -> float:
        """The same of the best rate that the model may be of."""
        return float(self.mixture.losses[:, self.lasting].min(axis=1).sum()) * self._unit

    @property
    def parameter(self) -> float:
        return self.settings.loss.scaled(self.settings.parameter, self.spread)

    @property
    def _unit(self) -> float:
        """What a loss of scaled targets is multiplied by."""
        return self.settings.loss.unit(self.spread)

    def steps(self, rates: Sequence[Rate]) -> dict[str, list[Step]]:
        """The steps at these rates; weights of scaled targets are that many times smaller, and their losses too."""
        if self.settings.penalizes_scaled:
            return self.settings.steps(rates)
        least_l1, least_l2 = self.settings.l1 / LARGEST_PENALTY, self.settings.l2 / LARGEST_PENALTY
        units = max(self._unit / self.spread, least_l1), max(self._unit / self.spread**2, least_l2)
        return self.settings.steps(rates, *units)

    def new_bank(self, features: int) -> ModelBank:
        s = self.settings
        return ModelBank(
            s.architecture,
            self.steps(self.rates),
            loss=s.loss,
            parameter=self.parameter,
            outputs=s.outputs,
            damped=[rate.implicit for rate in self.rates],
            normalize=s.normalize,
            missing=self.missing,
            penalizes_scaled=s.penalizes_scaled,
            features=features,
            batch_size=s.batch_size,
            dtype=s.dtype,
            row_map=self._row_map,
            engine=s.engine,
        )

    def new_mixture(self, rates: int | None = None) -> Mixture:
        return Mixture(self.settings.loss, rates or len(self.rates), self.settings.outputs, self.parameter)

    def learn(self, examples: Examples) -> np.ndarray:
        """Learns from examples in their order.

        Args:
            examples: rows, targets and weights.

        Returns:
            What was predicted for each before it was learned from, (n, outputs).

        Raises:
            DivergedError: predictions are no longer finite; the learner is then of no use.
        """
        if self.examples == 0 and len(examples) and not self._begun:
            self.begin(examples.targets, examples.weights)
        self.features = max(self.features, examples.features_needed)
        if self._row_map is None:
            self.bank.grow(self.features)
        self.bank.table.expect(len(examples.indices))
        if self.heaviness != 1.0:
            examples = replace(examples, weights=examples.weights / self.heaviness)
        found, first, size = [], 0, self.settings.batch_size
        while first < len(examples):
            # Whole mini-batches, so that only the last of all examples may be smaller.
            rows = min(ROWS, until_doubled(self.examples), self.changes.until(self.examples))
            if self.follows:
                rows = min(rows, self.target_scale.until_look(self.examples))
            last = min(first + size * math.ceil(rows / size), len(examples))
            given, center, spread = examples.part(first, last), self.center, self.spread
            part = self.zeros.written(self._scaled(given))
            predicted = self._take(part, self.bank.learn(part), given)
            found.append(predicted if (center, spread) == UNSCALED else predicted * spread + center)
            first += len(part)
        return found[0] if len(found) == 1 else np.concatenate([np.empty((0, self.settings.outputs)), *found])

    def _scaled(self, part: Examples) -> Examples:
        """Examples as they are learned from."""
        if self.follows:
            self.target_scale = self.target_scale.after(part.targets, self.center, self.spread)
        return beginning.scaled(self, part) if self.settings.centers_targets else part

    @property
    def has_bias(self) -> bool:
        return "bias" in self.settings.architecture.parts

    @property
    def scales(self) -> bool:
        """Whether targets are centred and scaled."""
        return (self.center, self.spread) != UNSCALED

    @property
    def follows(self) -> bool:
        """Whether the scale of targets is followed: in the first pass, as features are."""
        return self.settings.centers_targets and not self.first_pass

    def is_far(self, target: float) -> bool:
        """Whether this target is out of reach, and not learned from as it is."""
        scale = self.target_scale
        return self.settings.centers_targets and bool(scale.is_out_of_reach(target, self.center, self.spread))

    def begin(self, targets: np.ndarray, weights: np.ndarray) -> None:
        """Centres and scales what is to be predicted by the first targets, and divides weights by the mean of the first
        ones, so that no rate depends on their units.

        Args:
            targets, weights: those of the examples that will be learned from first, (n,); unless they are given before,
                `learn` takes those of its first call. The first ones count, see Settings.
        """
        self._begun = True
        if not self.settings.scale_targets:
            return
        beginning.begin(self, targets, weights)

    def _take(self, part: Examples, predicted: np.ndarray, given: Examples) -> np.ndarray:
        """Mixes what the lanes predicted, and notes the loss when it is time to.

        Args:
            part: the examples as they were learned from.
            predicted: for each, (n, outputs, rates).
            given: the examples.
        """
        if self.examples < KEPT:
            self.first_values = self.first_values.after(part.indices, part.values)
        if not np.isfinite(predicted).all():
            predicted = np.where(np.isfinite(predicted), predicted, np.float32(1e30))
        mixed = self._mix(part, predicted)
        if self.settings.centers_targets:
            beginning.add_lost(self, part, given.targets, mixed)
        self._add_least(part.targets, part.weights)
        self._count(len(part), float(part.weights.sum()), part.indices[part.indptr[-2] : part.indptr[-1]])
        return mixed

    def _mix(self, part: Examples, predicted: np.ndarray) -> np.ndarray:
        """Mixes what the lanes predicted, all of it finite, also for a trial that is under way."""
        mixed, lost = self.mixture.take(predicted, part.targets, part.weights)
        self._check(bool(np.isfinite(mixed).all()))
        if self.changes.trial is not None:
            self.changes = self.changes.tried(self.bank, part, mixed, lost, self.mixture)
        return mixed

    def scaled(self, target: float, weight: float) -> tuple[float, float]:
        """Target and weight of an example as they are learned; of one whose target is within reach."""
        if not self._begun and self.examples == 0:
            self.begin(np.array([target]), np.array([weight]))
        if self.follows:
            self.target_scale = self.target_scale.after_one(target, self.center, self.spread)
        return (target - self.center) / self.spread, weight / self.heaviness

    def take_one(
        self, predicted: np.ndarray, scaled: float, weight: float, ids: np.ndarray, values: np.ndarray
    ) -> None:
        """Does for one example what `learn` does after the bank has learned.

        Args:
            predicted: what the lanes predicted before, (outputs, rates), of which all are finite.
            scaled, weight: see `scaled`.
            ids: of its features.
            values: of these, and perhaps others after them.
        """
        if self.examples < KEPT:
            self.first_values = self.first_values.after(ids, values[: len(ids)])
        if self.changes.trial is None:
            self.mixture.take_one(predicted, scaled, weight)
        else:
            self._mix(Examples.one(ids, values[: len(ids)], scaled, weight), predicted[None])
        if not abs(self.mixture.total) <= LARGEST_LOSS:
            self._check(math.isfinite(self.mixture.total))
        if self.settings.loss.metric.least is not None:
            self._add_least(np.array([scaled]), np.array([weight]))
        self._count(1, weight, ids)

    def _check(self, finite: bool) -> None:
        """Raises DivergedError where the mix is not finite, or has lost too much."""
        if not finite or self.mixture.total > LARGEST_LOSS:
            of_examples = "check for labels, weights or values of extreme size"
            advice = of_examples if self.settings.auto else 'use lr="auto" or a smaller learning rate'
            raise DivergedError(f"predictions are no longer finite after {self.examples:,} examples; {advice}")

    def _count(self, examples: int, weight: float, latest: np.ndarray) -> None:
        """Counts examples of this weight, of which the last one has the features `latest`, and notes the loss when it
        is time to."""
        before = self.examples
        self.examples += examples
        self.weight += weight
        if self.examples - before >= until_doubled(before):
            self._note()
            self.first_values = self.first_values.looked(self.bank, self.examples, latest)
            if self.bank.centers and not self.missing:
                zeros = self.zeros.after(self.bank, latest)
                if zeros is not self.zeros:  # statistics of before are not of the same values
                    self.zeros, self.changes = zeros, Changes(self.changes.begun)
        if self.follows and examples >= self.target_scale.until_look(before):
            beginning.look(self)
        if self.examples // STEP > before // STEP and self.examples - before >= self.changes.until_look(before):
            self._look(latest)

    def _look(self, latest: np.ndarray) -> None:
        """Looks for features whose unit has changed, in the first pass; in another one that would come once more."""
        if self.bank.centers and not self.first_pass:
            totals = self.examples, self.mixture.total, self.weight
            self.changes = self.changes.after(self.bank, latest, totals, lambda: self._kept)

    def _add_least(self, targets: np.ndarray, weights: np.ndarray) -> None:
        """Adds up the least losses of the targets, where the metric leaves these out."""
        least = self.settings.loss.metric.least
        if least is not None:
            self.least = float(sum_of(np.array(self.least), least(targets * self.spread + self.center) * weights))

    def _note(self) -> None:
        lost, weight = self._since
        if self.weight > weight:
            self.history.append((self.examples, (self.lost - lost) / (self.weight - weight)))
        self._since = (self.lost, self.weight)

    def freeze(self) -> None:
        """Before a further pass: keeps the rates and their weights, if the first one told them apart.

        What was learned from before is predicted too well. Rates whose weight is negligible are dropped.
        """
        self.first_pass = self.first_pass or self.examples
        if self.first_pass >= SETTLED and not self.mixture.frozen:
            weights = self._kept
            largest = weights.max(axis=0)
            width = next(width for width in WIDTHS if width >= np.sum(largest >= NEGLIGIBLE))
            keep = sorted(np.argsort(-largest, kind="stable")[:width].tolist())
            self.rates = tuple(self.rates[k] for k in keep)
            self.bank.choose(keep, self.steps(self.rates), [rate.implicit for rate in self.rates])
            self.mixture.freeze(keep, weights)
        self.changes = Changes(self.changes.begun)

    def _numbers(self, part: str, factor: float, dtype: Any) -> np.ndarray:
        """A factor times the numbers of a part, (features or 1, width, outputs), for features as they are.

        Of a model that is linear in them they are mixed over the learning rates; of a convex loss, the mix loses no
        more than the mix of what the models lose. Of other models they are those of the best rate.
        """
        layout, weights = self.bank.table.parts[part], self._kept
        size = self.bank.features if layout.of == "feature" else 1
        found = np.empty((size, layout.width, self.settings.outputs), dtype)
        for rows in pieces(size):
            each = self.bank.numbers(part, self.settings.average, rows)
            if self.settings.architecture.linear:
                share, own = np.broadcast_to(weights, each.shape[2:]), np.zeros(each.shape[:3])
                for k in range(each.shape[3]):  # in an order that does not depend on where a feature's row is
                    own += each[..., k] * share[:, k]
            else:
                own = each[..., self.best]
            found[rows] = own * factor
        return found

    def exported(self, dtype: Any = np.float64) -> tuple[dict[str, np.ndarray], float, float]:
        """The numbers of features that may have occurred, as this dtype, and of the model, in float64; and center and
        spread: a prediction is center + spread times the score of these. Of a linear model both are in the numbers."""
        parts, is_whole = self.settings.architecture.parts, self.settings.architecture.linear and self.has_bias
        factor, numbers = self.spread if is_whole else 1.0, {}
        for name, part in parts.items():
            found = self._numbers(name, factor, dtype if part.of == "feature" else np.float64)
            numbers[name] = found[: self.features] if part.of == "feature" else found
        if not is_whole:
            return numbers, self.center, self.spread
        if self.scales:
            numbers["bias"] += self.center
        return numbers, 0.0, 1.0

    @property
    def are_rows(self) -> bool:
        """Whether ids are rows."""
        return self._row_map is None

    def known(self, ids: np.ndarray) -> np.ndarray:
        """The row of each id, of which those that are not known have none that there is."""
        return ids if self._row_map is None else self._row_map.known(ids)

    def centers(self) -> np.ndarray:
        """What is taken off the values of each feature before the numbers act on them, (features,)."""
        return self.bank.table.centers()[: self.features]

    def ids(self) -> np.ndarray | None:
        """The id of each row of the numbers of features; None where ids are rows."""
        return None if self._row_map is None else self._row_map.ids(0, self.bank.features)

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """The weights of a linear model for features and targets as they are, (features, outputs), and the biases,
        (outputs,)."""
        numbers, *_ = self.exported()
        weights, centers, ids = numbers["weight"], self.centers(), self.ids()
        bias, table = numbers["bias"][0, 0], weights[:, 0]
        if ids is not None:
            order = np.argsort(ids)  # in which sums are those of a table whose rows are ids
            table = np.zeros((self.features, weights.shape[2]))
            table[ids] = weights[:, 0]
            weights, centers = weights[order], centers[order]
        return table, bias - scaling.offset(centers, weights)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that learning has changed: arrays by name, which are not copies, and what JSON can hold.

        Raises:
            ValueError: learning rates are schedules, which cannot be written down.
        """
        return learner_state.state(self)

    @classmethod
    def from_state(
        cls,
        settings: Settings,
        arrays: Mapping[str, np.ndarray],
        numbers: Mapping[str, Any],
        row_map: RowMap | None = None,
    ) -> Learner:
        """The learner that had this state: it goes on with the same bits.

        Args:
            settings: those of that learner.
            arrays, numbers: the state.
            row_map: an empty one of the kind that the learner had; ids that the state has are hashed unless given.

        Raises:
            ValueError: they are not the state of a learner with these settings.

        >>> begun = Learner(Settings(), features=3)
        >>> Learner.from_state(Settings(), *begun.state()).bank.features
        3
        """
        with restoring.one_sentence():
            missing = bool(restoring.whole(numbers, "missing", 1))
            if row_map is None and "bank.ids" in arrays:
                row_map = HashedRows()
            found = cls(settings, row_map=row_map, missing=missing)
            learner_state.restore(found, arrays, numbers)
            return found

    def excerpt(self, rows: np.ndarray) -> Learner:
        """A learner that has only these rows of the table, whose numbers can be asked for; this one does not change.

        >>> learner = Learner(Settings(), features=3)
        >>> learner.excerpt(np.array([2, 0])).weights()[0].shape
        (2, 1)
        """
        found = copy.copy(self)
        found.bank, found._row_map, found.features = self.bank.excerpt(rows), None, len(rows)
        return found
