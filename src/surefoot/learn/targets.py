"""From labels in files to targets of a learner: the loss and the classes, inferred where they are not given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surefoot import losses
from surefoot.data import DataError
from surefoot.data.stream.class_names import check_word
from surefoot.learn.classes import Label, labels_of, listed, ordered, shown, with_counterpart
from surefoot.learn.settings import AUTO
from surefoot.losses import Loss

NEARLY_ALL = 0.9
"""The share of labels that are two whole numbers, from which on others are perhaps mistakes."""
MOST = 1000
"""Classes that are inferred from words, at most: more words are hardly names of classes."""
SIGNS, BITS = (-1.0, 1.0), (0.0, 1.0)


@dataclass(frozen=True)
class Inferred:
    """What is known of targets after some labels: the name of the loss, the classes, and `Targets.only`."""

    loss: str | None
    classes: tuple[Label, ...] | None
    only: Label | None

    def check(self) -> None:
        """Raises ValueError for what cannot have been inferred."""
        classes, only = self.classes, self.only
        if classes is not None and (len(classes) < 2 or ordered(classes) != classes):
            raise ValueError(f"targets.classes: found {classes}, expected at least two labels that rise")
        if only is not None and only not in (classes or ()):
            raise ValueError(f"targets.only: found {only}, expected one of the classes")


class Targets:
    """What is predicted, inferred from the first labels where it is not given.

    Args:
        loss: a Loss or the name of one, or "auto": logistic for two labels, softmax for classes that are words or were
            listed, squared for numbers that are not all integers.
        classes: the labels there may be, numbers in ascending order or words; inferred by default.
        words: that labels of the examples stand for, by label; as long as these are read, it may grow.

    Attributes:
        only: the only label so far, where classes are inferred; None once there was another. If it is 1, the other one
            may still turn out to be 0 or −1, and if it is a word, any other one.

    >>> targets = Targets()
    >>> targets.begin(np.array([1.0, -1.0, 1.0]))
    >>> targets.loss.name, targets.of(np.array([-1.0, 1.0, 7.0]))
    ('logistic', array([ 0.,  1., nan]))
    """

    def __init__(
        self,
        loss: str | Loss = AUTO,
        classes: Sequence[Label] | None = None,
        words: Mapping[float, str] | None = None,
    ):
        self.decided = None if loss == AUTO else losses.get(loss)
        self.words = {} if words is None else words
        self.classes = None if classes is None else ordered(classes)
        self.only: Label | None = None
        self._given = self.classes is not None
        self._known: tuple[tuple[Label, ...] | None, np.ndarray, np.ndarray] = None, np.empty(0), np.empty(0, int)
        if self.classes is None:
            return
        if self.decided is None:
            self.decided = losses.FOR_CLASSES if len(self.classes) > 2 else losses.FOR_TWO_CLASSES
        if self.loss.target != "class":
            raise ValueError(f"classes: {self.loss.name} loss predicts numbers, which do not have classes")

    @property
    def loss(self) -> Loss:
        """The loss, once it is known."""
        assert self.decided is not None
        return self.decided

    @property
    def outputs(self) -> int:
        """Numbers that are predicted for each example."""
        if self.classes is None or (len(self.classes) == 2 and not self.loss.joint):
            return 1
        return len(self.classes)

    def begin(self, labels: np.ndarray) -> None:
        """Infers from the first labels what was not given.

        Raises:
            DataError: it cannot be inferred, or they do not fit the loss.
        """
        if self.decided is not None and self.loss.target != "class":
            if words := [self.words[label] for label in labels.tolist() if label in self.words]:
                raise DataError(f"found the label {words[0]!r}, expected numbers for {self.loss.name} loss")
            return
        if self.classes is not None:
            return
        found = tuple(sorted(set(labels[np.isfinite(labels)].tolist())))
        if found and found[0] in self.words:
            self._begin_with_words(sorted(self.words[label] for label in found))
            return
        if not found:
            raise DataError(
                "found no label among the first examples, expected some to learn from (for a table, name their column "
                "with --target)"
            )
        if self.decided is None and len(found) != 2 and not all(label.is_integer() for label in found):
            self.decided = losses.FOR_NUMBERS
            return
        if len(found) > 2:
            raise DataError(
                f"found more than two labels: {listed(found)}; list those of classes with --classes, as in "
                f"--classes {listed(found[:3], ',')}, or use --loss {losses.FOR_NUMBERS.name} to predict numbers"
            )
        self.decided = self.decided or losses.FOR_TWO_CLASSES
        self.only = found[0] if len(found) == 1 else None
        pair = found if len(found) == 2 else tuple(sorted((0.0, *found)))  # 0 is the other one unless it is −1
        self.classes = SIGNS if set(found) <= set(SIGNS) else BITS if set(found) <= set(BITS) else pair

    def _begin_with_words(self, found: list[str]) -> None:
        """Infers classes, which these are."""
        if len(found) > MOST:
            raise DataError(
                f"found {len(found):,} different labels, such as {listed(found[:2])}, expected at most {MOST:,}; give "
                "another --target, or list the classes with --classes"
            )
        for word in found:
            check_word(word)
        self.decided = self.decided or (losses.FOR_CLASSES if len(found) > 2 else losses.FOR_TWO_CLASSES)
        self.only = found[0] if len(found) == 1 else None
        self.classes = tuple(found) if len(found) > 1 else with_counterpart(found[0])

    def of(self, labels: np.ndarray) -> np.ndarray:
        """Targets as engines take them: 0 or 1, the number of the class, or the label; NaN for unusable labels."""
        labels = np.asarray(labels, np.float64)
        if self.classes is None:
            return np.where(labels >= 0, labels, np.nan) if self.loss.target == "count" else labels
        if self.only is not None:
            self._look_for_another(labels)
        if self._known[0] is not self.classes:
            known = labels_of(self.classes)
            order = np.argsort(known)
            self._known = self.classes, known[order], order
        _, known, order = self._known
        place = np.minimum(np.searchsorted(known, labels), len(known) - 1)
        return np.where(known[place] == labels, order[place], np.nan)

    def _look_for_another(self, labels: np.ndarray) -> None:
        """Whether a second label is among these: it decides where the first one was 1, and names a class of words."""
        assert self.classes is not None
        if isinstance(self.only, str):
            later = [self.words[label] for label in dict.fromkeys(labels.tolist()) if label in self.words]
            other = [word for word in later if word != self.only]
            if other and other[0] not in self.classes:
                check_word(other[0])
                self.classes = tuple(word if word == self.only else other[0] for word in self.classes)  # in its place
        elif self.only == 1.0:
            other = {label for label in (0.0, -1.0) if (labels == label).any()}
            self.classes = BITS if other == {0.0} else SIGNS
        else:
            other = {label for label in self.classes if label != self.only and (labels == label).any()}
        self.only = None if other else self.only

    def inferred(self) -> Inferred:
        """What is known so far."""
        return Inferred(None if self.decided is None else self.decided.name, self.classes, self.only)

    def restore(self, known: Inferred) -> None:
        """Continues with what was inferred before.

        Raises:
            ValueError: there is no such loss.
        """
        if self.decided is None:
            if known.loss not in losses.REGISTRY:
                raise ValueError(f"targets.loss: found {known.loss!r}, expected one of {', '.join(losses.REGISTRY)}")
            self.decided = losses.REGISTRY[known.loss]
        self.only, self.classes = known.only, known.classes

    def remark(self) -> str | None:
        """What is to be known at the end of all examples: that they have one label alone."""
        if self.only is None or self.classes is None:
            return None
        other = next(label for label in self.classes if label != self.only)
        return (
            f"All examples have the label {shown(self.only)}, which the model predicts; the other label is taken to be "
            f"{shown(other)}: list both with --classes if it is another one."
        )

    def fault(self, label: float) -> tuple[str, str]:
        """Why a label cannot be used: the kind of fault, and what was found and expected."""
        if np.isnan(label):
            return "no label", "found no label, expected one to learn from"
        if self.classes is None:
            return "label is negative", f"found label {shown(label)}, expected 0 or more for {self.loss.name} loss"
        inferred = "" if self._given else ", as among the first examples; list all labels with --classes"
        found = shown(self.words.get(label, label))
        return "unknown class", f"found label {found}, expected {listed(self.classes, ' or ')}{inferred}"

    def labels(self, predictions: np.ndarray) -> np.ndarray:
        """The predicted labels, (n,): the class with the largest prediction, or the number itself."""
        if self.classes is None:
            return self.loss.means(predictions[:, 0])
        found = (predictions[:, 0] > 0).astype(int) if self.outputs == 1 else predictions.argmax(axis=1)
        return np.asarray(self.classes)[found]


def odd_among(labels: np.ndarray) -> str | None:
    """The note on labels taken for numbers because of a few, where the others are two whole numbers.

    >>> odd_among(np.array([0.0, 1.0] * 20 + [0.5]))[:56]
    'Labels are predicted as numbers because of 0.5; all othe'
    >>> odd_among(np.array([0.0, 1.0, 0.5, 0.7]))
    """
    found, counts = np.unique(labels[np.isfinite(labels)], return_counts=True)
    pair = np.sort(np.argsort(-counts, kind="stable")[:2])
    odd = np.delete(found, pair)
    is_pair = len(pair) == 2 and all(label.is_integer() for label in found[pair].tolist())
    if not (len(odd) and is_pair and counts[pair].sum() >= NEARLY_ALL * counts.sum()):
        return None
    others = found[pair].tolist()
    return (
        f"Labels are predicted as numbers because of {listed(odd.tolist())}; all others among the first are "
        f"{listed(others, ' or ')}: if these are classes, list them with --classes {listed(others, ',')}."
    )
