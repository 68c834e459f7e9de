"""A start from a first, larger batch: accumulators that begin from its gradient instead of from zero."""

from __future__ import annotations

from surefoot.optim.base import TorchOptimizer


def start_from_gradients(optimizer: TorchOptimizer) -> None:
    """Takes the gradients of a first, larger batch into the state, and leaves the parameters unchanged.

    It is a step at the learning rate 0, and counts as one: with s ← s + (1 − β₂) g² sgn(g² − s), Yogi's corrected
    average ŝ = s/(1 − β₂) is then g² itself, and AdaGrad's sum is g². Yogi's authors advise it: where s begins from a
    single example, the first rates depend on which one that is.

    Args:
        optimizer: before its first step, with gradients of the batch in its parameters.

    Raises:
        ValueError: the rule computes its parameters from an origin, to which the rate 0 would move them.

    Source: Zaheer et al. (2018), Adaptive methods for nonconvex optimization, NeurIPS.

    >>> import torch
    >>> from surefoot import optim
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = optim.Yogi([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optim.start_from_gradients(optimizer)
    >>> w.data, optimizer.state[w]["exp_avg_sq"] / (1 - 0.999)
    (tensor([1.]), tensor([4.]))
    """
    for rule in optimizer._rules:
        if rule.from_origin:
            raise ValueError(
                f"{rule.name}: the rule computes parameters from an origin, to which a step at the learning rate 0 "
                "would move them; expected a rule that moves parameters from where they are, or "
                "initial_accumulator_value"
            )
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        optimizer.step()
    finally:
        for group, lr in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
