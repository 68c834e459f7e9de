"""Steps within the backward pass: each gradient is freed as soon as its parameter is stepped."""

from __future__ import annotations

import functools

from torch import Tensor

from surefoot.optim.optimizer import RuleOptimizer


class StepInBackward:
    """Handle of `step_in_backward`: also a context; `remove()` makes backward passes leave gradients again."""

    def __init__(self, hooks: list):
        self.hooks = hooks

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def __enter__(self) -> StepInBackward:
        return self

    def __exit__(self, *error) -> None:
        self.remove()


def step_in_backward(optimizer: RuleOptimizer) -> StepInBackward:
    """From now on, backward passes step each parameter as soon as its gradient is ready, and free the gradient.

    Memory never holds more than a few gradients at once. Neither step() nor zero_grad() is needed any more; learning
    rate schedules and state dicts work as before. There is no accumulation over micro-batches, no clipping by the norm
    of all gradients and no GradScaler: they need all gradients at once.

    Args:
        optimizer: its parameters are stepped with its settings.

    Returns:
        A handle; its remove() ends it.

    >>> import torch, surefoot.optim
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> handle = step_in_backward(surefoot.optim.SGD([w], lr=0.1))
    >>> (2 * w).sum().backward()
    >>> w.data, w.grad
    (tensor([0.8000]), None)
    """

    def hook(number: int, index: int, parameter: Tensor) -> None:
        optimizer.step_one(number, index)
        parameter.grad = None

    return StepInBackward(
        [
            parameter.register_post_accumulate_grad_hook(functools.partial(hook, number, index))
            for number, group in enumerate(optimizer.param_groups)
            for index, parameter in enumerate(group["params"])
        ]
    )
