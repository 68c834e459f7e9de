"""`RuleOptimizer`: a torch optimizer for any rule. It finds parameters, gradients and state; the engines step them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from surefoot import rules
from surefoot.engines.settings import Settings
from surefoot.optim import conversion, decay, succession
from surefoot.optim.automatic import AUTO
from surefoot.optim.backends import Backends
from surefoot.optim.backends.base import Backend, Job, amp_of, check_gradient, checked_gradient
from surefoot.optim.base import TorchOptimizer
from surefoot.optim.checkpoint import Checkpoint, StateFormat
from surefoot.optim.clipping import clip_values, is_clipped, limit_of_norm
from surefoot.optim.common import check_alone, hand_over, take_over
from surefoot.optim.evaluating import MODE, check_mode, in_training
from surefoot.optim.faults import Fault, raise_if_any
from surefoot.optim.group import (
    Group,
    Names,
    Steps,
    around,
    check_group_keys,
    check_keys,
    check_names,
    check_no_file,
    completed,
    names_file,
    own_copy,
    place_of,
)
from surefoot.optim.grow import extend, extended_state
from surefoot.optim.known import Known, flush_before
from surefoot.optim.memory import Memory, is_supported, local, own_gradient
from surefoot.optim.reset import checked_values, reset_rows, rows_of, start_again
from surefoot.optim.work import Work
from surefoot.rules import Rule


class RuleOptimizer(TorchOptimizer):
    """A torch optimizer for any rule, also one of your own.

    Args:
        params: parameters, named parameters, or groups of them, as torch.optim takes them.
        rule: a Rule, or the name of one.
        convention: take the defaults of that library ("pytorch", "keras", …), see Rule.conventions.
        **settings: the rule's hyperparameters; weight_decay, maximize, differentiable as in torch; and what is listed
            in `Beyond`. `lr` may be a tensor or a schedule: a function of the step t; a written one, such as
            "polynomial:0.1:1" (see schedules.FORMS), which state dicts have as text; or "path/to/file.py:name" for a
            function in a file, which is run.

    Raises:
        RuleError, ValueError: for settings that the rule cannot honour; nothing is ignored.

    >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = RuleOptimizer([w], "adagrad", lr=0.5, eps_root=0.0)
    >>> (3 * w[0]).backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.5000, 2.0000])
    """

    names: ClassVar[Names] = {}
    state_format: ClassVar[StateFormat] = StateFormat()
    starts_with_memory = False
    """Whether there is state before the first step."""
    group_numbers: Sequence[int] = range(1 << 31)
    """What errors call the groups: their numbers in the optimizer that this one is a part of."""

    def __init__(self, params: Iterable, rule: str | Rule, *, convention: str | None = None, **settings: Any):
        self.rule = rules.resolve(rule, matrices=True)
        if not self.has_arguments:
            settings = completed(self.rule, convention, settings)
        settings = {key: own_copy(value) for key, value in settings.items()}
        check_names(self.rule, self.names, self.state_format.keys)
        check_keys(type(self), self.rule, self.names, settings)
        if settings.get("fused") and settings.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if settings.get("fused") and settings.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        Group(self.rule, settings, self.names).check()  # before the parameters, as in torch
        self._forget()
        super().__init__(params, settings)
        # torch.distributed.checkpoint makes state, where there is none, by a step at rate 0: from the origin, that
        # would forget the parameters.
        if self.starts_with_memory or self.rule.from_origin or not self.rule.hyper["lr"].admits(0.0):
            self._make_state()

    def _make_state(self) -> None:
        """Gives every parameter the state that it has before its first step."""
        for number, _, parameter in self._numbered():
            # Others raise when they are stepped, if ever.
            if is_supported(parameter) and (fresh := self.state_format.fresh(parameter, self._step_of(number))):
                self.state[parameter] = fresh

    # Settings

    def _rule_of(self, group: Mapping[str, Any]) -> Rule:
        return self.rule

    def _read(self, group: Mapping[str, Any]) -> Group:
        """A group's settings as its rule takes them."""
        return Group(self._rule_of(group), group, self.names)

    def _step_of(self, number: int) -> Settings:
        return self._steps.of(number, self.param_groups[number], self._read)

    def _check_values(self, group: Mapping[str, Any]) -> None:
        """Raises ValueError for a setting out of its bounds, or that the rule cannot honour."""
        Group(self.rule, group, self.names).check()
        self._read(group).step()

    def _load_schedule(self, group: dict[str, Any], settings: Mapping[str, Any]) -> None:
        """Gives a group the function that its settings name by its file, which may later be elsewhere, or another."""
        if names_file(settings["lr"]):
            group["lr"] = self._read({**settings, "lr_factor": 1.0}).step().hyper["lr"]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; raises before anything is changed if a setting of the group cannot be honoured."""
        if isinstance(param_group, dict):
            check_group_keys(type(self), self.rule, self.names, param_group)
            own = param_group.keys() & (self.defaults.keys() | around().keys())
            own = {key: own_copy(param_group[key]) for key in own}
            self._check_values(self.defaults | param_group | own)
            limit_of_norm([*self.param_groups, self.defaults | param_group])
            param_group.update(own)
            self._load_schedule(param_group, self.defaults | param_group)
        self.synchronize()
        self._known.fused.clear()
        super().add_param_group(param_group)

    def change(self, **settings: Any) -> None:
        """Changes settings of all groups from the next step on: change(lr_decay=0), change(stochastic_rounding=None), …

        Raises:
            TypeError, ValueError: for an unknown setting or a value out of its bounds; nothing is changed then.

        >>> optimizer = RuleOptimizer([torch.nn.Parameter(torch.zeros(1))], "adagrad", lr_decay=0.5)
        >>> optimizer.change(lr_decay=0.0)
        >>> optimizer.param_groups[0]["lr_decay"]
        0.0
        """
        check_keys(type(self), self.rule, self.names, settings)
        settings = {key: own_copy(value) for key, value in settings.items()}
        for group in self.param_groups:
            self._check_values(group | settings)
        with in_training(self):  # averages depend on settings, too
            for group in self.param_groups:
                group.update(settings)
                self._load_schedule(group, group)

    def to_rule(self, rule: str | Rule, **settings: Any) -> RuleOptimizer:
        """Goes on with another rule, in place: parameters, groups, hooks and schedulers stay with the optimizer.

        The new state is made of the old one where both rules keep squared gradients or a velocity, and `lr_factor` is
        set so that effective rates go on as they were: the learning rate remains the scheduler's. Between rules with
        and without squared gradients, and to and from Adadelta, FTRL and dual averaging, rates are of another kind:
        pass `lr`. What else was set, such as weight decay or the granularity, stays. Parameters go on from where they
        are: after `eval`, from their averages. The optimizer is a plain RuleOptimizer afterwards.

        Args:
            rule: a Rule, or the name of one.
            **settings: of the new rule; with `lr`, or `lr_factor`, rates do not go on as they were.

        Returns the optimizer itself.

        Raises:
            RuleError, TypeError, ValueError: for settings that the rule cannot honour; nothing is changed then.

        >>> w = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = RuleOptimizer([w], "adagrad", lr=0.5)
        >>> for _ in range(3):
        ...     w.grad = torch.ones(1)
        ...     optimizer.step()
        >>> optimizer.to_rule("rmsprop") is optimizer
        True
        >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["lr_factor"]
        (0.5, 0.5000...)
        """
        self.synchronize()
        rule = rules.resolve(rule, matrices=True)
        steps = [self._step_of(number) for number in range(len(self.param_groups))]
        taken = succession.steps_taken(self)
        groups = [succession.group_for(self, rule, k, steps[k], taken[k], settings) for k in range(len(steps))]
        other = RuleOptimizer(groups, rule, **({"lr": self.defaults["lr"]} | settings))
        self.flush()
        for number, step in enumerate(steps):
            new = other._step_of(number)
            if not {"lr", "lr_factor"} & settings.keys():
                factor = conversion.lr_factor(step, new, taken[number])
                other.param_groups[number]["lr_factor"] = factor * self.param_groups[number].get("lr_factor", 1.0)
            for parameter in self.param_groups[number]["params"]:
                if (memory := self._known.get(parameter)) is not None or self.state.get(parameter):
                    other.state[parameter] = succession.converted(
                        self, parameter, step, new, memory, other.state_format
                    )
        return self._become(other)

    def _become(self, other: RuleOptimizer) -> RuleOptimizer:
        """Takes over the rule, the settings and the state of another optimizer; groups remain the objects they are."""
        own = {place_of(self.names, name)[0] for name in self.rule.hyper} - {"lr"} | {AUTO}
        for group, taken in zip(self.param_groups, other.param_groups, strict=True):
            params = group["params"]
            # OneCycleLR and CyclicLR go on writing the momentum that they found.
            cycled = {"betas"} if "max_momentum" in group else set()
            for key in (own & group.keys()) - cycled:
                del group[key]
            group.update(taken)
            group["params"] = params
            group.pop(MODE, None)  # the new rule goes on from where they are
        self.__class__ = RuleOptimizer  # pyright: ignore[reportAttributeAccessIssue]
        self.rule, self.defaults = other.rule, other.defaults
        self.state.clear()
        self.state.update(other.state)
        self._forget()
        return self

    # What is known of the parameters

    def _forget(self) -> None:
        """Forgets what is known of where the parameters and their states lie."""
        self._steps, self._known, self._backends = Steps(), Known(), Backends()
        self._only_seen = False  # whether the state is there to be seen, before the first step
        # CUDA graphs go on reading and writing what they were captured with.
        self._captured: list[Any] = getattr(self, "_captured", [])

    def _recall(self) -> None:
        """Rows that wait have to catch up by the settings that the state was saved with."""
        for number, index, parameter in self._numbered():
            if "last" in self.state.get(parameter, ()):
                memory = self._memory(number, index, parameter, self._step_of(number))
                self._known.add(parameter, memory)
                self._keep_tensors(parameter, memory)

    def known(self) -> Iterator[tuple[Tensor, Memory]]:
        """The parameters that have been stepped, in their order, and what is known of them."""
        for _, _, parameter in self._numbered():
            if (memory := self._known.get(parameter)) is not None:
                yield parameter, memory

    def memories(self) -> Iterator[tuple[Tensor, Memory, Settings]]:
        """The parameters that have state or a gradient, what is known of each, and the settings of its next step."""
        for number, index, parameter in self._numbered():
            memory, step = self._known.get(parameter), self._step_of(number)
            if memory is None and (self.state.get(parameter) or parameter.grad is not None):
                memory = self._memory(number, index, parameter, step)
            if memory is not None:
                yield parameter, memory, step if step.layout == memory.step.layout else memory.step

    def _forget_replaced(self) -> None:
        """Forgets parameters whose place others have taken."""
        ids = {id(parameter) for _, _, parameter in self._numbered()}
        self._known.keep(ids)
        for backend in self._backends:
            backend.forget(ids)

    def _name(self, number: int, index: int) -> str:
        """What errors call a parameter."""
        names = self.param_groups[number].get("param_names")
        return names[index] if names else f"parameter {index} of group {self.group_numbers[number]}"

    def _backend(self, number: int, device: torch.device) -> Backend:
        """What steps a group's parameters on a device."""
        group = self.param_groups[number]
        return self._backends.of(group, self._rule_of(group), device)

    def _counts_on_device(self, number: int, backend: Backend) -> bool:
        """Whether the steps of a group are counted on the device, as torch does with these two settings."""
        group = self.param_groups[number]
        return backend.counts_on_device and bool(group.get("capturable") or group.get("fused"))

    def _memory(self, number: int, index: int, parameter: Tensor, step: Settings) -> Memory:
        """What is known of a parameter's state; looked up again where anything about it has moved."""
        backend = self._backend(number, local(parameter).device)
        on_device = self._counts_on_device(number, backend)
        tensors, name = self.state.get(parameter) or {}, self._name(number, index)
        memory = self._known.memory(name, parameter, step, tensors, self.state_format, backend, on_device)
        if step.is_of_group and not tensors:
            take_over(self, number, memory.tensors)
        return memory

    # Steps

    @property
    def _rules(self) -> list[Rule]:
        return [self.rule]

    def _is_untouched(self) -> bool:
        return not (self.state or self._known.memories)

    def _check_gradients(self) -> None:
        for number, index, parameter in self._numbered():
            gradient = parameter.grad
            # torch assigns no dense gradient that does not fit; what it costs to look up is for the others.
            if gradient is not None and (gradient.layout is not torch.strided or gradient.shape != parameter.shape):
                memory = self._memory(number, index, parameter, self._step_of(number))
                check_gradient(memory, own_gradient(parameter))

    def _take(self) -> None:
        with self._grad_mode():
            raise_if_any(self._run(self._work()))

    def _grad_mode(self) -> torch.set_grad_enabled:
        """Autograd sees the step only where a group asks for it."""
        return torch.set_grad_enabled(any(group.get("differentiable") for group in self.param_groups))

    def step_one(self, number: int, index: int) -> None:
        """Steps a single parameter, the index-th of a group, if it has a gradient."""
        check_mode(self)
        parameter = self.param_groups[number]["params"][index]
        if parameter.grad is not None:
            if self._known.get(parameter) is None:
                self._forget_replaced()
            step = self._step_of(number)
            check_alone(self._name(number, index), step)
            decay.check_alone(self.param_groups)
            clip_values([self.param_groups[number] | {"params": [parameter]}])
            with torch.no_grad():
                raise_if_any(self._run(Work([], [self._job(number, index, parameter, step)])))

    def _work(self) -> Work:
        """What there is to do, checked: an error here comes before anything is changed."""
        if not self._known.has_seen(self.state.values()):
            self._known.fused.clear()
            self._forget_replaced()
        work = Work([], [])
        steps = list(map(self._step_of, range(len(self.param_groups))))
        for numbers, parameters in self._known.together(self.param_groups, steps, self._steps):
            members, replaced = self._known.members(self.param_groups, numbers)
            if replaced:
                self._forget_replaced()
            if others := members.others(parameters, [steps[number] for number in numbers]):
                places = [(number, k) for number in numbers for k in range(len(self.param_groups[number]["params"]))]
                jobs = [(k, self._job(*places[k], parameters[k], steps[places[k][0]])) for k in others]
                work.single.extend(members.fuse(parameters, jobs))
            work.fused.extend((fused, parameters) for fused in members.fused.values())
        work.check_schedules()
        return work

    def _job(self, number: int, index: int, parameter: Tensor, step: Settings) -> Job:
        memory = self._memory(number, index, parameter, step)
        return Job(step, parameter, memory, checked_gradient(memory, parameter))

    def _run(self, work: Work) -> list[Fault]:
        """Steps the parameters; returns the skipped updates that are to be reported."""
        self._captured += work.prepare_capture(self._known.get, self._backends)
        new = work.new()
        for parameter, memory in new:
            self._known.add(parameter, memory)
            self._keep_tensors(parameter, memory)
        # Autograd is notified before the step, while what it is notified of is still in the nearest cache.
        torch.autograd.graph.increment_version(work.stepped())
        faults = self._late_faults() + work.run(amp_of(self))
        for backend in self._backends:
            backend.report()
        for parameter, memory in new:
            # A rule without slots has none before rows have something to catch up on.
            self._keep_tensors(parameter, memory)
        hand_over(self, work.single)
        self._known.states = list(self.state.values())
        return faults

    def _late_faults(self, wait: bool = False) -> list[Fault]:
        """Updates skipped in earlier steps: as far as known, or of all steps so far."""
        return [fault for backend in self._backends for fault in backend.faults(wait)]

    def _keep_tensors(self, parameter: Tensor, memory: Memory) -> None:
        """Gives torch the state of a parameter, unless it has it."""
        if memory.tensors and memory.tensors is not self.state.get(parameter):
            self.state[parameter] = memory.tensors

    def flush(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Lets every row without a gradient catch up, as if it had been stepped with zero gradients.

        With l1, l2, decoupled_weight_decay or a rule with momentum, `lazy="exact"` catches up on the steps in which a
        row had no gradient when it next has one: call this before parameters are evaluated, and before the state is
        saved by torch.distributed.checkpoint, which only loads what a fresh optimizer has too. Also called `settle`.

        Args:
            parameters: those whose rows are to catch up; by default, all.
        """
        chosen = None if parameters is None else {id(parameter) for parameter in parameters}
        for number, index, parameter in self._numbered():
            if (chosen is None or id(parameter) in chosen) and "last" in self.state.get(parameter, ()):
                memory = self._memory(number, index, parameter, self._step_of(number))
                self._known.add(parameter, memory)
                memory.backend.flush(parameter, memory)
                torch.autograd.graph.increment_version(parameter)

    def synchronize(self) -> None:
        """Waits for all steps on GPUs, and raises their errors, which are otherwise reported by a later step.

        Raises:
            NonFiniteError: naming the parameters of which some coordinates were skipped.
            ValueError: naming the parameter, where a sparse gradient named rows out of range.
        """
        raise_if_any(self._late_faults(wait=True))

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler need not wait for what it found: then steps on GPUs are skipped there."""
        if any(map(is_clipped, self.param_groups)):
            return False  # what is clipped has to be unscaled before
        places = {(number, local(parameter).device) for number, _, parameter in self._numbered()}
        return all(self._counts_on_device(number, self._backend(number, device)) for number, device in places)

    # State dicts

    def restart(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Makes the state of the parameters (by default, all) what it was before the first step."""
        parameters = [p for _, _, p in self._numbered()] if parameters is None else list(parameters)
        chosen = {id(parameter) for parameter in parameters}
        self._known.fused.clear()
        for number, _, parameter in self._numbered():
            if id(parameter) in chosen:
                self._known.pop(parameter)
                if self.state.pop(parameter, None) and (self.state_format.counts or self.starts_with_memory):
                    self.state[parameter] = self.state_format.fresh(parameter, self._step_of(number))
                    take_over(self, number, self.state[parameter], parameters)

    def reset(self, parameter: Tensor, values: Any = None, rows: Any = None, *, state: bool = True) -> None:
        """Gives a parameter, or some of its rows, other values, and the state that they had before the first step.

        Rows without a gradient catch up first. What rows have in common stays: the number of steps, and rates that are
        shared by a column or by the whole parameter.

        Args:
            parameter: one of the optimizer's.
            values: a tensor, a number, or a function that fills a tensor, such as torch.nn.init.normal_, or returns
                another one; None leaves the values.
            rows: their numbers, a slice, or a mask of all rows; None for all.
            state: False leaves the state.

        Raises:
            ValueError: for another optimizer's parameter, rows that are not there and values that do not fit; nothing
                is changed then.

        >>> w = torch.nn.Parameter(torch.ones(3, 2))
        >>> optimizer = RuleOptimizer([w], "adagrad")
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> optimizer.reset(w, torch.nn.init.zeros_, rows=[0, 2])
        >>> w[0].tolist(), optimizer.state[w]["total"].tolist()
        ([0.0, 0.0], [[0.0, 0.0], [4.0, 4.0], [0.0, 0.0]])
        """
        number, index = self._place(parameter)
        chosen = rows_of(self._name(number, index), parameter, rows)
        values = checked_values(self._name(number, index), parameter, chosen, values)
        self.flush([parameter])
        start_again(parameter, chosen, values, self.state.get(parameter))
        if chosen is None and state:
            self.restart([parameter])
        elif chosen is not None and state and self.state.get(parameter):
            reset_rows(parameter, chosen, self.state[parameter], self._step_of(number), self.state_format)

    def _grow(self, number: int, index: int, parameter: Tensor, rows: Tensor) -> None:
        self.flush([parameter])
        self._keep()
        known, step = self._known.get(parameter), self._step_of(number)
        self._known.pop(parameter)
        self._known.fused.clear()
        if tensors := self.state.get(parameter):
            self.state[parameter] = extended_state(tensors, rows, step, self.state_format)
        extend(parameter, rows)
        if known is not None:  # without a counter in the state, only this knows the number of steps
            memory = self._memory(number, index, parameter, step)
            memory.advance(known.count())
            self._known.add(parameter, memory)
            self._keep_tensors(parameter, memory)

    def _keep(self) -> None:
        """Brings the tensors of the state dict up to date."""
        for number, _, parameter in self._numbered():
            if (memory := self._known.get(parameter)) is not None:
                if "last" in memory.tensors:
                    flush_before(parameter, memory, self._step_of(number), self._backend(number, memory.device))
                memory.backend.keep(memory)

    def _fitted(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The groups and states of a checkpoint as they fit the parameters."""
        groups, steps = checkpoint.merged(self.param_groups), []
        for number, saved in enumerate(groups):
            check_no_file(number, saved)
            settings = self.defaults | {key: value for key, value in saved.items() if key != "params"}
            self._check_values(settings)
            steps.append(self._read(settings).step())

        def fit(number: int, index: int, tensors: dict[str, Any]) -> dict[str, Any]:
            parameter = self.param_groups[number]["params"][index]
            return self.state_format.fitted(self._name(number, index), parameter, steps[number], tensors)

        return {"param_groups": groups, "state": checkpoint.fitted(groups, fit, self.param_groups)}

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"rule": self.rule}
