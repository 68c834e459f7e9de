"""torch.optim's SGD, Adagrad, RMSprop and Adadelta, and FTRL: torch's arguments and state dicts, our rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor

from surefoot import rules
from surefoot.optim import automatic
from surefoot.optim.arguments import Number, Rate, WithArguments
from surefoot.optim.checkpoint import Checkpoint, StateFormat
from surefoot.optim.group import Beyond, Group, plain
from surefoot.optim.work import Work
from surefoot.rules import Rule


class SGD(WithArguments):
    """Stochastic gradient descent, optionally with momentum; see `rules.sgd` and `rules.momentum`.

    v ← β v + (1 − τ) g;  x ← x − η v

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η, or a schedule as in `RuleOptimizer`.
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

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = SGD([w], lr=0.1, momentum=0.9)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.8000])
    """

    state_format: ClassVar = StateFormat({"velocity": "momentum_buffer"}, counts=False)

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 1e-3,
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
        lr: learning rate η, or a schedule as in `RuleOptimizer`; "auto": a rate for each parameter is found during
            training, see `rules.automatic_rate`. Each then has a group of its own, with its rate as `lr_factor`; the
            group's `lr` is 1, which schedulers change.
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

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adagrad([w], lr=0.5)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.5000])
    """

    state_format: ClassVar = StateFormat({"total": "sum"})
    starts_with_memory = True
    finds_rates = True

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 1e-2,
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
        if automatic.is_automatic(lr):
            params, lr = automatic.marked(params), 1.0
        settings = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        settings |= {"initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize}
        super().__init__(params, "adagrad", **settings, differentiable=differentiable, fused=fused, **beyond)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; a group with lr="auto", also where the others have it, becomes one for each parameter."""
        others = "auto" if any(group.get(automatic.AUTO) for group in self.param_groups) else None
        if isinstance(param_group, dict) and automatic.is_automatic(param_group.get("lr", others)):
            given = {key: self.defaults[key] for key in automatic.FIXED if key in self.defaults}
            for group in automatic.divided(given | param_group):
                super().add_param_group(group)
        else:
            super().add_param_group(param_group)

    def change(self, **settings: Any) -> None:
        """As in `RuleOptimizer`; with lr="auto", lr_factor is not to be set."""
        if any(group.get(automatic.AUTO) for group in self.param_groups):
            automatic.check_settings(settings)
        super().change(**settings)

    def _fitted(self, checkpoint: Checkpoint) -> dict[str, Any]:
        automatic.check_saved(checkpoint.state_dict["param_groups"], self.param_groups)
        return super()._fitted(checkpoint)

    def _work(self) -> Work:
        for number in range(len(self.param_groups)):
            automatic.find_rate(self, number)
        return super()._work()

    def step_one(self, number: int, index: int) -> None:
        """As in `RuleOptimizer`."""
        automatic.find_rate(self, number)
        super().step_one(number, index)

    def reset(self, parameter: Tensor, values: Any = None, rows: Any = None, *, state: bool = True) -> None:
        """As in `RuleOptimizer`; with lr="auto", distances then count from the new values."""
        super().reset(parameter, values, rows, state=state)
        automatic.begin_again(self.state.get(parameter))


class RMSprop(WithArguments):
    """RMSProp: the rate is η over the root of a leaky average of squared gradients; see `rules.rmsprop`.

    s ← α s + (1 − α) g²;  x ← x − η g / (√(s + ε_root) + ε)

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η, or a schedule as in `RuleOptimizer`.
        alpha: the share of the average square that is kept.
        eps: ε, outside the root.
        weight_decay: coupled L2: this times the parameter is added to the gradient.
        momentum: the share of the velocity that is kept; 0 keeps no velocity.
        centered: divide by the standard deviation instead of the root mean square.
        capturable, foreach: hints, accepted for torch's sake.
        maximize: step uphill.
        differentiable: let autograd see the step.
        **beyond: see `Beyond`.

    Raises:
        ValueError: for a value out of its bounds.

    Source: Tieleman & Hinton (2012), Neural networks for machine learning, lecture 6.5.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = RMSprop([w], lr=0.01)
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9000])
    """

    names: ClassVar = {"gamma": "alpha"}
    state_format: ClassVar = StateFormat({"square": "square_avg", "mean": "grad_avg", "velocity": "momentum_buffer"})

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 1e-2,
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
        lr: learning rate η, or a schedule as in `RuleOptimizer`: scales the update, not its memory.
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

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adadelta([w])
    >>> (2 * w).sum().backward()
    >>> optimizer.step()
    >>> w.data
    tensor([0.9968])
    """

    names: ClassVar = {"eps_root": "eps", "eps": "eps_outside"}
    state_format: ClassVar = StateFormat({"square": "square_avg", "change": "acc_delta"})

    def __init__(
        self,
        params: Iterable,
        lr: Rate = 1.0,
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

    def _read(self, group: Mapping[str, Any]) -> Group:
        """Both ε lie inside the root."""
        return super()._read({**group, "eps": plain(group["eps"]) + plain(group.get("eps_root", 0.0))})


class FTRL(WithArguments):
    """FTRL-Proximal: the regularized leader, with AdaGrad's rates and exact zeros under l1; see `rules.ftrl`.

    z ← z + g − σ x;  n ← n + g²;  x ← −sgn(z) max(|z| − λ₁, 0) / ((β + √n)/η + λ₂);  σ: the change of (β + √n)/η

    The leader is centred at the initial parameters, and η may change from step to step: schedules work as with any
    other optimizer, and a learning rate of 0 is a pause.

    Args:
        params: parameters, named parameters, or groups of them.
        lr: learning rate η (the paper's α), or a schedule as in `RuleOptimizer`.
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

    >>> import torch
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
        lr: Rate = 0.1,
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
