"""A race: every rule trains the learner's linear model on the same data, in the same order, from the same weights."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from surefoot import losses
from surefoot.engines import ORACLE, Step, order, registry
from surefoot.lab.rarity import Groups, LossByRarity
from surefoot.learn.arrays import ArrayDataset
from surefoot.learn.learner import DivergedError, Learner
from surefoot.learn.settings import Method
from surefoot.losses import Loss
from surefoot.rules import Rule
from surefoot.schedules import Rate, first_rate, name_of

if TYPE_CHECKING:
    from surefoot.data import Dataset

EXPLODED = 1e3
"""A run whose training loss exceeds this times the loss before training has diverged."""

FROZEN = 0.01
"""A weight is frozen when an epoch changes it by no more than this share of itself."""

SETTLED = 1000
"""Steps after which velocities have settled: those with β = 0.99 to 0.004 %."""

FIRST_RATES = 7
MOST_RATES = 15
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Settings:
    """What all rules of a race have in common; see `surefoot.compare`.

    Raises:
        ValueError: a setting that cannot be honoured.

    >>> Settings(epochs=0)
    Traceback (most recent call last):
    ValueError: epochs must be a whole number of at least 1, got 0
    """

    batch_size: int = 1
    epochs: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)
    engine: str = registry.DEFAULT
    granularity: str = "coordinate"
    convention: str | None = None
    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not self.seeds:
            raise ValueError("seeds must name at least one seed, got none")
        for seed in self.seeds:
            if not isinstance(seed, int) or seed < 0:
                raise ValueError(f"seeds must be whole numbers of at least 0, got {seed!r}")
        if self.granularity == "row":
            raise ValueError(
                "granularity must be coordinate or tensor, got 'row': a linear model's weights are one row"
            )

    def default_rate(self, rule: Rule) -> Rate:
        return rule.settings(self.convention)["lr"]

    def method(self, rule: Rule, lr: Rate | None = None) -> Method:
        """How a rule trains, at its own default rate where none is given.

        Raises:
            ValueError: the rule cannot honour these settings.
        """
        return Method(
            rule,
            lr=self.default_rate(rule) if lr is None else lr,
            l1=self.l1,
            l2=self.l2,
            batch_size=self.batch_size,
            convention=self.convention,
            granularity=self.granularity,
            engine=self.engine,
        )


@dataclass(frozen=True)
class Score:
    """Mean losses, and the share of held-out examples that are put in the right class."""

    train_loss: float
    test_loss: float
    accuracy: float | None = None


@dataclass(frozen=True)
class Task:
    """What every rule has to learn: examples to train on, examples to be judged by, the loss and its own number.

    What sparse examples do not store is 0, or, in tables, `missing`.
    """

    X: Any
    y: np.ndarray
    X_test: Any
    y_test: np.ndarray
    loss: Loss
    parameter: float = 0.0
    missing: bool = False

    @classmethod
    def of(cls, data: Dataset, loss: Loss | None = None, parameter: float | None = None) -> Task:
        """The training and the held-out part of a data set.

        Raises:
            ValueError: the loss is not for these targets, or does not have this number.
        """
        loss = loss or (losses.FOR_TWO_CLASSES if data.task == "classification" else losses.FOR_NUMBERS)
        if not fits(loss, data):
            known = [name for name, other in losses.REGISTRY.items() if fits(other, data)]
            raise ValueError(f"loss: {loss.name} is not for {data.task} with one output; expected {', '.join(known)}")
        return cls(*data.part(data.train), *data.part(data.test), loss, loss.settings(parameter), data.missing)

    @property
    def classifies(self) -> bool:
        return self.loss.target == "class"

    def for_search(self) -> Task:
        """The training part alone, a fifth of which now judges."""
        from surefoot.data import split

        rest, held_out = split(self.y, "classification" if self.classifies else "regression")
        parts = self.X[rest], self.y[rest], self.X[held_out], self.y[held_out]
        return Task(*parts, self.loss, self.parameter, self.missing)

    def learner(self, method: Method) -> Learner:
        """A learner that has not learned anything yet."""
        return Learner(method.learning(self.loss, self.parameter, 1), self.X.shape[1], missing=self.missing)

    def examples(self) -> ArrayDataset:
        """The training part, as learners take it."""
        return ArrayDataset(self.X, self.y.astype(np.float64), np.ones(len(self.y)))

    @functools.cached_property
    def groups(self) -> Groups | None:
        """The examples by how often their rarest feature occurs."""
        return Groups.of(self.X, self.X_test, self.counts())

    def counts(self) -> np.ndarray:
        """In how many training examples each feature is not zero."""
        return np.asarray((self.X != 0).sum(axis=0)).ravel()

    def judge(self, x: np.ndarray, centers: np.ndarray) -> Score:
        """How good the weights x are, where missing numbers count as these centers."""
        train, test = self.losses(x, centers)
        right = None
        if self.classifies:
            right = float(np.mean((self.predict(self.X_test, x, centers) > 0) == (self.y_test > 0.5)))
        return Score(float(train.mean()), float(test.mean()), right)

    def losses(self, x: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The loss of each training and each held-out example under the weights x."""
        with np.errstate(over="ignore", invalid="ignore"):
            train, test = (
                np.ravel(self.loss.reported(self.predict(examples, x, centers)[:, None], y, self.parameter))
                for examples, y in ((self.X, self.y), (self.X_test, self.y_test))
            )
            return train, test

    def predict(self, examples: Any, x: np.ndarray, centers: np.ndarray) -> np.ndarray:
        """What the weights x predict, (m,); missing numbers count as these centers."""
        found = predict(examples, x)
        if self.missing:
            stored = csr_array((np.ones(examples.nnz), examples.indices, examples.indptr), examples.shape)
            found += (centers * x[:-1]).sum() - stored @ (centers * x[:-1])
        return found


