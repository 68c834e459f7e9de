"""torch.optim's Adam, AdamW and NAdam, and Yogi: torch's arguments and state dicts, stepped by our rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor

from surefoot.optim.arguments import Number, Rate, WithArguments
from surefoot.optim.checkpoint import StateFormat
from surefoot.optim.group import Beyond, Group
from surefoot.optim.memory import counter
from surefoot.rules.nadam import momentum_product

BETAS = {"beta1": ("betas", 0), "beta2": ("betas", 1)}
AVERAGES = {"velocity": "exp_avg", "square": "exp_avg_sq", "largest": "max_exp_avg_sq"}


def check_tensors(lr: Any, betas: Any, foreach: bool | None, capturable: bool) -> None:
    """Raises ValueError for tensors where torch does, which then has no implementation for them."""
    in_loops = bool(foreach) and not capturable
    if isinstance(lr, Tensor) and in_loops:
        raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
    are_tensors = [isinstance(beta, Tensor) for beta in betas]
    if any(are_tensors) and not all(are_tensors):
        raise ValueError("betas must be either both floats or both Tensors")
    if any(are_tensors) and in_loops:
        raise ValueError("betas[0] as a Tensor is not supported for capturable=False and foreach=True")


class Adam(WithArguments):
    """Adam: a leaky average of gradients over the root of a leaky average of their squares; see `rules.adam`.

    v ← β₁ v + (1 − β₁) g;  s ← β₂ s + (1 − β₂) g²;  x ← x − η v̂ / (√(ŝ + ε_root) + ε)

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η, or a schedule as in `RuleOptimizer`.
        betas: (β₁, β₂), the shares of both averages that are kept.
        eps: ε, outside the root.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        amsgrad: use the largest average square so far.
        foreach, capturable, fused: hints, accepted for torch's sake.
        maximize: step uphill.
        differentiable: let autograd see the step.
        decoupled_weight_decay: True decouples weight_decay, as in torch; a number is a decoupled decay of its own.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Kingma & Ba (2015), Adam: a method for stochastic optimization, ICLR; Reddi et al. (2018) for amsgrad.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adam([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9000])
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
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool | float = False,
        **beyond: Unpack[Beyond],  # pyright: ignore[reportGeneralTypeIssues]
    ):
        check_tensors(lr, betas, foreach, capturable)
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        settings |= {"maximize": maximize, "foreach": foreach, "capturable": capturable, "fused": fused}
        settings |= {"differentiable": differentiable, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, "adam", **settings, **beyond)


class AdamW(Adam):
    """Adam with decoupled weight decay: x ← (1 − η λ) x before each step; see `rules.adamw`.

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η, or a schedule as in `RuleOptimizer`.
        betas: (β₁, β₂), the shares of both averages that are kept.
        eps: ε, outside the root.
        weight_decay: λ.
        amsgrad: use the largest average square so far.
        maximize: step uphill.
        foreach, capturable, fused: hints, accepted for torch's sake.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`; a number as decoupled_weight_decay takes the place of weight_decay.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Loshchilov & Hutter (2019), Decoupled weight decay regularization, ICLR.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.8500])
    """

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **beyond: Unpack[Beyond],
    ):
        settings: dict[str, Any] = {"maximize": maximize, "foreach": foreach, "capturable": capturable, "fused": fused}
        settings |= {"differentiable": differentiable, "decoupled_weight_decay": True} | beyond
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **settings)

    def _read(self, group: Mapping[str, Any]) -> Group:
        """A number of its own takes the place of weight_decay."""
        if not isinstance(group["decoupled_weight_decay"], bool):
            group = {**group, "weight_decay": 0.0}
        return super()._read(group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch, a checkpoint of Adam is loaded as one of AdamW; see `RuleOptimizer.load_state_dict`."""
        before = [group["decoupled_weight_decay"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, own in zip(self.param_groups, before, strict=True):
            if group["decoupled_weight_decay"] is False:
                group["decoupled_weight_decay"] = own


class NAdam(WithArguments):
    """NAdam: Adam with Nesterov's look ahead; see `rules.nadam`.

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η, or a schedule as in `RuleOptimizer`.
        betas: (β₁, β₂), the shares of both averages that are kept.
        eps: ε, outside the root.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        momentum_decay: ψ: how fast the momentum rises to β₁.
        decoupled_weight_decay: True decouples weight_decay, as in torch; a number is a decoupled decay of its own.
        foreach, capturable: hints, accepted for torch's sake.
        maximize: step uphill.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Dozat (2016), Incorporating Nesterov momentum into Adam, ICLR workshop.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = NAdam([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> bool(w < 1)
    True
    """

    names: ClassVar = BETAS
    state_format: ClassVar = StateFormat(AVERAGES, constants={"mu_product": 1.0})

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool | float = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        **beyond: Unpack[Beyond],  # pyright: ignore[reportGeneralTypeIssues]
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        settings |= {"maximize": maximize, "foreach": foreach, "capturable": capturable}
        super().__init__(params, "nadam", **settings, differentiable=differentiable, **beyond)

    def _keep(self) -> None:
        """Brings torch's product of the momenta up to date too."""
        super()._keep()
        for _, memory in self.known():
            hyper = memory.step.hyper
            product = momentum_product(memory.count(), hyper["beta1"], hyper["momentum_decay"])
            memory.tensors.setdefault("mu_product", counter(1.0)).fill_(product)


class Yogi(WithArguments):
    """Yogi: Adam with an additive change of the average square; see `rules.yogi`.

    v ← β₁ v + (1 − β₁) g;  s ← s + (1 − β₂) g² sgn(g² − s);  x ← x − η v̂ / (√(ŝ + ε_root) + ε)

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η, or a schedule as in `RuleOptimizer`.
        betas: (β₁, β₂): the share of the velocity that is kept, and how slowly the average square moves.
        eps: ε, outside the root.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        initial_accumulator_value: s before the first step.
        maximize: step uphill.
        foreach, capturable: hints, accepted for torch's sake.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Zaheer et al. (2018), Adaptive methods for nonconvex optimization, NeurIPS.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Yogi([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9000])
    """

    names: ClassVar = BETAS
    state_format: ClassVar = StateFormat(AVERAGES)

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        **beyond: Unpack[Beyond],
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        settings |= {"initial_accumulator_value": initial_accumulator_value, "capturable": capturable}
        super().__init__(params, "yogi", **settings, foreach=foreach, differentiable=differentiable, **beyond)
