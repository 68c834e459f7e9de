"""`RuleOptimizer`: a torch optimizer for any rule. It finds parameters, gradients and memory; the engines step them."""

from __future__ import annotations

import difflib
import functools
import itertools
import math
import operator
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypedDict

import torch
from torch import Tensor

from surefoot import rules
from surefoot.engines import Modifiers, NonFiniteError, Step
from surefoot.optim import gpu
from surefoot.optim.memory import (
    Memory,
    Rows,
    check_parameter,
    copied,
    counter_type,
    is_supported,
    local,
    new_slot,
    own_gradient,
)
from surefoot.optim.running import Job, Together, TogetherByRows, alone, can_join, checked_rows
from surefoot.rules import Rule, RuleError

TORCHS: Any = sys.modules[torch.optim.Optimizer.__module__]
"""Where torch's own optimizer is defined, with the hooks of all optimizers."""
ENGINES = (None, "cpu", "gpu", "reference", "torch")
HINTS = ("foreach", "fused", "capturable", "differentiable")
"""What torch's optimizers take to choose an implementation; only `differentiable` changes what is computed here."""


class Beyond(TypedDict, total=False):
    """What every optimizer here takes beyond torch's; each may differ from group to group.

    Attributes:
        eps_root: ε inside the root, beside the ε outside it.
        granularity: "coordinate", "row" (one rate for each row of a parameter) or "tensor" (one rate).
        state_dtype: the type of the memory; float32 by default, float64 for float64 parameters.
        decoupled_weight_decay: a parameter is first multiplied by 1 − lr · this.
        l1, l2: penalties, applied by a proximal step in the metric of the rule: exact zeros under l1.
        nonfinite: "raise" (leave such coordinates as they are, then raise), "skip" (only count them), "propagate".
        stochastic_rounding: a seed; bfloat16 parameters are rounded up or down at random, right on average.
        lazy: for sparse gradients: "exact" (rows left out catch up when next touched, as if stepped with zero
            gradients) or "touched" (rows left out are left alone).
        engine: "cpu" (Numba), "gpu" (Triton), "reference" (NumPy) or "torch"; None takes the fastest for the device.
    """

    eps_root: float
    granularity: Literal["coordinate", "row", "tensor"]
    state_dtype: torch.dtype | None
    decoupled_weight_decay: float | bool
    l1: float
    l2: float
    nonfinite: Literal["raise", "skip", "propagate"]
    stochastic_rounding: int | None
    lazy: Literal["exact", "touched"]
    engine: Literal["cpu", "gpu", "reference", "torch"] | None


AROUND: dict[str, Any] = {
    "weight_decay": 0.0,
    "maximize": False,
    "granularity": "coordinate",
    "state_dtype": None,
    "decoupled_weight_decay": 0.0,
    "l1": 0.0,
    "l2": 0.0,
    "nonfinite": "raise",
    "stochastic_rounding": None,
    "lazy": "exact",
}
"""What is done around the rule, and what is meant where a group does not say."""


