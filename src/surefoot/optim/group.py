"""The settings of a parameter group: what they mean for a rule, and which of them are rejected."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from torch import Tensor

from surefoot import modifiers
from surefoot.engines.settings import Settings, rate_of
from surefoot.optim import decay
from surefoot.optim.automatic import check_finds
from surefoot.optim.backends import check_engine
from surefoot.optim.clipping import LIMITS, limit_of_norm
from surefoot.optim.memory import on_gpu
from surefoot.rules import Rule, RuleError

HINTS = ("foreach", "fused", "capturable", "differentiable")
"""What torch's optimizers take to choose an implementation; only `differentiable` changes what is computed here."""

BESIDES = (*HINTS, "engine", decay.KEY, *LIMITS)
"""Settings of groups that are not about what a step computes."""

SHORTEST = 6
"""Letters of a setting that a group's key may be a slip for: shorter names are too much alike."""


class Beyond(TypedDict, total=False):
    """What every optimizer here takes beyond torch's; each may differ from group to group.

    Attributes:
        eps_root: ε inside the root, in addition to the ε outside it.
        clock: "row" lets bias corrections count the steps in which a row had a gradient (Adam and its kind); "step".
        granularity: "coordinate", "row" (one rate for each row of a parameter) or "tensor" (one rate).
        lr_factor: what the learning rate is multiplied by. Schedulers do not know of it: with it, a rate can be changed
            while a schedule goes on, as `to_rule` does.
        state_dtype: the type of the state; float32 by default, float64 for float64 parameters.
        decoupled_weight_decay: a parameter is first multiplied by 1 − lr · this.
        l1, l2: penalties, applied by a proximal step in the metric of the rule: exact zeros under l1.
        nonfinite: "raise" (skip such coordinates, then raise), "skip" (only count them), "propagate".
        cautious: only coordinates move whose direction agrees in sign with the gradient (Liang et al. 2024).
        stochastic_rounding: a seed; bfloat16 parameters are rounded up or down at random, right on average.
        lazy: for sparse gradients: "exact" (rows without a gradient catch up when next touched, as if stepped with zero
            gradients) or "touched" (rows without a gradient are not stepped).
        max_grad_norm: before each step, the gradients of all groups that have it, dense and sparse, are scaled so that
            their norm together is at most this, as by `clip_grad_norm_`; the same in all groups, or None. The norm
            before is `optimizer.grad_norm`.
        max_grad_value: before that, each coordinate of a group's gradients is clipped to −this … this.
        adaptive_decay: for sparse gradients in many epochs: when an epoch ends, a row that n of its examples had keeps
            the share max(0, 1 − adaptive_decay/n) of its distance from where it began; "auto", a number, or None.
        engine: "cpu" (Numba), "gpu" (Triton), "reference" (NumPy) or "torch"; None takes the fastest for the device.
    """

    eps_root: float
    clock: Literal["step", "row"]
    granularity: Literal["coordinate", "row", "tensor"]
    lr_factor: float
    state_dtype: torch.dtype | None
    decoupled_weight_decay: float | bool
    l1: float
    l2: float
    nonfinite: Literal["raise", "skip", "propagate"]
    cautious: bool
    stochastic_rounding: int | None
    lazy: Literal["exact", "touched"]
    max_grad_norm: float | None
    max_grad_value: float | None
    adaptive_decay: Literal["auto"] | float | None
    engine: str | None


GENERAL: dict[str, Any] = {
    "clock": "step",
    "granularity": "coordinate",
    "lr_factor": 1.0,
    "state_dtype": None,
    "nonfinite": "raise",
    "lazy": "exact",
}
"""Settings of every step besides those of modifiers, with the default of each where a group does not have it."""

OF_STEPS_ALONE = ("average", "clip_norm", "clip_value")
"""Settings of modifiers that optimizers of torch do not have: torch has functions for these."""


def around() -> dict[str, Any]:
    """What is done around the rule, with the default of each where a group does not have it."""
    of_modifiers = {name: hyper.default for name, hyper in modifiers.settings().items() if name not in OF_STEPS_ALONE}
    return GENERAL | of_modifiers


