"""What an optimizer does to each parameter, and one verdict on it: what is wrong, why, and what to do about it."""

from __future__ import annotations

import html
import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from surefoot.lab.adopting import adopted
from surefoot.lab.causes import judge
from surefoot.lab.findings import Finding, as_dict, cases, never_stepped
from surefoot.lab.losses import Losses
from surefoot.lab.rates_figure import rates_figure
from surefoot.lab.verdicts import Verdict, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

SHOWN = 40
"""Parameters in a printed table; those of the verdict come first."""

WIDE = 128
"""Columns of a terminal that has room for the whole table."""

HEADING = "The step that the same gradient would make next"


def number(value: float | None) -> str:
    """Three digits, or a dash.

    >>> number(0.012345), number(None)
    ('0.0123', '–')
    """
    return "–" if value is None else f"{value:.3g}"


COLUMNS: dict[str, list[tuple[str, Callable[[Finding], float | None], Callable[[float | None], str]]]] = {
    "rates": [
        ("rate, 10 %", lambda f: f.rate["p10"] if f.rate else None, number),
        ("median", lambda f: f.rate["median"] if f.rate else None, number),
        ("90 %", lambda f: f.rate["p90"] if f.rate else None, number),
    ],
    "shares": [
        ("never\nvisited", lambda f: f.never_visited, percent),
        ("frozen", lambda f: f.frozen, percent),
        ("satu-\nrated", lambda f: f.saturated, percent),
        ("skipped", lambda f: f.skipped, percent),
    ],
    "norms": [
        ("‖gradient‖", lambda f: f.gradient_norm, number),
        ("‖update‖", lambda f: f.update_norm, number),
        ("‖param.‖", lambda f: f.parameter_norm, number),
        ("update/\nparam.", lambda f: f.pace, number),
    ],
}
"""The columns of the table, by part: the heading, the value, and how it is written."""