class RuleOptimizer(torch.optim.Optimizer):
    """A torch optimizer for any rule, also one of your own.

    Args:
        params: parameters, named parameters, or groups of them, as torch.optim takes them.
        rule: a Rule, or the name of one.
        convention: take the defaults of that library ("pytorch", "keras", …), see Rule.conventions.
        **settings: the rule's hyperparameters; weight_decay, maximize, differentiable as in torch; and what is listed
            in `Beyond`. `lr` may be a tensor or a schedule.

    Raises:
        RuleError, ValueError: for settings that the rule cannot honour; nothing is ignored.

    >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = RuleOptimizer([w], "adagrad", lr=0.5, eps_root=0.0)
    >>> (3 * w[0]).backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.5000, 2.0000])
    """

    names: ClassVar[Mapping[str, str | tuple[str, int]]] = {}
    """Under which key, or place in a tuple, a group has a hyperparameter, where torch's name is not the rule's."""
    keys: ClassVar[Mapping[str, str]] = {}
    """Under which key a state dict has a slot of the rule, where torch's name is not the rule's."""
    counts = True
    """Whether a state dict counts the steps."""
    has_arguments = False
    """Whether the class names every setting; otherwise those that are not given are the rule's defaults."""
    starts_with_memory = False
    """Whether there is memory before the first step."""

    def __init__(self, params: Iterable, rule: str | Rule, *, convention: str | None = None, **settings: Any):
        self.rule = rules.resolve(rule)
        if not self.has_arguments:
            hyper = {key: value for key, value in settings.items() if key not in AROUND and key not in HINTS}
            hyper.pop("engine", None)
            given = {key: hyper.pop(key) for key in ("lr",) if key in hyper}
            settings = self.rule.settings(convention, **hyper) | dict(self.rule.options) | given | settings
            settings = {"weight_decay": 0.0, "maximize": False, "differentiable": False} | settings
        self._check_names()
        self._check_keys(settings)
        if settings.get("fused") and settings.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if settings.get("fused") and settings.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        self._forget()
        super().__init__(params, settings)
        # torch.distributed.checkpoint makes memory, where there is none, by a step at rate 0: from the origin, that
        # would forget the parameters.
        if self.starts_with_memory or self.rule.from_origin or not self.rule.hyper["lr"].admits(0.0):
            for number, group in enumerate(self.param_groups):
                step = self._step_of(number)
                for parameter in group["params"]:
                    if is_supported(parameter):  # others raise when they are stepped, if ever
                        self.state[parameter] = self._tensors(parameter, step)

    # Settings

    def _check_names(self) -> None:
        """Raises RuleError for a rule whose hyperparameters or slots are called as what optimizers have themselves."""
        taken = {"hyperparameter": {*AROUND, *HINTS, "engine", "params", "param_names"} - {"l1", "l2"}}
        taken["slot"] = {"step", "last", "history"}
        named = {"hyperparameter": [self._place(name)[0] for name in self.rule.hyper]}
        named["slot"] = [self.keys.get(slot, slot) for slot in self.rule.slots]
        for kind, names in named.items():
            for name in names:
                if name in taken[kind]:
                    raise RuleError(
                        f"{self.rule.name}: the {kind} {name!r} would be confused with the optimizers' own; call it "
                        "otherwise"
                    )

    def _check_keys(self, settings: Iterable[str], labels: bool = False) -> None:
        """Raises TypeError for a setting that would be ignored; groups may have labels, as in torch."""
        theirs = {self._place(name)[0] for name in self.rule.hyper}
        known = theirs | AROUND.keys() | {*HINTS, "engine", "eps_root"}
        for key in settings:
            if key not in known and not (labels and is_label(key, known)):
                raise TypeError(
                    f"{type(self).__name__} got an unexpected keyword argument {key!r}; it takes "
                    f"{', '.join(sorted(known))}"
                )
        if "eps_root" in settings and "eps_root" not in self.rule.hyper:
            raise ValueError(f"{type(self).__name__}: eps_root would change nothing: {self.rule.name} takes no root")

    def _place(self, name: str) -> tuple[str, int | None]:
        place = self.names.get(name, name)
        return place if isinstance(place, tuple) else (place, None)

    def _rule_of(self, group: Mapping[str, Any]) -> Rule:
        return self.rule

    def _hyper_of(self, group: Mapping[str, Any], rule: Rule) -> dict[str, Any]:
        """The rule's hyperparameters in a group, by the rule's names."""
        hyper = {}
        for name in rule.hyper:
            key, index = self._place(name)
            if key in group and key not in AROUND:
                value = group[key] if index is None else group[key][index]
                hyper[name] = value if name == "lr" and gpu.lies_on(value) else plain(value)
        return hyper

    def _step_of(self, number: int) -> Step:
        """The settings of a group, made anew only when they change; a learning rate may change at each step."""
        group = self.param_groups[number]
        settings = group.copy()
        for key in ("params", "param_names"):
            settings.pop(key, None)
        before, key, step = self._steps.get(number, (None, None, None))
        if step is not None and before == settings:
            return step
        new, lr, make = self._settings(group)
        step = make() if step is None or new != key else step
        if isinstance(lr, Tensor) or (group.get("differentiable") and isinstance(group["lr"], Tensor)):
            # Not its number: autograd is to see it, or the host not to wait for it.
            step.hyper["lr"] = group["lr"].reshape(())  # pyright: ignore[reportArgumentType]
        else:
            step.change_lr(lr)
        # A tensor or a list may change and remain the same object.
        values = itertools.chain.from_iterable(v if isinstance(v, tuple) else (v,) for v in settings.values())
        self._steps[number] = None if any(isinstance(v, (Tensor, list)) for v in values) else settings, new, step
        return step

    def _settings(self, group: Mapping[str, Any]) -> tuple[tuple, Any, Callable[[], Step]]:
        """All of a group's settings but the learning rate, which comes after them, and how a Step is made of them."""
        rule = self._rule_of(group)
        hyper = self._hyper_of(group, rule)
        around = {key: plain(group.get(key, default)) for key, default in AROUND.items()}
        if isinstance(around["decoupled_weight_decay"], bool):
            decoupled = around["weight_decay"] if around["decoupled_weight_decay"] else 0.0
            around["decoupled_weight_decay"] = decoupled
            around["weight_decay"] = 0.0 if decoupled else around["weight_decay"]
        lr = hyper.pop("lr")
        key = (rule, *hyper.values(), *around.values(), group.get("engine"), bool(group.get("differentiable")))

        def make() -> Step:
            if around["state_dtype"] is not None:
                around["state_dtype"] = str(around["state_dtype"]).removeprefix("torch.")
            engine = "reference" if group.get("engine") == "reference" else "cpu"
            convention = "pytorch" if "pytorch" in rule.conventions else None
            return Step(rule, engine=engine, convention=convention, lr=plain(lr), **hyper, **around)

        return key, lr, make

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; raises before anything is changed if a setting of the group cannot be honoured."""
        if isinstance(param_group, dict):
            self._check_keys(param_group.keys() - {"params", "param_names", "initial_lr"}, labels=True)
            for key in ("rule", "convention"):
                if key in param_group:
                    raise ValueError(
                        f"a parameter group has {key}={param_group[key]!r}, but all groups of an optimizer have one "
                        "rule; make an optimizer for each rule"
                    )
            self._check_values(self.defaults | param_group)
        self.synchronize()
        self._watches.clear()
        self._together.clear()
        super().add_param_group(param_group)

    def _check_values(self, group: Mapping[str, Any]) -> None:
        """Raises ValueError, in torch's words, for a setting out of its bounds."""
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, got one of shape {tuple(lr.shape)}")
        for name, value in self._hyper_of(group, self.rule).items():
            value = plain(value)
            bounds, (key, index) = self.rule.hyper[name], self._place(name)
            if callable(value) or (isinstance(value, (int, float)) and bounds.admits(value)):
                continue
            what = {"lr": "learning rate", "eps": "epsilon value"}.get(key, f"{key} value")
            what = f"beta parameter at index {index}" if index is not None else what
            raise ValueError(f"Invalid {what}: {value}; expected a number in {bounds.interval()}")
        for key in ("weight_decay", "decoupled_weight_decay", "l1", "l2", "eps_root"):
            value = plain(group.get(key, 0.0))
            if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise ValueError(f"Invalid {key} value: {value}; expected a finite number of at least 0")
        if group.get("engine") not in ENGINES:
            raise ValueError(f"Invalid engine value: {group['engine']!r}; expected cpu, gpu, reference, torch or None")
        self._settings(group)[2]()

    # Memory

    def _forget(self) -> None:
        """Forgets what is known of where memory lies."""
        self._steps: dict[int, tuple[dict[str, Any] | None, tuple, Step]] = {}
        self._memories: dict[Tensor, Memory] = {}
        self._together: dict[int, tuple[list[Tensor], dict[tuple, Together]]] = {}
        self._known: list[dict[str, Any]] = []
        self._watches: dict[torch.device, gpu.Watch] = {}
        # CUDA graphs go on reading and writing what they were captured with.
        self._captured: list[Together | Memory | gpu.Watch] = getattr(self, "_captured", [])

    def _tensors(self, parameter: Tensor, step: Step, meta: bool = False) -> dict[str, Tensor]:
        """The memory before the first step; on the meta device, only its shapes and types."""
        tensors = {"step": torch.tensor(0.0, dtype=counter_type())} if self.counts else {}
        for slot, kept in step.rule.slots.items():
            tensors[self.keys.get(slot, slot)] = new_slot(parameter, step, kept, meta)
        return tensors

    def _name(self, number: int, index: int) -> str:
        """What errors call a parameter."""
        names = self.param_groups[number].get("param_names")
        return names[index] if names else f"parameter {index} of group {number}"

    def _fitted(self, name: str, parameter: Tensor, step: Step, tensors: dict[str, Any]) -> dict[str, Any]:
        """A memory as the rule and the parameter need it; floating-point types and devices are converted.

        Raises:
            ValueError: for keys that are missing or unknown, and for shapes and types that cannot be converted.
        """
        expected = self._tensors(parameter, step, meta=True)
        if "last" in tensors or "history" in tensors:
            expected |= left_out(parameter, step, tensors.get("history"))
        missing = expected.keys() - tensors.keys()
        # What an option that was switched off has left, such as momentum, waits; torch keeps it too.
        unknown = tensors.keys() - expected.keys() - {"step", "last", "history", *self.keys.values()}
        if missing or unknown:
            raise ValueError(
                f"{name}: the memory has {', '.join(map(str, tensors)) or 'nothing'}; expected {', '.join(expected)}"
            )
        fitted: dict[str, Any] = {}
        for key, value in tensors.items():
            if key == "step" and not isinstance(value, Tensor):
                value = torch.tensor(float(value), dtype=counter_type())
            wanted: Any = expected.get(key, value)
            if isinstance(value, Tensor) and value.layout is not torch.strided:
                value = value.to_dense()  # torch's SGD makes its buffer of the first gradient, in the layout of that
            if not isinstance(value, Tensor) or value.shape != wanted.shape:
                found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
                raise ValueError(f"{name}: {key!r} has {found}; expected a tensor of shape {tuple(wanted.shape)}")
            if value.is_complex() != wanted.is_complex() or value.is_floating_point() != wanted.is_floating_point():
                raise ValueError(f"{name}: {key!r} is {value.dtype}; expected {wanted.dtype}")
            placements = [getattr(tensor, "placements", None) for tensor in (value, wanted)]
            if placements[0] != placements[1]:
                raise ValueError(
                    f"{name}: {key!r} is placed on processes as {placements[0]}; expected {placements[1]}, which "
                    "set_optimizer_state_dict of torch.distributed.checkpoint.state_dict sees to"
                )
            fitted[key] = value if key == "step" else value.to(dtype=wanted.dtype, device=parameter.device)
        if "last" in fitted and fitted["last"].numel():
            first, last, t = int(fitted["last"].min()), int(fitted["last"].max()), int(fitted["step"])
            if first < 0 or last > t:
                wrong = first if first < 0 else last
                raise ValueError(f"{name}: by 'last', a row took part in step {wrong}; expected 0 … {t}, of 'step'")
        return fitted

    def _memory(self, number: int, index: int, parameter: Tensor, step: Step) -> Memory:
        """What is known of a parameter's memory; looked up anew where anything about it has moved."""
        memory, tensors = self._memories.get(parameter), self.state.get(parameter) or {}
        counts_on_device = self._counts_on_device(self.param_groups[number], local(parameter).device)
        ours = memory is not None and (memory.tensors is tensors or not (memory.tensors or tensors))
        ours = ours and memory.counts_on_device == counts_on_device  # pyright: ignore[reportOptionalMemberAccess]
        name = self._name(number, index)
        if memory is not None and ours:
            self._settle_before(memory, step, self._engine(self.param_groups[number], memory.device))
        if memory is not None and ours and memory.step.layout == step.layout:
            try:
                if memory.look() == memory.place:
                    if memory.step is not step:
                        check_parameter(name, parameter, step)
                    memory.step = step
                    return memory
            except (AttributeError, KeyError, RuntimeError):
                pass  # a tensor is missing, or is sparse: the check below converts it, or names it
        if memory is not None and ours:
            memory.keep()
            tensors = memory.tensors
        check_parameter(name, parameter, step)
        keys = tuple(self.keys.get(slot, slot) for slot in step.rule.slots)
        t = min(len(tensors), 1)
        tensors = self._fitted(name, parameter, step, tensors) if tensors else self._tensors(parameter, step)
        gpu.place_counter(tensors, parameter, counts_on_device)
        return Memory(name, parameter, step, tensors, keys, t, counts_on_device)

    def _settle_before(self, memory: Memory, step: Step, engine: str) -> None:
        """Lets rows catch up before a step with which, or by an engine for which, they need no longer wait."""
        if "last" not in memory.tensors:
            return
        waits = step.catches_up and engine != "torch"
        if waits and (step is memory.step or step.rule is memory.step.rule):
            return
        if step.granularity != memory.step.granularity:
            return  # which is refused, with nothing changed
        gpu.settle(memory) if memory.device.type != "cpu" else memory.settle()

    # Steps

    @staticmethod
    def profile_hook_step(func: Callable) -> Callable:
        """What torch makes of `step`: it calls hooks, and announces steps to profilers even where there are none, which
        takes longer than many a step."""
        announced = torch.optim.Optimizer.profile_hook_step(func)

        @functools.wraps(func)
        def step(self, *args, **kwargs):
            return (announced if is_watched(self) else func)(self, *args, **kwargs)

        return step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Steps every parameter that has a gradient.

        Args:
            closure: computes the loss again and its gradients, and returns the loss.

        Returns:
            What the closure returned.

        Raises:
            ValueError: naming the parameter, for a gradient or a memory that does not fit; nothing is changed then.
            NonFiniteError: after the step, naming the parameters of which some coordinates were skipped.
        """
        if torch.compiler.is_compiling():
            return uncompiled_step(self, closure)
        return self._step(closure)

    def _step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(any(group.get("differentiable") for group in self.param_groups)):
            self._run(*self._work())
        return loss

    def step_one(self, number: int, index: int) -> None:
        """Steps a single parameter, the index-th of a group, if it has a gradient."""
        parameter = self.param_groups[number]["params"][index]
        if parameter.grad is not None:
            with torch.no_grad():
                self._run([], [self._job(number, index, parameter, self._step_of(number))])

    def _work(self) -> tuple[list[Together], list[Job]]:
        """What there is to do, checked: an error here comes before anything is changed."""
        if not same(self.state.values(), self._known):
            self._together.clear()
        ready, alone = [], []
        for number, group in enumerate(self.param_groups):
            if all(parameter.grad is None for parameter in group["params"]):
                continue
            step = self._step_of(number)
            members, found = self._together.get(number, ([], {}))
            checked = (some.step is step and some.is_ready() for some in found.values())
            if not (same(group["params"], members) and all(checked)):
                found = {}
            if sum(len(some.memories) for some in found.values()) < len(group["params"]):
                known = set().union(*(some.identities for some in found.values()))
                joining = defaultdict(list)
                for index, parameter in enumerate(group["params"]):
                    if id(parameter) not in known and parameter.grad is not None:
                        job = self._job(number, index, parameter, step)
                        if gpu.can_join(job) if job.engine == "gpu" else can_join(job):
                            joining[job.engine, isinstance(job.gradient, Rows), job.memory.kind].append(job.memory)
                        else:
                            alone.append(job)
                for kind, memories in joining.items():
                    before = found[kind].memories if kind in found else []
                    engine, by_rows, _ = kind
                    found[kind] = self._joined(step, engine, by_rows, [*before, *memories])
                self._together[number] = list(group["params"]), found
            ready += found.values()
        for some in (*ready, *alone):
            some.check_schedule()
        return ready, alone

    def _job(self, number: int, index: int, parameter: Tensor, step: Step) -> Job:
        group = self.param_groups[number]
        memory = self._memory(number, index, parameter, step)
        engine = self._engine(group, memory.device)
        gradient = own_gradient(parameter)
        if gradient.layout is torch.strided:
            if gradient.dtype is not memory.dtype or gradient.shape != memory.shape:
                raise ValueError(
                    f"{memory.name}: the gradient is {gradient.dtype} of shape {tuple(gradient.shape)}; expected "
                    f"{memory.dtype} of shape {tuple(memory.shape)}"
                )
        else:
            gradient = checked_rows(memory, gradient, engine)
        return Job(step, memory, gradient, engine)

    def _engine(self, group: Mapping[str, Any], device: torch.device) -> str:
        """The engine that steps parameters on a device."""
        named = group.get("engine")
        if named not in ENGINES:
            raise ValueError(f"Invalid engine value: {named!r}; expected cpu, gpu, reference, torch or None")
        if group.get("differentiable"):
            return "torch"
        if named == "gpu" and (reason := gpu.obstacle(self._rule_of(group), device)) is not None:
            raise ValueError(f"the gpu engine cannot step parameters on {device}: {reason}; expected engine=None")
        return named or ("cpu" if device.type == "cpu" else gpu.chosen(self._rule_of(group), device))

    def _counts_on_device(self, group: Mapping[str, Any], device: torch.device) -> bool:
        """Whether the steps of parameters are counted where they lie, as torch does with these two."""
        return bool(group.get("capturable") or group.get("fused")) and self._engine(group, device) == "gpu"

    def _joined(self, step: Step, engine: str, by_rows: bool, memories: list[Memory]) -> Together:
        if engine == "gpu":
            return gpu.TogetherOnGPU(step, memories, self._watch(memories[0].device))
        return (TogetherByRows if by_rows else Together)(step, memories)

    def _watch(self, device: torch.device) -> gpu.Watch:
        if device not in self._watches:
            self._watches[device] = gpu.Watch(device, sum(len(group["params"]) for group in self.param_groups))
        return self._watches[device]

    def _run(self, ready: list[Together], jobs: list[Job]) -> None:
        """Steps the parameters; raises at the end if one of them had a gradient that was not finite."""
        if (self._watches or any(job.engine == "gpu" for job in jobs)) and gpu.is_capturing():
            every = [*(memory for some in ready for memory in some.memories), *(job.memory for job in jobs)]
            gpu.check_capture(every, any(some.is_new for some in ready) or not all(map(self._can_be_captured, jobs)))
            self._captured += [*ready, *every, *self._watches.values()]
        for memory in itertools.chain(*(some.memories for some in ready if some.is_new), (job.memory for job in jobs)):
            self._memories[memory.parameter] = memory
            if memory.tensors and memory.tensors is not self.state.get(memory.parameter):
                self.state[memory.parameter] = memory.tensors
        # Autograd is told before the step, while what it is told of still lies in the nearest cache.
        stepped = [parameter for some in ready for parameter in some.stepped()]
        torch.autograd.graph.increment_version(stepped + [job.memory.parameter for job in jobs])
        amp = gpu.amp_of(self)
        faults = gpu.said([found for watch in self._watches.values() for found in watch.look()])
        for some in ready:
            faults += some.run(amp)
        for job in jobs:
            faults += gpu.alone(job, self._watch(job.memory.device), amp) if job.engine == "gpu" else alone(job)
        for job in jobs:
            if job.memory.tensors:  # a rule without slots has none before rows have something to make up for
                self.state[job.memory.parameter] = job.memory.tensors
        self._known = list(self.state.values())
        if any(faults):
            raise NonFiniteError("; ".join(filter(None, faults)))

    def _can_be_captured(self, job: Job) -> bool:
        return isinstance(job.gradient, Rows) and self._memories.get(job.memory.parameter) is job.memory

    def settle(self) -> None:
        """Lets every row that sparse gradients left out catch up, as if it had been stepped with zero gradients.

        With l1, l2, decoupled_weight_decay or a rule with momentum, `lazy="exact"` makes up for steps that a row took
        no part in when it is next touched: call this before parameters are evaluated, and before memory is saved by
        torch.distributed.checkpoint, which only loads what a fresh optimizer has too.
        """
        for number, group in enumerate(self.param_groups):
            step = self._step_of(number)
            for index, parameter in enumerate(group["params"]):
                if "last" in self.state.get(parameter, ()):
                    memory = self._memories[parameter] = self._memory(number, index, parameter, step)
                    gpu.settle(memory) if self._engine(group, memory.device) == "gpu" else memory.settle()
                    torch.autograd.graph.increment_version(parameter)

    def synchronize(self) -> None:
        """Waits for all steps on GPUs, and raises what they could not do; by itself, that is told at a later step.

        Raises:
            NonFiniteError: naming the parameters of which some coordinates were skipped.
            ValueError: naming the parameter, where a sparse gradient named rows out of range.
        """
        if faults := gpu.said([found for watch in self._watches.values() for found in watch.wait()]):
            raise NonFiniteError("; ".join(faults))

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler need not wait for what it found: then steps on GPUs are skipped there."""
        return all(
            self._counts_on_device(group, device)
            for group in self.param_groups
            for device in {local(parameter).device for parameter in group["params"]}
        )

    def known(self) -> Iterator[Memory]:
        """What is known of the parameters that have been stepped, in their order."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter in self._memories:
                    yield self._memories[parameter]

    # Changes between steps

    def change(self, **settings: Any) -> None:
        """Changes settings of all groups from the next step on: change(lr_decay=0), change(stochastic_rounding=None), …

        Raises:
            TypeError, ValueError: for an unknown setting or a value out of its bounds; nothing is changed then.

        >>> optimizer = RuleOptimizer([torch.nn.Parameter(torch.zeros(1))], "adagrad", lr_decay=0.5)
        >>> optimizer.change(lr_decay=0.0)
        >>> optimizer.param_groups[0]["lr_decay"]
        0.0
        """
        self._check_keys(settings)
        for group in self.param_groups:
            self._check_values(group | settings)
        for group in self.param_groups:
            group.update(settings)

    def restart(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Makes the memory of the parameters (by default, all) what it was before the first step."""
        chosen = None if parameters is None else {id(parameter) for parameter in parameters}
        self._together.clear()
        for number, group in enumerate(self.param_groups):
            for parameter in group["params"]:
                if chosen is None or id(parameter) in chosen:
                    self._memories.pop(parameter, None)
                    if self.state.pop(parameter, None) and (self.counts or self.starts_with_memory):
                        self.state[parameter] = self._tensors(parameter, self._step_of(number))

    def to_rule(self, rule: str | Rule, **settings: Any) -> RuleOptimizer:
        """Another optimizer for the same parameters and learning rates, with another rule and a new memory.

        >>> optimizer = RuleOptimizer([torch.nn.Parameter(torch.zeros(1))], "adagrad", lr=0.5)
        >>> optimizer.to_rule("rmsprop").param_groups[0]["lr"]
        0.5
        """
        kept = ("params", "param_names") if "lr" in settings else ("params", "param_names", "lr")
        groups = [{key: group[key] for key in kept if key in group} for group in self.param_groups]
        return RuleOptimizer(groups, rule, **settings)

    # Keeping and loading

    def _keep(self) -> None:
        """Brings the state dict's tensors up to date with what is known besides them."""
        for number, group in enumerate(self.param_groups):
            for parameter in group["params"]:
                if (memory := self._memories.get(parameter)) is not None:
                    if "last" in memory.tensors:
                        self._settle_before(memory, self._step_of(number), self._engine(group, memory.device))
                    memory.keep()

    def state_dict(self) -> dict[str, Any]:
        """As torch's: the memory of every parameter, by the same names, and the settings of every group."""
        self._keep()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads the state of a Surefoot or torch optimizer; the memory keeps its type (torch casts it).

        Raises:
            ValueError: naming the parameter, for groups that do not match and for keys that are missing, unknown or of
                another shape; nothing is changed then.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = hook(self, state_dict) or state_dict
        for key in ("state", "param_groups"):
            if key not in state_dict:
                raise ValueError(
                    f"the state dict has no {key!r}, only {list(state_dict)}; expected that of an optimizer"
                )
        state_dict["state"] = self._checked(state_dict)
        hooks = self._optimizer_load_state_dict_pre_hooks
        self._optimizer_load_state_dict_pre_hooks = OrderedDict()
        try:
            super().load_state_dict(state_dict)
        finally:
            self._optimizer_load_state_dict_pre_hooks = hooks

    def _checked(self, state_dict: dict[str, Any]) -> dict[Any, Any]:
        """The states of a checkpoint as they are to be kept, each tensor in a box that torch does not cast."""
        groups = state_dict["param_groups"]
        if [len(group["params"]) for group in groups] != [len(group["params"]) for group in self.param_groups]:
            raise ValueError(
                f"loaded state dict has a different number of parameter groups or parameters: groups of "
                f"{[len(group['params']) for group in groups]} parameters; "
                f"expected {[len(group['params']) for group in self.param_groups]}"
            )
        # What torch's checkpoints cannot say, a group goes on with.
        beyond = (*AROUND, "eps_root", "engine")
        own = [{key: group[key] for key in beyond if key in group} for group in self.param_groups]
        state_dict["param_groups"] = groups = [a | saved for a, saved in zip(own, groups, strict=True)]
        states = dict(state_dict["state"])
        for number, (saved, group) in enumerate(zip(groups, self.param_groups, strict=True)):
            merged = self.defaults | {key: value for key, value in saved.items() if key != "params"}
            self._check_values(merged)
            step = self._settings(merged)[2]()
            for index, (key, parameter) in enumerate(zip(saved["params"], group["params"], strict=True)):
                if states.get(key):
                    tensors = {name: value for name, value in states[key].items() if value is not None}
                    name = self._name(number, index)
                    fitted = self._fitted(name, parameter, step, tensors)
                    states[key] = {name: Boxed(copied(value)) for name, value in fitted.items()}
        return states

    def __getstate__(self) -> dict[str, Any]:
        self._keep()
        return super().__getstate__() | {"rule": self.rule}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._forget()
        super().__setstate__(state)
        for group in self.param_groups:
            for key, default in self.defaults.items():
                group.setdefault(key, default)
        for tensors in self.state.values():
            for key, value in tensors.items():
                if isinstance(value, Boxed):
                    tensors[key] = value.tensor

    def share_memory(self) -> None:
        """Moves the memory into shared memory, for training by several processes."""
        for tensors in self.state.values():
            for value in tensors.values():
                value.share_memory_()


