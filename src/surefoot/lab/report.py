"""The report of a race: one HTML page that needs nothing but itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from surefoot.lab import standings
from surefoot.lab.figures import Look, look
from surefoot.lab.page import Picture, svg, template
from surefoot.lab.problems import PROBLEMS
from surefoot.lab.race import VALIDATION_SHARE
from surefoot.lab.standings import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surefoot.data import Dataset
    from surefoot.lab.paths import Path
    from surefoot.lab.race import Entry, Settings
    from surefoot.losses import Loss

    Row = dict[str, Any]

TRACE_PROBLEM, TRACE_RATE, TRACE_STEPS = "elongated", 0.4, 20


class Comparison(Protocol):
    """What a report is made from; see `comparison.Comparison`."""

    @property
    def data(self) -> Dataset: ...

    @property
    def loss(self) -> Loss: ...

    @property
    def loss_parameter(self) -> float | None: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def entries(self) -> Sequence[Entry]: ...

    def table(self) -> list[Row]: ...

    def to_dict(self) -> dict[str, Any]: ...


def render(result: Comparison) -> str:
    """The page as HTML.

    Raises:
        ValueError: Matplotlib or Jinja2 is not installed.
    """
    page = template("report.html")
    rows, facts = result.table(), result.to_dict()
    columns = standings.columns(rows)
    looks = {entry.rule.name: look(number) for number, entry in enumerate(result.entries)}
    return page.render(
        headline=standings.headline(rows),
        runners_up=standings.runners_up(rows),
        facts=facts,
        rows=rows,
        columns=columns,
        best={column.key: column.best(rows) for column in columns},
        scale=scale(rows),
        looks=looks,
        pictures={picture.name: picture for picture in pictures(result)},
        traces=traces(result, looks),
        trace_rate=TRACE_RATE,
        trace_steps=TRACE_STEPS,
        trace_formula=PROBLEMS[TRACE_PROBLEM].formula,
        how_rates=standings.how_rates_were_found(result.entries),
        how_searched=standings.how_the_search_goes(result.entries),
        how_diverged=standings.how_divergence_is_told(),
        settings=settings(result),
    )


# Texts


def settings(result: Comparison) -> dict[str, str]:
    """The settings of the race, in words."""
    given = result.settings
    loss = f"{result.loss.name}: {result.loss.formula or result.loss.summary}"
    if result.loss.parameter is not None:
        loss += f"; {result.loss.parameter.name} = {result.loss_parameter:g}"
    said = {
        "data": result.data.describe(),
        "model": "linear with a bias",
        "loss": loss,
        "losses shown": result.loss.metric.name,
        "start": "all weights zero; every rule sees the same examples in the same order",
        "batch size": str(given.batch_size),
        "epochs": str(given.epochs),
        "seeds": ", ".join(map(str, given.seeds)),
        "engine": given.engine,
        "granularity": given.granularity,
    }
    if given.convention:
        said["convention"] = given.convention
    if given.l1 or given.l2:
        said["penalties"] = f"l1 = {given.l1:g}, l2 = {given.l2:g}"
    return said


def scale(rows: Sequence[Row]) -> dict[str, Any]:
    """The scale of the dots; where on it, in percent, each rule's held-out loss lies, and how wide its deviation is."""
    marks = {row["rule"]: (row["test_loss"], row["test_loss_std"] or 0.0) for row in rows if not row["diverged"]}
    if not marks:
        return {"places": {}}
    low = min(loss - deviation for loss, deviation in marks.values())
    high = standings.zoomed(low, [loss + deviation for loss, deviation in marks.values()])
    width = high - low or 1.0
    places = {
        rule: {
            "at": round(min(100 * (loss - low) / width, 100), 2),
            "spread": round(100 * deviation / width, 2) if loss + deviation <= high else 0,
            "beyond": loss > high,
        }
        for rule, (loss, deviation) in marks.items()
    }
    return {"low": number(low), "high": number(high), "places": places}


