"""What surefoot train prints: its progress on standard error, its results as text or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Results:
    """What came of a training, as it is shown.

    Attributes:
        outcome: what was trained and tested.
        model, report: the files.
        seconds: that all of it took.
    """

    outcome: Outcome
    model: Path
    report: Path | None
    seconds: float

    @property
    def features(self) -> int:
        """Features that occurred."""
        learned = self.outcome.model
        return learned.features if learned.stats is None else len(learned.stats.features)

    @property
    def nonzero(self) -> int:
        """Weights that are not 0."""
        return int((self.outcome.model.numbers["weight"] != 0).sum())

    def record(self) -> dict[str, Any]:
        """The results, as `--json` prints them."""
        from surefoot.learn.classes import as_users_have

        facts, test, targets = self.outcome.facts, self.outcome.test, self.outcome.model.targets
        metric = targets.loss.metric
        found: dict[str, Any] = {
            "model": self.model,
            "loss": targets.loss.name,
            "metric": metric.name,
            "classes": None if targets.classes is None else [as_users_have(label) for label in targets.classes],
            "examples": facts.examples,
            "features": self.features,
            "nonzero_weights": self.nonzero,
            "progressive_loss": facts.progressive_loss,
        }
        found |= {f"progressive_{name.lower()}": root for name, root in metric.roots(facts.progressive_loss).items()}
        if test is not None:
            found |= {"test_examples": test.examples, "test_loss": test.loss, "test_accuracy": test.accuracy}
            found |= {f"test_{name.lower()}": root for name, root in metric.roots(test.loss).items()}
            found |= {"test_area_under_curve": test.area_under_curve, "test_skipped": test.skipped}
        learned = facts.record()
        names = ("learning_rate", "implicit", "rates", "passes", "skipped", "diverged", "names")
        found |= {name: learned[name] for name in names if name in learned}
        return found | {"seconds": self.seconds, "examples_per_second": facts.examples / max(self.seconds, 1e-9)}

    def lines(self) -> Iterator[tuple[str, str]]:
        """The results in a few lines, each a name and a text."""
        from surefoot.learn.inspection import rate_text

        facts, test, metric = self.outcome.facts, self.outcome.test, self.outcome.model.targets.loss.metric
        yield "examples", f"{facts.examples:,} in {self.seconds:.2f} s"
        yield "features", f"{self.features:,}, {self.nonzero:,} nonzero weights"
        yield f"progressive {metric.name}", metric.text(facts.progressive_loss)
        if test is not None:
            measured = (("accuracy", test.accuracy), ("AUC", test.area_under_curve))
            also = [f"{name} {value:.4f}" for name, value in measured if value is not None]
            yield f"test {metric.name}", ", ".join([metric.text(test.loss), *also])
        yield "learning rate", rate_text(facts.learning_rate) + (" (implicit steps)" if facts.implicit else "")
        for part, skipped in (("", facts.skipped), ("test ", {} if test is None else test.skipped)):
            if skipped:
                reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(skipped.items()))
                yield f"{part}lines skipped", reasons
        if facts.names is not None and facts.names.collisions:
            kept, collisions = facts.names.kept, facts.names.collisions
            yield "names", f"{kept:,}; collisions: {collisions:,}, fewer with more --bits"
        yield "model", str(self.model)
        if self.report is not None:
            yield "report", str(self.report)


def show(results: Results) -> None:
    """Prints the lines."""
    output.facts(results.lines())
