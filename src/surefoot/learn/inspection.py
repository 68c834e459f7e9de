"""A model in numbers: largest weights, effective rates, features that are frozen or never occurred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surefoot import losses
from surefoot.data.reading import ReadOptions
from surefoot.learn.classes import Label, shown
from surefoot.learn.facts import Facts
from surefoot.learn.model import Model
from surefoot.losses import Loss
from surefoot.losses.recalled import RecalledLoss

QUANTILES = {"least": 0.0, "10%": 0.1, "median": 0.5, "90%": 0.9, "largest": 1.0}


@dataclass(frozen=True)
class Largest:
    """One of the largest weights.

    Attributes:
        feature, name: which; the name is the index as text where there is none.
        label: the class whose score it adds to; None where there is only one output.
        weight: of the feature as it is in the data.
        count: examples in which it occurred; None if unknown.
        rate: the effective learning rate of its next step; None if unknown.
    """

    feature: int
    name: str
    label: Label | None
    weight: float
    count: int | None
    rate: float | None


@dataclass(frozen=True)
class Occurrence:
    """How many features occurred, how many others have a number, how many hardly move any more; and their rates.

    Attributes:
        effective_rates: quantiles of the learning rates of the next steps, by name; empty where no feature occurred.
    """

    seen: int
    never_seen: int
    frozen: int
    effective_rates: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """A model in numbers.

    Attributes:
        loss: its name, and its file where it is user-defined.
        metric: the name of its mean.
        classes: the labels, where it has classes.
        features, outputs: of the table of weights.
        biases: one for each output.
        nonzero_weights, sparsity: how many weights are not 0, and the share of those that are.
        occurrence: of its features; None where the model only predicts.
        largest: the weights of largest magnitude, in descending order.
        reading, training: how it was read and learned; None where it was not learned from files.
    """

    loss: str
    metric: str
    classes: tuple[Label, ...] | None
    features: int
    outputs: int
    biases: tuple[float, ...]
    nonzero_weights: int
    sparsity: float
    occurrence: Occurrence | None
    largest: tuple[Largest, ...]
    reading: ReadOptions | None
    training: Facts | None

    def record(self) -> dict[str, Any]:
        """All of it, for JSON."""
        found = asdict(self)
        occurrence, weights, reading, _ = map(found.pop, ("occurrence", "largest", "reading", "training"))
        training = {} if self.training is None else self.training.record()
        return found | (occurrence or {}) | {"largest": weights, "reading": reading or {}, "training": training}


def largest(model: Model, top: int) -> list[Largest]:
    """The weights of largest magnitude, in descending order."""
    weights = model.numbers["weight"][:, 0]
    flat = np.abs(weights).ravel()
    chosen = np.argsort(-flat, kind="stable")[:top]
    found = []
    for row, output in zip(*np.unravel_index(chosen, weights.shape), strict=True):
        weight, feature = float(weights[row, output]), row if model.ids is None else model.ids[row]
        if weight == 0.0:
            break
        count = rate = None
        if model.stats is not None:
            place = int(np.searchsorted(model.stats.features, feature))
            if place < len(model.stats.features) and model.stats.features[place] == feature:
                count, rate = int(model.stats.counts[place]), float(model.stats.rates[place, output])
        classes = model.targets.classes
        label = None if model.targets.outputs == 1 or not classes else classes[output]
        found.append(Largest(int(feature), model.names.get(int(feature), str(feature)), label, weight, count, rate))
    return found


def summary(model: Model, top: int = 20) -> Summary:
    """The model in numbers, with its `top` largest weights."""
    features, outputs = model.features, len(model.biases)
    nonzero = int(np.count_nonzero(model.numbers["weight"]))
    return Summary(
        loss=loss_text(model.targets.loss),
        metric=model.targets.loss.metric.name,
        classes=None if model.targets.classes is None else tuple(model.targets.classes),
        features=features,
        outputs=outputs,
        biases=tuple(map(float, model.biases)),
        nonzero_weights=nonzero,
        sparsity=1.0 - nonzero / max(features * outputs, 1),
        occurrence=occurrence(model),
        largest=tuple(largest(model, top)),
        reading=model.reading,
        training=model.facts,
    )


def occurrence(model: Model) -> Occurrence | None:
    """What is known of how features occurred."""
    stats = model.stats
    if stats is None:
        return None
    seen = len(stats.features)
    with np.errstate(invalid="ignore"):  # between infinite rates, which are those of rules without ε
        values = np.nan_to_num(np.quantile(stats.rates, [*QUANTILES.values()]), nan=np.inf) if seen else np.empty(0)
    rates = dict(zip(QUANTILES, values.tolist(), strict=False))
    return Occurrence(seen, model.features - seen, int(np.count_nonzero(stats.frozen)), rates)


def described(found: Summary) -> list[tuple[str, str]]:
    """A summary as text, except for the largest weights: pairs of a name and a value."""
    classes = "" if found.classes is None else f", classes {', '.join(map(shown, found.classes))}"
    lines = [("loss", found.loss + classes), ("bias", ", ".join(f"{bias:+.4g}" for bias in found.biases))]
    lines.append(("weights", f"{found.nonzero_weights:,} nonzero; {found.sparsity:.1%} are 0"))
    if found.occurrence is not None:
        counts = found.occurrence
        occurred = f"{counts.seen:,} occurred, {counts.never_seen:,} never did, {counts.frozen:,} are frozen"
        lines.append(("features", occurred))
        if counts.effective_rates:
            rates = (f"{name} {rate:.3g}" for name, rate in counts.effective_rates.items())
            lines.append(("effective rates", ", ".join(rates)))
    if found.training is not None:
        lines.extend(trained(found.training, found.metric))
    if found.reading is not None:
        bits = f", bits {found.reading.bits}" if found.reading.bits else ""
        lines.append(("read as", f"format {found.reading.format}{bits}"))
    return lines


def trained(facts: Facts, metric: str) -> Iterator[tuple[str, str]]:
    """How a model was trained, as text; `metric`: the name of its mean loss."""
    yield "learning rate", rate_text(facts.learning_rate) + (" (implicit steps)" if facts.implicit else "")
    yield "trained on", f"{facts.examples:,} examples of {', '.join(facts.files)}"
    yield f"progressive {metric}", f"{facts.progressive_loss:.4f}"
    if facts.names is not None:
        yield "names", f"{facts.names.kept:,}; collisions: {facts.names.collisions:,}"
    if facts.skipped:
        yield "lines skipped", ", ".join(f"{why}: {n:,}" for why, n in sorted(facts.skipped.items()))
    settings = vars(facts.settings).items()
    given = [f"{name} {value}" for name, value in settings if value not in (None, {}, 0.0, False)]
    yield "settings", ", ".join([*given, f"passes {facts.passes}"])


def rate_text(lr: float | str) -> str:
    """A learning rate for people: a number, or a schedule as it is written.

    >>> rate_text(0.25), rate_text("polynomial:0.1:1:0.5")
    ('0.25', 'polynomial:0.1:1:0.5')
    """
    return lr if isinstance(lr, str) else f"{lr:g}"


def loss_text(loss: Loss) -> str:
    """The name of a loss, with the file and a fingerprint if it is user-defined."""
    return loss.record["described"] if isinstance(loss, RecalledLoss) else losses.described(loss)
