"""What a model file holds, put together again and checked: files can be edited."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from surefoot import models
from surefoot.data.reading import ReadOptions
from surefoot.engines import restoring
from surefoot.learn import storage
from surefoot.learn.divergence import State
from surefoot.learn.feature_stats import FeatureStats
from surefoot.learn.stored import Stored, array_name, check_rising
from surefoot.learn.targets import Targets
from surefoot.losses import Loss, LossError
from surefoot.losses.recalled import RecalledLoss, recalled
from surefoot.models import Architecture

MEMORY = "memory."
"""What the names of the learner's arrays begin with."""
IDS = "features.ids"
CENTERS = "centers"


def scales_of(description: Mapping[str, Any], architecture: Architecture) -> tuple[float, float]:
    """Center and spread in a file.

    Raises:
        ValueError: they are not numbers, or are in the numbers of the model already.
    """
    center, spread = (restoring.real(description, name) for name in ("center", "spread"))
    is_whole = architecture.linear and "bias" in architecture.parts
    for name, found, fits in (("center", center, center == 0), ("spread", spread, spread == 1)):
        if not fits and (is_whole or (name == "spread" and spread <= 0)):
            raise ValueError(f"{name}: found {found}, which no model of this kind has")
    return center, spread


def parameter_of(description: Mapping[str, Any], loss: Loss) -> float:
    """The loss's own number in a file.

    Raises:
        ValueError: the loss does not have it.
    """
    found = restoring.real(description, "parameter")
    if isinstance(loss, RecalledLoss):
        return found
    try:
        return loss.settings(found if loss.parameter is not None or found else None)
    except LossError as error:
        raise ValueError(f"parameter: {error}") from None


def stats_of(arrays: Mapping[str, np.ndarray], outputs: int, examples: float) -> FeatureStats | None:
    """What a file holds of the features of this number of examples at most, if it does.

    Effective rates may be infinite: those of a rule without ε are.

    Raises:
        KeyError, ValueError: arrays are missing, or do not fit.
    """
    if not any(name.startswith("stats.") for name in arrays):
        return None
    stats = FeatureStats(**{entry.name: arrays[f"stats.{entry.name}"] for entry in fields(FeatureStats)})
    check_rising("stats.features", stats.features)
    size = len(stats.features)
    for name, array in vars(stats).items():
        if array.shape != ((size, outputs) if name == "rates" else (size,)):
            raise ValueError(f"stats.{name}: found shape {array.shape} of {size} features and {outputs} outputs")
    for name, least, most in (("counts", 0.0, examples), ("rates", 0.0, math.inf), ("frozen", 0, 1)):
        restoring.between(f"stats.{name}", getattr(stats, name), least, most)
    return stats


def centers_of(arrays: Mapping[str, np.ndarray], chosen: np.ndarray | None, size: int) -> np.ndarray | None:
    """The means in a file that missing numbers count as, of the `chosen` rows of a table of this size, if it has any.

    Raises:
        ValueError: they do not fit.
    """
    if not any(name.partition(".")[0] == CENTERS for name in arrays):
        return None
    stored = Stored.of(CENTERS, arrays, 1)
    if stored.size != size:
        raise ValueError(f"{CENTERS}: found {stored.size} features, expected {size}")
    if stored.rows is None or chosen is None:
        found = stored.at(None)
        return found[:, 0] if chosen is None else found[chosen, 0]
    places = np.searchsorted(stored.rows, chosen)
    known = np.append(stored.rows, -1)[places] == chosen
    return np.where(known, np.append(stored.values[:, 0], 0.0)[places], 0.0)


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
    if IDS not in arrays:
        return None
    check_rising(IDS, arrays[IDS])
    if len(arrays[IDS]) != rows:
        raise ValueError(f"{IDS}: found {len(arrays[IDS])}, expected the {rows} of weights and other numbers")
    return arrays[IDS].astype(np.int64)


