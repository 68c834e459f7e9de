"""torch's base class of optimizers, adapted: its wrapper of `step` is slow, and it casts the state that it loads.

What all optimizers here do before a step, whichever rules take it, is here too: the closure, the state that
torch.distributed.checkpoint asks for, and clipping.
"""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from surefoot.optim import decay
from surefoot.optim.checkpoint import Checkpoint, unboxed
from surefoot.optim.clipping import clip, is_clipped
from surefoot.optim.evaluating import check_mode, move
from surefoot.optim.grow import new_rows
from surefoot.rules import Rule

TORCHS: Any = sys.modules[torch.optim.Optimizer.__module__]
"""Where torch's own optimizer is defined, with the hooks of all optimizers."""


class TorchOptimizer(torch.optim.Optimizer):
    """An optimizer that remembers more than its state dict says, and whose state keeps its types when it is loaded."""

    has_arguments = False
    """Whether the class is one rule's, and names every setting; otherwise, those not given are a rule's defaults."""
    grad_norm: Tensor | None = None
    """The norm of all gradients before they were clipped, in the last step with max_grad_norm."""
    _only_seen = False
    """Whether the state is there to be seen, before the first step."""

    def _forget(self) -> None:
        """Forgets what is remembered besides the state dict."""
        raise NotImplementedError

    def _recall(self) -> None:
        """Remembers, of a state that was loaded, what later changes of the settings must not change."""
        raise NotImplementedError

    def _keep(self) -> None:
        """Brings the tensors of the state dict up to date."""
        raise NotImplementedError

    def _fitted(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The groups and states of a checkpoint as they fit the parameters."""
        raise NotImplementedError

    def _is_untouched(self) -> bool:
        """Whether there is no state, and no parameter has been stepped."""
        raise NotImplementedError

    def _make_state(self) -> None:
        """Gives every parameter the state that it has before its first step."""
        raise NotImplementedError

    def _check_gradients(self) -> None:
        """Raises ValueError for gradients that no step can take, before they are clipped."""
        raise NotImplementedError

    def _take(self) -> None:
        """Takes a step with the gradients as they are."""
        raise NotImplementedError

    def _numbered(self) -> Iterator[tuple[int, int, Tensor]]:
        """(group, index, parameter) of all parameters."""
        for number, group in enumerate(self.param_groups):
            for index, parameter in enumerate(group["params"]):
                yield number, index, parameter

    def _place(self, parameter: Tensor) -> tuple[int, int]:
        """Where the optimizer has a parameter: (group, index)."""
        for number, index, own in self._numbered():
            if own is parameter:
                return number, index
        raise ValueError(
            f"the optimizer does not have the parameter of shape {tuple(parameter.shape)}; expected one of its own"
        )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Steps every parameter that has a gradient.

        Args:
            closure: computes the loss again and its gradients, and returns the loss.

        Returns:
            What the closure returned.

        Raises:
            ValueError: naming the parameter, for a gradient or a state that does not fit; nothing is changed then.
            NonFiniteError: after the step, naming the parameters of which some coordinates were skipped; before it, if
                the norm of all gradients, which max_grad_norm limits, is not finite.
        """
        if torch.compiler.is_compiling():
            return uncompiled_step(self, closure)
        return self._step(closure)

    def _step(self, closure: Callable[[], Any] | None) -> Any:
        check_mode(self)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found = getattr(self, "found_inf", None)
        if found is not None and not getattr(self, "_step_supports_amp_scaling", False) and float(found):
            return loss  # as torch's fused steps; where steps are skipped on the device, they do so by themselves
        if self._is_untouched() and asked_for_state():
            # Of torch.distributed.checkpoint, which so sees the state: the step does not count.
            self._make_state()
            self._only_seen = True
            return loss
        if self._only_seen:
            self.state.clear()
            self._only_seen = False
        if any(map(is_clipped, self.param_groups)):
            self._check_gradients()
            norm = clip(self.param_groups)
            self.grad_norm = self.grad_norm if norm is None else norm
        if decay.is_on(self):
            tables = decay.before_step(self)
            self._take()
            decay.after_step(self, tables)
        else:
            self._take()
        return loss

    @staticmethod
    def profile_hook_step(func: Callable) -> Callable:
        """torch's wrapper of `step`, which calls hooks and notifies profilers, only where there are any: it is slow."""
        announced = torch.optim.Optimizer.profile_hook_step(func)

        @functools.wraps(func)
        def step(self, *args, **kwargs):
            return (announced if is_watched(self) else func)(self, *args, **kwargs)

        return step

    @property
    def _rules(self) -> list[Rule]:
        """The rules of Surefoot that take its steps."""
        raise NotImplementedError

    def change(self, **settings: Any) -> None:
        """Changes settings of all groups from the next step on."""
        raise NotImplementedError

    def flush(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Lets every row without a gradient catch up."""
        raise NotImplementedError

    def memories(self) -> Iterator[tuple[Tensor, Any, Any]]:
        """The parameters that have state or a gradient, what is known of each, and the settings of its next step."""
        raise NotImplementedError

    def eval(self) -> None:
        """Moves parameters to where they are to be evaluated and saved: with schedule-free rules, to their averages.

        With other rules it does nothing, nor where it was called before.
        """
        move(self, to_average=True)

    def train(self) -> None:
        """Moves parameters back to where gradients are computed; `eval` says what for."""
        move(self, to_average=False)

    def settle(self) -> None:
        """The name that version 0.1 gave to `flush`."""
        self.flush()

    def step_one(self, number: int, index: int) -> None:
        """Steps a single parameter, the index-th of a group, if it has a gradient."""
        raise NotImplementedError

    def grow(self, parameter: Tensor, rows: int, values: Any = None) -> None:
        """Gives a parameter more rows, with the state that rows have before the first step.

        Rows without a gradient catch up first. The parameter remains the object that it is, so modules, groups, hooks
        and schedulers keep it; if it has a gradient, this gets zeros. It lies elsewhere in memory afterwards: views of
        the old memory do not follow. Of a class of torch inside of `Grouped`, the state of the new rows is that after a
        step with a gradient of zeros.

        Args:
            parameter: one of the optimizer's.
            rows: how many it has afterwards.
            values: of the new rows: a tensor, a number, or a function that fills a tensor, such as
                torch.nn.init.normal_, or returns another one; None for zeros.

        Raises:
            ValueError: for another optimizer's parameter, one that is split among processes, and fewer rows than it
                has; nothing is changed then.

        >>> from surefoot import optim
        >>> w = torch.nn.Parameter(torch.ones(2, 2))
        >>> optimizer = optim.Adagrad([w])
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> optimizer.grow(w, 3, torch.nn.init.ones_)
        >>> w[2].tolist(), optimizer.state[w]["sum"].tolist()
        ([1.0, 1.0], [[4.0, 4.0], [4.0, 4.0], [0.0, 0.0]])
        """
        number, index = self._place(parameter)
        self._grow(number, index, parameter, new_rows(self._name(number, index), parameter, rows, values))

    def _grow(self, number: int, index: int, parameter: Tensor, rows: Tensor) -> None:
        """Gives a parameter these rows."""
        raise NotImplementedError

    def _name(self, number: int, index: int) -> str:
        """What errors call a parameter."""
        raise NotImplementedError

    def share_memory(self) -> None:
        """Moves the state into shared memory, for training by several processes."""
        for tensors in self.state.values():
            for value in tensors.values():
                if isinstance(value, Tensor):
                    value.share_memory_()

    def state_dict(self) -> dict[str, Any]:
        """As torch's: the state of every parameter, by the same names, and the settings of every group."""
        self._keep()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads the state of a Surefoot or torch optimizer, which keeps its type (torch casts it).

        Raises:
            ValueError: naming the parameter, for groups that do not match and for keys that are missing, unknown or of
                another shape; nothing is changed then.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = hook(self, state_dict) or state_dict
        fitted = state_dict | self._fitted(Checkpoint(state_dict))
        hooks, self._optimizer_load_state_dict_pre_hooks = self._optimizer_load_state_dict_pre_hooks, OrderedDict()
        try:
            super().load_state_dict(fitted)
        finally:
            self._optimizer_load_state_dict_pre_hooks = hooks

    def __getstate__(self) -> dict[str, Any]:
        self._keep()
        return super().__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._forget()
        super().__setstate__(state)
        for group in self.param_groups:
            for key, default in self.defaults.items():
                group.setdefault(key, default)
        unboxed(self.state)
        self._recall()


def asked_for_state() -> bool:
    """Whether torch.distributed.checkpoint calls, to see what state there will be: it takes a step at a rate of 0 along
    gradients of 0, as the first step of a warm-up may be too, so only the caller tells one from the other."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "torch.distributed.checkpoint.state_dict":
            return True
        frame = frame.f_back
    return False


def is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether hooks or a profiler are interested in an optimizer's steps, as far as torch's private names tell."""
    try:
        own = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
        common = TORCHS._global_optimizer_pre_hooks or TORCHS._global_optimizer_post_hooks
        return bool(own or common or torch.autograd.profiler._is_profiler_enabled)
    except AttributeError:
        return True


uncompiled_step = torch._disable_dynamo(TorchOptimizer._step)  # pyright: ignore[reportPrivateImportUsage]
"""Which torch.compile skips, with all that it calls."""
