"""What Accelerate needs, which has no callbacks: `flush_before_use` takes the optimizer that it prepares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from surefoot.optim import clip_grad_norm_, clip_grad_value_


class Clipping:
    """A clipping function of Accelerate that takes sparse gradients too."""

    def __init__(self, accelerator: Any, theirs: Any, ours: Any):
        self.accelerator, self.theirs, self.ours = accelerator, theirs, ours

    def __call__(self, parameters: Tensor | Iterable[Tensor], *args: Any, **kwargs: Any) -> Any:
        parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if not any(parameter.grad is not None and parameter.grad.is_sparse for parameter in parameters):
            return self.theirs(parameters, *args, **kwargs)
        self.accelerator.unscale_gradients()
        return self.ours(parameters, *args, **kwargs)


def accept_sparse_gradients(accelerator: Any) -> None:
    """Lets `accelerator.clip_grad_norm_` and `clip_grad_value_` clip sparse gradients too, as those of surefoot.optim.

    Where all gradients are dense, Accelerate's own functions are called. They need not be called for an optimizer with
    `max_grad_norm` or `max_grad_value`, which clips by itself; but Trainer of Transformers does.

    Args:
        accelerator: an accelerate.Accelerator.
    """
    for name, ours in (("clip_grad_norm_", clip_grad_norm_), ("clip_grad_value_", clip_grad_value_)):
        theirs = getattr(accelerator, name)
        if not isinstance(theirs, Clipping):
            setattr(accelerator, name, Clipping(accelerator, theirs, ours))
