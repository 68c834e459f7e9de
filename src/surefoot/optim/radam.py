"""torch.optim's RAdam and Adamax: torch's arguments and state dicts, stepped by our rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Unpack

from surefoot.optim.adam import AVERAGES, BETAS
from surefoot.optim.arguments import Number, Rate, WithArguments
from surefoot.optim.checkpoint import StateFormat
from surefoot.optim.group import Beyond


class RAdam(WithArguments):
    """RAdam: momentum until the variance of Adam's rates is finite, then Adam rectified; see `rules.radam`.

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η, or a schedule as in `RuleOptimizer`.
        betas: (β₁, β₂), the shares of both averages that are kept.
        eps: ε, added to √s before its correction, as in torch.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        decoupled_weight_decay: True decouples weight_decay, as in torch; a number is a decoupled decay of its own.
        foreach, capturable: hints, accepted for torch's sake.
        maximize: step uphill.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Liu et al. (2020), On the variance of the adaptive learning rate and beyond, ICLR.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = RAdam([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.8000])
    """

    names: ClassVar = BETAS
    state_format: ClassVar = StateFormat(AVERAGES)

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool | float = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        **beyond: Unpack[Beyond],  # pyright: ignore[reportGeneralTypeIssues]
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        settings |= {"decoupled_weight_decay": decoupled_weight_decay, "foreach": foreach, "capturable": capturable}
        super().__init__(params, "radam", **settings, differentiable=differentiable, **beyond)


class Adamax(WithArguments):
    """Adamax: Adam with the largest recent gradient in place of the root mean square; see `rules.adamax`.

    v ← β₁ v + (1 − β₁) g;  u ← max(β₂ u, |g| + ε);  x ← x − η v̂ / u

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η, or a schedule as in `RuleOptimizer`.
        betas: (β₁, β₂), the shares of the velocity and of the largest gradient that are kept.
        eps: ε, added to |g|.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        foreach, capturable: hints, accepted for torch's sake.
        maximize: step uphill.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Kingma & Ba (2015), Adam: a method for stochastic optimization, ICLR, section 7.1.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adamax([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9000])
    """

    names: ClassVar = BETAS
    state_format: ClassVar = StateFormat({"velocity": "exp_avg", "largest": "exp_inf"})

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 2e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        **beyond: Unpack[Beyond],
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        settings |= {"foreach": foreach, "capturable": capturable}
        super().__init__(params, "adamax", **settings, differentiable=differentiable, **beyond)
