"""`compare`: race rules on real data; and what comes of it: a table, a data frame, figures, JSON and a report."""

from __future__ import annotations

import datetime
import inspect
import json
import operator
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surefoot import losses, schedules
from surefoot.atomic_write import atomic_write, check
from surefoot.lab import standings
from surefoot.lab.notebook import html_table
from surefoot.lab.race import VALIDATION_SHARE, Clock, Entry, Race, Settings, Task
from surefoot.losses import Loss
from surefoot.rules import REGISTRY, Rule, RuleError, by_name, resolve
from surefoot.schedules import Rate, first_rate, name_of

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas as pd

    from surefoot.data import Dataset

SELECTION = ("sgd", "momentum", "visits", "adagrad", "ftrl", "rmsprop", "adadelta", "adam")
"""The rules that race where none are named."""


@dataclass
class Comparison:
    """What came of a race.

    Attributes:
        data: what was learned.
        loss: what was minimized, in whose metric losses are.
        loss_parameter: the loss's own number; None where it has none.
        settings: what all rules had in common.
        entries: the rules that finished, in the order in which they were named.
        left_out: rules that could not honour the settings, and why.
        unfinished: rules that Ctrl-C kept from finishing.
        command: what was typed to get it.
        created: when, in ISO format.
    """

    data: Dataset
    loss: Loss
    loss_parameter: float | None
    settings: Settings
    entries: list[Entry] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    command: str = ""
    created: str = field(default_factory=lambda: datetime.datetime.now().astimezone().isoformat(timespec="seconds"))

    def table(self) -> list[dict[str, Any]]:
        """A row for each rule: the lowest held-out loss first, diverged ones last; `behind` is against the first."""
        entries = sorted(
            self.entries, key=lambda entry: (entry.diverged is not None, entry.final("test_loss")[0] or 0.0)
        )
        rows = []
        for entry in entries:
            behind, error = entry.behind(entries[0])
            rows.append(entry.row() | {"behind": behind, "behind_error": error})
        return rows

    def frame(self) -> pd.DataFrame:
        """A row for each rule, seed and epoch (0 is before training); `seconds` have passed by its end."""
        import pandas as pd

        rows = []
        for entry in self.entries:
            for run in entry.runs:
                elapsed = np.cumsum([0.0, *run.seconds])
                for epoch, score in enumerate(run.scores):
                    place = {"rule": entry.rule.name, "seed": run.seed, "epoch": epoch, "seconds": elapsed[epoch]}
                    rows.append(place | asdict(score))
        return pd.DataFrame(rows)

    def figures(self) -> dict[str, matplotlib.figure.Figure]:
        """Matplotlib figures by name: loss against epoch and time, effective learning rates, the search for rates."""
        from surefoot.lab.race_figures import figures

        return figures(self.entries, self.loss.metric.name)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as numbers, strings, lists and dicts. No number is NaN or infinite; what diverged is None."""
        data = self.data
        return {
            "command": self.command,
            "created": self.created,
            "interrupted": bool(self.unfinished),
            "unfinished": self.unfinished,
            "left_out": self.left_out,
            "data": {
                "name": data.name,
                "description": data.describe(),
                "task": data.task,
                "training_examples": len(data.train),
                "held_out_examples": len(data.test),
                "features": data.n_features,
            },
            "loss": self.loss.name,
            "loss_parameter": self.loss_parameter,
            "metric": self.loss.metric.name,
            "settings": asdict(self.settings) | {"seeds": list(self.settings.seeds)},
            "table": self.table(),
            "rules": [entry_as_dict(entry) for entry in self.entries],
            "versions": versions(),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def save(self, folder: str | os.PathLike[str], report: bool = True) -> list[Path]:
        """Writes results.json and, by default, report.html; returns their paths.

        Raises:
            OSError: the folder cannot be made or written to.
            ModuleNotFoundError: the report needs Matplotlib and Jinja2.
        """
        folder = writable(folder)
        written = [write(folder / "results.json", self.to_json())]
        if report:
            from surefoot.lab.report import render

            written.append(write(folder / "report.html", render(self)))
        return written

    def __repr__(self) -> str:
        rules = ", ".join(entry.rule.name for entry in self.entries)
        return f"<Comparison of {rules} on {self.data.name}>"

    def _repr_html_(self) -> str:
        """The table of the standings, as notebooks show it."""
        rows = self.table()
        columns = standings.columns(rows)
        cells = [[column.text(row) for column in columns] for row in rows]
        return html_table(standings.headline(rows), [column.title for column in columns], cells)


def entry_as_dict(entry: Entry) -> dict[str, Any]:
    """One rule with every epoch of every run, for JSON."""
    search = None
    if entry.search is not None:
        tried = [{"lr": lr, "validation_loss": loss} for lr, loss in sorted(entry.search.tried.items())]
        search = {"validation_share": VALIDATION_SHARE, "tried": tried}
    return {
        "rule": entry.rule.name,
        "formula": entry.rule.formula,
        "source": entry.rule.source,
        "lr": first_rate(entry.lr),
        "schedule": name_of(entry.lr),
        "search": search,
        "runs": [asdict(run) for run in entry.runs],
    }


def versions() -> dict[str, str]:
    """The versions of what computed, and on what machine."""
    import surefoot

    found = {"surefoot": surefoot.__version__, "python": platform.python_version()}
    for name in ("numpy", "numba", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"}


def writable(folder: str | os.PathLike[str]) -> Path:
    """The folder, made if it is not there yet.

    Raises:
        OSError: it is a file, or cannot be written to.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: is a file, expected a folder to write to; name another one")
    folder.mkdir(parents=True, exist_ok=True)
    check(folder / "results.json")
    return folder