Names = Mapping[str, str | tuple[str, int]]
"""Under which key, or at which index of a tuple, a group has a hyperparameter, where torch's name is not the rule's."""


def place_of(names: Names, hyper: str) -> tuple[str, int | None]:
    """The key of a hyperparameter in a group, and its index where that is a tuple.

    >>> place_of({"beta1": ("betas", 0)}, "beta1"), place_of({}, "lr")
    (('betas', 0), ('lr', None))
    """
    place = names.get(hyper, hyper)
    return place if isinstance(place, tuple) else (place, None)


class Group:
    """One group's settings as its rule takes them.

    Args:
        rule: the rule of the group.
        settings: the group.
        names: the names of hyperparameters in it.
    """

    def __init__(self, rule: Rule, settings: Mapping[str, Any], names: Names):
        self.rule, self.settings, self.names = rule, settings, names

    @functools.cached_property
    def hyper(self) -> dict[str, Any]:
        """The rule's hyperparameters, by the rule's names."""
        hyper = {}
        for name in self.rule.hyper:
            key, index = place_of(self.names, name)
            if key in self.settings and key not in around():
                value = self.settings[key] if index is None else self.settings[key][index]
                value = value if name == "lr" and on_gpu(value) else plain(value)
                hyper[name] = self.scaled(value) if name == "lr" else value
        return hyper

    def scaled(self, lr: Any) -> Any:
        """A learning rate, or a schedule, times lr_factor."""
        factor = plain(self.settings.get("lr_factor", 1.0))
        lr = lr if factor == 1.0 else rate_of(lr)
        if factor == 1.0 or isinstance(lr, str):
            return lr
        return ScaledSchedule(lr, factor) if callable(lr) else lr * factor

    @functools.cached_property
    def around(self) -> dict[str, Any]:
        """What is done around the rule, by the names that Step gives it."""
        found = {key: plain(self.settings.get(key, default)) for key, default in around().items()}
        if isinstance(found["decoupled_weight_decay"], bool):  # torch's switch: weight_decay, decoupled or not
            decoupled = found["weight_decay"] if found["decoupled_weight_decay"] else 0.0
            found["decoupled_weight_decay"] = decoupled
            found["weight_decay"] = 0.0 if decoupled else found["weight_decay"]
        return found

    @functools.cached_property
    def key(self) -> tuple:
        """Everything but the learning rate: where this is equal, the same settings of a step serve."""
        hyper = {name: value for name, value in self.hyper.items() if name != "lr"}
        engine, differentiable = self.settings.get("engine"), bool(self.settings.get("differentiable"))
        around = {name: value for name, value in self.around.items() if name != "lr_factor"}
        return self.rule, *hyper.values(), *around.values(), engine, differentiable

    def step(self) -> Settings:
        """What the group's parameters are stepped by.

        Raises:
            RuleError, ValueError: for settings that the rule cannot honour.
        """
        around = dict(self.around)
        del around["lr_factor"]
        if around["state_dtype"] is not None:
            around["state_dtype"] = str(around["state_dtype"]).removeprefix("torch.")
        convention = "pytorch" if "pytorch" in self.rule.conventions else None
        hyper = self.hyper | {"lr": plain(self.hyper["lr"])}
        return Settings(self.rule, convention=convention, **hyper, **around)

    def check(self) -> None:
        """Raises ValueError, in torch's words, for a setting out of its bounds."""
        lr = self.settings["lr"]
        check_finds(self.rule.name, lr)
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, got one of shape {tuple(lr.shape)}")
        for key in ("weight_decay", "decoupled_weight_decay", "l1", "l2", "eps_root", "lr_factor"):
            value = plain(self.settings.get(key, 0.0))
            if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise ValueError(f"Invalid {key} value: {value}; expected a finite number of at least 0")
        for name, value in self.hyper.items():
            value = plain(value)
            bounds, (key, index) = self.rule.hyper[name], place_of(self.names, name)
            if callable(value) or (isinstance(value, (int, float)) and bounds.admits(value)):
                continue
            if name == "lr" and isinstance(value, str) and not is_numeral(value):
                continue  # a schedule, which `step` reads
            what = {"lr": "learning rate", "eps": "epsilon value"}.get(key, f"{key} value")
            what = f"beta parameter at index {index}" if index is not None else what
            raise ValueError(f"Invalid {what}: {value}; expected a number in {bounds.interval()}")
        limit_of_norm([self.settings])
        decay.check(self.settings, self.rule)
        check_engine(self.settings)