def fits(loss: Loss, data: Dataset) -> bool:
    """Whether a loss with one output is for a data set's targets."""
    return (loss.target == "class") == (data.task == "classification") and not loss.joint


def predict(examples, x: np.ndarray) -> np.ndarray:
    """examples · weights + bias, (m,), for x = weights then bias."""
    return examples @ x[:-1] + x[-1]


@dataclass(frozen=True)
class Rates:
    """Effective learning rates after training against how often a feature occurs.

    Features are grouped by how often they occur, up to a quarter more or less. Each entry of the lists is a group:
    its geometric mean of occurrences, how many features it has, and the quartiles of their rates.
    """

    occurrences: list[float]
    features: list[int]
    low: list[float]
    median: list[float]
    high: list[float]

    @classmethod
    def of(cls, rates: np.ndarray, counts: np.ndarray) -> Rates:
        """Groups the rates of features by their counts; features that never occur have no rate to speak of."""
        known = (counts > 0) & np.isfinite(rates)
        rates, counts = rates[known], counts[known]
        groups = np.round(np.log(counts) / math.log(1.5)).astype(int)
        result = cls([], [], [], [], [])
        for group in np.unique(groups):
            inside = groups == group
            result.occurrences.append(float(np.exp(np.log(counts[inside]).mean())))
            result.features.append(int(inside.sum()))
            for name, value in zip(
                ("low", "median", "high"), np.quantile(rates[inside], (0.25, 0.5, 0.75)), strict=True
            ):
                getattr(result, name).append(float(value))
        return result


@dataclass
class Run:
    """One rule trained with one seed.

    Attributes:
        scores: before training, then after each epoch; up to the last one before it diverged.
        seconds: of training, for each of these epochs: without evaluation, and compiled beforehand.
        diverged: the epoch in which it diverged, if it did.
        frozen: share of the features that occur in training whose weight changed by at most 1% in the last epoch.
        zeros: share of the features that occur in training whose weight is exactly zero.
        rates: the effective learning rates after training: of the whole move that a steady gradient causes in the end,
            which is η/(1 − β) with momentum.
        by_rarity: losses after training by how often the rarest feature of an example occurs; None where features
            occur about equally often.
    """

    seed: int
    scores: list[Score] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    diverged: int | None = None
    frozen: float = 0.0
    zeros: float = 0.0
    rates: Rates | None = None
    by_rarity: LossByRarity | None = None


@dataclass(frozen=True)
class Search:
    """How a learning rate was chosen: the validation loss of every rate that was tried, None where it diverged."""

    tried: dict[float, float | None]

    @property
    def best(self) -> float:
        """The rate with the lowest loss, the smaller one of equals; the smallest where all diverged."""
        return min(sorted(self.tried), key=lambda lr: math.inf if (loss := self.tried[lr]) is None else loss)


