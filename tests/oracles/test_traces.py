"""Every rule's first steps, worked out by hand from its published formula, with ε both inside and outside the root.

The numbers are chosen so that most roots come out even. One coordinate starts at 1 and sees the
gradients named; its neighbour sees zeros only.
"""

import math

import numpy as np
import pytest
from support.numerics import assert_close
from support.table import CONCRETE

# μ_t = β₁ (1 − ½ · 2^{−t}) for this ψ.
HALVING = math.log(0.5) / math.log(0.96)
MU1, MU2, MU3 = 0.5 * 3 / 4, 0.5 * 7 / 8, 0.5 * 15 / 16

# RAdam, β₂ = ¾: ρ∞ = 7, ρ₅ = 3.9, ρ₆ = 4.4.
KEPT6 = 0.75**6
RHO6 = 7 - 12 * KEPT6 / (1 - KEPT6)
R6 = math.sqrt((RHO6 - 4) * (RHO6 - 2) * 7 / (3 * 5 * RHO6))
X5 = 1 - 0.5 * (4 + 4 / 3 + 4 / 7 + 4 / 15 + 4 / 31)

# MADGRAD, λ = ½, ½ √2: gradients whose sums ν are 8 and 27.
G2 = -math.sqrt(19 * math.sqrt(2))
DUAL2 = 2 + math.sqrt(0.5) * G2

