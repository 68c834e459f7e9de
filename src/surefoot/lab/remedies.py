"""The calls that cure a fault, for the optimizer at hand: Surefoot's, torch's, or what is inside of a wrapper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from surefoot import rules
from surefoot.lab.adopting import Adopted
from surefoot.lab.findings import Case
from surefoot.lab.motion import DECAYS, altered
from surefoot.optim import RuleOptimizer
from surefoot.optim.conversion import without_counterpart

TARGET = 1e-3
"""‖update‖/‖parameter‖ to which remedies lead."""

WITHIN = 500
"""Steps within which a state is to forget."""

AVERAGES = {"beta2": ("betas", "beta2"), "gamma": ("alpha", "gamma"), "rho": ("rho",)}
"""The shares of average squares that are kept, and under which keys groups have them."""


class Remedy(NamedTuple):
    """What cures a fault, and the call that does it."""

    what: str
    call: str


def rounded(value: float) -> str:
    """One digit, as one would choose a learning rate.

    >>> rounded(0.0123), rounded(2500.0), rounded(0.1)
    ('0.01', '2000', '0.1')
    """
    return f"{float(f'{value:.0e}'):g}"


class Remedies:
    """Writes calls for an optimizer.

    Args:
        adopted: the optimizer.
    """

    def __init__(self, adopted: Adopted):
        self.adopted, self.path = adopted, adopted.path
        self.is_own = isinstance(adopted.optimizer, RuleOptimizer)

    # The learning rate

    def rate(self, cases: Sequence[Case], factor: float, alone: bool = False) -> Remedy:
        """A learning rate that is `factor` times as large; for these parameters alone, or for their groups."""
        return self._rate(cases, factor, "a larger learning rate" if factor > 1 else "a smaller learning rate", alone)

    def _rate(self, cases: Sequence[Case], factor: float, what: str, alone: bool = False) -> Remedy:
        groups, settings = self._groups(cases, alone), cases[0].settings
        scheduled = "initial_lr" in settings or callable(cases[0].view.step.hyper["lr"])
        if math.isinf(factor):
            return Remedy(f"{what}, as it is 0", self._assign(groups, "lr", rounded(self._from_zero(cases)), cases))
        if scheduled:
            value = rounded(factor * float(settings.get("lr_factor", 1.0)))
            return Remedy(f"{what}, whatever its scheduler sets", self._assign(groups, "lr_factor", value, cases))
        return Remedy(what, self._assign(groups, "lr", rounded(factor * float(settings["lr"])), cases))

    def _from_zero(self, cases: Sequence[Case]) -> float:
        """The learning rate at which a step is as long as the band wants it."""
        view = cases[0].view
        pace = view.motion(altered(view.step, lr=1.0, lr_decay=0.0), exact=True).pace
        return TARGET / pace if pace else TARGET

    def start_again(self, cases: Sequence[Case], factor: float) -> Remedy:
        """A smaller rate, for which the parameters are to be made again."""
        return self._rate(cases, factor, "initial parameters again, and a smaller learning rate")

    def no_decay_of_rate(self, cases: Sequence[Case], factor: float) -> Remedy:
        """Takes back what a decay of the learning rate did."""
        view, groups = cases[0].view, self._groups(cases)
        if decay := view.step.hyper.get("lr_decay", 0.0):
            value = max((1 + view.t * decay) / factor - 1, 0.0) / max(view.t, 1)
            call = self._assign(groups, "lr_decay", rounded(value), cases)
            return Remedy("a slower decay of the learning rate", call)
        lr = rounded(self._from_zero(cases) / float(cases[0].settings.get("lr_factor", 1.0)))
        return Remedy("a schedule that falls more slowly; for now", self._assign(groups, "lr", lr, cases))

    # The other settings

    def decay(self, cases: Sequence[Case], factor: float) -> Remedy:
        """A weaker weight decay."""
        group = self.adopted.optimizer.param_groups[cases[0].group]
        acting = [name for name in DECAYS if not isinstance(group.get(name), bool) and group.get(name)]
        name = acting[0] if acting else "weight_decay"
        value = rounded(factor * float(group[name]))
        return Remedy("a weaker decay", self._assign(self._groups(cases), name, value, cases))

    def forget(self, cases: Sequence[Case], larger: float) -> Remedy:
        """A state that has forgotten gradients `larger` times as large as today's within 500 steps."""
        view, settings = cases[0].view, cases[0].settings
        share = round(min(max(1 - 2 * math.log(max(larger, 2.0)) / WITHIN, 0.9), 0.99), 2)
        for name, keys in AVERAGES.items():
            if view.step.hyper.get(name, 0.0) > share and view.step.rule.name != "yogi":
                key = next(key for key in keys if key in settings)
                value = f"({settings[key][0]:g}, {share:g})" if key == "betas" else f"{share:g}"
                what = f"a state that forgets within {WITHIN} steps, after which it can be set back"
                return Remedy(what, self._assign(self._groups(cases), key, value, cases))
        # What averages gradients goes on to do so.
        rule = "adam" if "beta1" in view.step.hyper else "rmsprop"
        what = "a rule that forgets, at the rates of now"
        if lost := without_counterpart(view.step, rules.get(rule)):
            what += f" ({', '.join(lost)} of {view.step.rule.name} have no counterpart there)"
        shorter = f", beta2={share:g}" if rule == "adam" else ""
        lazy = ', lazy="touched"' if view.step.regularized and view.gradient[0] is not None else ""
        return Remedy(what, f'{self._own()}.to_rule("{rule}"{shorter}{lazy})')

    def wider(self, cases: Sequence[Case]) -> Remedy:
        """Parameters that hold small updates."""
        if all(case.finding.dtype == "bfloat16" for case in cases):
            return Remedy("stochastic rounding", self._change("stochastic_rounding=0", ", state_dtype=torch.float32"))
        return Remedy("parameters in float32, and torch.autocast for float16", "model.float()")

    def wider_state(self) -> Remedy:
        """A state that holds small squares."""
        return Remedy("a state in float32", self._change("state_dtype=torch.float32"))

    def find_origin(self) -> Remedy:
        """Names the operation that made something that is not finite."""
        return Remedy("find the operation that makes it", "torch.autograd.set_detect_anomaly(True)")

    def fewer_rows(self, cases: Sequence[Case]) -> Remedy:
        """A table for the rows that occur."""
        finding = cases[0].finding
        if len(finding.shape) < 2:
            return Remedy("check that the loss depends on it", f"{finding.name}.grad")
        rows = max(round((1 - (finding.never_visited or 0)) * finding.shape[0]), 1)
        return Remedy("a smaller table, by numbering what occurs", f"num_embeddings={rows}")

    # Calls

    def _groups(self, cases: Sequence[Case], alone: bool = False) -> list[int] | None:
        """The groups of these parameters; None for all, and [] where others of a group are not meant."""
        sizes = [len(group["params"]) for group in self.adopted.optimizer.param_groups]
        concerned = sorted({case.group for case in cases})
        if alone and any(sum(case.group == k for case in cases) < sizes[k] for k in concerned):
            return []
        return None if len(concerned) == len(sizes) else concerned

    def _own(self, settings: str = "") -> str:
        """The optimizer as one of Surefoot: torch's is turned into one in place, with all of its settings."""
        if self.is_own:
            return self.path
        return f"surefoot.optim.from_torch({self.path}{settings and ', '}{settings})"

    def _change(self, settings: str, of_theirs: str = "") -> str:
        """Changes settings that torch's optimizers do not have; of these, some more."""
        return f"{self.path}.change({settings})" if self.is_own else self._own(settings + of_theirs)

    def _assign(self, groups: list[int] | None, key: str, value: str, cases: Sequence[Case]) -> str:
        if groups == []:
            return f'a group of its own: {{"params": [{cases[0].finding.name}], "{key}": {value}}}'
        theirs = not self.is_own and key in self.adopted.optimizer.param_groups[0]
        if groups is None and not theirs:
            return self._change(f"{key}={value}")
        if groups is None:
            return f'for group in {self.path}.param_groups: group["{key}"] = {value}'
        assigned = [f'{self.path}.param_groups[{k}]["{key}"] = {value}' for k in groups]
        return "; ".join(assigned if theirs or self.is_own else [self._own(), *assigned])
