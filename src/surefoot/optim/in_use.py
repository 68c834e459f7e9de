"""What is evaluated or saved is up to date by itself: hooks of the modules that have parameters of an optimizer."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn

from surefoot.optim.base import TorchOptimizer
from surefoot.optim.wrappers import unwrapped


class Flush:
    """Hooks of modules that have parameters of an optimizer.

    A copy of a module, by deepcopy or pickle, has an optimizer of its own or none: there they do nothing.
    """

    def __init__(self, optimizer: TorchOptimizer, model: nn.Module):
        self.optimizer: Any = weakref.ref(optimizer)
        self.model: Any = weakref.ref(model)
        self.has_averages = any(rule.evaluation is not None for rule in optimizer._rules)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.optimizer = self.model = nothing
        self.has_averages = False

    def before_forward(self, module: nn.Module, _: Any) -> None:
        if self.has_averages:
            self.move()
        if not module.training:
            self.flush(module)

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def move(self) -> None:
        """Moves parameters to their averages or back, as the whole model's mode says: parts of it may be frozen."""
        optimizer, model = self.optimizer(), self.model()
        if optimizer is not None and model is not None:
            (optimizer.train if model.training else optimizer.eval)()

    def before_state_dict(self, module: nn.Module, *_: Any) -> None:
        self.flush(module)

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def flush(self, module: nn.Module) -> None:
        optimizer = self.optimizer()
        if optimizer is None:
            return
        # The whole model's, as a module whose parameters another one takes may never be called itself.
        own = module.parameters(recurse=module is self.model())
        if waiting := [parameter for parameter in own if "last" in optimizer.state.get(parameter, ())]:
            with torch.no_grad():
                optimizer.flush(waiting)


def nothing() -> None:
    """In place of a reference to an optimizer."""


class FlushBeforeUse:
    """What `flush_before_use` returns; remove() ends it. It is a context too, which calls remove() at its end."""

    def __init__(self, handles: list[Any]):
        self.handles = handles

    def remove(self) -> None:
        """Removes the hooks."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> FlushBeforeUse:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def flush_before_use(model: nn.Module, optimizer: Any) -> FlushBeforeUse:
    """From now on, rows without a gradient catch up before the model is evaluated or saved: see `flush`.

    A module's rows catch up before its forward pass, unless it is in training mode, and before its state dict is made.
    Trainers do both: none of them has to be told. While nothing waits, it costs a look at the module's parameters.
    Parameters of schedule-free rules are at their averages while the model is in evaluation mode: see `eval`.

    Args:
        model: modules with parameters of the optimizer get hooks.
        optimizer: what steps them; also in a wrapper that has it as `optimizer`, as Accelerate's do.

    Returns:
        A handle, whose remove() ends it.

    Raises:
        TypeError: for another kind of optimizer.
        ValueError: the optimizer has no parameter of the model.

    >>> from surefoot import optim
    >>> table = nn.Embedding.from_pretrained(torch.ones(3, 1), freeze=False, sparse=True)
    >>> optimizer = optim.Adagrad(table.parameters(), lr=0.1, decoupled_weight_decay=1.0)
    >>> handle = flush_before_use(table, optimizer)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     table(torch.tensor([0])).sum().backward()
    ...     optimizer.step()
    >>> table.weight[2].item(), round(table.eval()(torch.tensor([2])).item(), 4)
    (1.0, 0.81)
    """
    optimizer, _ = unwrapped(optimizer)
    if not isinstance(optimizer, TorchOptimizer):
        raise TypeError(f"optimizer is a {type(optimizer).__name__}; expected an optimizer of surefoot.optim")
    known = {id(parameter) for _, _, parameter in optimizer._numbered()}
    flush, handles = Flush(optimizer, model), []
    for module in model.modules():
        if any(id(parameter) in known for parameter in module.parameters(recurse=module is model)):
            handles.append(module.register_forward_pre_hook(flush.before_forward))
            handles.append(module.register_state_dict_pre_hook(flush.before_state_dict))
    if not handles:
        raise ValueError("the optimizer has no parameter of the model; expected the optimizer that steps it")
    return FlushBeforeUse(handles)