# rule: (settings, gradients, x after each, memory after the last)
TRACES = {
    "sgd": ({"lr": 0.5}, [3, -4], [-0.5, 1.5], {}),
    # The first gradient enters undampened, the others with ¾ of their size: v = 3, 1.5 − 3, −0.75 + 1.5.
    "momentum": (
        {"lr": 0.5, "momentum": 0.5, "dampening": 0.25},
        [3, -4, 2],
        [-0.5, 0.25, -0.125],
        {"velocity": 0.75},
    ),
    # v = 3, −2.5, 0.75; the step goes along g + v/2 = 4.5, −5.25, 2.375.
    "momentum[nesterov]": (
        {"lr": 0.5, "momentum": 0.5},
        [3, -4, 2],
        [-1.25, 1.375, 0.1875],
        {"velocity": 0.75},
    ),
    # The zero in between is not counted: √(1 + 3), √(1 + 3), √(2 + 3).
    "visits": ({"lr": 2.0, "c": 3.0}, [3, 0, -4], [-2, -2, -2 + 8 / math.sqrt(5)], {"count": 2}),
    # s = 16, 160: √(16 + 9) + 1 = 6 and √(160 + 9) + 1 = 14; η = ½, then ½/2.
    "adagrad": (
        {"lr": 0.5, "lr_decay": 1.0, "initial_accumulator_value": 7.0, "eps": 1.0, "eps_root": 9.0},
        [3, -12],
        [1 - 0.5 * 3 / 6, 0.75 + 0.25 * 12 / 14],
        {"total": 160},
    ),
    # s/t = 9 and 58/2 = 29: √(9 + 7) + 1 = 5, √(29 + 7) + 1 = 7.
    "mean_adagrad": ({"lr": 0.5, "eps": 1.0, "eps_root": 7.0}, [3, -7], [0.7, 1.2], {"total": 58}),
    # z = 3, −9, −0.5 against λt = 1, 2, 3; the denominators are those of adagrad.
    "dual_averaging": (
        {"lr": 0.5, "l1": 1.0, "initial_accumulator_value": 7.0, "eps": 1.0, "eps_root": 9.0},
        [3, -12, 8.5],
        [-0.5 * 2 / 6, 0.5 * 7 / 14, 0],
        {"total": 232.25, "dual": -0.5},
    ),
    # √n = 4, 5, 13, 85, σ = 2, 16, 144; at x = 1, z is −1 − (10 + 0.5)·1 = −11.5 before the first step.
    # Then −11.5 + 3 − 2·1 = −10.5, x = 9.5/12.5 = 0.76; −10.5 − 12 − 16·0.76 = −34.66; −34.66 + 84 − 144 x.
    "ftrl": (
        {"lr": 0.5, "beta": 1.0, "l1": 1.0, "l2": 0.5, "initial_accumulator_value": 16.0},
        [3, -12, 84],
        [0.76, 33.66 / 28.5, (144 * 33.66 / 28.5 - 49.34 - 1) / (86 / 0.5 + 0.5)],
        {"total": 7225, "dual": 49.34 - 144 * 33.66 / 28.5},
    ),
    # s = 8, 6: √(8 + 1) + 1 = 4.
    "rmsprop": (
        {"lr": 0.5, "gamma": 0.5, "eps": 1.0, "eps_root": 1.0},
        [4, -2],
        [0.5, 0.5 + 0.5 * 2 / (math.sqrt(7) + 1)],
        {"square": 6},
    ),
    # s = 8, 6, mean 2, 0: variances 4 and 6; √(4 + 5) + 1 = 4.
    "rmsprop[centered]": (
        {"lr": 0.5, "gamma": 0.5, "eps": 1.0, "eps_root": 5.0},
        [4, -2],
        [0.5, 0.5 + 0.5 * 2 / (math.sqrt(11) + 1)],
        {"square": 6, "mean": 0},
    ),
    # The velocity sums up g/(√…): 1, then ¼ · 1 − 2/(√7 + 1).
    "rmsprop[momentum]": (
        {"lr": 0.5, "gamma": 0.5, "momentum": 0.25, "eps": 1.0, "eps_root": 1.0},
        [4, -2],
        [0.5, 0.5 - 0.5 * (0.25 - 2 / (math.sqrt(7) + 1))],
        {"square": 6, "velocity": 0.25 - 2 / (math.sqrt(7) + 1)},
    ),
    "rmsprop[centered, momentum]": (
        {"lr": 0.5, "gamma": 0.5, "momentum": 0.25, "eps": 1.0, "eps_root": 5.0},
        [4, -2],
        [0.5, 0.5 - 0.5 * (0.25 - 2 / (math.sqrt(11) + 1))],
        {"square": 6, "mean": 0, "velocity": 0.25 - 2 / (math.sqrt(11) + 1)},
    ),
    # u = (√(0 + 1) + 1)/(√(8 + 1) + 1) · 4 = 2, so Δ = 2; then u = (√3 + 1)/(√7 + 1) · −2. η is not in Δ.
    "adadelta": (
        {"lr": 0.5, "rho": 0.5, "eps": 1.0, "eps_root": 1.0},
        [4, -2],
        [0, (math.sqrt(3) + 1) / (math.sqrt(7) + 1)],
        {"square": 6, "change": 1 + 0.5 * (2 * (math.sqrt(3) + 1) / (math.sqrt(7) + 1)) ** 2},
    ),
    # v̂ = 2/½ = 4 and −1/¾; ŝ = 4/¼ = 16 and 7/(7/16) = 16: √(16 + 9) + 1 = 6 both times.
    "adam": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0, "eps_root": 9.0},
        [4, -4],
        [2 / 3, 2 / 3 + 1 / 9],
        {"velocity": -1, "square": 7},
    ),
    # After a zero gradient s = 3, but the largest stays 4: ŝ = 4/(7/16); v̂ = 1/¾.
    "adam[amsgrad]": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0, "eps_root": 9.0},
        [4, 0],
        [2 / 3, 2 / 3 - 0.5 * (4 / 3) / (math.sqrt(64 / 7 + 9) + 1)],
        {"velocity": 1, "square": 3, "largest": 4},
    ),
    # Adam's steps, from ¾ of the weight: 1 − η λ = 1 − ½ · ½.
    "adamw": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0, "eps_root": 9.0, "decoupled_weight_decay": 0.5},
        [4, -4],
        [0.75 - 1 / 3, 0.75 * (0.75 - 1 / 3) + 1 / 9],
        {"velocity": -1, "square": 7},
    ),
    "adamw[amsgrad]": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0, "eps_root": 9.0, "decoupled_weight_decay": 0.5},
        [4, 0],
        [0.75 - 1 / 3, 0.75 * (0.75 - 1 / 3) - 0.5 * (4 / 3) / (math.sqrt(64 / 7 + 9) + 1)],
        {"velocity": 1, "square": 3, "largest": 4},
    ),
    # Denominators as adam's; v = 2, −1.
    "nadam": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "momentum_decay": HALVING, "eps": 1.0, "eps_root": 9.0},
        [4, -4],
        [
            1 - (4 + MU2 * 2 / (1 - MU1 * MU2)) / 12,
            1
            - (4 + MU2 * 2 / (1 - MU1 * MU2)) / 12
            - ((1 - MU2) * -4 / (1 - MU1 * MU2) + MU3 * -1 / (1 - MU1 * MU2 * MU3)) / 12,
        ],
        {"velocity": -1, "square": 7},
    ),
    # s = 4 + ¼ · 16 = 8: ŝ = 8/¼; then g² = 1 is below s: s = 8 − ¼, ŝ = 7.75/(7/16); v = 2, ½.
    "yogi": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "initial_accumulator_value": 4.0, "eps": 1.0, "eps_root": 4.0},
        [4, -1],
        [1 - 0.5 * 4 / 7, 1 - 0.5 * 4 / 7 - 0.5 * (0.5 / 0.75) / (math.sqrt(7.75 * 16 / 7 + 4) + 1)],
        {"velocity": 0.5, "square": 7.75},
    ),
    # v/2 + g/2 = 2, −1.5, 0, as v = 1, −¼, −⅛; each step starts from ¾ of the weight.
    "lion": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "decoupled_weight_decay": 0.5},
        [4, -4, 0.25],
        [0.25, 0.6875, 0.6875 * 0.75],
        {"velocity": -0.125},
    ),
    # u = 4 + 1, then ¾ · 5 against 1 + 1; v = 2, ½.
    "adamax": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0},
        [4, -1],
        [1 - 0.5 * 4 / 5, 1 - 0.5 * 4 / 5 - 0.5 * (0.5 / 0.75) / 3.75],
        {"velocity": 0.5, "largest": 3.75},
    ),
    # Momentum, whose corrected v is 4/(2ᵗ − 1) · ½ ᵗ⁻¹ · 2ᵗ⁻¹, until the sixth: v = 1/16 − 2, s = 4 · ¾⁵ + 4.
    "radam": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0, "eps_root": 9.0},
        [4, 0, 0, 0, 0, -4],
        [
            -1,
            -1 - 0.5 * 4 / 3,
            -1 - 0.5 * (4 / 3 + 4 / 7),
            -1 - 0.5 * (4 / 3 + 4 / 7 + 4 / 15),
            X5,
            X5 + 0.5 * R6 * (31 / 16) / (63 / 64) / (math.sqrt((4 * 0.75**5 + 4) / (1 - KEPT6) + 9) + 1),
        ],
        {"velocity": -31 / 16, "square": 4 * 0.75**5 + 4},
    ),
    # g − v = 2, −3: s = 1 + 3, then 3 + 9/4 + 3; ŝ = 16 and 8.25/(7/16); v as adam's.
    "adabelief": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0, "eps_root": 3.0},
        [4, -4],
        [1 - 0.5 * 4 / 5, 1 - 0.5 * 4 / 5 + 0.5 * (1 / 0.75) / (math.sqrt(132 / 7) + 1)],
        {"velocity": -1, "surprise": 8.25},
    ),
    # s = 16, 28: −8/√16 is clipped at 1, and 2/√28 is below 2^¼.
    "adopt": (
        {"lr": 0.5, "beta1": 0.5, "beta2": 0.75, "eps": 1.0},
        [4, -8, 2],
        [1, 1.25, 1.25 - 0.5 * (1 / math.sqrt(28) - 0.25)],
        {"velocity": 1 / math.sqrt(28) - 0.25, "square": 22},
    ),
    # z = 1 − 2/(2 + 1), then 1 − s/(3 + 1); half of the way each time.
    "madgrad": (
        {"lr": 0.5, "momentum": 0.5, "eps": 1.0},
        [4, G2],
        [2 / 3, 1 / 3 + 0.5 * (1 - DUAL2 / 4)],
        {"total": 27, "dual": DUAL2, "distance": 1 / 3 + 0.5 * (1 - DUAL2 / 4) - 1},
    ),
    # w = −4 · 4/(4 · 8), −8 · (4 + 2)/(4 · 12), −7 · (4 + 1)/(4 · 13), half of which is played.
    "cocob": (
        {"lr": 0.5, "alpha": 2.0, "eps": 1.0},
        [4, 4, -1],
        [0.75, 0.5, 1 - 35 / 104],
        {"largest": 4, "total": 9, "dual": -7, "reward": 1},
    ),
}


