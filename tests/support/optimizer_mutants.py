"""Classes of surefoot.optim that are broken on purpose, over sound rules: a table, to see that checks notice them."""

import inspect
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class MutantOfOptimizer:
    """A broken copy of a class of surefoot.optim, whose rule is sound.

    Attributes:
        name: of the class.
        old, new: a piece of its source, and what takes its place.
        what: how it is broken.
    """

    name: str
    old: str
    new: str
    what: str

    @property
    def id(self) -> str:
        return f"{self.name}: {self.what}"

    def built(self) -> type:
        from surefoot import optim

        written = getattr(optim, self.name)
        source = inspect.getsource(written)
        assert source.count(self.old) == 1, f"{self.name}: {self.old!r} occurs {source.count(self.old)} times"
        found = dict(vars(sys.modules[written.__module__]))
        exec("from __future__ import annotations\n" + source.replace(self.old, self.new), found)
        return found[self.name]


def ignores(name: str, argument: str, default: str) -> MutantOfOptimizer:
    return MutantOfOptimizer(name, f'"{argument}": {argument}', f'"{argument}": {default}', f"ignores {argument}")


def inside_root(name: str) -> MutantOfOptimizer:
    return MutantOfOptimizer(name, '"eps": eps', '"eps": 0.0, "eps_root": eps', "ε inside the root")


def swapped_betas(name: str) -> MutantOfOptimizer:
    return MutantOfOptimizer(name, '"betas": betas', '"betas": betas[::-1]', "β₁ and β₂ swapped")


MUTANTS_OF_OPTIMIZERS = (
    MutantOfOptimizer("SGD", '"momentum": momentum', '"momentum": 0.9 * momentum', "less momentum"),
    ignores("SGD", "dampening", "0.0"),
    ignores("SGD", "nesterov", "False"),
    ignores("SGD", "weight_decay", "0.0"),
    MutantOfOptimizer("SGD", 'if group["momentum"] else', "if False else", "gradient descent whatever the momentum"),
    ignores("Adagrad", "initial_accumulator_value", "0.0"),
    ignores("Adagrad", "lr_decay", "0.0"),
    ignores("Adagrad", "weight_decay", "0.0"),
    ignores("Adagrad", "eps", "1e-10"),
    inside_root("Adagrad"),
    ignores("RMSprop", "alpha", "0.99"),
    ignores("RMSprop", "centered", "False"),
    ignores("RMSprop", "momentum", "0.0"),
    ignores("RMSprop", "weight_decay", "0.0"),
    inside_root("RMSprop"),
    MutantOfOptimizer("RMSprop", "alpha: float = 0.99", "alpha: float = 0.9", "the default of the texts"),
    ignores("Adadelta", "lr", "1.0"),
    ignores("Adadelta", "rho", "0.9"),
    ignores("Adadelta", "eps", "1e-6"),
    ignores("Adadelta", "weight_decay", "0.0"),
    MutantOfOptimizer("Adadelta", "eps: float = 1e-6", "eps: float = 1e-5", "the default of the texts"),
    MutantOfOptimizer("Adadelta", '{"eps_root": "eps", "eps": "eps_outside"}', "{}", "ε outside the root too"),
    ignores("Adam", "amsgrad", "False"),
    ignores("Adam", "maximize", "False"),
    ignores("Adam", "weight_decay", "0.0"),
    inside_root("Adam"),
    swapped_betas("Adam"),
    MutantOfOptimizer("AdamW", '"decoupled_weight_decay": True', '"decoupled_weight_decay": False', "decay is coupled"),
    MutantOfOptimizer("AdamW", "weight_decay: float = 1e-2", "weight_decay: float = 0", "no decay by default"),
    MutantOfOptimizer("AdamW", "lr, betas, eps", "lr, betas[::-1], eps", "β₁ and β₂ swapped"),
    MutantOfOptimizer(
        "AdamW", "eps, weight_decay, amsgrad, **", "0.0, weight_decay, amsgrad, eps_root=eps, **", "ε inside"
    ),
    ignores("NAdam", "momentum_decay", "4e-3"),
    ignores("NAdam", "weight_decay", "0.0"),
    inside_root("NAdam"),
    swapped_betas("NAdam"),
    ignores("RAdam", "weight_decay", "0.0"),
    inside_root("RAdam"),
    swapped_betas("RAdam"),
    ignores("Adamax", "eps", "1e-8"),
    ignores("Adamax", "weight_decay", "0.0"),
    swapped_betas("Adamax"),
    ignores("Yogi", "initial_accumulator_value", "0.0"),
    inside_root("Yogi"),
    swapped_betas("Yogi"),
    MutantOfOptimizer("Yogi", "eps: float = 1e-3", "eps: float = 1e-8", "the ε of Adam"),
    ignores("FTRL", "beta", "1.0"),
    ignores("FTRL", "l1", "0.0"),
    ignores("FTRL", "l2", "0.0"),
    ignores("FTRL", "initial_accumulator_value", "0.0"),
)
"""At least three of each class."""