def captions(result: Comparison) -> dict[str, str]:
    """What there is to see in each figure."""
    from surefoot.lab.race_figures import counts_differ

    before = result.entries[0].runs[0].scores[0]
    band = " The band spans the seeds." if len(result.settings.seeds) > 1 else ""
    return {
        "held_out": f"Lower is better; before training it is {number(before.test_loss)}. A curve that turns up again "
        f"while that of training falls has begun to overfit.{band}",
        "training": f"How fast a rule minimizes what it is given; before training the loss is "
        f"{number(before.train_loss)}.{band}",
        "time": "The same loss against the clock: epochs times the median time of one. A marker is an epoch, and the "
        "further left it stands, the cheaper the rule's step.",
        "rarity": f"After training, on quarters of the training examples, those with the rarest features to the left: "
        f"where a rate for each feature can gain most.{band}",
        "rarity_held_out": "The same of held-out examples, where fitting rare features closely can also be overfitting."
        + band,
        "rates": "The whole move that a steady gradient causes; momentum adds its steps up, so its rate is η/(1 − β). "
        "A flat line steps every feature alike. AdaGrad's falls: the rarer a feature, the bolder its step. "
        "Lines are medians over features, bands their middle half." + steepest(result)
        if counts_differ(result.entries)
        else "Every feature occurs equally often here, so there is one range for each rule: the marker is the median "
        "over features, the bar their middle half. A rule without a bar steps every feature alike. Momentum adds its "
        "steps up, so its rate is η/(1 − β).",
        "search": f"Each rule's loss on {VALIDATION_SHARE:.0%} of the training part, held back for this, after "
        f"{result.settings.epochs} epoch{'s' * (result.settings.epochs > 1)} at each rate. The large marker was "
        "chosen; a wide valley forgives a rate that is off. A cross at the top is a rate that diverged.",
    }


def steepest(result: Comparison) -> str:
    """By how much the rates of rare and frequent features differ where they differ most."""
    ratios = {}
    for entry in result.entries:
        rates = entry.runs[0].rates
        if rates is not None and len(rates.median) > 1 and rates.median[-1] > 0:
            ratios[entry.rule.name] = rates.median[0] / rates.median[-1]
    if not ratios or max(ratios.values()) < 2:
        return ""
    name = max(ratios, key=lambda key: ratios[key])
    return f" Under {name} the rarest features step {ratios[name]:,.0f} times as far as the most frequent ones."


# What is shown


def pictures(result: Comparison) -> list[Picture]:
    """The figures of the race with their captions."""
    from surefoot.lab.race_figures import TITLES, figures

    said, shown = captions(result), []
    for name, figure in figures(result.entries, result.loss.metric.name, titled=False).items():
        shown.append(Picture(name, TITLES[name], svg(figure, name, f"{TITLES[name]}. {said[name]}"), said[name]))
    return shown


def traces(result: Comparison, looks: dict[str, Look]) -> list[Picture]:
    """Where each rule goes on the textbook's elongated bowl; a custom rule that cannot be traced is skipped."""
    from surefoot.lab.trace_figures import small_figures
    from surefoot.lab.tracing import trace

    paths: list[Path] = []
    for entry in result.entries:
        with contextlib.suppress(ValueError):
            paths += trace(entry.rule, TRACE_PROBLEM, TRACE_RATE, TRACE_STEPS)
    if not paths:
        return []
    problem, shown = PROBLEMS[TRACE_PROBLEM], []
    for path, figure in zip(paths, small_figures(problem, paths, looks), strict=True):
        left = float(problem.distance(path.positions[-1]))
        caption = "diverged" if path.diverged else f"ends {left:.2g} from the minimum"
        picture = svg(figure, f"trace-{looks[path.rule].number}", f"Trace of {path.rule}: {caption}")
        shown.append(Picture(path.rule, path.rule, picture, caption))
    return shown
