"""The learner: linear models at several learning rates, trained in one pass and mixed by how well they predict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from surefoot import rules
from surefoot.engines import losses
from surefoot.engines.lanes import Examples, Lanes
from surefoot.engines.step import Step
from surefoot.learn.mixture import Mixture
from surefoot.rules import Rule

EXPLICIT = (2.0**-5, 2.0**-2)
IMPLICIT = (2.0**-5, 2.0**-4, 2.0**-3, 2.0**-2, 2.0**-1, 2.0**1)
"""The learning rates that "auto" begins with. Steps that are implicit go with larger ones than steps that are not."""
FACTOR = 2.0
"""Between a rate and its neighbours, which are tried where it wins."""
WIDTHS = (1, 2, 4, 8)
"""How many rates there may be at once: numbers that kernels are compiled for."""
MOST = WIDTHS[-1]
TRIALS = 3
"""Neighbours of the best rate that are tried at once."""
FIRST_REVIEW = 32
"""Examples before the grid is first looked at; then at every doubling, and when the trials begun there are over."""
LOOKS = 8
"""How often it is looked at from one doubling to the next, where that takes longer than so many trials."""
TRIAL = 8192
"""Examples that a trial takes: a quarter of those so far, but no more than this."""
GAIN = 1.0
"""Nats that a rate on trial has to gain on the best one to stay."""
VANISHED = 10.0
"""A rate may be dropped once its weight is e to the minus this of the best one's."""
CATCHING_UP = 0.95
"""It stays if it lost less than this share of what it lost before for each example."""
NEGLIGIBLE = 1e-3
"""The weights of rates that may be dropped before further passes."""
SETTLED = 2000
"""Examples before the weights of learning rates are kept for further passes: fewer do not tell rates apart."""
ROWS = 8192
"""Examples that are learned from at once."""
FIRST_TARGETS = 4096
"""Examples whose targets are centred and scaled by."""
CENTRED = ("squared", "huber", "quantile", "epsilon_insensitive")
NUMBERS = ("center", "spread", "examples", "weight", "reviewed")
"""What of a learner's state are plain numbers."""
CLASSES = ("logistic", "hinge", "squared_hinge", "modified_huber", "softmax")


class DivergedError(ArithmeticError):
    """The loss grew without bound, or weights are not finite; the message says what to do."""


@dataclass(frozen=True)
class Rate:
    """A learning rate, and whether steps are implicit: by the slope that the loss has where the step leads."""

    lr: Any
    implicit: bool = False


@dataclass
class Settings:
    """What a learner is told.

    Args:
        loss: a key of losses.SLOPES.
        parameter: the loss's own number: δ of huber, q of quantile, ε of epsilon_insensitive.
        outputs: 1, or the number of classes.
        optimizer: a rule or its name.
        lr: "auto", a number, or a schedule: a function of the step t.
        implicit: whether steps at a given lr are implicit; "auto" finds out.
        l1, l2: penalties of each weight w, l1 |w| + ½ l2 w², beside the mean loss.
        batch_size: examples for each step.
        average: predict with the average of the weights over all steps.
        normalize: divide each feature by its root mean square so far.
        hyper: further hyperparameters of the rule.
    """

    loss: str = "logistic"
    parameter: float = 0.0
    outputs: int = 1
    optimizer: str | Rule = "adagrad"
    lr: Any = "auto"
    implicit: bool = False
    l1: float = 0.0
    l2: float = 0.0
    batch_size: int = 1
    average: bool = False
    normalize: bool = True
    hyper: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.loss not in losses.SLOPES:
            raise ValueError(f"loss: found {self.loss!r}, expected one of {', '.join(losses.SLOPES)}")
        if isinstance(self.lr, str) and self.lr != "auto":
            raise ValueError(f'lr: found {self.lr!r}, expected "auto", a number or a schedule')
        if not (isinstance(self.batch_size, (int, np.integer)) and self.batch_size >= 1):
            raise ValueError(f"batch_size: found {self.batch_size!r}, expected a whole number of at least 1")
        known = rules.get(self.optimizer).hyper
        for name in self.hyper:
            if name not in known or name in ("lr", "l1", "l2"):
                raise ValueError(f"{self.optimizer}: there is no hyperparameter {name!r}; it takes {', '.join(known)}")
        step = self.step(Rate(EXPLICIT[0] if self.auto else self.lr))
        if (self.l1 or self.l2) and step.catches_up and step.no_closed_form:
            raise ValueError(
                f"{step.rule.name}: features that do not occur cannot make up for penalties: {step.no_closed_form}; "
                "use adagrad, sgd or ftrl, or leave out l1 and l2"
            )
        if self.implicit and not self._may_be_implicit(step):
            raise ValueError(
                "implicit: steps are implicit for one example at a time, and for rules that move weights on from where "
                "they are; expected batch_size=1 and such a rule"
            )
        if self.average and (step.catches_up and step.no_closed_form is None):
            raise ValueError(
                f"average: {step.rule.name} here moves weights of features that do not occur; leave it out"
            )

    @property
    def auto(self) -> bool:
        return isinstance(self.lr, str)

    def rates(self) -> list[Rate]:
        """The rates to begin with."""
        if not self.auto:
            return [Rate(self.lr, self.implicit)]
        if self._may_be_implicit(self.step(Rate(EXPLICIT[0]))):
            return [Rate(lr) for lr in EXPLICIT] + [Rate(lr, implicit=True) for lr in IMPLICIT]
        return [Rate(2.0**power) for power in range(-6, 2)]

    def _may_be_implicit(self, step: Step) -> bool:
        return self.batch_size == 1 and not step.rule.from_origin and not step.decays

    def step(self, rate: Rate, l1_unit: float = 1.0, l2_unit: float = 1.0) -> Step:
        """A step at that rate, with penalties in these units."""
        l1, l2 = self.l1 / l1_unit, self.l2 / l2_unit
        return Step(self.optimizer, lr=rate.lr, l1=l1, l2=l2, average=self.average, name="weights", **self.hyper)


