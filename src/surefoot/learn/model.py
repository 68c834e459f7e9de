"""A trained model: what predicts, how it was trained, and its file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from surefoot import models, system
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import Block, Names
from surefoot.engines import restoring
from surefoot.learn import storage
from surefoot.learn.divergence import State
from surefoot.learn.expansion import expanded
from surefoot.learn.facts import Facts
from surefoot.learn.feature_stats import FeatureStats
from surefoot.learn.learner import Learner
from surefoot.learn.targets import Targets
from surefoot.losses import Loss, LossError
from surefoot.losses.recalled import recalled, recorded
from surefoot.models import Architecture, Part

KIND = "model"
MEMORY = "memory."
"""What the names of the learner's arrays begin with."""
TABLES = 3
"""Copies of a table in float64 that inspecting a model takes, at most."""


@dataclass(frozen=True)
class Model:
    """A model: how it predicts, its numbers, and what is known of how they came about.

    Attributes:
        numbers: of each part, for features and targets as they are in the data: (features or 1, width, outputs).
        targets: the loss, and the classes if it has some.
        architecture: what the parts are, and how they predict.
        parameter: the loss's own number.
        center, spread: a prediction is center + spread · the architecture's score.
        stats: what is known of features; None in models that only predict.
        names: of hashed features, by index.
        reading: how the examples were read; None where they did not come from files.
        facts: how it was learned from files, and with what success.
        memory: the learner's state, from which it can be learned on; None where it was not kept.
        ids: the id of each row of the numbers of features, rising; None where ids are rows. Of a part that begins with
            other numbers than 0, only features that have occurred have rows.
    """

    numbers: Mapping[str, np.ndarray]
    targets: Targets
    architecture: Architecture = models.linear
    parameter: float = 0.0
    center: float = 0.0
    spread: float = 1.0
    stats: FeatureStats | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    reading: ReadOptions | None = None
    facts: Facts | None = None
    memory: State | None = None
    ids: np.ndarray | None = None

    @classmethod
    def of(cls, learner: Learner, targets: Targets, memory: bool = False, **known: Any) -> Model:
        """What a learner has learned so far; `memory`: with all that it needs to learn on.

        Numbers that features begin with, where these are not 0, are kept of features that have occurred alone: what is
        predicted of others does not depend on how many there was room for.
        """
        numbers, center, spread = learner.exported()
        architecture, stats, ids = learner.settings.architecture, learner.feature_stats(), learner.ids()
        if ids is None and not architecture.starts_at_zero:
            ids = np.arange(learner.features)
        order: np.ndarray | slice = slice(None)
        if ids is not None:
            order = np.argsort(ids, kind="stable")
            if not architecture.starts_at_zero:
                order = order[np.isin(ids[order], stats.features)]
            ids = ids[order]
        of_features = {name for name, part in architecture.parts.items() if part.of == "feature"}
        dtype = learner.settings.dtype
        numbers = {name: a[order].astype(dtype) if name in of_features else a for name, a in numbers.items()}
        return cls(
            numbers,
            targets,
            architecture,
            learner.settings.parameter,
            center,
            spread,
            stats,
            memory=learner.state() if memory else None,
            ids=ids,
            **known,
        )

    @property
    def weights(self) -> np.ndarray:
        """Of a linear model, (features, outputs)."""
        return self.numbers["weight"][:, 0]

    @property
    def biases(self) -> np.ndarray:
        """Of a linear model, (outputs,)."""
        return self.numbers["bias"][0, 0]

    @property
    def features(self) -> int:
        """Rows of features; where ids are rows, one more than the largest that has occurred."""
        parts = self.architecture.parts
        return max(len(array) for name, array in self.numbers.items() if parts[name].of == "feature")

    def scores(self, block: Block) -> np.ndarray:
        """What is predicted for each row before any link function, in float64, (n, outputs).

        Features that did not occur add nothing.
        """
        block = expanded(self.architecture, block)
        rows = self.rows(block.indices)
        found = self.architecture.scores(block, rows, self.numbers) * self.spread + self.center
        return found if block.bases is None else found + block.bases[:, None]

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The row of each id, −1 for features that are not known."""
        if self.ids is None:
            return np.where((ids >= 0) & (ids < self.features), ids, -1)
        if not len(self.ids):
            return np.full(len(ids), -1)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[places] == ids, places, -1)

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
        arrays = {}
        for name, numbers in self.numbers.items():
            arrays |= compact(f"numbers.{name}", numbers.reshape(len(numbers), math.prod(numbers.shape[1:])))
        if self.stats is not None:
            arrays |= {f"stats.{name}": array for name, array in vars(self.stats).items()}
            arrays["stats.frozen"] = self.stats.frozen.astype(np.uint8)
        if self.names:
            arrays |= written(self.names)
        if self.ids is not None:
            arrays["ids"] = self.ids
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
        arrays = {name: narrow(array) for name, array in arrays.items()}
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
        with storage.as_written(path):
            architecture = _architecture(path, description["model"])
            targets = _targets(path, description, loss)
            numbers = {
                name: numbers_of(name, part, targets.outputs, arrays) for name, part in architecture.parts.items()
            }
            rows = {len(numbers[name]) for name, part in architecture.parts.items() if part.of == "feature"}
            if len(rows) != 1:
                raise ValueError(f"parts have numbers of {sorted(rows)} features")
            facts, ids, stats = description["facts"], ids_of(arrays, *rows), stats_of(arrays, targets.outputs)
            if stats is not None:
                check_known(stats, ids, *rows)
            reading = reading_of(description["reading"], max(rows) if ids is None else ids.max(initial=-1) + 1)
            return cls(
                numbers,
                targets,
                architecture,
                *(restoring.real(description, name) for name in ("parameter", "center", "spread")),
                stats=stats,
                names=Written(arrays) if "names.features" in arrays else {},
                reading=reading,
                facts=None if facts is None else Facts.of(facts),
                memory=memory_of(arrays, description),
                ids=ids,
            )


def stats_of(arrays: Mapping[str, np.ndarray], outputs: int) -> FeatureStats | None:
    """What a file holds of features, if it does. Effective rates may be infinite: those of a rule without ε are.

    Raises:
        KeyError, ValueError: arrays are missing, or do not fit.
    """
    if "stats.features" not in arrays:
        return None
    stats = FeatureStats(**{entry.name: arrays[f"stats.{entry.name}"] for entry in fields(FeatureStats)})
    check_rising("stats.features", stats.features)
    size = len(stats.features)
    for name, array in vars(stats).items():
        if array.shape != ((size, outputs) if name == "rates" else (size,)):
            raise ValueError(f"stats.{name}: found shape {array.shape} of {size} features and {outputs} outputs")
    for name in ("counts", "sums", "squares"):
        check_finite(f"stats.{name}", getattr(stats, name))
    return stats


def check_known(stats: FeatureStats, ids: np.ndarray | None, rows: int) -> None:
    """Raises ValueError for statistics of features that have no row."""
    known = stats.features < rows if ids is None else np.isin(stats.features, ids)
    if not known.all():
        raise ValueError(f"stats.features: found feature {stats.features[~known][0]}, which has no numbers")


def ids_of(arrays: Mapping[str, np.ndarray], rows: int) -> np.ndarray | None:
    """The ids of that many features in a file, if it has them.

    Raises:
        ValueError: there are more or fewer, or they are not ids that rise.
    """
    if "ids" not in arrays:
        return None
    check_rising("ids", arrays["ids"])
    if len(arrays["ids"]) != rows:
        raise ValueError(f"found {len(arrays['ids'])} ids of {rows} features")
    return arrays["ids"].astype(np.int64)


def reading_of(record: Mapping[str, Any] | None, features: int) -> ReadOptions | None:
    """How the files were read that gave ids below `features`, if the model came from files.

    Raises:
        ValueError: no file can be read so, or it would give other ids.
    """
    if record is None:
        return None
    reading = ReadOptions.of(record)
    reading.check()
    if reading.bits is not None and features > 1 << reading.bits:
        raise ValueError(f"bits: found {reading.bits}, expected room for feature {features - 1}")
    return reading


def memory_of(arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> State | None:
    """The learner's state in a file, if it was kept."""
    if "memory" not in description:
        return None
    kept = {name.removeprefix(MEMORY): array for name, array in arrays.items() if name.startswith(MEMORY)}
    return kept, dict(description["memory"])


