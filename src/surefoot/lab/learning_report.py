"""The report of a training: one HTML page that needs nothing but itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot.lab.figures import CONTOUR, PALETTE, curves, look, plain_logarithms, style, writing
from surefoot.lab.model_figures import AGAINST, FOR, draw_rates
from surefoot.lab.page import Picture, svg, template
from surefoot.learn.inspection import Largest, Summary, described, rate_text, summary
from surefoot.learn.settings import AUTO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from surefoot.learn.evaluation import Evaluation
    from surefoot.learn.plan import Outcome
    from surefoot.losses import Metric

TOP = 20
SIZE = (5.8, 4.0)


def write(outcome: Outcome, path: Path, model: Path) -> None:
    """Writes the page.

    Args:
        outcome: of the training, with the evaluations that it gathers on request.
        path: of the page.
        model: where the model was written.

    Raises:
        ValueError: Matplotlib or Jinja2 is not installed, or the page cannot be written.
    """
    page = render(outcome, model)
    with writing(path, "w") as file:
        file.write(page)


def render(outcome: Outcome, model: Path) -> str:
    """The page as HTML."""
    page = template("learning.html")
    found, facts = summary(outcome.model, TOP), outcome.facts
    return page.render(
        files=", ".join(Path(file).name for file in facts.files),
        headline=headline(outcome),
        lead=lead(outcome),
        notices=notices(outcome),
        numbers=numbers(outcome, found),
        pictures=pictures(outcome),
        weights=bars(found.largest),
        several=any(weight.label is not None for weight in found.largest),
        settings=settings(outcome, found, model),
        made=f"Made {datetime.now().astimezone():%Y-%m-%d %H:%M} with surefoot {facts.version}.",
    )


# Texts


def measured(outcome: Outcome) -> tuple[Evaluation | None, str]:
    """The evaluation that curves are drawn of, and what of."""
    if outcome.test is not None:
        return outcome.test, "the test part"
    return outcome.progressive, "the training part, every example predicted before it was learned from"


def headline(outcome: Outcome) -> str:
    facts, unit = outcome.facts, metric_of(outcome)
    if outcome.diverged:
        return f"Diverged; the last good model is of {facts.examples:,} examples"
    if outcome.test is not None:
        return f"Test {unit.name}: {unit.text(outcome.test.loss, '.4g')}"
    return f"Progressive {unit.name}: {unit.text(facts.progressive_loss, '.4g')}"


def metric_of(outcome: Outcome) -> Metric:
    return outcome.model.targets.loss.metric


def lead(outcome: Outcome) -> str:
    """How the learning rate was found."""
    facts = outcome.facts
    kind = "implicit steps" if facts.implicit else "explicit steps"
    if facts.settings.lr != AUTO:
        return f"Learned with {facts.settings.optimizer} at a learning rate of {rate_text(facts.learning_rate)}."
    weight = max(rate.weight for rate in facts.rates)
    return (
        f"Several learning rates were tried side by side in one pass and mixed by how well they predict; {weight:.0%} "
        f"of the mixture went to {rate_text(facts.learning_rate)} with {kind}."
    )


def notices(outcome: Outcome) -> list[str]:
    found: list[str] = []
    if outcome.diverged:
        found.append(f"The training stopped early: {outcome.diverged}.")
    of_test = {} if outcome.test is None else outcome.test.skipped
    for part, skipped in (("Lines", outcome.facts.skipped), ("Test lines", of_test)):
        if skipped:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(skipped.items()))
            found.append(f"{part} skipped: {reasons}.")
    return found


def numbers(outcome: Outcome, summary: Summary) -> dict[str, str]:
    """The numbers at the top."""
    facts, test, metric = outcome.facts, outcome.test, metric_of(outcome)
    seen = 0 if summary.occurrence is None else summary.occurrence.seen
    found = {"examples": f"{facts.examples:,}", "features that occurred": f"{seen:,}"}
    found[f"progressive {metric.name}"] = metric.text(facts.progressive_loss, ".4g")
    if test is not None:
        found[f"test {metric.name}"] = metric.text(test.loss, ".4g")
    evaluation, of = measured(outcome)
    if evaluation is not None:
        of = "test" if test is not None else "progressive"
        if evaluation.accuracy is not None:
            found[f"{of} accuracy"] = f"{evaluation.accuracy:.2%}"
        if evaluation.area_under_curve is not None:
            found[f"{of} area under the ROC curve"] = f"{evaluation.area_under_curve:.4f}"
    found["weights that are 0"] = f"{summary.sparsity:.1%}"
    return found


def settings(outcome: Outcome, summary: Summary, model: Path) -> list[tuple[str, str]]:
    lines = [line for line in described(summary) if not line[0].startswith(("progressive", "lines skipped"))]
    return [*lines, ("time", f"{outcome.seconds:.1f} s"), ("model", str(model))]


def bars(top: Sequence[Largest]) -> list[dict[str, Any]]:
    """The rows of the table of weights; bars start in the middle."""
    most = max((abs(weight.weight) for weight in top), default=1.0)
    rows = []
    for weight in top:
        wide = 50.0 * abs(weight.weight) / most
        rows.append(
            {
                "name": weight.name,
                "label": "" if weight.label is None else f"{weight.label:g}",
                "weight": f"{weight.weight:+.4g}",
                "count": "" if weight.count is None else f"{weight.count:,}",
                "rate": "" if weight.rate is None else f"{weight.rate:.3g}",
                "start": round(50.0 - wide if weight.weight < 0 else 50.0, 2),
                "wide": round(wide, 2),
                "color": FOR if weight.weight > 0 else AGAINST,
            }
        )
    return rows


# What is shown


def pictures(outcome: Outcome) -> list[Picture]:
    """The figures with their captions."""
    evaluation, of = measured(outcome)
    made: list[tuple[str, str, Figure, str]] = []
    with style():
        if outcome.facts.history:
            said = (
                "The mean loss of the examples since the point before; each was predicted before it was learned from."
            )
            made.append(("loss", "Progressive loss", loss_curve(outcome), said))
        if evaluation is not None and evaluation.area_under_curve is not None:
            said = f"On {of}. The area under the curve is {evaluation.area_under_curve:.4f}."
            made.append(("roc", "ROC curve", roc_curve(evaluation), said))
        if evaluation is not None and evaluation.outputs == 1 and len(evaluation.calibration()[0]) > 1:
            said = f"On {of}: predicted and observed values, in groups of similar predictions."
            made.append(("calibration", "Calibration", calibration_curve(evaluation), said))
        figure, axes = curves("", "", "", *SIZE)
        draw_rates(axes, outcome.model)
        said = "Medians of features that occur about as often, and the band of the middle 80 %."
        made.append(("rates", "Effective learning rates", figure, said))
    return [Picture(name, title, svg(figure, name, f"{title}. {said}"), said) for name, title, figure, said in made]


def loss_curve(outcome: Outcome) -> Figure:
    examples, losses = np.array(outcome.facts.history).T
    figure, axes = curves("", "examples", metric_of(outcome).name, *SIZE)
    axes.plot(examples, losses, **look(0).line())
    if outcome.test is not None:
        axes.axhline(outcome.test.loss, color=PALETTE[1], linestyle="--", linewidth=1.2)
        axes.annotate(
            "test", (1.0, outcome.test.loss), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", color=PALETTE[1],
        )  # fmt: skip
    axes.set_xscale("log")
    plain_logarithms(axes)
    return figure


def roc_curve(evaluation: Evaluation) -> Figure:
    figure, axes = curves("", "false positive rate", "true positive rate", *SIZE)
    axes.plot([0, 1], [0, 1], color=CONTOUR, linewidth=0.8)
    axes.plot(*evaluation.roc(), color=FOR)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure


def calibration_curve(evaluation: Evaluation) -> Figure:
    """Mean target against mean prediction; the larger a marker, the more examples."""
    predicted, wanted, share = evaluation.calibration()
    classes = evaluation.binary
    labels = ("predicted probability", "share that is so") if classes else ("predicted", "mean label")
    figure, axes = curves("", *labels, *SIZE)
    low, high = min(predicted.min(), wanted.min()), max(predicted.max(), wanted.max())
    ends = [0.0, 1.0] if classes else [low, high]
    axes.plot(ends, ends, color=CONTOUR, linewidth=0.8)
    axes.plot(predicted, wanted, color=FOR, linewidth=0.8)
    axes.scatter(
        predicted,
        wanted,
        s=10 + 70 * share / max(share.max(), math.ulp(0.0)),
        color=FOR,
        edgecolors="#ffffff",
        linewidths=0.5,
    )
    return figure