def names_file(lr: Any) -> bool:
    """Whether a learning rate is the name of a schedule in a file, which is run to have it.

    >>> names_file("own.py:harmonic"), names_file("polynomial:0.1"), names_file(0.1)
    (True, False, False)
    """
    return isinstance(lr, str) and ".py" in lr


def check_no_file(number: int, saved: Mapping[str, Any]) -> None:
    """Raises ValueError for a group of a state dict whose learning rate is the name of a file."""
    if names_file(saved.get("lr")):
        raise ValueError(
            f"group {number}: lr is {saved['lr']!r}, a file, which is not run because a state dict names it; "
            'expected a number or a schedule; name the file in change(lr="path/to/file.py:name")'
        )


def is_numeral(text: str) -> bool:
    """Whether text is a number: from Python, numbers are given as numbers.

    >>> is_numeral("0.1"), is_numeral("constant:0.1")
    (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def completed(rule: Rule, convention: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the defaults of a rule, or of a convention, for what they do not name."""
    hyper = {key: value for key, value in settings.items() if key not in (*around(), *BESIDES, "lr")}
    defaults = {"weight_decay": 0.0, "maximize": False, "differentiable": False}
    return defaults | rule.settings(convention, **hyper) | rule.options_of(convention) | dict(settings)


@dataclass(frozen=True)
class ScaledSchedule:
    """A schedule times a factor."""

    schedule: Callable[[Any], Any]
    factor: float

    def __call__(self, t: Any) -> Any:
        return self.factor * self.schedule(t)


class Steps:
    """What steps each group, made again only when the group's settings change; its learning rate may always change."""

    def __init__(self):
        self._known: dict[int, tuple[dict[str, Any] | None, tuple, Settings]] = {}

    def of(self, number: int, settings: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Group]) -> Settings:
        """What steps a group, whose settings `read` makes a Group of."""
        now = dict(settings)
        now.pop("params", None)
        now.pop("param_names", None)
        before, key, step = self._known.get(number, (None, None, None))
        if step is not None and alike(before, now):
            return step
        group = read(settings)
        step = group.step() if step is None or group.key != key else step
        lr = group.hyper["lr"]
        if isinstance(lr, Tensor) or (settings.get("differentiable") and isinstance(settings["lr"], Tensor)):
            # Not its number: autograd has to see it, or the host must not wait for it.
            step.hyper["lr"] = group.scaled(settings["lr"]).reshape(())  # pyright: ignore[reportArgumentType]
        else:
            step.change_lr(lr)
        # A tensor, an array or a list may change and remain the same object.
        values = itertools.chain.from_iterable(v if isinstance(v, tuple) else (v,) for v in now.values())
        mutable = any(isinstance(value, (Tensor, np.ndarray, MutableSequence)) for value in values)
        self._known[number] = None if mutable else now, group.key, step
        return step

    def differ_in_rate(self, number: int, other: int) -> bool:
        """Whether the settings of two groups differ at most in the learning rate."""
        return alike(self._known[number][1], self._known[other][1])


def alike(some: Any, others: Any) -> bool:
    """Whether settings are equal; arrays, which are compared element by element, count as others.

    >>> alike({"lr": 0.1}, {"lr": 0.1}), alike({"betas": (0.9, 0.99)}, {"betas": np.array([0.9, 0.99])})
    (True, False)
    """
    try:
        return bool(some == others)
    except ValueError:
        return False


# Names of settings