def numbers_of(name: str, part: Part, outputs: int, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """A part's numbers in a file, (features or 1, width, outputs).

    Raises:
        KeyError, ValueError: there are none, or they do not fit.
    """
    table = table_of(f"numbers.{name}", arrays)
    check_finite(f"numbers.{name}", arrays.get(f"numbers.{name}.values", table))
    if table.ndim != 2 or table.dtype.kind != "f" or (part.of == "model" and len(table) != 1):
        raise ValueError(f"numbers.{name}: found {table.dtype} of shape {table.shape}")
    return table.reshape(len(table), part.width, outputs)


def check_finite(name: str, array: np.ndarray) -> None:
    """Raises ValueError unless all numbers of an array are finite."""
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{name}: found {array.dtype} with NaN or infinity, expected finite numbers")


def check_rising(name: str, array: np.ndarray) -> None:
    """Raises ValueError unless an array holds whole numbers from 0 on that rise, each once."""
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(f"{name}: found {array.dtype} of shape {array.shape}, expected whole numbers in a row")
    if len(array) and (array[0] < 0 or (array[1:] <= array[:-1]).any()):
        raise ValueError(f"{name}: found a negative number, or one that is not above the one before; expected neither")


def _targets(path: str | os.PathLike[str], description: Mapping[str, Any], loss: str | Loss | None) -> Targets:
    """The targets of a model file, whose classes have to be finite and rise, as they do when they are written.

    Raises:
        FileError, ValueError: the loss or the classes cannot be used.
        LossError: another loss is given.
    """
    classes = description["classes"]
    try:
        found = recalled(description["loss"], loss)
    except LossError as error:
        if loss is not None:
            raise
        raise storage.FileError(f"{path}: {error}; register it in surefoot.losses.REGISTRY to load it") from None
    if (classes is None) != (found.target != "class"):
        raise ValueError(f"classes: found {classes}, but {found.name} loss predicts {found.target}")
    if classes is not None:
        values = [restoring.real({"classes": label}, "classes") for label in classes]
        if values != sorted(set(values)):
            raise ValueError(f"classes: found {classes}, expected different labels that rise")
    return Targets(found, classes)


def _architecture(path: str | os.PathLike[str], name: str) -> Architecture:
    """The architecture that a model file names; nothing is run to find it."""
    try:
        return models.get(name)
    except models.ModelError as error:
        raise storage.FileError(
            f"{path}: {error}; register it in surefoot.models.REGISTRY to load this model"
        ) from None


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


def table_of(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The table that `compact` was given."""
    if name in arrays:
        return arrays[name]
    values, places = arrays[f"{name}.values"], arrays[f"{name}.rows"]
    check_rising(f"{name}.rows", places)
    rows, columns = map(int, arrays[f"{name}.shape"])
    if TABLES * rows * columns * 8 > system.memory():
        raise ValueError(f"{name}: found a table of {rows:,} rows, more than there is memory for")
    if len(places) and places[-1] >= rows:
        raise ValueError(f"{name}: found rows {places[0]} … {places[-1]} of {rows}")
    if values.shape != (len(places), columns):
        raise ValueError(f"{name}: found values of shape {values.shape}, expected ({len(places)}, {columns})")
    table = np.zeros((rows, columns), values.dtype)
    table[places] = values
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
    """Names from a file, which are decoded when they are asked for.

    Raises:
        KeyError, ValueError: arrays are missing, or do not fit together.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = {name: arrays[name] for name in ("names.features", "names.ends", "names.text")}
        self._order = np.argsort(self.arrays["names.features"], kind="stable")
        self._sorted = self.arrays["names.features"][self._order]
        self._check()

    def _check(self) -> None:
        features, ends, text = self.arrays.values()
        check_rising("names.features", self._sorted)
        if ends.dtype.kind not in "iu" or ends.shape != features.shape or text.dtype != np.uint8 or text.ndim != 1:
            raise ValueError(f"names: found {ends.shape} ends of {features.shape} features, in {text.dtype}")
        if (np.diff(ends, prepend=0) < 0).any() or ends[-1:].sum() != len(text):
            raise ValueError(f"names.ends: found ends that do not rise to {len(text)}, where the text ends")

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