@dataclass
class Clock:
    """Counts epochs for a progress bar: `tell(done, total, doing)`."""

    tell: Callable[[int, int, str], None] | None = None
    total: int = 0
    done: int = 0
    doing: str = ""

    def advance(self, epochs: int = 1) -> None:
        self.done += epochs
        if self.tell is not None:
            self.tell(self.done, self.total, self.doing)


@dataclass
class Entry:
    """One rule of a race, and what became of it."""

    rule: Rule
    lr: Rate
    bytes_per_coordinate: float
    search: Search | None
    runs: list[Run]

    @property
    def diverged(self) -> int | None:
        """The first epoch in which a run of any seed diverged."""
        return min((run.diverged for run in self.runs if run.diverged), default=None)

    def final(self, measure: str) -> tuple[float | None, float | None]:
        """Mean and standard deviation over the seeds of a measure of Score after the last epoch; None if diverged."""
        values = [getattr(run.scores[-1], measure) for run in self.runs]
        if self.diverged or None in values:
            return None, None
        return over_seeds(values)

    def by_rarity(self, group: int) -> tuple[float | None, float | None]:
        """The same of the training loss of a group of examples; None where there are no groups."""
        found = [run.by_rarity.train[group] for run in self.runs if run.by_rarity is not None]
        return (None, None) if self.diverged or not found else over_seeds(found)

    def behind(self, best: Entry) -> tuple[float | None, float | None]:
        """Mean and standard error of how much more held-out loss than another entry it has, seed by seed."""
        if self.diverged or best.diverged:
            return None, None
        ends = ([run.scores[-1].test_loss for run in entry.runs] for entry in (self, best))
        mean, deviation = over_seeds([own - other for own, other in zip(*ends, strict=True)])
        return mean, None if deviation is None else deviation / math.sqrt(len(self.runs))

    @property
    def seconds_per_epoch(self) -> float:
        """The median over the epochs of all seeds: what interrupts one of them does not count."""
        return float(np.median([second for run in self.runs for second in run.seconds]))

    def row(self) -> dict[str, Any]:
        """The rule's row of the table."""
        row: dict[str, Any] = {"rule": self.rule.name, "lr": first_rate(self.lr), "schedule": name_of(self.lr)}
        row["seeds"] = len(self.runs)
        for measure in ("test_loss", "train_loss", "accuracy"):
            row[measure], row[f"{measure}_std"] = self.final(measure)
        for name, group in (("rare", 0), ("frequent", -1)):
            row[f"{name}_loss"], row[f"{name}_loss_std"] = self.by_rarity(group)
        row["seconds_per_epoch"] = self.seconds_per_epoch
        row["bytes_per_coordinate"] = self.bytes_per_coordinate
        for share in ("frozen", "zeros"):
            row[share] = None if self.diverged else float(np.mean([getattr(run, share) for run in self.runs]))
        return row | {"diverged": self.diverged, "diverged_seeds": sum(bool(run.diverged) for run in self.runs)}


