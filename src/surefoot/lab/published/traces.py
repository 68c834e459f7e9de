"""Section 3: two-dimensional traces. Where a word was published, a number that the word stands for."""

import numpy as np

from surefoot import schedules
from surefoot.engines import ORACLE, Step
from surefoot.lab.problems import PROBLEMS
from surefoot.lab.published.rows import Finding, row, signed
from surefoot.lab.tracing import trace, walk

SECTION = "3 traces"
SEEDS = 1000
ELONGATED = "0.1x₁² + 2x₂² from (−5, −2), 20 steps: "
BOWL = "x₁² + 2x₂² from (−5, −2): "


def adagrad(lr: float, published: tuple[float, float]) -> Finding:
    """The end of AdaGrad's trace, which has to agree in all six printed decimals."""
    x1, x2 = trace("adagrad", lr=lr, convention="textbook")[0].positions[-1]
    passed = (signed(x1), signed(x2)) == tuple(map(signed, published))
    return Finding(f"x₁ = {signed(x1)}, x₂ = {signed(x2)}", passed, {"x1": float(x1), "x2": float(x2)})


@row("trace-adagrad-0.4", SECTION, ELONGATED + "AdaGrad, ε inside = 1e-6, η = 0.4", "x₁ = −2.382563, x₂ = −0.158591")
def adagrad_slow(lr=0.4) -> Finding:
    return adagrad(lr, (-2.382563, -0.158591))


@row("trace-adagrad-2", SECTION, ELONGATED + "AdaGrad, ε inside = 1e-6, η = 2", "x₁ = −0.002295, x₂ = −0.000000")
def adagrad_fast(lr=2.0) -> Finding:
    return adagrad(lr, (-0.002295, -0.000000))


@row("trace-gd-0.4", SECTION, ELONGATED + "gradient descent, η = 0.4", "converges slowly in x₁")
def descent_slow(lr=0.4) -> Finding:
    path = trace("sgd", lr=lr)[0]
    ratio = path.positions[-1] / path.positions[0]
    closed = (1 - lr * np.array([0.2, 4.0])) ** 20
    passed = not path.diverged and abs(ratio[1]) < 1e-3 and 0.1 < ratio[0] < 1 and np.allclose(ratio, closed)
    text = f"x₁ keeps {ratio[0]:.1%} of its distance, x₂ {abs(ratio[1]):.4%}"
    return Finding(text, bool(passed), {"kept_x1": float(ratio[0]), "kept_x2": float(ratio[1])})


@row("trace-gd-0.6", SECTION, ELONGATED + "gradient descent, η = 0.6", "diverges in x₂")
def descent_divergent(lr=0.6) -> Finding:
    path = trace("sgd", lr=lr)[0]
    growth = np.abs(path.positions[1:] / path.positions[:-1])
    passed = path.diverged and bool((growth[:, 1] > 1).all() and (growth[:, 0] < 1).all())
    text = f"|x₂| grows {growth[-1, 1]:.2f}-fold each step, to {abs(path.positions[-1, 1]):,.0f}; x₁ converges"
    return Finding(text, passed, {"growth_x2": float(growth[-1, 1]), "x2": float(path.positions[-1, 1])})


def momentum(beta: float, low: float, high: float) -> Finding:
    """The share of the distance that momentum leaves, between low and high, where gradient descent diverges."""
    problem = PROBLEMS["elongated"]
    path, without = trace("momentum", lr=0.6, momentum=beta)[0], trace("sgd", lr=0.6)[0]
    distance = problem.distance(path.positions)
    left = float(distance[-1] / distance[0])
    passed = without.diverged and not path.diverged and low < left < high
    text = f"{left:.2%} of the distance is left after 20 steps; without momentum it diverges"
    return Finding(text, passed, {"distance_left": left})


@row(
    "trace-momentum-0.5",
    SECTION,
    ELONGATED + "momentum, η = 0.6, β = 0.5",
    "converges, though without momentum it diverges",
)
def momentum_half(beta=0.5) -> Finding:
    return momentum(beta, 0.0, 0.01)


@row(
    "trace-momentum-0.25",
    SECTION,
    ELONGATED + "momentum, η = 0.6, β = 0.25",
    "barely converges, though without momentum it diverges",
)
def momentum_quarter(beta=0.25) -> Finding:
    return momentum(beta, 0.01, 0.5)


@row(
    "trace-rmsprop",
    SECTION,
    ELONGATED + "RMSProp, η = 0.4, γ = 0.9",
    "keeps moving where AdaGrad at η = 0.4 has slowed",
)
def rmsprop(gamma=0.9) -> Finding:
    traced = trace(["rmsprop", "adagrad"], lr=0.4, gamma=gamma)
    last, left = {}, {}
    for path in traced:
        x1 = path.positions[:, 0]
        left[path.rule] = float(abs(x1[-1]))
        # What is left of the way shrinks by this share in the last step.
        last[path.rule] = float(1 - x1[-1] / x1[-2])
    passed = last["rmsprop"] > 5 * last["adagrad"] and left["rmsprop"] < 0.05 * left["adagrad"]
    text = (
        f"the last step covers {last['rmsprop']:.0%} of what is left in x₁ (AdaGrad {last['adagrad']:.1%}); "
        f"|x₁| = {left['rmsprop']:.3f} (AdaGrad {left['adagrad']:.3f})"
    )
    return Finding(text, passed, {"rmsprop_last": last["rmsprop"], "adagrad_last": last["adagrad"], **left})