def reading_of(record: Mapping[str, Any] | None, features: int) -> ReadOptions | None:
    """How the files were read that gave ids below `features`, if the model came from files.

    Raises:
        ValueError: no file can be read so, or it would give other ids.
    """
    if record is None:
        return None
    if not isinstance(record, Mapping):
        raise ValueError(f"reading: found {record!r}, expected an object or null")
    reading = ReadOptions.of(record)
    reading.check()
    if reading.bits is not None and features > 1 << reading.bits:
        raise ValueError(f"bits: found {reading.bits}, expected room for feature {features - 1}")
    return reading


def memory_of(arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> State | None:
    """The learner's state in a file, if it was kept."""
    if "memory" not in description:
        return None
    if not isinstance(description["memory"], Mapping):
        raise ValueError(f"memory: found {description['memory']!r}, expected an object")
    kept = {name.removeprefix(MEMORY): array for name, array in arrays.items() if name.startswith(MEMORY)}
    return kept, dict(description["memory"])


def numbers_of(
    architecture: Architecture, outputs: int, arrays: Mapping[str, np.ndarray], stats: FeatureStats | None
) -> tuple[dict[str, np.ndarray], np.ndarray | None, int]:
    """The numbers of all parts in a file, the ids of their rows, and the size of the features' table.

    What they take in memory is in proportion to the file, whatever size it claims: of a table without rows of zeros,
    only the features that have numbers or statistics get rows.

    Raises:
        KeyError, ValueError: some are missing, or do not fit.
    """
    parts = architecture.parts
    stored = {name: Stored.of(array_name(name), arrays, part.width * outputs) for name, part in parts.items()}
    of_features = [stored[name] for name, part in parts.items() if part.of == "feature"]
    size, *others = {table.size for table in of_features}
    if others:
        raise ValueError(f"parts have numbers of {sorted((size, *others))} features")
    ids = rows = ids_of(arrays, size)
    if ids is not None:
        rows = np.arange(size)
    elif all(table.rows is not None for table in of_features):
        seen = () if stats is None else (stats.features[stats.features < size],)
        places = [table.rows for table in of_features if table.rows is not None]
        ids = rows = np.unique(np.concatenate([*places, *seen])).astype(np.int64)
    numbers = {}
    for name, part in parts.items():
        if part.of == "model" and stored[name].size != 1:
            raise ValueError(f"{array_name(name)}: found {stored[name].size} rows, expected 1")
        table = stored[name].at(rows if part.of == "feature" else None)
        numbers[name] = table.reshape(len(table), part.width, outputs)
    return numbers, ids, size


def targets_of(path: str | os.PathLike[str], description: Mapping[str, Any], loss: str | Loss | None) -> Targets:
    """The targets of a model file, whose classes have to be finite and rise, as they do when they are written.

    Raises:
        FileError, ValueError: the loss or the classes cannot be used.
        LossError: another loss is given.
    """
    classes = description["classes"]
    if not isinstance(classes, list | None):
        raise ValueError(f"classes: found {classes!r}, expected a list or null")
    if not isinstance(description["loss"], str | dict):
        raise ValueError(f"loss: found {description['loss']!r}, expected a name or an object")
    try:
        found = recalled(description["loss"], loss)
    except KeyError as error:
        raise ValueError(f"loss: found no {error}") from None
    except LossError as error:
        if loss is not None:
            raise
        raise storage.FileError(f"{path}: {error}; register it in surefoot.losses.REGISTRY to load it") from None
    if (classes is None) != (found.target != "class"):
        raise ValueError(f"classes: found {classes}, but {found.name} loss predicts {found.target}")
    if classes is not None and not all(isinstance(label, str) for label in classes):
        values = [restoring.real({"classes": label}, "classes") for label in classes]
        if values != sorted(set(values)):
            raise ValueError(f"classes: found {classes}, expected different labels that rise")
    return Targets(found, classes)


def architecture_of(path: str | os.PathLike[str], name: Any) -> Architecture:
    """The architecture that a model file names; nothing is run to find it."""
    if not isinstance(name, str):
        raise ValueError(f"model: found {name!r}, expected a name")
    try:
        return models.get(name)
    except models.ModelError as error:
        raise storage.FileError(
            f"{path}: {error}; register it in surefoot.models.REGISTRY to load this model"
        ) from None