class Learner:
    """Learns linear models from a stream of examples.

    Args:
        settings: what is learned, and how.
        features: how many there are to begin with.

    Attributes:
        examples: how many it has learned from.
        rates: of the lanes that are left.
        history: (examples, mean progressive loss since the last entry) at doubling numbers of examples.

    >>> learner = Learner(Settings())
    >>> X = Examples(np.array([0, 1, 2]), np.array([0, 1]), np.ones(2, np.float32), np.array([1.0, 0.0]), np.ones(2))
    >>> for _ in range(20):
    ...     _ = learner.learn(X)
    >>> weights, bias = learner.weights()
    >>> bool(weights[0, 0] > 0 > weights[1, 0])
    True
    """

    def __init__(self, settings: Settings, features: int = 0):
        self.settings = settings
        self.rates = settings.rates()
        self.center, self.spread = 0.0, 1.0
        self.lanes = self._lanes(features)
        self.mixture = self._mixture()
        self.examples, self.weight = 0, 0.0
        self.history: list[tuple[int, float]] = []
        self.behind, self.reviewed = np.zeros(len(self.rates)), 0
        self.handicap = np.full(len(self.rates), np.nan)
        self._since = (0.0, 0.0)

    @property
    def lost(self) -> float:
        """The progressive loss so far: of each example predicted before it was learned from, times its weight."""
        return self.mixture.total * self._unit

    @property
    def loss(self) -> float:
        """The mean progressive loss."""
        return self.lost / self.weight if self.weight else math.nan

    @property
    def _parameter(self) -> float:
        scaled = self.settings.loss in ("huber", "epsilon_insensitive")
        return self.settings.parameter / self.spread if scaled else self.settings.parameter

    @property
    def _unit(self) -> float:
        """What a loss of scaled targets is multiplied by."""
        return self.spread**2 if self.settings.loss in ("squared", "huber") else self.spread

    def _steps(self) -> list[Step]:
        """A step for each rate; weights of scaled targets are so many times smaller, and their losses too."""
        units = self._unit / self.spread, self._unit / self.spread**2
        return [self.settings.step(rate, *units) for rate in self.rates]

    def _lanes(self, features: int) -> Lanes:
        s = self.settings
        return Lanes(
            self._steps(),
            loss=s.loss,
            parameter=self._parameter,
            outputs=s.outputs,
            damped=[rate.implicit for rate in self.rates],
            normalize=s.normalize,
            features=features,
            batch_size=s.batch_size,
        )

    def _mixture(self, rates: int | None = None) -> Mixture:
        return Mixture(self.settings.loss, rates or len(self.rates), self.settings.outputs, self._parameter)

    def learn(self, examples: Examples) -> np.ndarray:
        """Learns from examples in their order.

        Args:
            examples: rows, targets and weights.

        Returns:
            What was predicted for each before it was learned from, (n, outputs).

        Raises:
            DivergedError: predictions are no longer finite; the learner is then of no use.
        """
        if self.examples == 0 and len(examples):
            self._begin(examples)
        self.lanes.grow(examples.features_needed)
        targets = (examples.targets - self.center) / self.spread if self._scales else examples.targets
        examples = replace(examples, targets=targets)
        predictions = np.empty((len(examples), self.settings.outputs))
        first, size = 0, self.settings.batch_size
        while first < len(examples):
            # Whole mini-batches, so that only the last of all examples may be smaller.
            last = min(first + size * math.ceil(min(ROWS, self._until_review()) / size), len(examples))
            part = examples.part(first, last)
            predictions[first:last] = self._take(part, self.lanes.learn(part))
            first = last
        return predictions * self.spread + self.center

    @property
    def _scales(self) -> bool:
        return (self.center, self.spread) != (0.0, 1.0)

    def _begin(self, examples: Examples) -> None:
        """Numbers to predict are centred and scaled by the first examples', so that no rate depends on their unit."""
        loss, y = self.settings.loss, examples.targets[:FIRST_TARGETS]
        if loss in CENTRED and self.settings.normalize:
            self.center = float(np.mean(y)) if loss == "squared" else float(np.median(y))
            self.spread = float(np.std(y)) or abs(self.center) or 1.0
            self.lanes.parameter, self.lanes.steps = self._parameter, self._steps()
            self.mixture = self._mixture()
        elif loss == "poisson" and self.settings.normalize and not self.lanes.rule.from_origin:
            self.lanes.memory[0, : self.lanes.lanes] = math.log(max(float(np.mean(y)), 1e-3))

    def _take(self, part: Examples, predicted: np.ndarray) -> np.ndarray:
        """Mixes what the lanes predicted, and looks at the grid when it is time to."""
        finite = np.isfinite(predicted)
        if not finite.all():
            predicted = np.where(finite, predicted, np.float32(1e30))
        mixed, _ = self.mixture.take(predicted, part.targets, part.weights)
        if not np.isfinite(mixed).all() or self.mixture.total > 1e30:
            of_examples = "look for labels, weights or values out of all proportion"
            advice = of_examples if self.settings.auto else 'use lr="auto" or a smaller learning rate'
            raise DivergedError(f"predictions are no longer finite after {self.examples:,} examples; {advice}")
        before = self.examples
        self.examples += len(part)
        self.weight += float(part.weights.sum())
        last, *others = self._reviews()
        doubled, again = before < last <= self.examples, any(before < due <= self.examples for due in others)
        if doubled:
            self._note()
        if (doubled or again) and self.settings.auto and self.mixture.frozen is None:
            self._review(doubled)
        return mixed

    def _reviews(self) -> list[int]:
        """The last doubling of examples, and then when else the grid is looked at before the next one."""
        power = max(self.examples // FIRST_REVIEW, 1).bit_length() - 1
        last = FIRST_REVIEW << power
        between = range(last, 2 * last, last // LOOKS) if last >= LOOKS * TRIAL else ()
        return sorted({last, last + min(last // 4, TRIAL), *between})

    def _until_review(self) -> int:
        """Examples until the grid is looked at."""
        reviews = self._reviews()
        return next(due for due in (*reviews, 2 * reviews[0]) if due > self.examples) - self.examples

    def _note(self) -> None:
        total, weight = self._since
        if self.weight > weight:
            self.history.append((self.examples, (self.mixture.total - total) * self._unit / (self.weight - weight)))
        self._since = (self.mixture.total, self.weight)

    def _review(self, doubled: bool) -> None:
        """Drops rates that are of no use any more, and when examples have doubled tries the neighbours of the best.

        A neighbour goes on from where the best has come: which rate is best changes as features become better known.
        There are always 1, 2, 4 or 8 rates; what is dropped last is kept where that many are left over.
        """
        behind = self._behind()
        winner = int(self.mixture.weights().sum(axis=0).argmax())
        useful = [k for k in range(len(self.rates)) if k == winner or self._is_useful(k, behind[k])]
        near = self._neighbours(self.rates[winner], useful) if doubled else []
        least = max(len(useful) + 1, 1 + TRIALS) if near else len(useful)
        room = next(width for width in WIDTHS if width >= min(least, MOST))
        more = near[: min(TRIALS, room - len(useful))]
        others = [k for k in np.argsort(behind).tolist() if k not in useful and self.rates[k] not in near]
        keep = sorted([*useful, *others[: room - len(useful) - len(more)]])
        more = near[: room - len(keep)]
        self.behind, self.reviewed = behind, self.examples
        self.handicap = np.full(len(self.rates), np.nan)
        if len(keep) < len(self.rates) or more:
            self._choose(keep, winner, more)

    def _behind(self) -> np.ndarray:
        """−ln of each rate's weight as a share of the best one's, in the mixture where that is largest."""
        scores = self.mixture.scores
        return (scores - scores.min(axis=1, keepdims=True)).min(axis=0)

    def _is_useful(self, k: int, behind: float) -> bool:
        """Whether a rate behind the best has not vanished, or catches up; one on trial has to have caught up."""
        if not np.isnan(self.handicap[k]):
            return behind < self.handicap[k] - GAIN
        before = self.behind[k] * self.examples / max(self.reviewed, 1)
        return behind < VANISHED or behind < CATCHING_UP * before

    def _neighbours(self, best: Rate, useful: list[int]) -> list[Rate]:
        """Rates nearby and the other kind of step, the nearest first, where they are not there already."""
        kinds = {rate.implicit for rate in self.settings.rates()}
        near = [(FACTOR, False), (1 / FACTOR, False), (1.0, True), (FACTOR, True), (1 / FACTOR, True)]
        near += [(FACTOR**2, False), (FACTOR**-2, False)]
        rates = [
            Rate(best.lr * factor, best.implicit != other) for factor, other in near if not other or len(kinds) > 1
        ]
        return [rate for rate in rates if rate not in [self.rates[k] for k in useful]]

    def _choose(self, keep: list[int], winner: int, more: list[Rate]) -> None:
        """Goes on with these rates, and with copies of the winner at others."""
        chosen = keep + [winner] * len(more)
        self.rates = [self.rates[k] for k in keep] + more
        self.lanes.choose(chosen, self._steps(), [r.implicit for r in self.rates])
        self.mixture.choose(keep, winner, len(more))
        self.behind = self._behind()
        self.handicap = np.append(np.full(len(keep), np.nan), self.behind[len(keep) :])

    def freeze(self) -> None:
        """Before a further pass: keeps the rates and their weights, once there were enough examples to tell them apart.

        What was learned from before is predicted too well.
        """
        if self.examples < SETTLED or self.mixture.frozen is not None:
            return
        largest = self.mixture.weights().max(axis=0)
        room = next(width for width in WIDTHS if width >= min(max(np.sum(largest >= NEGLIGIBLE), 1), MOST))
        if room < len(self.rates):
            winner = int(self.mixture.weights().sum(axis=0).argmax())
            self._choose(sorted(np.argsort(-largest, kind="stable")[:room].tolist()), winner, [])
        self.mixture.freeze()

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """The mixed weights of the features as they are, (features, outputs), and the biases, (outputs,).

        Of a convex loss, the weights' mix loses no more than the mix of what the models lose.
        """
        each, biases = self.lanes.weights(self.settings.average)
        share = np.broadcast_to(self.mixture.weights(), biases.shape)
        weights = np.einsum("for,or->fo", each.astype(np.float64), share)
        return weights * self.spread, (biases * share).sum(axis=1) * self.spread + self.center

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All that learning has changed: arrays by name, which are not copies, and what JSON can hold.

        Raises:
            ValueError: learning rates are schedules, which cannot be written down.
        """
        if any(callable(rate.lr) for rate in self.rates):
            raise ValueError("lr: a schedule cannot be written down; give a number")
        lanes, of_lanes = self.lanes.state()
        mixture, of_mixture = self.mixture.state()
        arrays = {f"lanes.{name}": array for name, array in lanes.items()}
        arrays |= {f"mixture.{name}": array for name, array in mixture.items()}
        arrays |= {"behind": self.behind, "handicap": self.handicap}
        numbers = {name: getattr(self, name) for name in NUMBERS} | {"lanes": of_lanes, "mixture": of_mixture}
        rates = [[rate.lr, rate.implicit] for rate in self.rates]
        return arrays, numbers | {"rates": rates, "history": self.history, "since": self._since}

    @classmethod
    def from_state(cls, settings: Settings, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> Learner:
        """The learner that had this state: it goes on with the same bits.

        >>> begun = Learner(Settings(), features=3)
        >>> Learner.from_state(Settings(), *begun.state()).lanes.memory.shape == begun.lanes.memory.shape
        True
        """
        learner = cls(settings)
        for name in NUMBERS:
            setattr(learner, name, numbers[name])
        learner.rates = [Rate(lr, bool(implicit)) for lr, implicit in numbers["rates"]]
        learner.history = [(examples, loss) for examples, loss in numbers["history"]]
        learner._since = tuple(numbers["since"])
        learner.behind, learner.handicap = arrays["behind"].copy(), arrays["handicap"].copy()
        learner.lanes, learner.mixture = learner._lanes(0), learner._mixture(len(settings.rates()))
        for name, part in (("lanes", learner.lanes), ("mixture", learner.mixture)):
            own = {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
            part.restore(own, numbers[name])
        return learner

    @property
    def learning_rate(self) -> Rate:
        """The rate with the largest weight."""
        return self.rates[int(self.mixture.weights().sum(axis=0).argmax())]