@dataclass
class Boxed:
    """A tensor that torch takes for something else, and so neither casts nor moves."""

    tensor: Tensor


def left_out(parameter: Tensor, step: Step, history: Any) -> dict[str, Tensor]:
    """Of what type and shape that is, without values, which rows have to make up for that were left out."""
    entries = len(history) if isinstance(history, Tensor) and history.ndim else 0
    numbers = 1 + len(step.rule.coefficient_names) + len(Modifiers._fields)
    return {
        "step": torch.empty((), dtype=counter_type(), device="meta"),
        "last": torch.empty(local(parameter).shape[:1], dtype=torch.int64, device="meta"),
        "history": torch.empty((entries, numbers), dtype=torch.float64, device="meta"),
    }


uncompiled_step = torch._disable_dynamo(RuleOptimizer._step)  # pyright: ignore[reportPrivateImportUsage]
"""Which torch.compile leaves alone, with all that it calls."""


def is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether hooks or a profiler want to know of an optimizer's steps, as far as torch's private names tell."""
    try:
        own = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
        common = TORCHS._global_optimizer_pre_hooks or TORCHS._global_optimizer_post_hooks
        return bool(own or common or torch.autograd.profiler._is_profiler_enabled)
    except AttributeError:
        return True


def is_label(key: str, known: Iterable[str]) -> bool:
    """Whether a group's key is the caller's own: no setting of any optimizer here, nor one that is misspelt.

    >>> is_label("name", ["lr"]), is_label("weigth_decay", ["weight_decay"]), is_label("amsgrad", ["lr"])
    (True, False, False)
    """
    settings = {*known, *AROUND, *itertools.chain(*(rule.hyper for rule in rules.REGISTRY.values()))}
    return not difflib.get_close_matches(key, settings, 1, cutoff=0.85)


def plain(value: Any) -> Any:
    """A tensor of one element, or a number of NumPy's, as a number of Python's; anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def same(some: Iterable, others: list) -> bool:
    """Whether the same objects come in the same order.

    >>> same([], []), same([[]], [[]])
    (True, False)
    """
    some = list(some)
    return len(some) == len(others) and all(map(operator.is_, some, others))
