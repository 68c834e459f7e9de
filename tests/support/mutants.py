"""Rules that are broken on purpose, each by a line: a table, to see that checks notice."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from surefoot.engines import cpu, matrices, reference
from surefoot.rules import MATRIX_RULES, REGISTRY, STATISTIC_RULES, Rule, everything
from surefoot.rules.slots import direction, scale


@dataclass(frozen=True)
class Mutant:
    """A broken copy of a rule.

    Attributes:
        rule: the name.
        what: how it is broken.
        change: the rule -> the broken one.
        at_defaults: whether training with the rule's defaults is enough to show it.
    """

    rule: str
    what: str
    change: Callable[[Rule], Rule]
    at_defaults: bool = True

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.what}"

    def built(self) -> Rule:
        return self.change(everything()[self.rule])

    @property
    def table(self) -> dict[str, Rule]:
        """The registry that has the sound rule."""
        return next(table for table in (REGISTRY, STATISTIC_RULES, MATRIX_RULES) if self.rule in table)


def line(old: str, new: str) -> Callable[[Rule], Rule]:
    """Replaces a piece of the function, or else of the coefficients, what rescales its rate, or its zero_grad_steps."""

    def change(rule: Rule) -> Rule:
        for name in ("function", "coefficients", "rescale", "zero_grad_steps"):
            written = getattr(rule, name, None)
            source = textwrap.dedent(inspect.getsource(written)) if callable(written) else ""
            if old in source:
                found = dict(written.__globals__)
                exec(source[source.index("def ") :].replace(old, new), found)
                return replace(rule, **{name: found[written.__name__]})
        raise AssertionError(f"{rule.name}: there is no {old!r} in the rule")

    return change


def starting_from_zero(rule: Rule) -> Rule:
    """Ignores initial_accumulator_value."""
    zero = {"scale": scale(), "direction": direction()}
    return replace(rule, slots={name: zero[slot.kind] for name, slot in rule.slots.items()})


def without_weight_decay(rule: Rule) -> Rule:
    return replace(rule, options={"decoupled_weight_decay": 0.0})


def over(kind: str, *options: str) -> Callable[[Rule], Rule]:
    """What the rule, or its variant with these options, has of a whole group is of each tensor, or the other way."""

    def change(rule: Rule) -> Rule:
        if options:
            (on,) = (on for on in rule.variants if set(on) == set(options))
            return replace(rule, variants=rule.variants | {on: over(kind)(rule.variants[on])})
        kept, other = ("group", "tensor") if kind == "tensor" else ("tensor", "group")
        both = (
            {name: replace(one, over=other) if one.over == kept else one for name, one in found.items()}
            for found in (rule.slots, rule.statistics)
        )
        return replace(rule, **dict(zip(("slots", "statistics"), both, strict=True)))

    return change


def late(first: int, last: int = 1_000_000, times: float = 1.001) -> Callable[[Rule], Rule]:
    """Lengthens the steps from one to another, at first by a thousandth."""

    def change(rule: Rule) -> Rule:
        def lr(self, t, settings):
            inside = (np.asarray(t) >= first) & (np.asarray(t) <= last)
            return super(kind, self).lr(t, settings) * np.where(inside, times, 1.0)

        kind = type(type(rule).__name__, (type(rule),), {"lr": lr})
        broken = replace(rule, variants={on: change(variant) for on, variant in rule.variants.items()})
        object.__setattr__(broken, "__class__", kind)
        return broken

    return change


ROOT_OF_TOTAL = "ops.sqrt(total + eps_root)"
ROOT_OF_SQUARE = "ops.sqrt(square + eps_root)"
ROOT_OF_CORRECTED = "ops.sqrt(square * correction + eps_root)"
ADAM_SQUARE = "square = beta2 * square + fresh2 * g2"
ADAM_VELOCITY = "velocity = beta1 * velocity + fresh1 * g"
OF_STEP_25 = "ops.minimum(t, 25)"
YOGI_CHANGE = "ops.where(g2 > square, change, ops.where(g2 < square, -change, 0.0))"
OF_ADAM = (
    ("s is not corrected", line("square * correction", "square")),
    ("v is not corrected", line("lr / (1 - beta1**t)", "lr")),
    ("steps along g", line("velocity, velocity, square", "g, velocity, square")),
    ("s is a sum", line(ADAM_SQUARE, "square = square + g2")),
    ("no root", line(ROOT_OF_CORRECTED, "(square * correction + eps_root)")),
    ("v is not averaged", line(ADAM_VELOCITY, "velocity = g")),
)

MUTANTS = (
    Mutant("sgd", "twice as far", line("return lr, g", "return 2.0 * lr, g")),
    Mutant("sgd", "uphill", line("return lr, g", "return -lr, g")),
    Mutant("sgd", "by the sign", line("return lr, g", "return lr, ops.where(g > 0.0, 1.0, -1.0)")),
    Mutant("momentum", "no velocity", line("momentum * velocity + fresh * g", "fresh * g")),
    Mutant("momentum", "steps along g", line("return lr, velocity, velocity", "return lr, g, velocity")),
    Mutant("momentum", "averages", line("fresh * g", "(1.0 - momentum) * g")),
    Mutant("momentum", "the velocity never decays", line("momentum * velocity", "velocity")),
    Mutant("momentum", "rows do not roll on", line("return x - lr * (velocity * (", "return x - lr * (0.0 * (")),
    Mutant("momentum", "rows keep their velocity", line(", decay * velocity", ", velocity")),
    Mutant("momentum", "rows roll on a step too far", line("ops.power(momentum, k)", "ops.power(momentum, k + 1)")),
    Mutant("visits", "counts nothing", line("ops.where(g2 > 0.0, 1.0, 0.0)", "ops.where(g2 > 0.0, 0.0, 0.0)")),
    Mutant("visits", "counts steps", line("ops.where(g2 > 0.0, 1.0, 0.0)", "1.0")),
    Mutant("visits", "no root", line("ops.sqrt(count + c)", "(count + c)")),
    Mutant("visits", "sums gradients", line("ops.where(g2 > 0.0, 1.0, 0.0)", "g2")),
    Mutant("visits", "c is ignored", line("ops.sqrt(count + c)", "ops.sqrt(count + 1.0)"), at_defaults=False),
    Mutant("adagrad", "no accumulation", line("total = total + g2", "total = g2")),
    Mutant("adagrad", "s of the step before", line(ROOT_OF_TOTAL, "ops.sqrt(total - g2 + eps_root)")),
    Mutant("adagrad", "forgets a hundredth", line("total = total + g2", "total = 0.99 * total + g2")),
    Mutant("adagrad", "no root", line(ROOT_OF_TOTAL, "(total + eps_root)")),
    Mutant("adagrad", "no ε", line(ROOT_OF_TOTAL, "ops.sqrt(total)")),
    Mutant("adagrad", "ε outside the root", line(ROOT_OF_TOTAL, "(ops.sqrt(total) + eps_root)")),
    Mutant("adagrad", "starts from 0", starting_from_zero, at_defaults=False),
    Mutant("mean_adagrad", "divides by the sum", line("total * per_step", "total")),
    Mutant("mean_adagrad", "one step too many", line("1 / t", "1 / (t + 1)")),
    Mutant("mean_adagrad", "no accumulation", line("total = total + g2", "total = g2")),
    Mutant("dual_averaging", "the last gradient alone", line("dual = dual + g", "dual = g")),
    Mutant("dual_averaging", "the last square alone", line("total = total + g2", "total = g2")),
    Mutant("dual_averaging", "no root", line(ROOT_OF_TOTAL, "(total + eps_root)")),
    Mutant("dual_averaging", "the threshold does not grow", line("l1 * t", "l1"), at_defaults=False),
    Mutant("dual_averaging", "starts from 0", starting_from_zero, at_defaults=False),
    Mutant("ftrl", "no σ", line("g - (root - before) * per_lr * x", "g")),
    Mutant("ftrl", "the last square alone", line("total + g2, ops.where", "g2, ops.where")),
    Mutant("ftrl", "the last gradient alone", line("ops.where(follows, dual, held - old * x) + g", "g")),
    Mutant("ftrl", "β is ignored", line("beta / divisor", "1.0 / divisor"), at_defaults=False),
    Mutant("ftrl", "λ₂ is ignored", line("beta / divisor + l2", "beta / divisor"), at_defaults=False),
    Mutant(
        "ftrl", "z is of the rate before", line("ops.where(follows, dual, held - old * x)", "dual"), at_defaults=False
    ),
    Mutant("ftrl", "z changes in a pause", line("ops.where(moves, moved, dual)", "moved"), at_defaults=False),
    Mutant("ftrl", "starts from 0", starting_from_zero, at_defaults=False),
    Mutant("rmsprop", "without 1 − γ", line("fresh * g2", "g2")),
    Mutant("rmsprop", "no accumulation", line("gamma * square + fresh * g2", "fresh * g2")),
    Mutant("rmsprop", "s never decays", line("gamma * square", "square")),
    Mutant("rmsprop", "no root", line(ROOT_OF_SQUARE, "(square + eps_root)")),
    Mutant("rmsprop", "ε outside the root", line(ROOT_OF_SQUARE, "(ops.sqrt(square) + eps_root)")),
    Mutant("rmsprop", "s of rows never decays", line("ops.power(gamma, k) * square", "square"), at_defaults=False),
    Mutant("adadelta", "Δ is fed with g²", line("(rate * rate * g2)", "g2")),
    Mutant("adadelta", "Δ stays 0", line("rho * change + fresh * (rate * rate * g2)", "change")),
    Mutant("adadelta", "s is a sum", line("rho * square + fresh * g2", "square + g2")),
    Mutant("adadelta", "no Δ", line("(ops.sqrt(change + eps_root) + eps) /", "1.0 /")),
    *(Mutant("adam", what, change) for what, change in OF_ADAM),
    *(Mutant("adamw", what, change) for what, change in OF_ADAM),
    Mutant("adamw", "no weight decay", without_weight_decay),
    Mutant("nadam", "half the rate", line("rate = lr /", "rate = 0.5 * lr /")),
    Mutant("nadam", "does not look ahead", line("gradient * g + ahead * velocity", "velocity")),
    Mutant("nadam", "s is not corrected", line("square * correction", "square")),
    Mutant("nadam", "μ of this step", line("momentum(t + 1, beta1", "momentum(t, beta1")),
    *(
        Mutant(
            name,
            "s is corrected as at step 25 from then on",
            line("beta2**t", f"beta2**{OF_STEP_25}"),
            at_defaults=False,
        )
        for name in ("adam", "adamw", "nadam", "yogi")
    ),
    Mutant("mean_adagrad", "divides by 25 from then on", line("1 / t", f"1 / {OF_STEP_25}"), at_defaults=False),
    Mutant("dual_averaging", "the threshold stops growing", line("l1 * t", f"l1 * {OF_STEP_25}"), at_defaults=False),
    Mutant("yogi", "is Adam", line(f"square + {YOGI_CHANGE}", "(1.0 - fresh2) * square + change")),
    Mutant("yogi", "s only grows", line("-change", "0.0")),
    Mutant("yogi", "s is not corrected", line("square * correction", "square")),
    Mutant("yogi", "steps along g", line("velocity, velocity, square", "g, velocity, square")),
    Mutant("yogi", "starts from 0", starting_from_zero, at_defaults=False),
    Mutant("yogi", "sgn(0) is 1", line("g2 > square, change", "g2 >= square, change"), at_defaults=False),
    Mutant(
        "yogi",
        "sgn(0) is −1",
        line("g2 > square, change, ops.where(g2 < square", "g2 > square, change, ops.where(g2 <= square"),
        at_defaults=False,
    ),
    Mutant("lion", "steps along v", line("beta1 * velocity + fresh1 * g", "velocity")),
    Mutant("lion", "not the sign", line("return lr, sign", "return lr, mixed")),
    Mutant("lion", "β₁ in place of β₂", line("beta2 * velocity + fresh2 * g", "mixed")),
    Mutant("lion", "v is not averaged", line("beta2 * velocity + fresh2 * g", "g")),
    Mutant("adamax", "u never decays", line("beta2 * largest", "largest")),
    Mutant("adamax", "the last gradient alone", line("ops.maximum(beta2 * largest, ops.sqrt(g2) + eps)", "eps + g2")),
    Mutant("adamax", "v is not corrected", line("lr / (1 - beta1**t)", "lr")),
    Mutant("adamax", "steps along g", line("velocity, velocity, largest", "g, velocity, largest")),
    Mutant("radam", "r is left out", line("lr * rectified /", "lr /")),
    Mutant("radam", "momentum alone", line("ops.where(rectified > 0.0, adaptive, lr)", "lr")),
    Mutant("radam", "adaptive one step early", line("rectification(t,", "rectification(t + 1,")),
    Mutant("radam", "s is not corrected", line("square * correction", "square")),
    Mutant("radam", "v is not corrected", line("lr / (1 - beta1**t)", "lr")),
    Mutant("adabelief", "is Adam", line("(apart * apart)", "g2")),
    Mutant("adabelief", "no ε in s", line(" + eps_root", "")),
    Mutant("adabelief", "s is not corrected", line("surprise * correction", "surprise")),
    Mutant("adabelief", "steps along g", line("velocity, velocity, surprise", "g, velocity, surprise")),
    Mutant("adopt", "scaled by its own square", line("ops.sqrt(square)", "ops.sqrt(beta2 * square + fresh2 * g2)")),
    Mutant("adopt", "s starts from a share", line("(t > 1)", "(t > 0)")),
    Mutant("adopt", "clipped at 1", line("(t - 1) ** 0.25", "1.0")),
    Mutant("adopt", "v is not averaged", line("velocity = beta1 * velocity +", "velocity =")),
    Mutant("madgrad", "a square root", line("ops.where(total > 0.0, root, 0.0)", "ops.sqrt(total)")),
    Mutant("madgrad", "λ stays", line("lr * t**0.5", "lr")),
    Mutant("madgrad", "no momentum", line("1 - momentum", "1.0")),
    Mutant("madgrad", "from where it is", line("(dual + distance * root)", "dual")),
    Mutant("lamb", "the ratio is 1", line("lr * ratio * rate", "lr * rate")),
    Mutant("lamb", "the norm of x alone", line("ops.sqrt(parameter / update)", "ops.sqrt(parameter)")),
    Mutant("lamb", "no decay", line(" + decay * x / rate", "")),
    Mutant("lamb", "s is not corrected", line("square * correction2", "square")),
    Mutant("novograd", "v is not kept", line("beta1 * velocity + ops", "ops")),
    Mutant("novograd", "s starts from a share", line("(t > 1)", "(t > 0)")),
    Mutant("novograd", "no root", line("ops.sqrt(square + eps_root)", "(square + eps_root)")),
    Mutant("novograd", "no decay", line(" + decay * x", "")),
    Mutant("sm3", "no accumulation", line("ops.minimum(rows, columns) + g2", "g2")),
    Mutant("sm3", "no root", line("ops.sqrt(covered + eps_root)", "(covered + eps_root)")),
    Mutant("sm3", "columns alone", line("ops.minimum(rows, columns)", "columns")),
    Mutant("sm3", "rows alone", line("ops.minimum(rows, columns)", "rows")),
    Mutant("adafactor", "not relative", line("ops.maximum(eps_scale, ops.sqrt(size))", "1.0")),
    Mutant("adafactor", "not clipped", line(" / clipped", "")),
    Mutant("adafactor", "a sum", line("1 - fresh, fresh", "1.0, fresh")),
    Mutant("adafactor", "columns alone", line("rows * (columns / whole)", "columns")),
    Mutant("adafactor", "rows alone", line("rows * (columns / whole)", "rows")),
    Mutant("adafactor", "not over the whole", line("rows * (columns / whole)", "rows * columns")),
    Mutant("cocob", "bets nothing", line("bet * scale - dual * (largest + reward)", "g * scale")),
    Mutant("cocob", "wins nothing", line("reward - g * bet", "reward")),
    Mutant("cocob", "the reward may be negative", line("ops.maximum(reward - g * bet, 0.0)", "reward - g * bet")),
    Mutant("cocob", "the last gradient alone", line("dual = dual - g", "dual = -g")),
    Mutant("cocob", "G stays 0", line("total = total + size", "total = total")),
    Mutant(
        "schedule_free_sgd", "no average", line("fresh / ops.where(weight > 0.0, weight, 1.0)", "1.0 + 0.0 * weight")
    ),
    Mutant("schedule_free_sgd", "the first weight alone", line("weight = weight + fresh", "weight = fresh + fresh")),
    Mutant("schedule_free_sgd", "gradients at z", line("momentum * g", "g")),
    Mutant("schedule_free_sgd", "does not follow z", line("share * difference / ops", "0.0 * difference / ops")),
    Mutant(
        "schedule_free_adamw", "no average", line("fresh / ops.where(weight > 0.0, weight, 1.0)", "1.0 + 0.0 * weight")
    ),
    Mutant("schedule_free_adamw", "no decay", line(" + root * (decay * x)", "")),
    Mutant("schedule_free_adamw", "s is not corrected", line("square * correction", "square")),
    Mutant("schedule_free_adamw", "gradients at z", line("lr * momentum / root", "lr / root")),
    Mutant(
        "schedule_free_adagrad",
        "no average",
        line("fresh / ops.where(weight > 0.0, weight, 1.0)", "1.0 + 0.0 * weight"),
    ),
    Mutant("schedule_free_adagrad", "no decay", line(" + root * (decay * x)", "")),
    Mutant("schedule_free_adagrad", "the last square alone", line("total = total + g2", "total = g2")),
    Mutant("schedule_free_adagrad", "no root", line("ops.sqrt(total)", "total")),
    Mutant("dog", "the last distance", line("ops.maximum(largest, ops.sqrt(square))", "ops.sqrt(square)")),
    Mutant("dog", "the last norm alone", line("total = total + squares", "total = squares")),
    Mutant("dog", "the start is not looked at", line("first * (1.0 + ops.sqrt(start))", "first")),
    Mutant("dog", "no inner product", line("rate * squares - 2.0 * ahead", "rate * squares")),
    Mutant("dog", "a distance for each parameter", over("tensor")),
    Mutant("dog", "L-DoG has one distance for all parameters", over("group", "layerwise"), at_defaults=False),
    Mutant("dadapt_adagrad", "a distance for each parameter", over("tensor")),
    Mutant("prodigy", "a distance for each parameter", over("tensor")),
    Mutant("dadapt_adagrad", "d stays", line("ops.maximum(bound, known)", "bound")),
    Mutant("dadapt_adagrad", "d falls", line("ops.maximum(bound, known)", "known")),
    Mutant("dadapt_adagrad", "nothing is spent", line("(length - spent)", "length")),
    Mutant("dadapt_adagrad", "the last square alone", line("seen + moves * (g * g), dual", "moves * (g * g), dual")),
    Mutant("prodigy", "d stays", line("after = ops.maximum(bound, known)", "after = bound")),
    Mutant("prodigy", "r never decays", line("beta3 * numerator", "numerator")),
    Mutant("prodigy", "gradients are not scaled", line("fresh1 * (bound * g)", "fresh1 * g")),
    Mutant("prodigy", "the sum never decays", line("sum = beta3 * sum", "sum = sum")),
    Mutant("shampoo", "no accumulation", line("left + g @ turned", "g @ turned")),
    Mutant(
        "shampoo",
        "rows alone",
        line(
            "inverse_fourth_root(left, eps) @ g @ inverse_fourth_root(right, eps)", "inverse_fourth_root(left, eps) @ g"
        ),
    ),
    Mutant("shampoo", "no step along rows", line("inverse_fourth_root(left, eps) @ g @", "g @")),
    Mutant("shampoo", "ten times ε", line("(left, eps)", "(left, 10.0 * eps)")),
    Mutant("full_matrix", "no accumulation", line("outer = outer + g", "outer = g")),
    Mutant("full_matrix", "no root", line("lr, eps) @ g", "lr, eps) @ scaled_inverse_root(outer, 1.0, eps) @ g")),
    Mutant("full_matrix", "ten times ε", line("(outer, lr, eps)", "(outer, lr, 10.0 * eps)")),
)
"""At least three of each rule."""

LATE = (
    *(
        Mutant(rule, f"from step {first:,} on too far", late(first))
        for rule in everything()
        for first in (101, 901, 5_001)
    ),
    *(
        Mutant(rule, f"{what} from step {first:,} to {last:,}", late(first, last, times))
        for rule in everything()
        for what, first, last, times in (
            ("half as far again", 1_011, 9_998, 1.5),
            ("a thousandth too far", 7_777, 7_780, 1.001),
        )
    ),
    Mutant("adagrad", "s stops at 100", line("total = total + g2", "total = ops.minimum(total + g2, 100.0)")),
    Mutant("visits", "stops counting at 300", line("ops.sqrt(count + c)", "ops.sqrt(ops.minimum(count, 300.0) + c)")),
)
"""What goes wrong only after many steps."""


@dataclass(frozen=True)
class MutantOfEngine:
    """An engine that is broken over sound rules.

    Attributes:
        what: how it is broken.
        module, function: what is replaced.
        change: the function -> the broken one.
        of_matrices: whether rules of whole arrays take the same way.
    """

    what: str
    module: ModuleType
    function: str
    change: Callable[[Callable], Callable]
    of_matrices: bool = False


def in_float32(change: Callable) -> Callable:
    """Changes how far a step of float32 goes: `change` has the parameters before and after it."""

    def changed(sound):
        def broken(step, x, *given):
            before = x.copy()
            skipped = sound(step, x, *given)
            if x.dtype == np.float32:
                change(before, x)
            return skipped

        return broken

    return changed


def farther(times: float) -> Callable:
    def change(before, x):
        x[...] = before + np.float32(times) * (x - before)

    return change


def one_bit(before, x):
    x.flat[-1] = np.nextafter(x.flat[-1], np.float32(9))


def coordinates(chosen: slice) -> Callable:
    """Some coordinates go a thousandth too far."""

    def changed(sound):
        def broken(step, x, *given):
            before = x.copy()
            skipped = sound(step, x, *given)
            x.reshape(-1)[chosen] += 0.001 * (x - before).reshape(-1)[chosen]
            return skipped

        return broken

    return changed


def halved(sound):
    def broken(step, x, gradient, *given):
        ids, totals = gradient
        return sound(step, x, (ids, totals / 2), *given)

    return broken


def without_the_last_row(sound):
    def broken(step, x, gradient, *given):
        ids, totals = gradient
        return sound(step, x, (ids[:-1], totals[:-1]), *given)

    return broken


MUTANTS_OF_ENGINES = (
    *(
        MutantOfEngine(
            f"{times:g} times as far in float32", module, "dense", in_float32(farther(times)), module is matrices
        )
        for times in (10.0, 1.001)
        for module in (reference, matrices)
    ),
    MutantOfEngine("10 times as far in float32, in rows", reference, "rows", in_float32(farther(10.0))),
    MutantOfEngine("10 times as far in float32", cpu, "dense", in_float32(farther(10.0))),
    MutantOfEngine("a bit of the last coordinate", cpu, "dense", in_float32(one_bit)),
    MutantOfEngine("a bit of the last coordinate, in rows", cpu, "rows", in_float32(one_bit)),
    *(
        MutantOfEngine(f"{what} a thousandth too far", reference, "dense", coordinates(chosen))
        for what, chosen in (
            ("x₃", slice(2, 3)),
            ("all from x₃ on", slice(2, None)),
            ("the last but two", slice(9, 10)),
        )
    ),
    MutantOfEngine("half of sparse gradients", reference, "rows", halved),
    MutantOfEngine("the last row of sparse gradients is lost", reference, "rows", without_the_last_row),
)
"""What every trace notices, in float32, in other coordinates than the first two, and in rows."""

AT_ONCE = ("visits: counts nothing", "mean_adagrad: divides by the sum", "nadam: half the rate")
COMBINED = tuple(one for one in MUTANTS if one.id in AT_ONCE or one.what == "starts from 0")
"""Broken all at once, which once went unnoticed; a rule occurs at most once."""
