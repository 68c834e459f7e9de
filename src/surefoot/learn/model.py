"""A trained model: what predicts, how it was trained, and its file."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from surefoot import models
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Block
from surefoot.engines import scaling
from surefoot.engines.feature_table import in_order
from surefoot.engines.hashed_rows import HashedRows
from surefoot.learn import storage
from surefoot.learn.divergence import State
from surefoot.learn.expansion import expanded
from surefoot.learn.facts import Facts
from surefoot.learn.feature_stats import FeatureStats
from surefoot.learn.learner import Learner
from surefoot.learn.model_file import (
    CENTERS,
    IDS,
    MEMORY,
    architecture_of,
    centers_of,
    check_known,
    memory_of,
    numbers_of,
    parameter_of,
    reading_of,
    scales_of,
    stats_of,
    targets_of,
)
from surefoot.learn.one_by_one import OneByOne
from surefoot.learn.stored import Written, array_name, compact, narrow, written
from surefoot.learn.targets import Targets
from surefoot.losses import Loss
from surefoot.losses.recalled import recorded
from surefoot.models import Architecture

KIND = "model"
LARGEST_SIZE = 1 << 31
"""Of a table in which ids are rows. Larger ids are hashes, and how large they are says nothing."""
FEW = 256
"""Ids are few if the model has this many times more: they are looked up by bisection."""
LOOKUP, SHARE = 1 << 22, 64
"""Features for which there is a table of rows, of 4 bytes each: this many, or as many times those with numbers."""


@dataclass(frozen=True)
class Model:
    """A model: how it predicts, its numbers, and what is known of how they came about.

    Attributes:
        numbers: of each part, for features and targets as they are in the data: (features or 1, width, outputs).
        targets: the loss, and the classes if it has some.
        architecture: what the parts are, and how they predict.
        parameter: the loss's own number.
        center, spread: a prediction is center + spread · the architecture's score.
        centers: where absent numbers are missing, as in tables, what counts as a feature's value in their place, its
            mean, (features,); 0 for features that are not centred. None where they are 0.
        stats: what is known of features; None in models that only predict.
        names: of hashed features, by index.
        reading: how the examples were read; None where they did not come from files.
        facts: how it was learned from files, and with what success.
        memory: the learner's state, from which it can be learned on; None where it was not kept.
        ids: the id of each row of the numbers of features, rising; None where ids are rows. Of a part that begins with
            other numbers than 0, only features that have occurred have rows.
        size: of the table of features, where it was written without rows of zeros, and `numbers` have only the others.
        path: of the file that it comes from, for messages.
    """

    numbers: Mapping[str, np.ndarray]
    targets: Targets
    architecture: Architecture = models.linear
    parameter: float = 0.0
    center: float = 0.0
    spread: float = 1.0
    centers: np.ndarray | None = None
    stats: FeatureStats | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    reading: ReadOptions | None = None
    facts: Facts | None = None
    memory: State | None = None
    ids: np.ndarray | None = None
    size: int | None = None
    path: str | None = None

    @classmethod
    def of(cls, learner: Learner, targets: Targets, memory: bool = False, **known: Any) -> Model:
        """What a learner has learned so far; `memory`: with all that it needs to learn on.

        Numbers that features begin with, where these are not 0, are kept of features that have occurred alone: what is
        predicted of others does not depend on how many there was room for.
        """
        architecture, ids = learner.settings.architecture, learner.ids()
        order = None if ids is None else narrow(np.argsort(ids))
        stats = FeatureStats.of(learner, order)
        size = None
        if not architecture.starts_at_zero:
            ids = np.arange(learner.features) if ids is None else ids
            order = np.argsort(ids) if order is None else order
            order = order[np.isin(ids[order], stats.features)]
        elif ids is not None and learner.features <= LARGEST_SIZE:
            size = learner.features
        if ids is not None:
            ids = stats.features if len(stats.features) == len(ids) else narrow(ids[order])
        numbers, center, spread = learner.exported(learner.settings.dtype)
        centers = learner.centers()
        if order is not None:
            of_features = [name for name, part in architecture.parts.items() if part.of == "feature"]
            numbers |= {name: in_order(numbers[name], order) for name in of_features}
            centers = in_order(centers, order) if centers.any() else np.zeros(len(order))
        if centers.any():
            numbers["bias"] = numbers["bias"] - scaling.offset(centers, numbers["weight"])
        return cls(
            numbers,
            targets,
            architecture,
            learner.settings.parameter,
            center,
            spread,
            centers if learner.missing and learner.bank.centers else None,
            stats,
            memory=learner.state() if memory else None,
            ids=ids,
            size=size,
            **known,
        )

    @property
    def missing(self) -> bool:
        """Whether absent numbers are missing, rather than 0."""
        return self.centers is not None

    @property
    def weights(self) -> np.ndarray:
        """Of a linear model, (features, outputs)."""
        if self.current is not self:
            return self.current.weights
        found = self.numbers["weight"][:, 0]
        if self.size is None:
            return found
        table = np.zeros((self.size, found.shape[1]), found.dtype)
        if self.ids is not None:
            table[self.ids] = found
        return table

    @property
    def biases(self) -> np.ndarray:
        """Of a linear model, (outputs,)."""
        return self.current.numbers["bias"][0, 0]

    @property
    def features(self) -> int:
        """Rows of features; where ids are rows, one more than the largest that has occurred."""
        parts = self.architecture.parts
        return self.size or max(len(array) for name, array in self.numbers.items() if parts[name].of == "feature")

    def scores(self, block: Block) -> np.ndarray:
        """What is predicted for each row before any link function, in float64, (n, outputs).

        Features that did not occur add nothing.
        """
        if self.current is not self:
            return self.current.scores(block)
        block = expanded(self.architecture, block, missing=self.missing)
        rows, numbers = self.rows(block.indices), self.numbers
        if self.centers is not None:
            block = replace(block, values=block.values - np.append(self.centers, 0.0)[rows])
            numbers = dict(numbers) | {"bias": self.centred_bias}
        found = self.architecture.scores(block, rows, numbers) * self.spread + self.center
        return found if block.bases is None else found + block.bases[:, None]

    @functools.cached_property
    def centred_bias(self) -> np.ndarray:
        """The bias of an example of which all numbers are missing."""
        assert self.centers is not None
        return self.numbers["bias"] + scaling.offset(self.centers, self.numbers["weight"])

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The row of each id, −1 for features that are not known."""
        if self.ids is None:
            return np.where((ids >= 0) & (ids < self.features), ids, -1)
        if FEW * len(ids) < len(self.ids):  # which is not worth the memory of a table
            places = np.searchsorted(self.ids, ids)
            return np.where(self.ids.take(places, mode="clip") == ids, places, -1)
        if self._lookup is not None:
            return np.where((ids >= 0) & (ids < self.features), self._lookup.take(ids, mode="clip"), -1)
        return self._row_map.known(ids)

    @functools.cached_property
    def _row_map(self) -> HashedRows:
        """The row of each id."""
        assert self.ids is not None
        found = HashedRows()
        found.rows(self.ids)
        return found

    @functools.cached_property
    def _lookup(self) -> np.ndarray | None:
        """The row of each id, where a table of them is small: it is faster."""
        if self.ids is None or not self.size or self.size > max(LOOKUP, SHARE * len(self.ids)):
            return None
        table = np.full(self.size, -1, np.int32)
        table[self.ids] = np.arange(len(self.ids))
        return table

    def predict(self, block: Block) -> np.ndarray:
        """The predicted labels, (n,)."""
        return self.targets.labels(self.scores(block))

    def probabilities(self, block: Block) -> np.ndarray:
        """The probabilities of the classes in ascending order of their labels, (n, classes).

        Raises:
            ValueError: the loss does not give probabilities.
        """
        return self.targets.loss.probabilities(self.scores(block))

    def check_probabilities(self) -> None:
        """Raises ValueError if the loss does not give probabilities."""
        self.targets.loss.probabilities(np.zeros((1, self.targets.outputs)))

    # One example after the other

    def learn_one(self, x: Any, y: Any = None, *, weight: float = 1.0) -> Model:
        """Learns from one example, with the same bits as the training that the model comes from would.

        Numbers and statistics stay those that were loaded; those that were learned since are in `current`, which
        predictions, weights and `save` are of.

        Args:
            x: a dict {column: value}, the same as a row of a table with these columns; a line of the format that the
                model was learned from, or for a table of Vowpal Wabbit's; or a row of numbers, or a CSR matrix of one
                row.
            y: the label; None: that of x, which a line has, and a dict with the target's column.
            weight: of the example, besides its own.

        Returns:
            The model itself.

        Raises:
            ValueError, DataError: the model cannot learn on, or the example cannot be used; the model is unchanged.
            DivergedError: predictions are no longer finite; the model is unchanged.
        """
        self._one_by_one.learn(x, y, weight)
        return self

    def predict_one(self, x: Any) -> Any:
        """The predicted label of one example, see learn_one: a class, or a number."""
        return self._one_by_one.label(x)

    def predict_proba_one(self, x: Any) -> dict[Any, float]:
        """The probabilities of the classes of one example, see learn_one.

        Raises:
            ValueError: the loss does not give probabilities.
        """
        return self._one_by_one.probabilities(x)

    @property
    def current(self) -> Model:
        """The model with what learn_one has learned since it was loaded."""
        return self._one_by_one.model if "_one_by_one" in vars(self) else self

    @functools.cached_property
    def _one_by_one(self) -> OneByOne:
        return OneByOne(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as a safetensors file.

        Raises:
            FileError: it cannot be written; what was there before still is.
        """
        if self.current is not self:
            self.current.save(path)
            return
        arrays = {}
        for name, numbers in self.numbers.items():
            table = numbers.reshape(len(numbers), math.prod(numbers.shape[1:]))
            of_features = self.architecture.parts[name].of == "feature"
            arrays |= compact(array_name(name), table, *((self.ids, self.size) if of_features else (None, None)))
        if self.centers is not None:
            arrays |= compact(CENTERS, self.centers[:, None], self.ids, self.size)
        if self.stats is not None:
            arrays |= {f"stats.{name}": narrow(array) for name, array in vars(self.stats).items()}
            arrays["stats.frozen"] = self.stats.frozen.astype(np.uint8)
        if self.names:
            arrays |= written(self.names)
        if self.ids is not None and self.size is None:
            arrays[IDS] = narrow(self.ids)
        description = {
            "model": self.architecture.name,
            "center": self.center,
            "spread": self.spread,
            "loss": recorded(self.targets.loss),
            "classes": self.targets.classes,
            "parameter": self.parameter,
            "reading": None if self.reading is None else self.reading.record(),
            "facts": None if self.facts is None else self.facts.record(),
        }
        if self.memory is not None:
            memory, description["memory"] = self.memory
            arrays |= {f"{MEMORY}{name}": array for name, array in memory.items()}
        storage.write(path, KIND, arrays, description)

    @classmethod
    def load(cls, path: str | os.PathLike[str], loss: str | Loss | None = None) -> Model:
        """Reads a model. Its file holds numbers and text, nothing that could run.

        Args:
            path: of the file.
            loss: for a model that was trained with a loss of your own, that loss or `path/to/file.py:name`, which is
                run. Without it, classes, raw scores and weights are there, but not what only its functions could tell.

        Raises:
            FileError: it is not a model, or is corrupt.
            LossError: it was trained with another loss.
        """
        arrays, description = storage.read(path, KIND)
        with storage.as_written(path, KIND):
            architecture = architecture_of(path, description["model"])
            targets = targets_of(path, description, loss)
            facts = None if description["facts"] is None else Facts.of(description["facts"])
            if facts is not None and facts.settings.model != architecture.name:
                raise ValueError(f"facts.settings.model: found {facts.settings.model!r}, expected {architecture.name}")
            stats = stats_of(arrays, targets.outputs, math.inf if facts is None else facts.examples)
            numbers, ids, size = numbers_of(architecture, targets.outputs, arrays, stats)
            center, spread = scales_of(description, architecture)
            centers = centers_of(arrays, None if IDS in arrays else ids, size)
            if stats is not None:
                check_known(stats, ids, size)
            is_whole = ids is None or IDS in arrays
            reading = reading_of(description["reading"], size if ids is None else int(ids.max(initial=-1)) + 1)
            return cls(
                numbers,
                targets,
                architecture,
                parameter_of(description, targets.loss),
                center,
                spread,
                centers=centers,
                stats=stats,
                names=Written(arrays) if any(name.startswith("names.") for name in arrays) else {},
                reading=reading,
                facts=facts,
                memory=memory_of(arrays, description),
                ids=ids,
                size=None if is_whole else size,
                path=os.fspath(path),
            )
