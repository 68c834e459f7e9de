"""Epochs: in which order each takes the examples, how many there are, and when to stop."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from surefoot.engines.examples import Examples
from surefoot.learn import online
from surefoot.learn.arrays import ArrayDataset
from surefoot.learn.epoch_average import EpochAverage
from surefoot.learn.learner import Learner
from surefoot.learn.remarks import Past, in_runs

VISITS = 100_000
"""Examples that are learned from in "auto" epochs, counted once in each."""
MOST = 100
"""The largest number of "auto" epochs."""
PARTS, ENOUGH = 3, 1000
"""Validation parts of a rehearsal at most, and examples in them that are enough."""
ERRORS = 2.0
"""Standard errors by which a loss has to be higher than the lowest: it is compared after each epoch, and of fifty
comparisons some exceed one by chance."""


@dataclass
class Epochs:
    """The epochs of a training on a data set in memory, and what was lost in each.

    Args:
        limit: epochs at most.
        shuffle: whether each epoch takes the examples in an order of its own.
        random: of the orders.
        tol: stop when the loss has not fallen by tol times that of the first epoch for `patience` epochs, or by tol
            times the lowest where numbers are predicted; None: never.
        patience: see tol.

    Attributes:
        history: of each epoch, the number of examples learned from so far, and the mean progressive loss; of each epoch
            of a rehearsal, the mean loss on the validation parts.
        converged: whether `tol` ended the training.
        in_runs: whether the labels come in runs, see `remarks.in_runs`; not where epochs shuffle.
        average: of the models at the ends of epochs, which is the model in the end.
        past: the first examples, as they were predicted in the first epoch of all; None where epochs shuffle.
    """

    limit: int
    shuffle: bool
    random: np.random.RandomState
    tol: float | None
    patience: int
    history: dict[str, list] = field(default_factory=lambda: {"examples": [], "progressive_loss": []})
    converged: bool = False
    in_runs: bool = False
    past: Past | None = None
    average: EpochAverage = field(default_factory=EpochAverage)

    def run(self, learner: Learner, data: ArrayDataset) -> None:
        """Learns until the loss no longer falls."""
        for _ in self.each(learner, data):
            pass
        self.average.put(learner)

    def each(self, learner: Learner, data: ArrayDataset) -> Iterator[None]:
        """The same, an epoch at a time."""
        best, since = math.inf, 0
        for epoch in range(self.limit):
            learner.freeze()
            order = self.random.permutation(len(data)) if self.shuffle else None
            note(self.history, learner, learn(learner, data, order, self._look))
            self.average.add(learner)
            if epoch == 0 and not self.shuffle:
                self.in_runs = in_runs(learner)
            loss, unit = self.history["progressive_loss"][-1], self.history["progressive_loss"][0]
            if learner.settings.centers_targets:  # the first loss is mostly of what had to be learned
                unit = min(best, unit)
            since = 0 if epoch == 0 or self.tol is None or loss < best - self.tol * abs(unit) else since + 1
            best = min(best, loss)
            self.converged = since >= self.patience
            yield
            if self.converged:
                return

    def _look(self, learner: Learner, predictions: np.ndarray, examples: Examples) -> None:
        """Looks at the first predictions for examples."""
        if learner.examples == len(examples) and not self.shuffle:
            self.past = Past.of(learner.settings, predictions, examples)

    def rehearse(
        self, learner: Learner, parts: Sequence[tuple[ArrayDataset, ArrayDataset]], random: np.random.RandomState
    ) -> None:
        """Trains a copy of the learner on each training part, and limits the epochs by the losses on validation parts.

        If their mean rises, the number of epochs becomes that of the last one after which it was at most ERRORS
        standard errors above the lowest: one less would not be better by more than chance.

        Args:
            learner: does not change.
            parts: of the data, pairs of a training and a validation part.
            random: of the orders; does not change.
        """
        weights = np.concatenate([held.weights for _, held in parts])
        learners, found, is_good = [copied(learner) for _ in parts], [], np.ones(1, bool)
        runs = [Epochs(self.limit, self.shuffle, copy.deepcopy(random), self.tol, self.patience) for _ in parts]
        epochs = [run.each(own, data) for run, own, (data, _) in zip(runs, learners, parts, strict=True)]
        for _ in zip(*epochs, strict=False):  # until the first of them has converged
            losses = []
            for run, own, (_, held) in zip(runs, learners, parts, strict=True):
                with run.average.of(own):
                    losses.append(losses_on(own, held))
            found.append(np.concatenate(losses))
            is_good = good(np.array(found), weights)
            if self.tol is not None and not is_good[-self.patience :].any():
                break
        self.history["validation_loss"] = np.average(found, axis=1, weights=weights).tolist()
        last = int(np.flatnonzero(is_good)[-1]) + 1
        if last < len(found):
            self.limit, self.tol = last, None

    def warn_unless_converged(self) -> None:
        """Warns if the loss was still falling in the last of several epochs; one alone does not claim to converge."""
        if self.limit > 1 and self.tol is not None and not self.converged:
            warnings.warn(
                f"the loss was still falling in epoch {self.limit}; give more epochs or a larger tol, or tol=None for "
                "exactly this number of epochs",
                ConvergenceWarning,
                stacklevel=3,
            )


def epochs_for(examples: int, numbers: int) -> int:
    """How many "auto" epochs are: enough to learn from VISITS examples, between 1 and MOST.

    One where an example has as many features as there are examples, by the numbers other than 0 in the data: further
    ones would learn the noise. On 300 examples of 400 features, ten of which say something, the log loss of new ones is
    0.60 after one epoch and 0.82 after 20; on 4,500 text messages with 8,000 words, 13 in each, it falls from 0.056 to
    0.054.

    >>> epochs_for(150, 600), epochs_for(20_000, 2_000_000), epochs_for(1_000_000, 5_000_000), epochs_for(300, 120_000)
    (100, 5, 1, 1)
    """
    return 1 if numbers >= examples**2 else min(max(math.ceil(VISITS / examples), 1), MOST)


def parts_for(examples: int, fraction: float) -> int:
    """How many validation parts of a share of the examples there are: few examples say little, whichever they are.

    >>> parts_for(150, 0.1), parts_for(6000, 0.1), parts_for(10_000, 0.1)
    (3, 2, 1)
    """
    return min(math.ceil(ENOUGH / (fraction * examples)), PARTS)


def copied(learner: Learner) -> Learner:
    """A learner that goes on by itself, with the same settings: a schedule in them does not equal a copy of itself."""
    twin = copy.deepcopy(learner)
    twin.settings = learner.settings
    return twin


def learn(
    learner: Learner,
    data: ArrayDataset,
    order: np.ndarray | None = None,
    look: Callable[[Learner, np.ndarray, Examples], None] = lambda *_: None,
) -> float:
    """Learns from all rows; returns the mean of their progressive losses. `look` is called with what was predicted."""
    lost, weight = learner.lost, learner.weight
    for block in data.blocks(order, learner.settings.batch_size):
        look(learner, learner.learn(block), block)
    return (learner.lost - lost) / (learner.weight - weight)


def once(learner: Learner, data: ArrayDataset) -> dict[str, list]:
    """Learns from all rows once, from a single one all or nothing; returns what there is to add to the history."""
    history, lost, weight = {"examples": [], "progressive_loss": []}, learner.lost, learner.weight
    if len(data) > 1:
        loss = learn(learner, data)
    else:
        [example] = data.blocks()
        own = float(data.targets[0]), float(data.weights[0])
        online.learn_one(learner, example.indices, example.values, *own, data.features)
        loss = (learner.lost - lost) / (learner.weight - weight)
    note(history, learner, loss)
    return history


def note(history: dict[str, list], learner: Learner, loss: float) -> None:
    """Adds an epoch to a history."""
    history["examples"].append(learner.examples)
    history["progressive_loss"].append(loss)


def losses_on(learner: Learner, data: ArrayDataset) -> np.ndarray:
    """The loss of what the learner predicts now for each example, as its metric has it."""
    weights, biases = learner.weights()
    settings = learner.settings
    return settings.loss.reported(predictions(data.X, weights, biases), data.targets, settings.parameter)


def good(losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """In which epochs the mean of losses, (epochs, examples), is at most ERRORS standard errors above the lowest one.

    >>> good(np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0], [1.0, 0.9, 1.3], [1.2, 1.3, 1.2]]), np.ones(3)).tolist()
    [False, True, True, False]
    """
    share = weights / weights.sum()
    excess = losses - losses[(losses @ share).argmin()]
    mean = excess @ share
    return mean <= ERRORS * np.sqrt((excess - mean[:, None]) ** 2 @ share**2)


def predictions(X, weights: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """X · weights + biases, (n, outputs): not by BLAS, whose sums depend on the number of its threads."""
    if isinstance(X, np.ndarray) and isinstance(weights, np.ndarray):
        return np.einsum("nf,fo->no", X, weights) + biases
    found = X @ weights
    return (found if isinstance(found, np.ndarray) else found.toarray()) + biases