def over_seeds(values: list[float]) -> tuple[float, float | None]:
    """Mean and standard deviation; None for that of a single seed."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass
class Race:
    """A task and the settings under which rules compete in it."""

    task: Task
    settings: Settings
    clock: Clock = field(default_factory=Clock)

    def enter(self, rule: Rule, lr: Rate | None) -> Entry:
        """Trains a rule with every seed; where no rate is given, a search chooses it first."""
        search = None
        if lr is None:
            search = self.find_rate(rule)
            lr = search.best
        method = self.settings.method(rule, lr)
        self.compile(method)
        runs = []
        for seed in self.settings.seeds:
            self.clock.doing = f"{rule.name}, seed {seed}"
            runs.append(self.train(method, seed))
        return Entry(rule, lr, self.task.learner(method).bank.bytes_of_memory, search, runs)

    @property
    def epochs_per_search(self) -> int:
        """Epochs that a search takes at least."""
        return FIRST_RATES * self.settings.epochs

    def find_rate(self, rule: Rule) -> Search:
        """Tries rates around the rule's default, then beyond the edge as long as the best one lies there.

        Each trial takes as many epochs as the race: a rate that wins after two epochs may overfit after ten.
        """
        trial = Race(self.task.for_search(), self.settings, self.clock)
        middle = nearest(self.settings.default_rate(rule))
        search = Search({})
        places = [middle + k for k in range(-(FIRST_RATES // 2), FIRST_RATES // 2 + 1)]
        while places:
            for place in places:
                self.clock.doing = f"{rule.name}: trying η = {grid(place):g}"
                run = trial.train(trial.settings.method(rule, grid(place)), self.settings.seeds[0])
                search.tried[grid(place)] = None if run.diverged else run.scores[-1].test_loss
            best = nearest(search.best)
            places = [k for k in (best - 1, best + 1) if grid(k) not in search.tried]
            if len(search.tried) + len(places) > MOST_RATES:
                break
            self.clock.total += len(places) * self.settings.epochs
        return search

    def train(self, method: Method, seed: int) -> Run:
        """One rule, one order of the examples."""
        task, rng, run = self.task, np.random.default_rng(seed), Run(seed)
        learner, examples = task.learner(method), task.examples()
        before = x = weights_of(learner)
        run.scores.append(task.judge(x, learner.centers()))
        for epoch in range(1, self.settings.epochs + 1):
            before, turns = x, order(len(task.y), rng)
            began = time.perf_counter()
            finite = pass_through(learner, examples, turns)
            run.seconds.append(time.perf_counter() - began)
            score = task.judge(x := weights_of(learner), learner.centers()) if finite else None
            # Not above, rather than below: so that NaN counts too.
            if score is None or not (score.train_loss <= EXPLODED * run.scores[0].train_loss):
                run.diverged = epoch
                self.clock.advance(self.settings.epochs - epoch + 1)
                return run
            run.scores.append(score)
            self.clock.advance()
        counts = task.counts()
        weights, occur = x[:-1], counts > 0
        run.frozen = float(np.mean(np.abs(weights - before[:-1])[occur] <= FROZEN * np.abs(before[:-1])[occur]))
        run.zeros = float(np.mean(weights[occur] == 0))
        run.rates = Rates.of(gain(method) * learner.bank.effective_rates("weight", 0)[:, 0, 0], counts)
        if task.groups is not None:
            run.by_rarity = LossByRarity.of(task.groups, *task.losses(x, learner.centers()))
        return run

    def compile(self, method: Method) -> None:
        """Learns from one example, so that no epoch includes the time that compiling the rule takes."""
        pass_through(self.task.learner(method), self.task.examples(), np.zeros(1, np.int64))


def gain(method: Method) -> float:
    """The size of the direction after many gradients of one: 1/(1 − β) for momentum, one for averages of gradients.

    Rules that step from the origin, or do not move without a gradient, keep sums that never settle; their rate is that
    of the sum, and the gain one.
    """
    step, x = Step(method.rule, engine=ORACLE, convention=method.convention, **method.hyper), np.zeros(1)
    rule, state = step.rule, step.init(x)
    if rule.from_origin or rule.lazy_exact or all(slot.kind != "direction" for slot in rule.slots.values()):
        return 1.0
    for _ in range(SETTLED):
        x[:] = 0
        step.dense(x, np.ones(1), state)
    slots = (float(values[0]) for values in state.slots.values())
    _, direction, *_ = rule(0.0, 1.0, 1.0, *slots, *step.coefficients(SETTLED + 1))
    return float(direction)


def pass_through(learner: Learner, examples: ArrayDataset, turns: np.ndarray) -> bool:
    """One epoch, or part of one; whether all of it was finite."""
    # What overflows has diverged, which is recorded; NumPy need not warn of it.
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            for block in examples.blocks(turns, learner.settings.batch_size):
                learner.learn(block)
        except DivergedError:
            return False
    return learner.bank.skipped == 0


def weights_of(learner: Learner) -> np.ndarray:
    """The weights for features and targets as they are, and then the bias, float64."""
    weights, bias = learner.weights()
    return np.append(weights[:, 0], bias)


def grid(place: int) -> float:
    """The rates that a search tries: 1 and 3 times the powers of ten, numbered from 1.

    >>> [grid(place) for place in (-2, -1, 0, 1)]
    [0.1, 0.3, 1.0, 3.0]
    """
    return float(f"{(1, 3)[place % 2]}e{place // 2}")


def nearest(lr: Rate) -> int:
    """The place in the grid of the rate nearest to lr.

    >>> grid(nearest(0.05)), grid(nearest(0.002))
    (0.03, 0.003)
    """
    rate = first_rate(lr)
    return round(2 * math.log10(rate)) if rate > 0 else 0