def test_every_rule_has_a_trace():
    assert set(TRACES) == set(CONCRETE)


@pytest.mark.sampled(24)
@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("name", TRACES)
def test_first_steps(name, engine):
    settings, grads, expected, memory = TRACES[name]
    step = CONCRETE[name].step(engine=engine, **settings)
    x = np.array([1.0, 0.0])
    state = step.init(x)
    found = []
    for g in grads:
        step.dense(x, np.array([g, 0.0]), state)
        found.append(x[0])
    assert x[1] == 0
    assert_close(found, expected, "float64", name)
    assert list(state.slots) == list(memory)
    for slot, value in memory.items():
        assert_close(state.slots[slot][0], value, "float64", f"{name}, {slot}")


@pytest.mark.parametrize("name", TRACES)
def test_the_function_itself_on_plain_floats(name):
    """The rule's function called by hand: the same numbers, without any engine."""
    settings, grads, expected, memory = TRACES[name]
    step = CONCRETE[name].step(engine="reference", **settings)
    rule, x = step.rule, 1.0
    slots = [step.hyper[s.initial] if isinstance(s.initial, str) else s.initial for s in rule.slots.values()]
    for t, g in enumerate(grads, 1):
        start = x * (1 - step.lr(t) * step.options["decoupled_weight_decay"])
        rate, direction, *slots = rule(start, float(g), float(g * g), *slots, *step.coefficients(t))
        x = (0.0 if rule.from_origin else start) - rate * direction
    assert_close(x, expected[-1], "float64", name)
    assert_close(slots, list(memory.values()), "float64", name)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("lr, published", [(0.4, (-2.382563, -0.158591)), (2.0, (-0.002295, -0.000000))])
def test_the_published_traces_of_adagrad(engine, lr, published):
    """0.1 x₁² + 2 x₂² from (−5, −2), 20 steps (Dive into Deep Learning, chapter AdaGrad)."""
    step = CONCRETE["adagrad"].step(engine=engine, convention="textbook", lr=lr)
    x = np.array([-5.0, -2.0])
    state = step.init(x)
    for _ in range(20):
        step.dense(x, np.array([0.2, 4.0]) * x, state)
    assert_close(x, published, "published")
    assert [f"{value:.6f}" for value in x] == [f"{value:.6f}" for value in published]
