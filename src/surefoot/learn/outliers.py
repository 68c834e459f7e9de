"""Numbers to predict that are so far from the others that the loss is mostly of these few."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from surefoot.losses import Loss

WITHIN = 87.5
"""Percent of the first targets, by whose distance from the median others are far."""
FARTHEST = 150.0
"""How many times that distance a far target is away."""
SHARE = 0.5
"""Of what is lost by a constant, which far targets have where a note says so."""
LATEST, SEVERAL = 16, 4
"""Of this many targets, how many are far where it is perhaps the scale that changes."""


@dataclass
class Outliers:
    """Targets that are far from the median of the first ones.

    Attributes:
        loss: by which they are learned from.
        median, spread: of the first targets, and the distance within which most of them are; 0 if all are the same.
        targets, far: how many there are, and how many are far.
        farthest: the one that is farthest away.
        lost, lost_by_far: about what a constant loses by all, and by those that are far: the squares of the distances,
            of counts the distances.
        latest: which of the latest targets are far.

    >>> from surefoot import losses
    >>> found = Outliers.of(np.arange(99.0), losses.get("squared"))
    >>> found.add(np.append(np.arange(99.0), -1e6))
    >>> found.remark()[:58]
    '1 of 100 targets is more than 150 times as far from the me'
    """

    loss: Loss
    median: float
    spread: float
    targets: int = 0
    far: int = 0
    farthest: float = 0.0
    lost: float = 0.0
    lost_by_far: float = 0.0
    latest: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    @classmethod
    def of(cls, first: np.ndarray, loss: Loss) -> Outliers:
        """None yet: the first targets are those by which others are judged."""
        median = float(np.median(first))
        away = abs(first - median)
        spread = np.percentile(away, WITHIN) or np.percentile(away[away > 0], WITHIN) if away.any() else 0.0
        return cls(loss, median, float(spread))

    @np.errstate(under="ignore")
    def add(self, targets: np.ndarray) -> None:
        """Counts targets, the first ones among them."""
        away = abs(targets - self.median)
        far, lost = away > FARTHEST * self.spread, away if self.loss.target == "count" else away * away
        self.targets += len(targets)
        self.lost += float(lost.sum())
        self.latest = np.append(self.latest, far[-LATEST:])[-LATEST:]
        if far.any():
            self.far += int(far.sum())
            self.farthest = max(self.farthest, *targets[far].tolist(), key=lambda target: abs(target - self.median))
            self.lost_by_far += float(lost[far].sum())

    @property
    def come_together(self) -> bool:
        """Whether the latest targets are all far, or several of them: soon there may be more such ones than others."""
        return int(self.latest.sum()) >= SEVERAL

    def remark(self) -> str | None:
        """The note on far targets, if they are few and the loss is mostly theirs."""
        follows = self.loss.center == "mean" or self.loss.target == "count"
        few = self.far * 100.0 <= (100.0 - WITHIN) * self.targets
        if not (follows and self.spread and few and self.lost_by_far > SHARE * self.lost):
            return None
        instead = ", or use the huber or the quantile loss" if self.loss.target == "number" else ""
        return (
            f"{self.far:,} of {self.targets:,} targets {'is' if self.far == 1 else 'are'} more than {FARTHEST:g} times "
            f"as far from the median as {WITHIN:g} % of them, such as {self.farthest:g}: the {self.loss.name} loss is "
            f"mostly theirs. Check them{instead}."
        )
