"""The calls that cure a fault, for the optimizer at hand: Surefoot's, torch's, or what is inside of a wrapper."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from surefoot import rules
from surefoot.lab import storage
from surefoot.lab.adopting import Adopted
from surefoot.lab.findings import Case
from surefoot.lab.gaps import counted
from surefoot.lab.motion import DECAYS, altered
from surefoot.optim import RuleOptimizer
from surefoot.optim.conversion import without_counterpart

TARGET = 1e-3
"""‖update‖/‖parameter‖ to which remedies lead."""

WITHIN = 500
"""Steps within which a state is to forget."""

FEW_GROUPS = 4
"""Groups that are set one after the other; of more, the values are listed."""

AVERAGES = {"beta2": ("betas", "beta2"), "gamma": ("alpha", "gamma"), "rho": ("rho",)}
"""The shares of average squares that are kept, and under which keys groups have them."""


RESET = 'lambda module: module.reset_parameters() if hasattr(module, "reset_parameters") else None'
"""Gives a module initial values again."""

ELSE = "the sign of the loss and of its gradients, and that zero_grad() is called"
"""What else losses that do not fall may come from."""

Factor = float | Callable[[Case], float]
"""By what to multiply the learning rate: of all groups, or by a parameter of each."""


class Remedy(NamedTuple):
    """What cures a fault, and the call that does it; empty where it is not a call."""

    what: str
    call: str = ""


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
        model: whose parameters it steps, if it is known.
    """

    def __init__(self, adopted: Adopted, model: torch.nn.Module | None = None):
        self.adopted, self.path, self.model = adopted, adopted.path, model
        self.is_own = isinstance(adopted.optimizer, RuleOptimizer)

    # The learning rate

    def rate(self, cases: Sequence[Case], factor: Factor, alone: bool = False) -> Remedy:
        """A learning rate that is `factor` times as large; for these parameters alone, or for their groups."""
        is_larger = (factor(cases[0]) if callable(factor) else factor) > 1
        return self._rate(cases, factor, f"a {'larger' if is_larger else 'smaller'} learning rate", alone)

    def _rate(self, cases: Sequence[Case], factor: Factor, what: str, alone: bool = False) -> Remedy:
        def factor_of(case: Case) -> float:
            return factor(case) if callable(factor) else factor

        def lr_of(case: Case) -> str:
            if math.isinf(factor_of(case)):
                return rounded(self._from_zero(case))
            return rounded(factor_of(case) * float(case.settings["lr"]))

        if math.isinf(factor_of(cases[0])):
            return Remedy(f"{what}, as it is 0", self._assign(cases, "lr", lr_of, alone))
        if is_scheduled(cases[0]):
            call = self._assign(cases, "lr_factor", lambda case: rounded(factor_of(case) * lr_factor(case)), alone)
            return Remedy(f"{what}, whatever its scheduler sets", call)
        return Remedy(what, self._assign(cases, "lr", lr_of, alone))

    def _from_zero(self, case: Case) -> float:
        """The learning rate at which a step is as long as the band wants it."""
        view = case.view
        pace = view.motion(altered(view.step, lr=1.0, lr_decay=0.0), exact=True).pace
        return TARGET / pace if pace else TARGET

    def start_again(self, cases: Sequence[Case], factor: Factor) -> Remedy:
        """A smaller rate, for which the parameters are to be made again."""
        return self._rate(cases, factor, "initial parameters again, and a smaller learning rate")

    def other_sign(self, cases: Sequence[Case]) -> Remedy:
        """Steps the other way."""
        if any(case.settings.get("maximize") for case in cases):
            return Remedy(
                "initial parameters again, and steps downhill", self._assign(cases, "maximize", lambda case: "False")
            )
        return Remedy(f"initial parameters again; check {ELSE}")

    def no_decay_of_rate(self, cases: Sequence[Case], factor: Factor) -> Remedy:
        """Takes back what a decay of the learning rate did."""
        if any(case.view.step.hyper.get("lr_decay", 0.0) for case in cases):

            def slower(case: Case) -> str:
                t, decay = case.view.t, case.view.step.hyper["lr_decay"]
                return rounded(max((1 + t * decay) / (factor(case) if callable(factor) else factor) - 1, 0) / max(t, 1))

            return Remedy("a slower decay of the learning rate", self._assign(cases, "lr_decay", slower))
        if is_torch_scheduled(cases[0]):
            # What is written to lr, its scheduler overwrites with the next step.
            back = self._assign(
                cases, "lr_factor", lambda case: rounded(self._from_zero(case) / float(case.settings["lr"]))
            )
            return Remedy("a schedule that falls more slowly; for now, whatever its scheduler sets", back)
        lr = self._assign(cases, "lr", lambda case: rounded(self._from_zero(case) / lr_factor(case)))
        return Remedy("a learning rate that is lowered less; for now", lr)

    # The other settings

    def decay(self, cases: Sequence[Case], factor: float, again: bool = False) -> Remedy:
        """A weaker weight decay, `factor` times what it is; where parameters are gone, they are to be made again."""
        acting = [name for name in DECAYS if not isinstance(cases[0].settings.get(name), bool)]
        name = next((name for name in acting if cases[0].settings.get(name)), "weight_decay")
        call = self._assign(cases, name, lambda case: rounded(factor * float(case.settings.get(name, 0.0))))
        return Remedy("initial parameters again, and a weaker decay" if again else "a weaker decay", call)

    def forget(self, cases: Sequence[Case], larger: float) -> Remedy:
        """A state that has forgotten gradients `larger` times as large as today's within 500 steps."""
        if any(case.view.step.hyper.get("amsgrad") for case in cases):
            # The largest average so far is never forgotten.
            return Remedy("a state that begins again, as amsgrad forgets nothing", self._restart())
        view, settings = cases[0].view, cases[0].settings
        share = round(min(max(1 - 2 * math.log(max(larger, 2.0)) / WITHIN, 0.9), 0.99), 2)
        for name, keys in AVERAGES.items():
            if view.step.hyper.get(name, 0.0) > share and view.step.rule.name != "yogi":
                key = next(key for key in keys if key in settings)
                what = f"a state that forgets within {WITHIN} steps, after which it can be set back"
                return Remedy(what, self._assign(cases, key, functools.partial(with_share, key, share)))
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
        return self.float32(cases)

    def wider_state(self) -> Remedy:
        """A state that holds small squares."""
        return Remedy("a state in float32", self._change("state_dtype=torch.float32"))

    def float32(self, cases: Sequence[Case], again: bool = False, cleared: bool = False) -> Remedy:
        """Parameters and state in float32.

        Args:
            cases: the parameters.
            again: whether the parameters are no longer of use.
            cleared: whether the state is of no use.
        """
        what = "initial parameters again, in float32" if again else "parameters in float32"
        if storage.loses_eps(cases[0]):
            what += f" (in float16, eps={max(map(storage.least_eps, cases)):g} would do)"
        if all(case.finding.dtype != "float16" for case in cases):
            call, what = self._change("state_dtype=torch.float32"), what.replace("parameters", "a state", 1)
        else:
            call, what = "model.float()", f"{what}, and torch.autocast for float16"
        # torch's own state is of the type that parameters had; to load it is to convert it.
        convert = "" if self.is_own else f"{self.path}.load_state_dict({self.path}.state_dict())"
        return Remedy(what, "; ".join(filter(None, (call, self._restart() if again or cleared else convert))))

    def _restart(self) -> str:
        """Begins with the state of the first step again."""
        return f"{self.path}.restart()" if self.is_own else f"{self.path}.state.clear()"

    def find_origin(self) -> Remedy:
        """Names the operation that made something that is not finite."""
        return Remedy("find the operation that makes it", "torch.autograd.set_detect_anomaly(True)")

    def fewer_rows(self, cases: Sequence[Case]) -> Remedy:
        """A table for the rows that occur."""
        finding, marks = cases[0].finding, cases[0].marks
        if len(finding.shape) < 2:
            return Remedy("check that the loss depends on all of it")
        rows = finding.shape[0] - counted(marks.rows, finding.shape[0])
        return Remedy(f"a table for the {rows} rows that occur, numbered from 0")

    def fewer_inputs(self, cases: Sequence[Case]) -> Remedy:
        """A layer of the inputs that occur."""
        return Remedy(f"a layer for the {int((~cases[0].marks.columns).sum())} inputs that occur")

    def smaller_inputs(self) -> Remedy:
        """Inputs that do not saturate the first activation."""
        return Remedy("inputs of about unit size, standardized in the data or by a BatchNorm in front")

    def not_trained(self, names: Sequence[str]) -> Remedy:
        """No training of what has no gradients."""
        it, is_not = ("it", "it is not") if len(names) == 1 else ("them", "they are not")
        what = f"check that the loss depends on {it}; if {is_not} to be trained"
        known = {name for name, _ in self.model.named_parameters()} if self.model is not None else set()
        if not known.issuperset(names):
            return Remedy(what)
        return Remedy(what, f"for name in {list(names)}: model.get_parameter(name).requires_grad_(False)")

    def initial_values(self, layers: Sequence[Case]) -> Remedy:
        """Other initial values for layers."""
        places = [layer.finding.name.rpartition(".")[0] for layer in layers]
        if any(layer.module is None for layer in layers):
            return Remedy("other initial values", f"model.apply({RESET})")
        modules = [f'model.get_submodule("{place}")' if place else "model" for place in dict.fromkeys(places)]
        what = "other initial values, of living units too: losses rise at first"
        return Remedy(what, "; ".join(f"{module}.reset_parameters()" for module in modules))

    def other_activation(self, old: type[torch.nn.Module], new: type[torch.nn.Module]) -> Remedy:
        """An activation in place of another, but for one that makes the output."""
        what = f"an activation that lets gradients through, in place of {old.__name__}"
        parts = list(self.model.named_modules()) if self.model is not None else []
        if self.model is not None and not any(type(part) is old for _, part in parts):
            return Remedy(what)
        own = [name for name, part in parts if not any(part.children())]
        last = f' and part is not model.get_submodule("{own[-1]}")' if own and type(parts[-1][1]) is old else ""
        kinds = [f"torch.nn.{kind.__name__}" for kind in (old, new)]
        swap = f"[setattr(module, name, {kinds[1]}()) for name, part in module.named_children() if type(part) is "
        return Remedy(what, f"model.apply(lambda module: {swap}{kinds[0]}{last}])")

    # Calls

    def _own(self, settings: str = "") -> str:
        """The optimizer as one of Surefoot: torch's is turned into one in place, with all of its settings."""
        if self.is_own:
            return self.path
        return f"surefoot.optim.from_torch({self.path}{settings and ', '}{settings})"

    def _change(self, settings: str, of_theirs: str = "") -> str:
        """Changes settings that torch's optimizers do not have; of these, some more."""
        return f"{self.path}.change({settings})" if self.is_own else self._own(settings + of_theirs)

    def _assign(self, cases: Sequence[Case], key: str, value: Callable[[Case], str], alone: bool = False) -> str:
        """Sets the groups of these parameters, each to its own value.

        Args:
            cases: the parameters.
            key: of the setting.
            value: for a group, by one of its parameters.
            alone: whether the other parameters of a group are not meant.
        """
        groups = self.adopted.optimizer.param_groups
        values = {case.group: value(case) for case in reversed(cases)}
        members = Counter(case.group for case in cases)
        if alone and any(members[k] < len(groups[k]["params"]) for k in values):
            return "; ".join(self._group_of_its_own(k, cases, key, value) for k, value in values.items())
        theirs, same = not self.is_own and key in groups[0], len(set(values.values())) == 1
        if same and len(values) == len(groups):
            value_of_all = next(iter(values.values()))
            everywhere = f'for group in {self.path}.param_groups: group["{key}"] = {value_of_all}'
            return everywhere if theirs else self._change(f"{key}={value_of_all}")
        if len(values) > FEW_GROUPS:
            listed = ", ".join(values.get(k, f"{group.get(key, 1.0)}") for k, group in enumerate(groups))
            own = self.path if theirs else self._own()
            return f'for group, value in zip({own}.param_groups, [{listed}]): group["{key}"] = value'
        assigned = [f'{self.path}.param_groups[{k}]["{key}"] = {values[k]}' for k in sorted(values)]
        return "; ".join(assigned if theirs or self.is_own else [self._own(), *assigned])

    def _group_of_its_own(self, number: int, cases: Sequence[Case], key: str, value: str) -> str:
        """Moves parameters of a group to a new one, which has the same settings but for one."""
        group, theirs = self.adopted.optimizer.param_groups[number], [id(case.view.parameter) for case in cases]
        places = tuple(k for k in reversed(range(len(group["params"]))) if id(group["params"][k]) in theirs)
        of = f"{self.path}.param_groups[{number}]"
        taken = f'{of}["params"].pop(k)'
        if "param_names" in group:
            taken = f'({of}["param_names"].pop(k), {taken})'
        settings = f'**{of}, "params": [{taken} for k in {list(places)}], "{key}": {value}'
        return f"{self.path}.add_param_group({{{settings}}})"


def with_share(key: str, share: float, case: Case) -> str:
    """The setting of a group that says how much of its average squares is kept."""
    return f"({case.settings[key][0]:g}, {share:g})" if key == "betas" else f"{share:g}"


def is_torch_scheduled(case: Case) -> bool:
    """Whether a scheduler of torch sets the learning rate."""
    return "initial_lr" in case.settings


def is_scheduled(case: Case) -> bool:
    return is_torch_scheduled(case) or callable(case.view.step.hyper["lr"])


def lr_factor(case: Case) -> float:
    return float(case.settings.get("lr_factor", 1.0))
