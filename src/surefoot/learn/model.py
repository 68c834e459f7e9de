"""A trained linear model: what predicts, how it was trained, and its file."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from surefoot.data.stream import Block, Names
from surefoot.learn import storage
from surefoot.learn.feature_stats import FeatureStats
from surefoot.learn.learner import Learner
from surefoot.learn.targets import Targets
from surefoot.losses import Loss
from surefoot.losses.recalled import recalled, recorded

KIND = "model"


@dataclass(frozen=True)
class Model:
    """A linear model.

    Attributes:
        weights: of features as they are in the data, float32, (features, outputs).
        biases: float64, (outputs,).
        targets: the loss, and the classes if it has some.
        parameter: the loss's own number.
        stats: what is known of features; None in models that only predict.
        names: of hashed features, by index.
        reading: how the examples were read, as `ReadOptions.record` has it.
        facts: how it was learned, and with what success.
    """

    weights: np.ndarray
    biases: np.ndarray
    targets: Targets
    parameter: float = 0.0
    stats: FeatureStats | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, learner: Learner, targets: Targets, **known: Any) -> Model:
        """What a learner has learned so far."""
        weights, biases = learner.weights()
        parameter, stats = learner.settings.parameter, learner.feature_stats()
        return cls(weights.astype(np.float32), biases, targets, parameter, stats, **known)

    def scores(self, block: Block) -> np.ndarray:
        """weights · features + bias of each row, in float64, (n, outputs); features that did not occur add nothing."""
        features, outputs = self.weights.shape
        table = self._padded
        places = np.minimum(block.indices, features)
        ends = block.indptr[1:][np.diff(block.indptr) > 0]
        found = np.zeros((len(block), outputs))
        if len(ends):
            starts = np.concatenate([[0], ends[:-1]])
            filled = np.diff(block.indptr) > 0
            for o in range(outputs):
                found[filled, o] = np.add.reduceat(table[o].take(places) * block.values, starts)
        return found + self.biases

    @functools.cached_property
    def _padded(self) -> np.ndarray:
        """The weights of each output, and one more for features that did not occur."""
        padded = np.zeros((self.weights.shape[1], len(self.weights) + 1))
        padded[:, :-1] = self.weights.T
        return padded

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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as a safetensors file.

        Raises:
            FileError: it cannot be written; what was there before still is.
        """
        arrays = {"biases": self.biases} | compact("weights", self.weights)
        if self.stats is not None:
            arrays |= {f"stats.{name}": array for name, array in vars(self.stats).items()}
            arrays["stats.frozen"] = self.stats.frozen.astype(np.uint8)
        if self.names:
            arrays |= written(self.names)
        facts = {
            "loss": recorded(self.targets.loss),
            "classes": self.targets.classes,
            "parameter": self.parameter,
            "reading": self.reading,
            "facts": self.facts,
        }
        storage.write(path, KIND, {name: narrow(array) for name, array in arrays.items()}, facts)

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
        arrays, facts = storage.read(path, KIND)
        stats = None
        if "stats.features" in arrays:
            stats = FeatureStats(**{entry.name: arrays[f"stats.{entry.name}"] for entry in fields(FeatureStats)})
        return cls(
            expanded("weights", arrays),
            arrays["biases"],
            Targets(recalled(facts["loss"], loss), facts["classes"]),
            facts["parameter"],
            stats,
            Written(arrays) if "names.features" in arrays else {},
            facts["reading"],
            facts["facts"],
        )


def narrow(array: np.ndarray) -> np.ndarray:
    """Whole numbers in 32 bits where they fit."""
    if array.dtype == np.int64 and array.max(initial=0) <= np.iinfo(np.int32).max:
        return array.astype(np.int32)
    return array


def compact(name: str, table: np.ndarray) -> dict[str, np.ndarray]:
    """A table of numbers, as rows that are not zero and their places where that is smaller."""
    rows = np.flatnonzero(table.any(axis=1))
    if len(rows) * (table.shape[1] * table.itemsize + 4) >= table.nbytes:
        return {name: table}
    return {f"{name}.rows": rows, f"{name}.values": table[rows], f"{name}.shape": np.array(table.shape)}


def expanded(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The table that `compact` was given."""
    if name in arrays:
        return arrays[name]
    values = arrays[f"{name}.values"]
    table = np.zeros(tuple(arrays[f"{name}.shape"].tolist()), values.dtype)
    table[arrays[f"{name}.rows"]] = values
    return table


def written(names: Mapping[int, str]) -> dict[str, np.ndarray]:
    """Names as arrays: features, where the name of each ends, and all names one after the other in UTF-8."""
    if isinstance(names, Written):
        return names.arrays
    arrays = names.arrays() if isinstance(names, Names) else None
    if arrays is None:
        texts = [name.encode() for name in names.values()]
        ends = np.cumsum([len(text) for text in texts])
        features, text = np.array([*names], np.int64), np.frombuffer(b"".join(texts), np.uint8)
    else:
        features, ends, text = arrays["slots"], arrays["ends"], arrays["text"]
    return {"names.features": features, "names.ends": ends, "names.text": text}


class Written(Mapping[int, str]):
    """Names from a file, which are decoded when they are asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = {name: arrays[name] for name in ("names.features", "names.ends", "names.text")}
        self._order = np.argsort(self.arrays["names.features"], kind="stable")
        self._sorted = self.arrays["names.features"][self._order]

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self):
        return iter(self.arrays["names.features"].tolist())

    def __getitem__(self, feature: int) -> str:
        place = int(np.searchsorted(self._sorted, feature))
        if place == len(self._sorted) or self._sorted[place] != feature:
            raise KeyError(feature)
        number = int(self._order[place])
        ends = self.arrays["names.ends"]
        begin = int(ends[number - 1]) if number else 0
        return self.arrays["names.text"][begin : int(ends[number])].tobytes().decode("utf-8", "replace")
