"""Section 6: the figures of schedules, weights, noise and convergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from surefoot import schedules
from surefoot.engines import ORACLE, Step
from surefoot.lab.figures import REFERENCE, curves, look, new_figure, plain_logarithms
from surefoot.lab.problems import PROBLEMS
from surefoot.lab.published.formulas import walk as printed_walk
from surefoot.lab.published.pictures import (
    Picture,
    expected_traces,
    followed,
    picture,
    series,
    traced,
)
from surefoot.lab.published.reading import Panel, Points, Sheet, Within, columns, level
from surefoot.lab.published.rows import NOTEBOOK
from surefoot.lab.published.theory import states
from surefoot.lab.published.unbalanced import INSIDE, UNBALANCED, draws
from surefoot.lab.tracing import walk

SEEDS = 1000


# Schedules

PIECES = "piecewise constant: 1, ½, ¼, 0"


@picture(
    "figure-schedules",
    "the three schedules, from η₀ = 1",
    "a figure of each",
    NOTEBOOK,
    ours="λ = 1 and β = 1; the pieces 1, ½, ¼ and 0 change at ½, 1 and 1½",
)
def three_schedules() -> Picture:
    title = "Learning rates that change with time; λ = β = 1"
    figure, axes = curves(title, "t", "η(t)/η₀")
    t = np.linspace(0, 2, 201)
    edges, values = [0.5, 1.0, 1.5], [1.0, 0.5, 0.25, 0.0]
    # Every point twice, so that changes are jumps and not slopes.
    jumps, pieces = np.repeat(t, 2)[1:], schedules.piecewise_constant(edges, values)
    series(axes, 0, jumps, np.repeat(pieces(t), 2)[:-1], PIECES, markevery=80)
    series(axes, 1, t, schedules.exponential(1.0, 1.0)(t), "exponential, e^(−λt)", markevery=40)
    series(axes, 2, t, schedules.polynomial(1.0, 1.0)(t), "polynomial, (βt + 1)^(−½)", markevery=40)
    axes.legend()
    t = np.arange(201) / 100
    twice = np.repeat(t, 2)
    expected: dict[str, Points] = {
        PIECES: columns(twice[1:], 2.0 ** -np.minimum(twice // 0.5, 2)[:-1] * (twice < 1.5)[:-1]),
        "exponential, e^(−λt)": columns(t, np.exp(-t)),
        "polynomial, (βt + 1)^(−½)": columns(t, (t + 1) ** -0.5),
    }
    return figure, Sheet([Panel(title, "t", "η(t)/η₀", expected)])


def many(schedule: Any, steps: int, noise: float = 1.0) -> np.ndarray:
    """Where SGD with noisy gradients is after each step on the bowl, (steps + 1, seeds, 2)."""
    problem = PROBLEMS["bowl"]
    start = np.tile(problem.start, (SEEDS, 1))
    step = Step("sgd", lr=schedule, engine=ORACLE)
    return walk(step, problem, start, steps, noise, np.random.default_rng(0))[0]


def many_expected(eta: float | Callable[[int], float], steps: int, noise: float = 1.0) -> np.ndarray:
    return followed("sgd", "bowl", eta, steps, noise, start=np.tile([-5.0, -2.0], (SEEDS, 1)))


def root_mean_square(positions: np.ndarray) -> np.ndarray:
    """The root mean square distance from the origin over the seeds, after each step."""
    return np.sqrt((positions**2).sum(axis=-1).mean(axis=-1))


@picture(
    "figure-schedule-distances",
    "distance from the minimizer of x₁² + 2x₂² against step for each schedule, with gradient noise N(0, 1)",
    ours="η₀ = 0.1; piecewise: 0.05 from step 50, 0.01 from step 200; an exercise of the notebook",
)
def schedule_distances() -> Picture:
    title = f"SGD on x₁² + 2x₂²: distance from the minimizer, {SEEDS:,} seeds"
    figure, axes = curves(title, "step t", "root mean square distance", 7.2)
    steps, expected = 1000, {}
    shown: dict[str, tuple[Any, Any]] = {
        "constant 0.1": (0.1, 0.1),
        "piecewise constant: 0.1, 0.05, 0.01": (
            schedules.piecewise_constant([50, 200], [0.1, 0.05, 0.01]),
            lambda t: 0.1 if t < 50 else 0.05 if t < 200 else 0.01,
        ),
        "exponential, 0.1 e^(−0.1t)": (schedules.exponential(0.1, 0.1), lambda t: 0.1 * np.exp(-0.1 * t)),
        "polynomial, 0.1 (1 + 0.1t)^(−½)": (schedules.polynomial(0.1, 0.1), lambda t: 0.1 * (1 + 0.1 * t) ** -0.5),
    }
    for number, (name, (schedule, eta)) in enumerate(shown.items()):
        found = root_mean_square(many(schedule, steps))
        series(axes, number, np.arange(1, steps + 1), found[1:], name, markevery=0.12)
        expected[name] = columns(range(1, 1001), root_mean_square(many_expected(eta, 1000))[1:])
    axes.set(xscale="log", yscale="log")
    plain_logarithms(axes)
    axes.legend()
    return figure, Sheet([Panel(title, "step t (log)", "root mean square distance (log)", expected)])


@picture(
    "figure-noise-floors",
    "a larger learning rate leaves more noise: distance from the minimizer of x₁² + 2x₂² at several η",
    ours="dotted: η² Σ 1/(1 − (1 − ηλ)²), the stationary variance",
)
def noise_floors() -> Picture:
    title = f"SGD with constant η on x₁² + 2x₂², {SEEDS:,} seeds; dotted: the noise floors"
    figure, axes = curves(title, "step", "root mean square distance")
    steps, curvature = 150, np.array([2.0, 4.0])
    expected: dict[str, Points] = {}
    for number, eta in enumerate((0.02, 0.05, 0.1, 0.2)):
        series(axes, number, np.arange(steps + 1), root_mean_square(many(eta, steps)), f"η = {eta:g}")
        floor = eta * np.sqrt((1 / (1 - (1 - eta * curvature) ** 2)).sum())
        axes.axhline(floor, color=look(number).color, linestyle=":", linewidth=1.2)
    for name, eta in {"η = 0.02": 0.02, "η = 0.05": 0.05, "η = 0.1": 0.1, "η = 0.2": 0.2}.items():
        expected[name] = columns(range(151), root_mean_square(many_expected(eta, 150)))
        expected[f"dotted line of {name}"] = level(stationary(eta, np.array([2.0, 4.0])))
    axes.set_yscale("log")
    plain_logarithms(axes)
    axes.legend()
    return figure, Sheet([Panel(title, "step", "root mean square distance (log)", expected)])


def stationary(eta: float, curvature: np.ndarray) -> float:
    """The noise floor again: where the variances of a noisy step, v ← (1 − ηλ)² v + η², come to rest."""
    variance = np.zeros(len(curvature))
    for _ in range(2000):
        variance = (1 - eta * curvature) ** 2 * variance + eta**2
    return float(np.sqrt(variance.sum()))


@picture(
    "figure-iterations",
    "gradient descent against SGD, by iteration, on x₁² + 2x₂²",
    "a figure of both, of one draw",
    NOTEBOOK,
    ours=f"the mean of {SEEDS:,} draws",
)
def iterations() -> Picture:
    title, y = "x₁² + 2x₂², η = 0.1: exact and noisy gradients", f"f(x), mean of {SEEDS:,} seeds"
    figure, axes = curves(title, "iteration", y)
    problem, expected = PROBLEMS["bowl"], {}
    for number, (name, noise) in enumerate({"gradient descent": 0.0, "SGD, gradient + N(0, 1) noise": 1.0}.items()):
        series(axes, number, np.arange(51), problem.at(many(0.1, 50, noise)).mean(axis=1), name)
    for name, noise in (("gradient descent", 0.0), ("SGD, gradient + N(0, 1) noise", 1.0)):
        x1, x2 = np.moveaxis(many_expected(0.1, 50, noise), -1, 0)
        expected[name] = columns(range(51), (x1**2 + 2 * x2**2).mean(axis=1))
    axes.set_yscale("log")
    plain_logarithms(axes)
    axes.legend()
    return figure, Sheet([Panel(title, "iteration", f"{y} (log)", expected)])


# Weights and convergence


@picture(
    "figure-weights",
    "the weight of a gradient τ steps ago in momentum and in RMSProp, over 40 steps",
    "a figure of each",
    NOTEBOOK,
)
def weights() -> Picture:
    figure, expected, tau = new_figure(9.4, 4.2), [], np.arange(41)
    impulse = np.append(1.0, np.zeros(40))
    panels = figure.subplots(1, 2)
    for panel, rule, slot, key, symbol, values in (
        (panels[0], "momentum", "velocity", "momentum", "β", (0.95, 0.9, 0.6, 0.0)),
        (panels[1], "rmsprop", "square", "gamma", "γ", (0.95, 0.9, 0.8, 0.7)),
    ):
        for number, kept in enumerate(values):
            hyper: dict[str, Any] = {key: kept}
            weight = states(Step(rule, engine=ORACLE, **hyper), impulse, slot)
            series(panel, number, tau, weight, f"{symbol} = {kept:g}")
        panel.set(title=f"{rule}: weight of the gradient τ steps ago", xlabel="τ (steps)", ylabel="weight")
        panel.grid(True)
        panel.legend()
    for rule, symbol, values in (("momentum", "β", (0.95, 0.9, 0.6, 0.0)), ("rmsprop", "γ", (0.95, 0.9, 0.8, 0.7))):
        shown: dict[str, Points] = {
            f"{symbol} = {kept:g}": columns(range(41), (1 if rule == "momentum" else 1 - kept) * kept ** np.arange(41))
            for kept in values
        }
        expected.append(Panel(f"{rule}: weight of the gradient τ steps ago", "τ (steps)", "weight", shown))
    return figure, Sheet(expected)


@picture("figure-scalar", "(1 − ηλ)^t for λ = 0.1, 1, 10, 19 at η = 0.1", "a figure", NOTEBOOK)
def scalar() -> Picture:
    title = "Gradient descent on ½λx² from x₀ = 1, η = 0.1"
    figure, axes = curves(title, "step t", "xₜ = (1 − ηλ)ᵗ")
    curvature, t = np.array([0.1, 1.0, 10.0, 19.0]), np.arange(21)
    for number, (of, values) in enumerate(zip(curvature, descended("sgd", curvature, 0.1, 20).T, strict=True)):
        series(axes, number, t, values, f"λ = {of:g}")
    kept = {"λ = 0.1": 0.99, "λ = 1": 0.9, "λ = 10": 0.0, "λ = 19": -0.9}
    expected: dict[str, Points] = {name: columns(range(21), share ** np.arange(21)) for name, share in kept.items()}
    axes.set_xticks(range(0, 21, 4))
    axes.legend(title="converges iff |1 − ηλ| < 1")
    return figure, Sheet([Panel(title, "step t", "xₜ = (1 − ηλ)ᵗ", expected)], ["converges iff |1 − ηλ| < 1"])


def descended(rule: str, curvature: np.ndarray, lr: float, steps: int, **hyper: Any) -> np.ndarray:
    """Where a rule goes on ½ Σ λᵢ xᵢ² from ones, (steps + 1, coordinates)."""
    step, x = Step(rule, lr=lr, engine=ORACLE, **hyper), np.ones(len(curvature))
    state, seen = step.init(x), [x.copy()]
    for _ in range(steps):
        step.dense(x, curvature * x, state)
        seen.append(x.copy())
    return np.array(seen)


@picture(
    "figure-eigenvalues",
    "gradient descent and momentum on ½ Σ λᵢ xᵢ² with λᵢ = 2^(−i), from ones",
    ours="η = 1, β = 0.9; i = 1 to 8; an exercise of the notebook",
)
def eigenvalues() -> Picture:
    figure, steps = new_figure(10.4, 4.4), 100
    curvature, t = 0.5 ** np.arange(1, 9), np.arange(101)
    left, right = figure.subplots(1, 2, sharey=True)
    plain = descended("sgd", curvature, 1.0, steps)
    heavy = descended("momentum", curvature, 1.0, steps, momentum=0.9)
    labels = [f"λ = 2⁻{raised}" for raised in "¹²³⁴⁵⁶⁷⁸"]
    for number, (label, one, other) in enumerate(zip(labels, plain.T, heavy.T, strict=True)):
        series(left, number, t, one, label)
        series(right, number, t, other, label)
    descent, velocity = {}, {}
    for number, label in enumerate(labels, 1):
        of = 2.0**-number
        descent[label] = columns(range(101), (1 - of) ** np.arange(101))
        # (v, x) ← M (v, x), as in the text's theorem.
        M, at, ways = np.array([[0.9, of], [-0.9, 1 - of]]), np.array([0.0, 1.0]), [1.0]
        for _ in range(100):
            at = M @ at
            ways.append(at[1])
        velocity[label] = columns(range(101), ways)
    titles = "Gradient descent, η = 1", "Momentum, η = 1, β = 0.9"
    for panel, title in zip((left, right), titles, strict=True):
        panel.set(title=title, xlabel="step t")
        panel.grid(True)
    left.set_ylabel("xᵢ")
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
    shown = zip(titles, (descent, velocity), strict=True)
    return figure, Sheet([Panel(title, "step t", "xᵢ", expected) for title, expected in shown])


@picture(
    "figure-elongated", "f(x) against iteration on the elongated bowl 0.1x₁² + 2x₂²", ours="the settings of the traces"
)
def elongated() -> Picture:
    title, y = "0.1x₁² + 2x₂² from (−5, −2): f(x) against iteration", "f(x), at least 10⁻⁹"
    figure, axes = curves(title, "iteration", y, 7.8, 5.2)
    steps, expected = 50, {}
    for number, one in enumerate(traced(steps)):
        series(axes, number, np.arange(steps + 1), np.maximum(one[0].values, SMALLEST), one[0].label)
    axes.set(yscale="log", ylim=(SMALLEST, 1e4))
    plain_logarithms(axes)
    axes.text(*JUMP_AT, JUMP, ha="right", fontsize=9)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    for name, points in expected_traces(50).items():
        x1, x2 = points.T
        expected[name] = columns(range(51), np.maximum(0.1 * x1**2 + 2 * x2**2, 1e-9))
    expected[f"“{' '.join(JUMP.split())}”"] = np.array([JUMP_AT])
    return figure, Sheet([Panel(title, "iteration", f"{y} (log)", expected, (None, (1e-9, 1e4)))])


JUMP = "rmsprop leaves again: without\ngradients s decays, until a step\nη/√(s + ε) exceeds 2/λ"
JUMP_AT = (46.5, 2e-8)
SMALLEST = 1e-9
"""Values below are drawn here, at the lower end of the axis."""


# AdaGrad on an unbalanced Hessian

DRAWS = 20
FOLLOWED = 3_000
"""Steps of gradient descent that are taken one by one; the millions that follow are drawn in closed form."""

NOTES = {"gradient descent in closed form": (3e3, 0.85), "a hundredth": (1.2, 0.0112)}
POWERS = 1e-7
"""The tolerance of powers of matrices: the ten millionth multiplies the rounding of the matrix by as much."""


@picture(
    "figure-unbalanced",
    "gradient descent against AdaGrad on H_β = D H D, β = 0.1, n = 4",
    "a figure of both",
    UNBALANCED,
    ours=f"{DRAWS} random H, none chosen; ε = 1e-7 inside the root, as in the lecture; gradient descent at α = 1/Λ₁",
)
def unbalanced() -> Picture:
    title = f"AdaGrad and gradient descent on H_β, β = 0.1, n = 4: median and range of {DRAWS} H"
    figure, axes = curves(title, "iteration", "‖x‖/‖x₀‖", 7.6, 4.8)
    H, expected = draws(4, 0.1, DRAWS), dict[str, Points]()
    ways: dict[str, tuple[str, float, dict[str, float], Any, int]] = {
        "gradient descent, α = 1/Λ₁": ("sgd", 1.0, {}, 1 / np.linalg.eigvalsh(H)[:, -1], FOLLOWED),
        "AdaGrad, η = 0.1": ("adagrad", 0.1, INSIDE, np.ones(DRAWS), 20_000),
        "AdaGrad, η = 1": ("adagrad", 1.0, INSIDE, np.ones(DRAWS), 3_000),
    }
    for number, (name, (rule, lr, hyper, scale, steps)) in enumerate(ways.items()):
        moments = np.unique(np.geomspace(1, steps, 60).astype(int))
        # Gradient descent at a rate of each draw's own is that of scaled Hessians at the rate one.
        matrices = H * scale[:, None, None]
        left = left_of(rule, matrices, lr, moments, hyper)
        axes.fill_between(
            moments, left.min(axis=1), left.max(axis=1), color=look(number).color, alpha=0.15, linewidth=0
        )
        series(axes, number, moments, np.median(left, axis=1), name)
    for name, (rule, eta, epsilon, scale, steps) in {
        "gradient descent, α = 1/Λ₁": ("sgd", 1.0, {}, 1 / np.linalg.norm(H, 2, axis=(1, 2)), 3_000),
        "AdaGrad, η = 0.1": ("adagrad", 0.1, {"eps_root": 1e-7}, np.ones(DRAWS), 20_000),
        "AdaGrad, η = 1": ("adagrad", 1.0, {"eps_root": 1e-7}, np.ones(DRAWS), 3_000),
    }.items():
        moments = np.unique(np.geomspace(1, steps, 60).astype(int))
        ordered = np.sort(left_of_formula(rule, H * scale[:, None, None], eta, moments, epsilon), axis=1)
        expected[name] = columns(moments, ordered[:, [(DRAWS - 1) // 2, DRAWS // 2]].mean(axis=1))
        expected[f"band of {name}"] = columns(moments, ordered[:, 0], ordered[:, -1])
    later = np.geomspace(FOLLOWED, 1e7, 60).astype(int)
    axes.plot(later, np.median(closed_form(H, later), axis=1), color=REFERENCE, linestyle=":")
    axes.axhline(0.01, color=REFERENCE, linewidth=0.7)
    for words, at in NOTES.items():
        axes.text(*at, words, fontsize=9)
        expected[f"“{words}”"] = np.array([at])
    axes.set(xscale="log", yscale="log", ylim=(1e-3, 1.5))
    plain_logarithms(axes)
    axes.legend(loc="lower left")
    expected |= {
        "line": level(0.01),
        "dotted line": Within(columns(later, np.median(powers(H, later), axis=1)), POWERS),
    }
    return figure, Sheet([Panel(title, "iteration (log)", "‖x‖/‖x₀‖ (log)", expected, (None, (1e-3, 1.5)))])


def left_of(rule: str, matrices: np.ndarray, lr: float, moments: np.ndarray, hyper: dict[str, float]) -> np.ndarray:
    """The share of the distance left after these numbers of steps from ones, (moments, draws), in the library."""
    x = np.ones(matrices.shape[:2])
    step, seen, wanted = Step(rule, lr=lr, engine=ORACLE, **hyper), [], set(moments.tolist())
    state = step.init(x)
    for t in range(1, moments[-1] + 1):
        step.dense(x, (matrices @ x[..., None])[..., 0], state)
        if t in wanted:
            seen.append(np.linalg.norm(x, axis=1) / 2)
    return np.array(seen)


def left_of_formula(rule: str, matrices: np.ndarray, lr: float, moments: np.ndarray, hyper: dict[str, float]):
    """The same, as the texts' formula has it."""
    ways = printed_walk(
        rule,
        np.ones(matrices.shape[:2]),
        lambda t, x: (matrices @ x[..., None])[..., 0],
        moments[-1],
        {"lr": lr} | hyper,
    )
    wanted = set(moments.tolist())
    return np.array([np.linalg.norm(x, axis=1) / 2 for t, x in enumerate(ways, 1) if t in wanted])


def closed_form(H: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Gradient descent's share of the distance left, (times, draws): x_t = V (1 − Λ/Λ₁)^t Vᵀ x₀."""
    values, vectors = np.linalg.eigh(H)
    start = vectors.sum(axis=1)
    kept = (1 - values / values[:, -1:]) ** times[:, None, None]
    return np.linalg.norm(kept * start, axis=-1) / 2


def powers(H: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The same by powers of I − H/Λ₁, without its eigenvectors."""
    start = np.ones(H.shape[-1])
    step = np.eye(len(start)) - H / np.linalg.norm(H, 2, axis=(1, 2))[:, None, None]
    return np.array([np.linalg.norm(np.linalg.matrix_power(step, int(t)) @ start, axis=-1) / 2 for t in times])
