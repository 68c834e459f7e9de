"""`Grouped`: one optimizer whose parameter groups have a rule each, stepped by the optimizers of these rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surefoot.engines.settings import Settings
from surefoot.optim.automatic import check_finds, divided, is_automatic
from surefoot.optim.base import TorchOptimizer
from surefoot.optim.checkpoint import Checkpoint, check_order, check_rules
from surefoot.optim.clipping import is_clipped, limit_of_norm
from surefoot.optim.faults import raise_if_any
from surefoot.optim.group import own_copy
from surefoot.optim.grow import extend, extended_by_twin
from surefoot.optim.kinds import Kind, kind_of
from surefoot.optim.memory import Memory
from surefoot.optim.optimizer import RuleOptimizer
from surefoot.optim.reset import checked_values, rows_of, write_values
from surefoot.rules import Rule


class Part(NamedTuple):
    """The groups of one rule.

    Attributes:
        kind: what the rule is.
        optimizer: what steps them. It has the groups and the state of the whole optimizer, not copies of them.
    """

    kind: Kind
    optimizer: Any


class Grouped(TorchOptimizer):
    """One optimizer for a whole model, with a rule for each parameter group: one state dict, one scheduler.

    Each group has a key `rule`: the name of a rule ("adagrad", see `surefoot rules`), a rule of your own, or a class of
    optimizers, such as torch.optim.Muon, which then takes the steps itself. A rule that has a class in surefoot.optim
    takes that class's settings, with torch's defaults. Groups with the same rule are stepped together.

    Args:
        params: parameter groups, such as those of `groups`.
        max_grad_norm: limits the norm of all gradients together, dense and sparse, before each step; see `Beyond`.
        max_grad_value: limits each coordinate of the gradients.

    Raises:
        RuleError, TypeError, ValueError: for settings that a group's rule cannot honour.

    >>> model = torch.nn.Sequential(torch.nn.EmbeddingBag(10, 2, sparse=True), torch.nn.Linear(2, 1))
    >>> optimizer = Grouped([
    ...     {"params": model[0].parameters(), "rule": "adagrad", "lr": 0.05},
    ...     {"params": model[1].parameters(), "rule": torch.optim.AdamW, "weight_decay": 0.1},
    ... ])
    >>> model(torch.tensor([[1, 2]])).sum().backward()
    >>> optimizer.step()
    >>> [(group["rule"], group["lr"]) for group in optimizer.param_groups]
    [('adagrad', 0.05), ('torch.optim.AdamW', 0.001)]
    """

    def __init__(self, params: Iterable, *, max_grad_norm: float | None = None, max_grad_value: float | None = None):
        self._parts: dict[str, Part] = {}
        self._without_first_state: set[str] = set()  # names of kinds, as found at their first steps
        limits = {"max_grad_norm": own_copy(max_grad_norm), "max_grad_value": own_copy(max_grad_value)}
        super().__init__(params, limits)
        self._bound()

    # Groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; raises before anything is changed if the group's rule cannot honour a setting of it."""
        if not isinstance(param_group, dict) or "rule" not in param_group:
            raise ValueError(
                'a parameter group has no "rule"; expected groups such as {"params": …, "rule": "adagrad"}, or a class '
                "of surefoot.optim for parameters of one rule"
            )
        kind, params = kind_of(param_group["rule"]), param_group["params"]
        if is_automatic(param_group.get("lr")) and kind.finds_rates:
            for group in divided(param_group):
                self.add_param_group(group)
            return
        check_finds(kind.name, param_group.get("lr"))
        if (known := self._parts.get(kind.name)) is not None and known.kind != kind:
            raise ValueError(f"two rules are called {kind.name!r}; rename one")
        params = [params] if isinstance(params, Tensor) else list(params)
        param_group = param_group | {"params": params}  # the caller's names a class, which may be used again
        settings, own = kind.split(param_group)
        made = kind.complete(params, settings)
        complete = {key: value for key, value in made.param_groups[0].items() if key not in ("params", "param_names")}
        if known is not None and (of_all := settings.keys() - complete.keys()):
            raise ValueError(
                f"{kind.name} keeps {min(of_all)!r} for all its groups, not in each; expected it in the first of them"
            )
        limit_of_norm([*self.param_groups, self.defaults | complete])
        param_group.update(own | complete | {"rule": kind.name})
        super().add_param_group(param_group)
        self._parts.setdefault(kind.name, Part(kind, as_part(made)))

    def _bound(self) -> list[Part]:
        """The parts that have groups; each gets the groups and the state as they are now: others may replace both."""
        numbers: dict[str, list[int]] = {name: [] for name in self._parts}
        for number, group in enumerate(self.param_groups):
            if group.get("rule") not in numbers:
                raise ValueError(
                    f"group {number}: the rule is {group.get('rule')!r}; expected one of {', '.join(numbers)}, which "
                    "the optimizer was made with"
                )
            numbers[group["rule"]].append(number)
            if missing := self._parts[group["rule"]].optimizer.defaults.keys() - group.keys():
                raise ValueError(
                    f"group {number}: the rule was set to {group['rule']!r}, whose {min(missing)!r} the group does not "
                    "have; expected the rule that the group was added with: make another optimizer for another rule"
                )
        for name, part in self._parts.items():
            inner = part.optimizer
            inner.state, inner.param_groups = self.state, [self.param_groups[k] for k in numbers[name]]
            inner.group_numbers = numbers[name]
            for key in ("grad_scale", "found_inf"):  # what GradScaler hands over
                setattr(inner, key, getattr(self, key, None))
        return [part for name, part in self._parts.items() if numbers[name]]

    def _own(self) -> list[RuleOptimizer]:
        """The optimizers of Surefoot inside."""
        return [part.optimizer for part in self._bound() if part.kind.is_own]

    def _others(self) -> list[torch.optim.Optimizer]:
        """The optimizers of torch, or of other libraries, inside."""
        return [part.optimizer for part in self._bound() if not part.kind.is_own]

    def _part_of(self, number: int) -> tuple[Part, int]:
        """The part that a group belongs to, and the group's number there."""
        self._bound()
        part = self._parts[self.param_groups[number]["rule"]]
        return part, part.optimizer.group_numbers.index(number)

    @property
    def parts(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimizers inside, by rule, to look at: `diagnose`, for example, takes one of Surefoot's.

        Each has its groups; its state dict is of these alone. Groups are added to the whole, and state dicts are loaded
        by it.
        """
        return {part.kind.name: part.optimizer for part in self._bound()}

    def change(self, **settings: Any) -> None:
        """Changes settings of all groups whose rule has them, from the next step on: change(lr=0.01), …

        Raises:
            TypeError, ValueError: for a setting that no group has, or a value out of its bounds; nothing is changed
                then.
        """
        parts, before = self._bound(), [dict(group) for group in self.param_groups]
        unknown = settings.keys() - set().union(*(part.kind.settings for part in parts))
        if unknown:
            raise TypeError(f"no group's rule has the setting {min(unknown)!r}")
        try:
            for kind, inner in parts:
                changed = {key: value for key, value in settings.items() if key in kind.settings}
                if kind.is_own:
                    inner.change(**changed)
                for group in [] if kind.is_own else inner.param_groups:
                    made = kind.complete(group["params"], kind.split(group | changed)[0]).param_groups[0]
                    group.update({key: made[key] for key in changed if key in made})
            limit_of_norm(self.param_groups)
        except Exception:
            for group, old in zip(self.param_groups, before, strict=True):
                group.clear()
                group.update(old)
            raise

    # Steps

    def _is_untouched(self) -> bool:
        return not self.state and all(inner._is_untouched() for inner in self._own())

    def _make_state(self) -> None:
        for inner in self._own():
            inner._make_state()
        for inner in self._others():
            self._give_first_state(inner)
            unhooked_step(inner)

    @property
    def _rules(self) -> list[Rule]:
        return [inner.rule for inner in self._own()]

    def _check_gradients(self) -> None:
        for inner in self._own():
            inner._check_gradients()

    def _take(self) -> None:
        """One step of all parts; first all gradients are checked that Surefoot steps. Other classes may find fault with
        theirs in the step itself: they go first."""
        own, faults = [], []
        for inner in self._own():
            with inner._grad_mode():
                own.append((inner, inner._work()))
        for inner in self._others():
            self._give_first_state(inner)
            unhooked_step(inner)
        for inner, work in own:
            with inner._grad_mode():
                faults += inner._run(work)
        raise_if_any(faults)

    def _give_first_state(self, inner: torch.optim.Optimizer) -> None:
        """The state that a class has before the first step, as torch's Adagrad."""
        kind = self._parts[inner.param_groups[0]["rule"]].kind
        for group in [] if kind.name in self._without_first_state else inner.param_groups:
            missing = [p for p in group["params"] if p.grad is not None and not self.state.get(p)]
            if missing:
                self.state.update(made := kind.complete(missing, kind.split(group)[0]).state)
                if not made:
                    self._without_first_state.add(kind.name)

    def step_one(self, number: int, index: int) -> None:
        """Steps a single parameter, the index-th of a group, if it has a gradient."""
        part, within = self._part_of(number)
        if not part.kind.is_own:
            raise ValueError(f"{part.kind.name} steps all its parameters at once; expected a rule of Surefoot")
        part.optimizer.step_one(within, index)

    def flush(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Lets every row without a gradient catch up; see `RuleOptimizer.flush`."""
        parameters = None if parameters is None else list(parameters)
        for inner in self._own():
            inner.flush(parameters)

    def synchronize(self) -> None:
        """Waits for all steps on GPUs, and raises their errors; see `RuleOptimizer.synchronize`."""
        for inner in self._own():
            inner.synchronize()

    def known(self) -> Iterator[tuple[Tensor, Memory]]:
        """The parameters that Surefoot has stepped, and what is known of them."""
        for inner in self._own():
            yield from inner.known()

    def memories(self) -> Iterator[tuple[Tensor, Memory, Settings]]:
        """The parameters of Surefoot's rules that have state or a gradient; see `RuleOptimizer.memories`."""
        for inner in self._own():
            yield from inner.memories()

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler need not wait for what it found."""
        if any(map(is_clipped, self.param_groups)):
            return False
        return all(getattr(part.optimizer, "_step_supports_amp_scaling", False) for part in self._bound())

    # State

    def restart(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Makes the state of the parameters (by default, all) what it was before the first step."""
        chosen = [p for _, _, p in self._numbered()] if parameters is None else list(parameters)
        for inner in self._own():
            inner.restart(chosen)
        ids = set(map(id, chosen))
        for inner in self._others():
            for parameter in [p for group in inner.param_groups for p in group["params"] if id(p) in ids]:
                self.state.pop(parameter, None)

    def reset(self, parameter: Tensor, values: Any = None, rows: Any = None, *, state: bool = True) -> None:
        """Gives a parameter, or some of its rows, other values, and begins their state again.

        See `RuleOptimizer.reset`; of what torch's classes step, only with `rows=None` or `state=False`.
        """
        number, _ = self._place(parameter)
        part, _ = self._part_of(number)
        if part.kind.is_own:
            part.optimizer.reset(parameter, values, rows, state=state)
            return
        if rows is not None and state:
            raise ValueError(
                f"{part.kind.name} keeps state of which not all is known to belong to rows; expected rows=None, "
                "state=False, or a rule of Surefoot, such as 'adagrad'"
            )
        chosen = rows_of(part.kind.name, parameter, rows)
        write_values(parameter, chosen, checked_values(part.kind.name, parameter, chosen, values))
        if state:
            self.restart([parameter])

    def _grow(self, number: int, index: int, parameter: Tensor, rows: Tensor) -> None:
        part, within = self._part_of(number)
        if part.kind.is_own:
            part.optimizer._grow(within, index, parameter, rows)
            return
        if tensors := self.state.get(parameter):
            twin = torch.nn.Parameter(rows.clone())
            twin.grad = torch.zeros_like(rows)
            stepped = part.kind.complete([twin], part.kind.split(self.param_groups[number])[0])
            stepped.step()
            self.state[parameter] = extended_by_twin(tensors, stepped.state[twin], len(parameter))
        extend(parameter, rows)

    def _name(self, number: int, index: int) -> str:
        part, within = self._part_of(number)
        return part.optimizer._name(within, index) if part.kind.is_own else part.kind.name

    def _keep(self) -> None:
        for inner in self._own():
            inner._keep()

    def _forget(self) -> None:
        self._only_seen, self._without_first_state = False, set()

    def _recall(self) -> None:
        """Makes the parts again where they are not there, after pickle, and tells all of the loaded state."""
        for kind in self.__dict__.pop("kinds", []):
            group = next(group for group in self.param_groups if group["rule"] == kind.name)
            self._parts = self.__dict__.get("_parts", {})
            self._parts[kind.name] = Part(kind, as_part(kind.complete([], kind.split(group)[0])))
        for part in self._bound():
            if part.kind.is_own:
                part.optimizer._forget()
                part.optimizer._recall()
            else:
                part.optimizer.__setstate__({"state": self.state, "param_groups": part.optimizer.param_groups})

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"kinds": [part.kind for part in self._bound()]}

    def _fitted(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The groups and states of a checkpoint as they fit the parameters, each by the part that it belongs to."""
        saved, parts = checkpoint.merged(self.param_groups), self._bound()
        check_rules(saved, self.param_groups)
        check_order(saved, self.param_groups)
        states = dict(checkpoint.state_dict["state"])
        for kind, inner in parts:
            groups = [saved[k] for k in inner.group_numbers]
            if not kind.is_own:
                continue
            fitted = inner._fitted(Checkpoint({"state": states, "param_groups": groups}))
            states = fitted["state"]
            for k, group in zip(inner.group_numbers, fitted["param_groups"], strict=True):
                saved[k] = group
        limit_of_norm(saved)
        return {"param_groups": saved, "state": states}


def as_part(optimizer: Any) -> Any:
    """An optimizer inside: its state dict has the state of its own groups, out of that of the whole.

    What would change it alone, and be lost when it next gets the groups and the state of the whole, is rejected.
    """

    def rejected(*_: Any) -> None:
        raise ValueError(
            f"this {type(optimizer).__name__} is a part of a Grouped, whose groups and state it has; expected "
            "add_param_group and load_state_dict of the whole"
        )

    def narrow(inner: Any) -> None:
        own = {id(parameter) for group in inner.param_groups for parameter in group["params"]}
        inner.whole, inner.state = inner.state, {p: state for p, state in inner.state.items() if id(p) in own}

    def widen(inner: Any, state_dict: dict[str, Any]) -> None:
        inner.state = inner.__dict__.pop("whole")

    optimizer.register_state_dict_pre_hook(narrow)
    optimizer.register_state_dict_post_hook(widen)
    optimizer.register_load_state_dict_pre_hook(rejected)
    optimizer.add_param_group = rejected
    return optimizer


def unhooked_step(optimizer: torch.optim.Optimizer) -> None:
    """A step without its hooks, which the whole optimizer has called."""
    step: Any = type(optimizer).step
    (step.__wrapped__ if getattr(step, "hooked", False) else step)(optimizer)