def write(path: Path, text: str) -> Path:
    """Writes a file as a whole, so that an interruption leaves the old one and not half of the new one."""
    with atomic_write(path, "w") as file:
        file.write(text)
    return path


def compare(
    data: str | os.PathLike[str] | Dataset = "docstrings",
    rules: str | Rule | Sequence[str | Rule] | None = None,
    lr: str | Rate | Mapping[str, str | Rate] | None = None,
    *,
    loss: str | Loss | None = None,
    loss_parameter: float | None = None,
    batch_size: int = Settings.batch_size,
    epochs: int = Settings.epochs,
    seeds: int | Sequence[int] = len(Settings.seeds),
    engine: str = Settings.engine,
    granularity: str = Settings.granularity,
    convention: str | None = Settings.convention,
    l1: float = Settings.l1,
    l2: float = Settings.l2,
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    command: str | None = None,
) -> Comparison:
    """Trains every rule on the same data in the same order from the same weights (zero), and compares them.

    The model is the linear one of `surefoot train` and the estimators, with their scaling of features and targets: a
    rule ends with the weights that `train` reaches with the same rate, order and batch size. A rule has diverged when
    its training loss is not finite or a thousand times what it was before training, or when a step was not finite; that
    is recorded, and does not stop the others. Ctrl-C ends the race and keeps the rules that finished.

    Args:
        data: the name of a built-in data set, the path of an svmlight or .npz file, or a Dataset.
        rules: names, `path/to/file.py:name`, or Rule objects; "all" for the whole family; by default a selection.
            Rules that were not named explicitly are skipped if they cannot honour a setting (see `left_out`).
        lr: a learning rate or a schedule (a function, or text as in schedules.FORMS) for all rules, or one for each by
            name. Where there is none, a search chooses it: the rate of a geometric grid with the lowest loss on a fifth
            of the training part.
        loss: what is minimized: a loss, its name, or `path/to/file.py:name`; by default logistic for classification and
            squared for regression. Losses are reported as its metric has them: log loss, MSE.
        loss_parameter: the loss's own number, such as δ of huber; its default otherwise.
        batch_size: examples per step.
        epochs: passes through the training part.
        seeds: how many orders of the examples to average over, or the seeds of these orders.
        engine: "cpu" or "reference".
        granularity: "coordinate", or "tensor" for one rate for all weights.
        convention: take the defaults of that library ("pytorch", "keras", …).
        l1, l2: penalties.
        out: a folder for results.json and report.html.
        progress: called after every epoch with the epochs done, the epochs in all, and what is being done.
        command: what results and report say was typed; by default this call.

    Raises:
        ValueError: a setting, rule (RuleError) or data set (DataError) that cannot be used; nothing is trained then.
        OSError: `out` cannot be written to; nothing is trained then.

    >>> from surefoot.data import Dataset
    >>> x = np.linspace(-1, 1, 20, dtype=np.float32)
    >>> line = Dataset("line", x[:, None], 2 * x, "regression")
    >>> result = compare(line, ["sgd", "adagrad"], lr=0.5, epochs=2, seeds=1, batch_size=1, engine="reference")
    >>> [(row["rule"], round(row["train_loss"], 3)) for row in result.table()]
    [('sgd', 0.001), ('adagrad', 0.002)]
    """
    if command is None:
        named = {"rules": rules, "lr": lr, "batch_size": batch_size, "epochs": epochs, "seeds": seeds, "engine": engine}
        named |= {"loss": loss, "loss_parameter": loss_parameter}
        command = call(data, named | {"granularity": granularity, "convention": convention, "l1": l1, "l2": l2})
    settings = Settings(whole(batch_size), whole(epochs), as_seeds(seeds), engine, granularity, convention, l1, l2)
    chosen, left_out = choose(rules, settings)
    rates = as_rates(lr, chosen)
    for rule in chosen:
        settings.method(rule, rates.get(rule.name))
    if out is not None:
        from surefoot.lab.page import check_installed

        check_installed()
        writable(out)
    read = loaded(data)
    task = Task.of(read, None if loss is None else losses.resolve(loss), loss_parameter)
    own = None if task.loss.parameter is None else task.parameter
    result = Comparison(read, task.loss, own, settings, left_out=left_out, command=command)
    run(result, task, chosen, rates, Clock(progress))
    if out is not None:
        result.save(out)
    return result


