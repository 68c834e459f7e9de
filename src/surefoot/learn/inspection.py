"""A model in numbers: largest weights, effective rates, features that are frozen or never occurred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot import losses
from surefoot.learn.model import Model
from surefoot.learn.targets import shown
from surefoot.losses import Loss
from surefoot.losses.recalled import RecalledLoss

QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


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
    label: float | None
    weight: float
    count: int | None
    rate: float | None


def largest(model: Model, top: int) -> list[Largest]:
    """The weights of largest magnitude, in descending order."""
    flat = np.abs(model.weights).ravel()
    chosen = np.argsort(-flat, kind="stable")[:top]
    found = []
    for row, output in zip(*np.unravel_index(chosen, model.weights.shape), strict=True):
        weight, feature = float(model.weights[row, output]), row if model.ids is None else model.ids[row]
        if weight == 0.0:
            break
        count = rate = None
        if model.stats is not None:
            place = int(np.searchsorted(model.stats.features, feature))
            count, rate = int(model.stats.counts[place]), float(model.stats.rates[place, output])
        classes = model.targets.classes
        label = None if model.targets.outputs == 1 or not classes else float(classes[output])
        found.append(Largest(int(feature), model.names.get(int(feature), str(feature)), label, weight, count, rate))
    return found


def summary(model: Model, top: int = 20) -> dict[str, Any]:
    """All of it, for JSON."""
    features, outputs = model.weights.shape
    nonzero = int(np.count_nonzero(model.weights))
    found: dict[str, Any] = {
        "loss": loss_text(model.targets.loss),
        "metric": model.targets.loss.metric.name,
        "classes": model.targets.classes,
        "features": features,
        "outputs": outputs,
        "biases": model.biases,
        "nonzero_weights": nonzero,
        "sparsity": 1.0 - nonzero / max(model.weights.size, 1),
    }
    if model.stats is not None:
        stats = model.stats
        found |= {"seen": len(stats.features), "never_seen": features - len(stats.features)}
        found["frozen"] = int(np.count_nonzero(stats.frozen))
        if len(stats.features):
            values = np.quantile(stats.rates, QUANTILES)
            found["effective_rates"] = dict(zip(("least", "10%", "median", "90%", "largest"), values, strict=True))
    found["largest"] = [vars(weight) for weight in largest(model, top)]
    return found | {"reading": model.reading, "training": model.facts}


def described(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The same as text, except for the largest weights: pairs of a name and a value."""
    training, reading = facts["training"], facts["reading"]
    classes = "" if facts["classes"] is None else f", classes {', '.join(map(shown, facts['classes']))}"
    lines = [("loss", facts["loss"] + classes), ("bias", ", ".join(f"{bias:+.4g}" for bias in facts["biases"]))]
    lines.append(("weights", f"{facts['nonzero_weights']:,} nonzero; {facts['sparsity']:.1%} are 0"))
    if "seen" in facts:
        occurred = f"{facts['seen']:,} occurred, {facts['never_seen']:,} never did, {facts['frozen']:,} are frozen"
        lines.append(("features", occurred))
    if "effective_rates" in facts:
        rates = (f"{name} {rate:.3g}" for name, rate in facts["effective_rates"].items())
        lines.append(("effective rates", ", ".join(rates)))
    if training:
        step = " (implicit steps)" if training["implicit"] else ""
        lines.append(("learning rate", rate_text(training["learning_rate"]) + step))
        lines.append(("trained on", f"{training['examples']:,} examples of {', '.join(training['files'])}"))
        lines.append((f"progressive {facts['metric']}", f"{training['progressive_loss']:.4f}"))
        if training.get("names"):
            names = training["names"]
            lines.append(("names", f"{names['kept']:,}; collisions: {names['collisions']:,}"))
        if training["skipped"]:
            lines.append(
                ("lines skipped", ", ".join(f"{why}: {n:,}" for why, n in sorted(training["skipped"].items())))
            )
        settings = training["settings"].items()
        given = [f"{name} {value}" for name, value in settings if value not in (None, {}, 0.0, False)]
        lines.append(("settings", ", ".join([*given, f"passes {training['passes']}"])))
    if reading:
        read = [f"{name} {value}" for name, value in reading.items() if name == "format" or (name == "bits" and value)]
        lines.append(("read as", ", ".join(read)))
    return lines


def rate_text(lr: float | str) -> str:
    """A learning rate for people: a number, or a schedule as it is written.

    >>> rate_text(0.25), rate_text("polynomial:0.1:1:0.5")
    ('0.25', 'polynomial:0.1:1:0.5')
    """
    return lr if isinstance(lr, str) else f"{lr:g}"


def loss_text(loss: Loss) -> str:
    """The name of a loss, with the file and a fingerprint if it is user-defined."""
    return loss.record["described"] if isinstance(loss, RecalledLoss) else losses.described(loss)