def check_names(rule: Rule, names: Names, keys: Mapping[str, str]) -> None:
    """Raises RuleError for a rule whose hyperparameters or slots have names that optimizers use themselves."""
    taken = {"hyperparameter": {*around(), *BESIDES, "params", "param_names"} - {"l1", "l2"}}
    taken["slot"] = {"step", "last", "history"}
    named = {"hyperparameter": [place_of(names, hyper)[0] for hyper in rule.hyper]}
    named["slot"] = [keys.get(slot, slot) for slot in rule.slots]
    for kind, found in named.items():
        for name in found:
            if name in taken[kind]:
                what = "optimizer setting" if kind == "hyperparameter" else "entry of state dicts"
                raise RuleError(f"{rule.name}: the {kind} {name!r} clashes with a reserved {what}; rename it")


def check_keys(kind: type, rule: Rule, names: Names, settings: Iterable[str], labels: bool = False) -> None:
    """Raises TypeError for a setting that would be ignored; with `labels`, a group may have keys of the caller's."""
    theirs = {place_of(names, hyper)[0] for hyper in rule.hyper}
    known = theirs | around().keys() | {*BESIDES, "eps_root"}
    for key in settings:
        if key not in known and not (labels and is_label(key, known)):
            raise TypeError(
                f"{kind.__name__} got an unexpected keyword argument {key!r}; it takes {', '.join(sorted(known))}"
            )
    if "eps_root" in settings and "eps_root" not in rule.hyper:
        raise ValueError(f"{kind.__name__}: eps_root would change nothing: {rule.name} takes no root")


def check_group_keys(kind: type, rule: Rule, names: Names, group: Mapping[str, Any]) -> None:
    """The same for a whole group, which cannot have a rule of its own."""
    check_keys(kind, rule, names, group.keys() - {"params", "param_names", "initial_lr"}, labels=True)
    for key, expected in (("rule", "surefoot.optim.Grouped, whose groups have a rule each"), ("convention", OF_ALL)):
        if key in group:
            raise ValueError(f"a parameter group has {key}={group[key]!r}; expected {expected}")


OF_ALL = "it as an argument of the optimizer, for all groups"


def is_label(key: str, known: Iterable[str]) -> bool:
    """Whether a group's key is the caller's own, as torch takes it, and not a slip in writing one of the settings.

    >>> [is_label(key, ["lr", "weight_decay"]) for key in ("rho", "no_weight_decay", "weigth_decay")]
    [True, True, False]
    """
    return not any(is_slip(key, setting) for setting in known)


def is_slip(key: str, setting: str) -> bool:
    """Whether one letter of a long name is missing or another one, or two have changed places.

    >>> is_slip("momentm", "momentum"), is_slip("momentum_", "momentum"), is_slip("beta", "betas")
    (True, False, False)
    """
    if len(setting) < SHORTEST or len(key) not in (len(setting), len(setting) - 1):
        return False
    if len(key) < len(setting):
        return any(setting[:k] + setting[k + 1 :] == key for k in range(len(setting)))
    wrong = [k for k, (a, b) in enumerate(zip(key, setting, strict=True)) if a != b]
    if len(wrong) == 2:
        first, second = wrong
        return second == first + 1 and (key[first], key[second]) == (setting[second], setting[first])
    return len(wrong) == 1


def plain(value: Any) -> Any:
    """A tensor of one element, or a NumPy number, as a Python number; any other value unchanged."""
    return value.item() if hasattr(value, "item") else value


def own_copy(value: Any) -> Any:
    """A setting as groups have it: plain numbers, and a tuple of these in place of any sequence, as state dicts need.

    >>> own_copy([0.9, np.float64(0.99)]), own_copy(np.float32(0.5)), own_copy("adagrad")
    ((0.9, 0.99), 0.5, 'adagrad')
    """
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, np.ndarray) or (isinstance(value, Sequence) and not isinstance(value, (str, tuple))):
        return tuple(own_copy(each) for each in value)
    return tuple(map(own_copy, value)) if type(value) is tuple else value
