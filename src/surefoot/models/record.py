"""What a model is: named parts, how they predict, and the derivative of the prediction by each number."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from surefoot.records.base import Record
from surefoot.records.files import RecordError

Join = Literal["sum", "mean", "maximum"]
"""How numbers of two models that learned apart become one's: their sum, their mean weighted by the parts' accumulators,
or the larger. `engines.joining` joins them."""


class ModelError(RecordError):
    """An architecture that cannot be used; the message names it and the fault."""


@dataclass(frozen=True)
class Part:
    """Some numbers of a model, which have a rule, learning rates and penalties of their own.

    Args:
        of: "feature" for numbers that each feature has, "model" for those that there are once, such as a bias.
        width: how many numbers.
        initial: what they are before the first step: a number, or a function of the features' ids, (n,) int64, that
            returns (n, width); of a part of the model, of the id −1.
        penalized: whether penalties and weight decay act on them.
        join: how two models' numbers are joined, see Join.
    """

    of: Literal["feature", "model"] = "feature"
    width: int = 1
    initial: float | Callable[[np.ndarray], np.ndarray] = 0.0
    penalized: bool = True
    join: Join = "mean"

    @property
    def starts_at_zero(self) -> bool:
        """Whether its numbers are 0 before the first step."""
        return not callable(self.initial) and self.initial == 0.0


STATISTICS = ("count", "mean", "deviations")
"""Of each feature, over the examples in which it occurs (where fields tell them apart, over its occurrences), float64:
how many they are, the mean x̄ of its values and Σ(x − x̄)², by which values are centred and scaled."""


@dataclass(frozen=True, eq=False, repr=False)
class Architecture(Record):
    """A kind of model, such as a linear one: plain functions that every engine runs.

    The functions see an example's features side by side: `values`, (n,), and `fields`, (n,) or empty, of the example's
    features, and in `numbers` one flat array for each part, by its name. Number m of feature e in lane k lies at
    (e · width + m) · lanes + k; of a part of the model e is 0. A lane is one of several models that learn at once.
    Sums begin with `values.dtype.type(0)`: a number such as 0.0 would be float64 where kernels are compiled.

    Args:
        name: what people call it.
        parts: by name, in the order in which they are stepped.
        predict: (values, fields, numbers, base, predicted, lanes) writes every lane's prediction, `base` included, to
            `predicted`, (lanes,).
        gradient: (values, fields, numbers, slopes, gradients, lanes) writes slopes[k] times the derivative of lane k's
            prediction by each of its numbers to the arrays of `gradients`, which lie as those of `numbers` do.
        scores: (block, rows, numbers) -> (n, outputs) are the predictions of many examples, in float64, without bases;
            `numbers` has (features or 1, width, outputs) by part, and `rows` the row of each entry in those of
            features, −1 for features that are not known, which add nothing.
        predict_one: `predict` for a single lane, where that can be written faster; the same bits.
        linear: whether the prediction is linear in the numbers, so that numbers may be averaged over lanes, and steps
            may be implicit.
        merges_fields: whether a feature that occurs in several fields of an example is one feature to the model.
        source: where the model was published.

    Raises:
        ModelError: naming the architecture and what is wrong with it.
    """

    name: str
    parts: Mapping[str, Part]
    predict: Callable[..., None]
    gradient: Callable[..., None]
    scores: Callable[..., np.ndarray]
    predict_one: Callable[..., None] | None = None
    linear: bool = False
    merges_fields: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        if not any(part.of == "feature" for part in self.parts.values()):
            raise ModelError(f"{self.name}: found no part of features, expected at least one")
        for name, part in self.parts.items():
            if not name.isidentifier() or name.startswith("_"):
                raise ModelError(f"{self.name}: a part is called {name!r}, expected a name as in Python")
            if part.width < 1:
                raise ModelError(f"{self.name}: part {name!r} has width {part.width}, expected at least 1")

    @property
    def main(self) -> Callable:
        return self.predict

    @property
    def first(self) -> str:
        """The first part of features."""
        return next(name for name, part in self.parts.items() if part.of == "feature")

    @property
    def starts_at_zero(self) -> bool:
        """Whether all numbers of features are 0 before the first step."""
        return all(part.of == "model" or part.starts_at_zero for part in self.parts.values())

    @functools.cached_property
    def numbers(self) -> Any:
        """The named tuple of one array for each part."""
        return namedtuple("Numbers", self.parts)

    def __repr__(self) -> str:
        return f"<Architecture {self.name}>"