@row("trace-gd", SECTION, BOWL + "gradient descent, η = 0.1, 20 steps", "smooth")
def descent_smooth(lr=0.1, noise=0.0) -> Finding:
    positions = trace("sgd", "bowl", lr=lr, noise=noise)[0].positions
    ratio = positions[1:] / positions[:-1]
    spread = float(np.ptp(ratio, axis=0).max())
    passed = spread < 1e-9 and bool((ratio > 0).all() and (ratio < 1).all())
    text = f"every step keeps {ratio[0, 0]:.2f} of x₁ and {ratio[0, 1]:.2f} of x₂, to within {spread:.0e}"
    return Finding(text, passed, {"kept_x1": float(ratio[0, 0]), "kept_x2": float(ratio[0, 1]), "spread": spread})


def many(schedule, steps: int, noise: float = 1.0) -> np.ndarray:
    """Where SGD with noisy gradients is after each step, (steps + 1, seeds, 2)."""
    start = np.tile(PROBLEMS["bowl"].start, (SEEDS, 1))
    step = Step("sgd", lr=schedule, engine=ORACLE)
    return walk(step, PROBLEMS["bowl"], start, steps, noise, np.random.default_rng(0))[0]


def root_mean_square(points: np.ndarray) -> float:
    return float(np.sqrt((points**2).sum(axis=-1).mean()))


@row(
    "trace-sgd-constant",
    SECTION,
    BOWL + f"gradient + N(0, 1) noise, η = 0.1, 50 steps, {SEEDS:,} seeds",
    "still noisy near the minimum",
)
def constant(lr=0.1) -> Finding:
    end = root_mean_square(many(lr, 50)[-1])
    still = root_mean_square(many(lr, 50, noise=0.0)[-1, :1])
    # x ← (1 − ηλ) x + ηξ has the stationary variance η²/(1 − (1 − ηλ)²).
    expected = float(np.sqrt(sum(0.1**2 / (1 - (1 - 0.1 * curvature) ** 2) for curvature in (2, 4))))
    passed = abs(end / expected - 1) < 0.1 and end > 10 * still
    text = f"root mean square distance {end:.3f} (theory {expected:.3f}); without noise {still:.0e}"
    return Finding(text, passed, {"distance": end, "theory": expected, "without_noise": still})


@row(
    "trace-sgd-exponential",
    SECTION,
    BOWL + f"noise, η(t) = 0.1e^(−0.1t), 1000 steps, {SEEDS:,} seeds",
    "stops short of the minimum",
)
def exponential(decay=0.1) -> Finding:
    positions = many(schedules.exponential(0.1, decay), 1000)
    short = float(np.linalg.norm(positions[-1].mean(axis=0)))
    moved = root_mean_square(positions[-1] - positions[200])
    passed = short > 0.5 and moved < 1e-3
    text = f"stops {short:.2f} away on average; the last 800 steps move it by {moved:.0e}"
    return Finding(text, passed, {"distance": short, "moved": moved})


@row(
    "trace-sgd-polynomial",
    SECTION,
    BOWL + f"noise, η(t) = 0.1(1 + 0.1t)^(−½), 50 steps, {SEEDS:,} seeds",
    "close to the minimum",
)
def polynomial(power=0.5) -> Finding:
    end = root_mean_square(many(schedules.polynomial(0.1, 0.1, power), 50)[-1])
    flat = root_mean_square(many(0.1, 50)[-1])
    short = root_mean_square(many(schedules.exponential(0.1, 0.1), 1000)[-1])
    passed = end < 0.8 * flat and end < 0.5 * short
    text = f"root mean square distance {end:.3f}; constant {flat:.3f}, exponential {short:.3f}"
    return Finding(text, passed, {"distance": end, "constant": flat, "exponential": short})


@row(
    "rotated",
    SECTION,
    "0.1(x₁ + x₂)² + 2(x₁ − x₂)² from (−5, −2), 20 steps: AdaGrad at η = 2 and RMSProp at η = 0.4",
    "coordinate-wise scaling loses its advantage",
)
def rotated(problem="rotated") -> Finding:
    lr = {"adagrad": 2.0, "rmsprop": 0.4, "full_matrix": 2.0}
    aligned, turned = (trace(list(lr), name, lr=lr) for name in ("elongated", problem))
    worse = {name: float(turned[name].values[-1] / aligned[name].values[-1]) for name in lr}
    passed = worse["adagrad"] > 100 and worse["rmsprop"] > 100 and worse["full_matrix"] < 10
    text = ", ".join(f"{name.replace('_', ' ')} {ratio:,.3g}" for name, ratio in worse.items())
    return Finding(f"final value against the axis-aligned one: {text} times", passed, worse)