@dataclass(repr=False)
class Diagnosis:
    """What `diagnose` found: one verdict, and what it is based on, parameter by parameter.

    Print it, show it in a notebook, take it as a dict, or draw it.
    """

    findings: list[Finding]
    verdict: Verdict

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(
            f"there is no parameter {name!r}; there are {', '.join(f.name for f in self.findings) or 'none'}"
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Everything found, by parameter, as plain numbers, strings, lists and dicts; see also `Verdict.to_dict`."""
        return {finding.name: as_dict(finding) for finding in self.findings}

    def scalars(self) -> Iterator[tuple[str, float]]:
        """Every number found with a name such as "embedding.weight/rate/median"."""
        for finding in self.findings:
            for key, value in vars(finding).items():
                if isinstance(value, int | float):
                    yield f"{finding.name}/{key}", float(value)
            for key, value in (finding.rate or {}).items():
                yield f"{finding.name}/rate/{key}", value

    def shown(self) -> list[Finding]:
        """The findings that are printed: those of the verdict first, where there are too many."""
        if len(self.findings) <= SHOWN:
            return self.findings
        return sorted(self.findings, key=lambda finding: finding.name not in self.verdict.names)[:SHOWN]

    def rows(self, *parts: str) -> tuple[list[str], list[list[str]]]:
        """The headings of the table, and the cells of its rows."""
        chosen = [column for part in parts or COLUMNS for column in COLUMNS[part]]
        rows = []
        for f in self.shown():
            shape = "×".join(map(str, f.shape)) or "scalar"
            rows.append([f"{f.name}\n{shape} {f.dtype}", *(written(value(f)) for _, value, written in chosen)])
        return ["parameter", *(heading for heading, _, _ in chosen)], rows

    def table(self, *parts: str) -> Table:
        """A Rich table with a row for each parameter.

        Args:
            *parts: which of "rates", "shares" and "norms"; by default, all.
        """
        from rich.table import Table

        (first, *headings), rows = self.rows(*parts)
        table = Table()
        table.add_column(first, overflow="fold")
        for heading in headings:
            table.add_column(heading, justify="right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        return table

    def remainder(self) -> str:
        """How many parameters are not printed; empty if all are."""
        left = len(self.findings) - len(self.shown())
        return f"… and {left} more parameters, which to_dict() has" if left else ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.text import Text

        if self.findings:
            yield HEADING
            yield from [self.table()] if options.max_width >= WIDE else map(self.table, COLUMNS)
        if rest := self.remainder():
            yield Text(rest)
        yield Text(str(self.verdict))

    def __str__(self) -> str:
        from rich.console import Console

        # Told what it writes to: in a notebook it would display what it prints, and on a terminal add colours.
        width = shutil.get_terminal_size().columns
        written = io.StringIO()
        Console(file=written, width=width, force_terminal=False, force_jupyter=False, color_system=None).print(self)
        return written.getvalue().rstrip()

    def __repr__(self) -> str:
        return f"<Diagnosis of {len(self.findings)} parameters. {self.verdict}>"

    def _repr_html_(self) -> str:
        headings, rows = self.rows()
        lines = [f"<p><strong>{html.escape(str(self.verdict))}</strong></p>"]
        if rows:
            lines += [f"<table><caption>{HEADING}</caption>", "<thead><tr>"]
            lines += [f'<th scope="col">{cell(heading)}</th>' for heading in headings]
            lines.append("</tr></thead><tbody>")
            for name, *cells in rows:
                values = "".join(f'<td style="text-align: right">{cell(each)}</td>' for each in cells)
                lines.append(f'<tr><th scope="row" style="text-align: left">{cell(name)}</th>{values}</tr>')
            lines.append("</tbody></table>")
        if rest := self.remainder():
            lines.append(f"<p>{html.escape(rest)}</p>")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """The effective learning rate of rows against how many steps they took part in.

        Visits are counted from `count_visits` (which a Monitor calls) on; without it, rows are laid out by what the
        rule's memory holds.

        Raises:
            ValueError: if Matplotlib is not installed, or there is nothing to draw.
        """
        return rates_figure([(f.name, f.rows) for f in self.findings if f.rows is not None])


def cell(text: str) -> str:
    """Text of a table in HTML.

    >>> cell("a<b\\nc")
    'a&lt;b<br>c'
    """
    return html.escape(text).replace("\n", "<br>")


def diagnose(optimizer: Any, model: torch.nn.Module | None = None, losses: Iterable[float] | None = None) -> Diagnosis:
    """One verdict on a run: what is worst, its cause, and the remedy with the value that cures it; or nothing to do.

    Call it after a step and before the gradients are cleared; the optimizer need not have been prepared. All figures
    are of the step that would follow if the same gradient came again, computed from the state and the gradients;
    nothing is changed. Of a parameter with more than a million coordinates, evenly spaced rows are looked at. Without
    gradients the update is not known, and the verdict says what to call.

    The verdict is the first of these that holds:

    - not finite: a parameter is not finite, or more than 0.1 % of the coordinates were skipped. The cause is storage,
      if ε is 0 in a state of float16, or the rate is in order; decay, if a step of it takes more than twice of a
      parameter; else the rate of those groups where it is largest compared with the weights;
    - diverges: after 10 steps, ‖update‖/‖parameter‖ exceeds 0.6, the upper end of the band (where the parameter is
      smaller than 1/√inputs, that is taken). Or steps have made a weight matrix large: its root mean square exceeds
      12/√inputs, and a step moves one of the matrices by 15 %, or a first step at this rate, along gradients of one,
      exceeds both 1/√inputs and 1 % of it (and the next step 0.5 %, where it is the only matrix, whose right values may
      be large); or it exceeds 5/√inputs, and the next step moves it by 15 %, and a first one by 1/√inputs. Or a first
      step exceeds 1/√inputs and 10 % of it, or along the present gradient 60 % of it, as where RAdam began, and
      gradient · parameter, by which the loss would fall if it were shortened to nothing, exceeds 3.
      (For 1/√inputs, 0.1 is taken where that is more);
    - shrinks: weight decay takes more than 5 % of a parameter in a step and half of what its gradient adds; or more
      than twice that, and half of the parameter in as many steps as were taken (of a vector whose gradient is 1e4 times
      smaller than the largest, as of a bias in front of a BatchNorm, it may); or it holds weight matrices, along which
      it takes 65 % of what the gradient adds, where the loss would fall by more than 1.5 if they were doubled; or it
      has brought all matrices of a network below 0.5/√inputs, at 1 % a step, or below 0.01/√inputs. The cause is the
      rate, if a first step exceeds 1/√inputs and decay times 1/√inputs is below 0.05; else the decay;
    - diverges, by `losses`: the last ones are more than twice the first ones; or they did not fall in 50 steps and
      more, and −gradient · update, by which a step changes the loss to first order, exceeds them, or their noise (of
      the velocity that steady gradients would have; noise raises the loss by a quarter of it). Where losses fell to a
      tenth, weights may be large. The cause is the gradient, of the wrong sign, if losses rise in all tenths of the
      second half, by less than half in a step, and by a quarter of −gradient · update at least; or `maximize` (also
      where parameters are not finite, by a rate that is in order);
    - dead units, because they are saturated: in a model that has a Sequential with Sigmoid, Tanh or the like between
      two layers, most units of the first have a bias whose gradient shows a slope of the activation below 0.003. The
      cause is the rate, if a first step exceeds 0.2/√inputs, or the weights are not large and inputs are bounded by an
      activation in front; initial values, if weights or biases exceed 12/√inputs; else the data, whose inputs are
      large. (Not where losses fell to a tenth);
    - stands still, because of the activation: in a model that has Sigmoid, Tanh or the like, the gradient of the first
      of at least 4 layers is 10,000 times smaller than that of the last, and falls from layer to layer;
    - stands still: ‖update‖/‖parameter‖ is below 1e-5, the lower end of the band, and as many steps again would not
      move the parameter by 1 %. (If `losses` differ by less than 5 %, and steps at the highest rate so far would not
      have lowered them visibly: below 0.3/steps and 1e-3, and 30 %, also of 1/√inputs.) This holds for half of the
      coordinates with a gradient, or for a parameter that is 1,000 times slower than the others; or more than 20 % of
      its coordinates do not move because of their state. The cause is decay, if the learning rate is 10 times below
      its highest, where steps were long enough, and was too low half of the steps ago (if a scheduler of torch set it,
      whose past is not known: 1e6 times below, and more than the square of the steps, which is the end of a cosine; if
      it was lowered otherwise, as by ReduceLROnPlateau: 10 times below that with which the optimizer was made); memory,
      if steps were 10 times as long with the state that the present gradient alone would have made; else the rate. A
      rate that a schedule has set low is in order;
    - frozen: more than 20 % of the updates of a parameter round to nothing where it is stored, though not in the type
      of the arithmetic;
    - saturated: in a state of 16 bits, more than half of the squared gradients round to nothing;
    - dead units: rows of a layer's weights never had a gradient, as behind a ReLU that is always 0, by the shares that
      follow; or more than 80 % have had none for dozens of steps, as the velocity shows; or, where no state tells, a
      whole layer has none now, and others have. Initial values are to blame if what these units have exceeds
      12/√inputs, or all of it is 0; the rate, if weights exceed 1000/√inputs;
    - never visited: more than 80 % of a parameter never had a gradient, though the steps so far could have visited all
      of it twice; or 50 %, 5 times: rows of a table, inputs of a layer, outputs of the last one; or a whole parameter.
      Rules without a state per coordinate, as SGD, do not tell which; `count_visits` does, for rows.

    A run has converged if ‖gradient‖·‖parameter‖, by which the loss would change if parameters doubled, is below 1e-4
    in total, or below 1e-4 of the losses: then there is nothing to do where parameters stand still. (Not if gradients
    look clipped: their norm has one digit, or most are equally large.) Norms are over the coordinates that have a
    gradient; a matrix 100 times smaller than 1/√inputs is compared with that. Without `losses`, a loss of the order of
    one is assumed, and "healthy" says that steps are inside the band, and no more: a run that is up to 1,000 times too
    slow can be. Steps are short at a minimum, too: a larger rate than a new start would have (where parameters are
    longer than 1/√inputs, in proportion) is given a value only if losses did not fall or gradients look clipped.
    Remedies lead to ‖update‖/‖parameter‖ = 1e-3; for a new start, to steps of 0.02/√inputs along gradients of one
    (0.1/√inputs for rules that do not divide by the size of gradients).

    Args:
        optimizer: one of Surefoot; SGD, Adagrad, RMSprop, Adadelta, Adam, AdamW, NAdam, RAdam, Adamax or SparseAdam of
            torch.optim; or a wrapper that has such a one as its `optimizer`, as Accelerate's and Lightning's do.
        model: names the parameters, where the optimizer was not given named ones, and tells units from rows of tables.
        losses: the loss of every step so far (minus what is maximized), from the first, as numbers; at least 20, of
            which the first and the last tenth are compared. They differ by less than 5 %, too, if by less than 10 % and
            two standard errors.

    Returns:
        The verdict, and the findings in the order of the parameters; of those without state and gradient there are
        none.

    Raises:
        TypeError: for another kind of optimizer, a model that is not a Module, or losses that are not numbers.

    >>> import surefoot
    >>> w = torch.nn.Parameter(torch.tensor([1e8, 1.0, 1.0]))
    >>> optimizer = surefoot.optim.Adagrad([("w", w)], lr=1.0)
    >>> w.grad = torch.tensor([1.0, 4.0, 0.0])
    >>> optimizer.step()
    >>> diagnosis = surefoot.diagnose(optimizer)
    >>> found = diagnosis["w"]
    >>> found.frozen, round(found.never_visited, 3), found.rate["max"]
    (0.5, 0.333, 1.0)
    >>> diagnosis.verdict.cause, diagnosis.verdict.remedy.call
    ('rate', 'optimizer.change(lr=100000)')
    """
    whole = adopted(optimizer, "diagnose")
    known = Losses.of(losses)
    found, without_state = list(cases(whole, model, known.given)), never_stepped(whole, model)
    return Diagnosis([case.finding for case in found], judge(found, whole, known, model, without_state))
