"""From labels in files to what a learner predicts: which loss they ask for, and which classes there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surefoot.data import DataError
from surefoot.engines import losses
from surefoot.learn.learner import CLASSES

NAMED = 6
"""Labels that a message shows at most."""
SIGNS, BITS = (-1.0, 1.0), (0.0, 1.0)


@dataclass
class Targets:
    """What is to be predicted, found out from the first labels where it is not said.

    Args:
        loss: a key of losses.SLOPES, or "auto": logistic for two labels, softmax for classes that are named, squared
            for numbers that are not all whole.
        classes: the labels there may be, in ascending order; found out unless given.

    >>> targets = Targets()
    >>> targets.begin(np.array([1.0, -1.0, 1.0]))
    >>> targets.loss, targets.of(np.array([-1.0, 1.0, 7.0]))
    ('logistic', array([ 0.,  1., nan]))
    """

    loss: str = "auto"
    classes: tuple[float, ...] | None = None
    single: bool = field(default=False, init=False)
    """Whether the label 1 is the only one so far, which leaves open if the other one is 0 or −1."""

    def __post_init__(self) -> None:
        if self.loss != "auto" and self.loss not in losses.SLOPES:
            raise ValueError(f"loss: found {self.loss!r}, expected auto or one of {', '.join(losses.SLOPES)}")
        if self.classes is None:
            return
        self.classes = tuple(sorted(map(float, self.classes)))
        if len(set(self.classes)) < max(len(self.classes), 2):
            raise ValueError(f"classes: found {said(self.classes)}, expected at least two different labels")
        if self.loss == "auto":
            self.loss = "softmax" if len(self.classes) > 2 else "logistic"
        if self.loss not in CLASSES:
            raise ValueError(f"classes: {self.loss} loss is for numbers to predict, which have no classes")

    @property
    def outputs(self) -> int:
        """Numbers that are predicted for each example."""
        if self.classes is None or (len(self.classes) == 2 and self.loss != "softmax"):
            return 1
        return len(self.classes)

    def begin(self, labels: np.ndarray) -> None:
        """Finds out what is left open from the first labels.

        Raises:
            DataError: they do not tell, or do not fit the loss.
        """
        if self.classes is not None or self.loss not in (*CLASSES, "auto"):
            return
        found = tuple(sorted(set(labels[np.isfinite(labels)].tolist())))
        if not found:
            raise DataError(
                "found no label among the first examples, expected some to learn from (of a table, --target says which "
                "column has them)"
            )
        if len(found) > 2:
            if self.loss == "auto" and not all(label.is_integer() for label in found):
                self.loss = "squared"
                return
            raise DataError(
                f"found the labels {said(found)}, which are more than two; name those of classes with --classes, as in "
                f"--classes {said(found[:3], ',')}, or say --loss squared to predict numbers"
            )
        if not (set(found) <= set(SIGNS) or set(found) <= set(BITS) or len(found) == 2):
            raise DataError(
                f"found only the label {said(found)} among the first examples, expected two; name both with --classes, "
                "or say --loss squared to predict numbers"
            )
        self.loss = "logistic" if self.loss == "auto" else self.loss
        self.single = found == (1.0,)
        self.classes = SIGNS if set(found) <= set(SIGNS) else BITS if set(found) <= set(BITS) else found

    def of(self, labels: np.ndarray) -> np.ndarray:
        """Targets as engines take them: 0 or 1, the number of the class, or the label; NaN for those that have none."""
        labels = np.asarray(labels, np.float64)
        if self.classes is None:
            return np.where(labels >= 0, labels, np.nan) if self.loss == "poisson" else labels
        if self.single:
            other = {label for label in (0.0, -1.0) if (labels == label).any()}
            self.single = not other
            self.classes = BITS if other == {0.0} else SIGNS
        place = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        return np.where(np.asarray(self.classes)[place] == labels, place, np.nan)

    def record(self) -> dict[str, Any]:
        """What is known so far, as JSON holds it."""
        return {"loss": self.loss, "classes": self.classes, "single": self.single}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Knows what a record has."""
        self.loss, self.single = record["loss"], record["single"]
        self.classes = None if record["classes"] is None else tuple(record["classes"])

    def end(self) -> None:
        """Raises DataError if there never was more than one label."""
        if self.single:
            raise DataError("found only the label 1 in all examples, expected two labels")

    def fault(self, label: float) -> tuple[str, str]:
        """Why a label has no target: what faults like this are called, and what was found and expected."""
        if np.isnan(label):
            return "no label", "found no label, expected one to learn from"
        if self.classes is None:
            return "label is negative", f"found label {shown(label)}, expected 0 or more for {self.loss} loss"
        return "label is of no class", f"found label {shown(label)}, expected {said(self.classes, ' or ')}"

    def labels(self, predictions: np.ndarray) -> np.ndarray:
        """The predicted labels, (n,): the class with the largest prediction, or the number itself."""
        if self.classes is None:
            return losses.mean_of(self.loss, predictions[:, 0])
        found = (predictions[:, 0] > 0).astype(int) if self.outputs == 1 else predictions.argmax(axis=1)
        return np.asarray(self.classes)[found]


def said(labels, between: str = ", ") -> str:
    """Labels as people write them.

    >>> said((-1.0, 1.0, 2.5))
    '-1, 1, 2.5'
    """
    return between.join(map(shown, labels[:NAMED])) + (f"{between}…" if len(labels) > NAMED else "")


def shown(label: float) -> str:
    """A label as people write it, in as few digits as tell it from every other number.

    >>> shown(-1.0), shown(0.1), shown(12345670.0)
    ('-1', '0.1', '12345670')
    """
    short = f"{label:g}"
    return short if float(short) == label else repr(float(label)).removesuffix(".0")
