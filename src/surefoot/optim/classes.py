"""torch.optim's classes, and Yogi and FTRL: the same arguments, defaults and state dicts, stepped by our rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from surefoot import rules
from surefoot.engines import Step
from surefoot.optim.memory import counter_type
from surefoot.optim.optimizer import Beyond, RuleOptimizer, plain
from surefoot.rules import Rule
from surefoot.rules.nadam import momentum_product

Number = float | Tensor
BETAS = {"beta1": ("betas", 0), "beta2": ("betas", 1)}
AVERAGES = {"velocity": "exp_avg", "square": "exp_avg_sq", "largest": "max_exp_avg_sq"}


class WithArguments(RuleOptimizer):
    """What the classes here have in common: their arguments name every setting, and have the defaults."""

    has_arguments = True


class SGD(WithArguments):
    """Stochastic gradient descent, with momentum if asked for; see `rules.sgd` and `rules.momentum`.

    v ← β v + (1 − τ) g;  x ← x − η v

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η.
        momentum: β; 0 keeps no velocity.
        dampening: τ, from the second step on.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        nesterov: look ahead along the velocity.
        maximize: step uphill.
        foreach, fused: hints, accepted for torch's sake.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Polyak (1964), Some methods of speeding up the convergence of iteration methods.

    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SGD([w], lr=0.1, momentum=0.9)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.8000])
    """

    keys: ClassVar = {"velocity": "momentum_buffer"}
    counts = False

    def __init__(
        self,
        params: Iterable,
        lr: Number = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Number = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        **beyond: Unpack[Beyond],
    ):
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        settings |= {"nesterov": nesterov, "maximize": maximize, "foreach": foreach}
        super().__init__(params, "momentum", **settings, differentiable=differentiable, fused=fused, **beyond)

    def _rule_of(self, group: Mapping[str, Any]) -> Rule:
        return self.rule if group["momentum"] else rules.sgd

    def _check_values(self, group: Mapping[str, Any]) -> None:
        super()._check_values(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"Nesterov momentum requires a momentum and zero dampening, got {group['momentum']} and "
                f"{group['dampening']}"
            )


class Adagrad(WithArguments):
    """AdaGrad: the rate is η over the root of the sum of squared gradients; see `rules.adagrad`.

    s ← s + g²;  x ← x − η/(1 + (t − 1) lr_decay) g / (√(s + ε_root) + ε)

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η.
        lr_decay: how fast η falls with the number of steps.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        initial_accumulator_value: s before the first step.
        eps: ε, outside the root.
        foreach, fused: hints, accepted for torch's sake.
        maximize: step uphill.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Duchi, Hazan & Singer (2011), Adaptive subgradient methods for online learning, JMLR 12.

    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adagrad([w], lr=0.5)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.5000])
    """

    keys: ClassVar = {"total": "sum"}
    starts_with_memory = True

    def __init__(
        self,
        params: Iterable,
        lr: Number = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **beyond: Unpack[Beyond],
    ):
        settings = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        settings |= {"initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize}
        super().__init__(params, "adagrad", **settings, differentiable=differentiable, fused=fused, **beyond)


class RMSprop(WithArguments):
    """RMSProp: the rate is η over the root of a leaky average of squared gradients; see `rules.rmsprop`.

    s ← α s + (1 − α) g²;  x ← x − η g / (√(s + ε_root) + ε)

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η.
        alpha: the share of the average square that is kept.
        eps: ε, outside the root.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        momentum: the share of the velocity that is kept; 0 keeps no velocity.
        centered: divide by the standard deviation in place of the root mean square.
        capturable, foreach: hints, accepted for torch's sake.
        maximize: step uphill.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Tieleman & Hinton (2012), Neural networks for machine learning, lecture 6.5.

    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = RMSprop([w], lr=0.01)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9000])
    """

    names: ClassVar = {"gamma": "alpha"}
    keys: ClassVar = {"square": "square_avg", "mean": "grad_avg", "velocity": "momentum_buffer"}

    def __init__(
        self,
        params: Iterable,
        lr: Number = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        **beyond: Unpack[Beyond],
    ):
        settings = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        settings |= {"weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize}
        super().__init__(params, "rmsprop", **settings, differentiable=differentiable, **beyond)


class Adadelta(WithArguments):
    """Adadelta: the rate is the typical past update over the typical past gradient; see `rules.adadelta`.

    s ← ρ s + (1 − ρ) g²;  u = √(Δ + ε)/√(s + ε) g;  x ← x − η u;  Δ ← ρ Δ + (1 − ρ) u²

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η: scales the update, not its memory.
        rho: ρ, the share of both averages that is kept.
        eps: ε, inside the roots.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        foreach, capturable: hints, accepted for torch's sake.
        maximize: step uphill.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`; eps_root comes on top of eps.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Zeiler (2012), ADADELTA: an adaptive learning rate method, arXiv:1212.5701.

    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adadelta([w])
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9968])
    """

    names: ClassVar = {"eps_root": "eps", "eps": "eps_outside"}
    keys: ClassVar = {"square": "square_avg", "change": "acc_delta"}

    def __init__(
        self,
        params: Iterable,
        lr: Number = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        **beyond: Unpack[Beyond],
    ):
        settings = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        settings |= {"capturable": capturable, "foreach": foreach}
        super().__init__(params, "adadelta", **settings, differentiable=differentiable, **beyond)

    def _settings(self, group: Mapping[str, Any]) -> tuple[tuple, Any, Callable[[], Step]]:
        return super()._settings({**group, "eps": plain(group["eps"]) + plain(group.get("eps_root", 0.0))})


class Adam(WithArguments):
    """Adam: a leaky average of gradients over the root of a leaky average of their squares; see `rules.adam`.

    v ← β₁ v + (1 − β₁) g;  s ← β₂ s + (1 − β₂) g²;  x ← x − η v̂ / (√(ŝ + ε_root) + ε)

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η.
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

    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adam([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9000])
    """

    names: ClassVar = BETAS
    keys: ClassVar = AVERAGES

    def __init__(
        self,
        params: Iterable,
        lr: Number = 1e-3,
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
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        settings |= {"maximize": maximize, "foreach": foreach, "capturable": capturable, "fused": fused}
        settings |= {"differentiable": differentiable, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, "adam", **settings, **beyond)


class AdamW(Adam):
    """Adam with decoupled weight decay: x ← (1 − η λ) x before each step; see `rules.adamw`.

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η.
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
        lr: Number = 1e-3,
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

    def _settings(self, group: Mapping[str, Any]) -> tuple[tuple, Any, Callable[[], Step]]:
        """A number of its own takes the place of weight_decay."""
        if not isinstance(group["decoupled_weight_decay"], bool):
            group = {**group, "weight_decay": 0.0}
        return super()._settings(group)

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
        lr: learning rate η.
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

    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = NAdam([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> bool(w < 1)
    True
    """

    names: ClassVar = BETAS
    keys: ClassVar = AVERAGES

    def __init__(
        self,
        params: Iterable,
        lr: Number = 2e-3,
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

    def _tensors(self, parameter: Tensor, step: Step, meta: bool = False) -> dict[str, Tensor]:
        """Torch's has the product of its momenta beside the rule's memory."""
        tensors = super()._tensors(parameter, step, meta)
        return {"step": tensors.pop("step"), "mu_product": torch.tensor(1.0, dtype=counter_type()), **tensors}

    def _keep(self) -> None:
        super()._keep()
        for memory in self._memories.values():
            hyper = memory.step.hyper
            product = momentum_product(memory.count(), hyper["beta1"], hyper["momentum_decay"])
            memory.tensors.setdefault("mu_product", torch.empty((), dtype=counter_type())).fill_(product)


class Yogi(WithArguments):
    """Yogi: Adam with an additive change of the average square; see `rules.yogi`.

    v ← β₁ v + (1 − β₁) g;  s ← s + (1 − β₂) g² sgn(g² − s);  x ← x − η v̂ / (√(ŝ + ε_root) + ε)

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η.
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

    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Yogi([w], lr=0.1)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9000])
    """

    names: ClassVar = BETAS
    keys: ClassVar = AVERAGES

    def __init__(
        self,
        params: Iterable,
        lr: Number = 1e-2,
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


class FTRL(WithArguments):
    """FTRL-Proximal: the regularized leader, with AdaGrad's rates and exact zeros under l1; see `rules.ftrl`.

    z ← z + g − σ x;  n ← n + g²;  x ← −sgn(z) max(|z| − λ₁, 0) / ((β + √n)/η + λ₂);  σ: the change of (β + √n)/η

    The leader is centred at the initial parameters, and η may change from step to step: schedules work as with any
    other optimizer, and a learning rate of 0 is a pause.

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η (the paper's α).
        beta: β: damps the first steps.
        l1, l2: the rule's own penalties λ₁ and λ₂.
        initial_accumulator_value: n before the first step.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        maximize: step uphill.
        foreach: a hint, accepted for torch's sake.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: McMahan et al. (2013), Ad click prediction: a view from the trenches, KDD.

    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> optimizer = FTRL([w], lr=0.1, l1=1.0)
    >>> (torch.tensor([0.5, 3.0]) @ w).backward()
    >>> optimizer.step()
    >>> w.data
    tensor([ 0.0000, -0.0500])
    """

    def __init__(
        self,
        params: Iterable,
        lr: Number = 0.1,
        beta: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        initial_accumulator_value: float = 0.0,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        **beyond: Unpack[Beyond],  # pyright: ignore[reportGeneralTypeIssues]
    ):
        settings = {"lr": lr, "beta": beta, "l1": l1, "l2": l2, "weight_decay": weight_decay, "maximize": maximize}
        settings |= {"initial_accumulator_value": initial_accumulator_value, "foreach": foreach}
        super().__init__(params, "ftrl", **settings, differentiable=differentiable, **beyond)