def run(result: Comparison, task: Task, chosen: list[Rule], rates: Mapping[str, Rate], clock: Clock) -> None:
    """Trains rule after rule and enters what becomes of each; Ctrl-C ends it, once a rule has finished."""
    settings = result.settings
    race = Race(task, settings, clock)
    clock.total = len(chosen) * len(settings.seeds) * settings.epochs
    clock.total += sum(race.epochs_per_search for rule in chosen if rule.name not in rates)
    try:
        for rule in chosen:
            result.entries.append(race.enter(rule, rates.get(rule.name)))
    except KeyboardInterrupt:
        if not result.entries:
            raise
        result.unfinished = [rule.name for rule in chosen[len(result.entries) :]]


def call(data: Any, arguments: Mapping[str, Any]) -> str:
    """The Python call with these arguments, without those that are the defaults.

    >>> call("docstrings", {"rules": [REGISTRY["sgd"], "adam"], "epochs": 10, "seeds": 1})
    "surefoot.compare('docstrings', rules=['sgd', 'adam'], seeds=1)"
    """
    defaults = {name: parameter.default for name, parameter in inspect.signature(compare).parameters.items()}
    changed = {name: value for name, value in arguments.items() if value is not None and value != defaults[name]}
    return f"surefoot.compare({', '.join([written(data), *(f'{k}={written(v)}' for k, v in changed.items())])})"


def written(value: Any) -> str:
    """An argument as a person would write it; what has no such form, by its name."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{written(key)}: {written(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, Rule | Loss):
        return repr(value.name)
    if callable(value):
        return name_of(value) or "…"  # type: ignore[arg-type]
    return repr(os.fspath(value) if isinstance(value, os.PathLike) else getattr(value, "name", value))


def loaded(data: str | os.PathLike[str] | Dataset) -> Dataset:
    """The data set itself, or the one of that name or path."""
    from surefoot.data import Dataset, load

    return data if isinstance(data, Dataset) else load(data)


def whole(value: Any) -> Any:
    """NumPy's whole numbers as Python's; anything else as it is, for Settings to judge."""
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return value


def as_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The given seeds, or the given number of seeds.

    >>> as_seeds(3), as_seeds([5, 7])
    ((0, 1, 2), (5, 7))
    """
    count = whole(seeds)
    if isinstance(count, int) and count >= 1:
        return tuple(range(count))
    if isinstance(count, int | float | str | bytes):
        raise ValueError(f"seeds must be a whole number of at least 1, or a list of seeds, got {seeds!r}")
    return tuple(dict.fromkeys(map(whole, seeds)))  # type: ignore[arg-type]


def choose(rules: str | Rule | Sequence[str | Rule] | None, settings: Settings) -> tuple[list[Rule], dict[str, str]]:
    """The rules that race; of our own selections, also those that the settings exclude, with the reason."""
    if rules is None or rules == "all":
        return select(REGISTRY if rules == "all" else SELECTION, settings)
    if isinstance(rules, str):
        rules = [name.strip() for name in rules.split(",") if name.strip()]
    elif isinstance(rules, Rule):
        rules = [rules]
    if not rules:
        raise RuleError(f"rules must name at least one rule; there are {', '.join(REGISTRY)}")
    chosen: dict[str, Rule] = {}
    for rule in map(resolve, rules):
        if chosen.setdefault(rule.name, rule) is not rule:
            raise RuleError(f"{rule.name}: two rules have this name; rename one of them")
    return list(chosen.values()), {}


def select(names, settings: Settings) -> tuple[list[Rule], dict[str, str]]:
    """Those of the family's rules that can honour the settings, and why the others cannot."""
    known = dict.fromkeys(library for name in names for library in REGISTRY[name].conventions)
    if settings.convention is not None and settings.convention not in known:
        raise RuleError(f"there is no convention {settings.convention!r}; there are {', '.join(known)}")
    chosen, left_out = [], {}
    for name in names:
        try:
            settings.method(REGISTRY[name])
            chosen.append(REGISTRY[name])
        except ValueError as error:
            left_out[name] = str(error)
    if not chosen:
        # What stops every rule is wrong with the setting.
        raise ValueError(next(iter(left_out.values())))
    return chosen, left_out


def as_rates(lr: str | Rate | Mapping[str, str | Rate] | None, chosen: list[Rule]) -> dict[str, Rate]:
    """The learning rates that are given, by rule."""
    if lr is None:
        return {}
    names = [rule.name for rule in chosen]
    if not isinstance(lr, Mapping):
        return dict.fromkeys(names, schedules.resolve(lr))
    given = by_name(lr, chosen)
    for name in given:
        if name not in names:
            raise ValueError(f"lr names {name!r}, which does not take part; there are {', '.join(names)}")
    return {name: schedules.resolve(rate) for name, rate in given.items()}
