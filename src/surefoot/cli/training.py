"""What surefoot train prints: its progress on standard error, its results as text or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.cli import output

if TYPE_CHECKING:
    from surefoot.learn.plan import Outcome, Progress


@contextmanager
def showing(quiet: bool) -> Iterator[Any]:
    """Progress on standard error: a bar on a terminal, otherwise a line whenever the number of examples has doubled."""
    if quiet:
        yield None
    elif output.is_terminal():
        with output.training_bar() as bar:
            yield bar
    else:
        yield Lines()


class Lines:
    """Prints a line whenever the number of examples has doubled."""

    def __init__(self) -> None:
        self.due, self.before = 1, (0, 0.0)

    def __call__(self, now: Progress) -> None:
        if now.examples < self.due:
            return
        if self.due == 1:
            output.note(f"{'examples':>14}  {'loss':>9}  {'since then':>10}  {'examples/s':>11}")
        while self.due <= now.examples:
            self.due *= 2
        examples, total = self.before
        fresh = now.number == 0 and now.examples > examples
        since = (now.loss * now.examples - total) / (now.examples - examples) if fresh else now.loss
        self.before = now.examples, now.loss * now.examples
        output.note(
            f"{now.examples:>14,}  {now.loss:>9.4g}  {since:>10.4g}  {now.fresh / max(now.seconds, 1e-9):>11,.0f}"
        )


def results(outcome: Outcome, model: Path, seconds: float) -> dict[str, Any]:
    """The results, as `--json` prints them."""
    facts = outcome.model.facts
    test = outcome.test
    weights = outcome.model.weights
    found: dict[str, Any] = {
        "model": model,
        "loss": outcome.model.targets.loss.name,
        "metric": outcome.model.targets.loss.metric.name,
        "classes": outcome.model.targets.classes,
        "examples": facts["examples"],
        "features": len(outcome.model.stats.features) if outcome.model.stats is not None else len(weights),
        "nonzero_weights": int((weights != 0).sum()),
        "progressive_loss": facts["progressive_loss"],
    }
    metric = outcome.model.targets.loss.metric
    found |= {f"progressive_{name.lower()}": root for name, root in metric.roots(facts["progressive_loss"]).items()}
    if test is not None:
        found |= {"test_examples": test.examples, "test_loss": test.loss, "test_accuracy": test.accuracy}
        found |= {f"test_{name.lower()}": root for name, root in metric.roots(test.loss).items()}
        found |= {"test_area_under_curve": test.area_under_curve, "test_skipped": test.skipped}
    found |= {name: facts[name] for name in ("learning_rate", "implicit", "rates", "passes", "skipped", "diverged")}
    if "names" in facts:
        found["names"] = facts["names"]
    return found | {"seconds": seconds, "examples_per_second": facts["examples"] / max(seconds, 1e-9)}


def show(outcome: Outcome, facts: dict[str, Any], report: Path | None) -> None:
    """The results in a few lines."""
    from surefoot.learn.inspection import rate_text

    out, metric = output.console(), outcome.model.targets.loss.metric
    lines = [
        ("examples", f"{facts['examples']:,} in {facts['seconds']:.2f} s"),
        ("features", f"{facts['features']:,}, {facts['nonzero_weights']:,} nonzero weights"),
        (f"progressive {metric.name}", metric.text(facts["progressive_loss"])),
    ]
    if outcome.test is not None:
        also = [
            f"{name} {value:.4f}"
            for name, value in (("accuracy", outcome.test.accuracy), ("AUC", outcome.test.area_under_curve))
            if value is not None
        ]
        lines.append((f"test {metric.name}", ", ".join([metric.text(outcome.test.loss), *also])))
    step = " (implicit steps)" if facts["implicit"] else ""
    lines.append(("learning rate", rate_text(facts["learning_rate"]) + step))
    for part, skipped in {"": facts["skipped"], "test ": facts.get("test_skipped", {})}.items():
        if skipped:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(skipped.items()))
            lines.append((f"{part}lines skipped", reasons))
    if facts.get("names", {}).get("collisions"):
        kept = facts["names"]
        lines.append(("names", f"{kept['kept']:,}; collisions: {kept['collisions']:,}, fewer with more --bits"))
    lines.append(("model", str(facts["model"])))
    if report is not None:
        lines.append(("report", str(report)))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        out.print(f"{name:<{width}}  {text}", soft_wrap=True)
