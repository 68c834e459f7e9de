"""Steps within the backward pass: each gradient is freed as soon as its parameter is stepped."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from surefoot.optim.base import TorchOptimizer
from surefoot.optim.classes import Adagrad
from surefoot.optim.decay import check_alone


class StepInBackward:
    """What `step_in_backward` returns: the optimizer, and remove(), after which backward passes leave gradients again.

    It is a context too, which calls remove() at its end.
    """

    def __init__(self, optimizer: TorchOptimizer, parameters: Iterable[Tensor]):
        self.optimizer = optimizer
        check_alone(optimizer.param_groups)
        places = {
            id(parameter): (number, index)
            for number, group in enumerate(optimizer.param_groups)
            for index, parameter in enumerate(group["params"])
        }
        # Frozen parameters may be unfrozen later.
        chosen = [p for p in parameters if p.requires_grad or (id(p) in places and can_require_grad(p))]
        foreign = [tuple(parameter.shape) for parameter in chosen if id(parameter) not in places]
        if foreign:
            raise ValueError(
                f"the optimizer does not have {len(foreign)} of {len(chosen)} parameters (of shapes "
                f"{', '.join(map(str, foreign[:4]))}); expected an optimizer of all parameters to be stepped"
            )
        self.hooks = []
        for parameter in chosen:
            frozen = not parameter.requires_grad
            parameter.requires_grad_()  # or torch takes no hook
            hook = functools.partial(self._step, *places[id(parameter)])
            self.hooks.append(parameter.register_post_accumulate_grad_hook(hook))
            parameter.requires_grad_(not frozen)

    def _step(self, number: int, index: int, parameter: Tensor) -> None:
        try:
            self.optimizer.step_one(number, index)
        finally:
            parameter.grad = None

    def remove(self) -> None:
        """Removes the hooks: backward passes leave gradients again."""
        for hook in self.hooks:
            hook.remove()

    def __enter__(self) -> StepInBackward:
        return self

    def __exit__(self, *error) -> None:
        self.remove()


def can_require_grad(parameter: Tensor) -> bool:
    return parameter.is_leaf and (parameter.is_floating_point() or parameter.is_complex())


def step_in_backward(
    model: torch.nn.Module | Iterable[Tensor],
    optimizer: TorchOptimizer | type[TorchOptimizer] = Adagrad,
    **settings: Any,
) -> StepInBackward:
    """From now on, backward passes step each parameter as soon as its gradient is ready, and free the gradient.

    No more than a few gradients are in memory at once. Neither step() nor zero_grad() is needed any more; learning
    rate schedules and state dicts of the optimizer work as before. There is no accumulation over micro-batches, no
    clipping by the norm of all gradients and no GradScaler: they need all gradients at once. Nor are the optimizer's
    step hooks called: at no moment are all parameters stepped. Frozen parameters are stepped once they are unfrozen.

    Args:
        model: its parameters are stepped; or an iterable of parameters.
        optimizer: an optimizer that has them, or a class that is called with them.
        **settings: for the class: lr, weight_decay, …

    Returns:
        A handle with the optimizer; its remove() ends it.

    Raises:
        ValueError: if the optimizer does not have all of the parameters; for DistributedDataParallel, which averages
            gradients when they have been stepped along (fully_shard averages them before).

    >>> from surefoot import optim
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> handle = step_in_backward(model, optim.SGD, lr=0.1)
    >>> before = model.weight.item()
    >>> model(torch.ones(1)).backward()
    >>> round(before - model.weight.item(), 4), model.weight.grad
    (0.1, None)
    """
    is_module = isinstance(model, torch.nn.Module)
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        raise ValueError(
            "DistributedDataParallel averages gradients only after the steps, so the parameters of the processes would "
            "diverge; expected a model without it, or one of fully_shard, which averages first"
        )
    named: list[Any] = list(model.named_parameters() if is_module else model)
    if not isinstance(optimizer, TorchOptimizer):
        optimizer = optimizer(named, **settings)
    elif settings:
        raise TypeError(f"pass settings ({', '.join(settings)}) with an optimizer class, not with an instance")
    return StepInBackward(optimizer, [one[1] if isinstance(one, tuple) else one for one in named])
