"""Section 5: how many steps an unbalanced Hessian costs, and what AdaGrad gains on it.

H_β = D H D with D = diag(1, β, …, β^{n−1}) and H near the identity. H is a draw: random orthonormal eigenvectors and
eigenvalues between 0.8 and 1.2; the draws are those of seeds 0, 1, 2, …, and none is chosen. Every run starts from
(1, …, 1) and counts steps until the distance has fallen to a hundredth. Gradient descent takes η = 1/Λ₁.
"""

import math
from typing import Any

import numpy as np

from surefoot.engines.registry import DEFAULT
from surefoot.lab.published.lockstep import Lockstep, Printed
from surefoot.lab.published.rows import Finding, row

SECTION = "5 theory"
DRAWS = 100
TOLERANCE = 0.01
MOST = 10**6
UNBALANCED = {"CME 216": ""}


def near_identity(seed: int, n: int) -> np.ndarray:
    """A symmetric matrix with random eigenvectors and eigenvalues between 0.8 and 1.2."""
    rng = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return vectors @ np.diag(rng.uniform(0.8, 1.2, n)) @ vectors.T


def unbalanced(seed: int, n: int, beta: float) -> np.ndarray:
    """H_β = D H D with D = diag(β^{i−1})."""
    D = np.diag(beta ** np.arange(n))
    return D @ near_identity(seed, n) @ D


def draws(n: int, beta: float, number: int = DRAWS) -> np.ndarray:
    """H_β of the first seeds, (number, n, n)."""
    return np.array([unbalanced(seed, n, beta) for seed in range(number)])


# Counting steps


def descent_steps(Q: np.ndarray) -> int:
    """Gradient descent's number of steps at η = 1/Λ₁, in closed form: x_t = V (1 − ηΛ)^t Vᵀ x₀."""
    values, vectors = np.linalg.eigh(Q)
    start = vectors.T @ np.ones(len(Q))
    logs = np.log1p(-np.minimum(values / values[-1], 1 - 1e-16))
    low, high = 0, 1
    while np.linalg.norm(start * np.exp(high * logs)) > TOLERANCE * math.sqrt(len(Q)):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if np.linalg.norm(start * np.exp(middle * logs)) > TOLERANCE * math.sqrt(len(Q)):
            low = middle
        else:
            high = middle
    return high


def count(rule: str, matrices: np.ndarray, printed: Printed, lr: float, **hyper: Any) -> np.ndarray:
    """The number of steps a rule takes on each of several ½xᵀQx, all at once, next to its formula.

    Raises:
        ArithmeticError: if it does not arrive, or steps otherwise than the formula.
    """
    number, n, _ = matrices.shape
    run, steps = Lockstep(rule, np.ones((number, n)), printed, lr, DEFAULT, **hyper), np.zeros(number, int)
    while not steps.all():
        if run.t == MOST:
            raise ArithmeticError(
                f"{rule}: {np.count_nonzero(steps == 0)} of {number} runs are on their way after {MOST:,} steps"
            )
        run((matrices @ run.x[..., None])[..., 0])
        steps[(steps == 0) & (np.linalg.norm(run.x, axis=1) <= TOLERANCE * math.sqrt(n))] = run.t
    return steps


INSIDE, OUTSIDE = {"eps_root": 1e-7}, {"eps": 1e-7, "eps_root": 0.0}
"""The lecture's ε, inside the root, and the same outside of it, where it outweighs no gradient."""


def inside(eta: float, epsilon: float = 1e-7) -> Printed:
    """The lecture's formula."""
    return Printed("adagrad", eta, eps=0.0, eps_root=epsilon)


def outside(eta: float) -> Printed:
    """The same with its ε outside of the root."""
    return Printed("adagrad", eta, eps=1e-7, eps_root=0.0)


def descent_counts(matrices: np.ndarray) -> np.ndarray:
    return np.array([descent_steps(Q) for Q in matrices])


def spread(values: np.ndarray) -> str:
    """The median of several numbers, and their range."""
    return f"{np.median(values):,.0f} ({values.min():,.0f} to {values.max():,.0f})"


# The rows


@row(
    "unbalanced-hessian",
    SECTION,
    "H_β = D H D, D = diag(β^(i−1)), κ(H) near 1: eigenvalues fall like β^(2(i−1)), eigenvectors near the identity; "
    "gradient descent needs ~β^(−2(n−1)) steps, AdaGrad ~β^(−(n−1)); n = 4",
    "eigenvalues like β^(2(i−1)); β^(−2(n−1)) and β^(−(n−1)) steps",
    texts=UNBALANCED,
    ours=f"the longest and the median of {DRAWS} random H, at η = 0.3 and 1 with ε outside the root, for β = 0.2, 0.1 "
    "and 0.05. The powers of β bound what an H near the identity can cost, so the longest runs are held against them",
    note="where the first gradients of the flat coordinates, which H_i1 decides, point to the minimum, AdaGrad arrives "
    "in a few steps, whatever β is: the median can grow more slowly than the bound",
)
def unbalanced_hessian(betas=(0.2, 0.1, 0.05), n=4, rates=(0.3, 1.0)) -> Finding:
    values, vectors = np.linalg.eigh(draws(n, 0.1))
    fall = float((np.polyfit(np.arange(n), np.log(values[:, ::-1]).T, 1)[0] / math.log(0.1)).mean())
    tilt = float(np.abs(np.abs(vectors[:, :, ::-1]) - np.eye(n)).max())
    matrices, printed = [draws(n, beta) for beta in betas], (0.2, 0.1, 0.05)
    descent = powers([descent_counts(H) for H in matrices], printed)
    adagrad = [
        powers([count("adagrad", H, outside(eta), lr, **OUTSIDE) for H in matrices], printed)
        for lr, eta in zip(rates, (0.3, 1.0), strict=True)
    ]
    passed = (
        abs(fall - 2) < 0.05
        and tilt < 0.05
        and all(abs(power - 6) < 0.1 for power in descent)
        and all(abs(longest - 3) < 0.3 and median < longest for longest, median in adagrad)
    )
    shown = "; ".join(
        f"AdaGrad's at η = {lr:g} like β^(−{longest:.2f}) and β^(−{median:.2f})"
        for lr, (longest, median) in zip(rates, adagrad, strict=True)
    )
    text = (
        f"{DRAWS} draws: eigenvalues β^({fall:.2f}(i−1)), eigenvectors within {tilt:.3f} of the identity; gradient "
        f"descent's longest and median runs grow like β^(−{descent[0]:.2f}) and β^(−{descent[1]:.2f}), {shown}"
    )
    return Finding(text, passed, {"fall": fall, "tilt": tilt, "descent": descent[0], "adagrad": adagrad[-1][0]})


def powers(counts: list[np.ndarray], betas: tuple[float, ...]) -> tuple[float, float]:
    """How fast the longest and the median number of steps grow with 1/β, in powers of it."""
    longest, median = (
        float(-np.polyfit(np.log(betas), np.log([of(steps) for steps in counts]), 1)[0]) for of in (np.max, np.median)
    )
    return longest, median


def gap(matrices: np.ndarray) -> np.ndarray:
    """1 − ρ(I − αM) at α = 1/Λ₁, where all eigenvalues of M are real and positive: Λ_n/Λ₁."""
    values = np.sort(np.linalg.eigvals(matrices).real, axis=-1)
    return values[:, 0] / values[:, -1]


@row(
    "spectral-radii",
    SECTION,
    "1 − ρ(I − αH_β) ≈ β^(2(n−1)); with AdaGrad's diagonal, which is in proportion to β^(i−1), ≈ β^(n−1); n = 4",
    "β^(2(n−1)) and β^(n−1)",
    texts=UNBALANCED,
    ours=f"medians of {DRAWS} random H at β = 0.1: 0.997e-6 and 0.996e-3; exponents of AdaGrad's own rates",
)
def spectral_radii(beta=0.1, n=4, powers=(2, 1)) -> Finding:
    H = draws(n, beta)
    plain, scaled = (float(np.median(gap(M))) for M in (H, H / beta ** np.arange(n)[:, None]))
    # The diagonal that AdaGrad itself has after its first step: only the power of β is the claim's.
    betas, own = np.array([0.1, 0.03, 0.01]), []
    for value in betas:
        matrices = draws(n, value)
        run = Lockstep("adagrad", np.ones((DRAWS, n)), Printed("adagrad", 1.0, eps_root=0.0), lr=1.0, eps_root=0.0)
        run((matrices @ run.x[..., None])[..., 0])
        own.append(np.log(gap(run.step.rates(run.x, run.state)[..., None] * matrices)))
    exponent = float(np.median(np.polyfit(np.log(betas), np.array(own), 1)[0]))
    passed = (
        abs(plain / (0.997 * 0.1 ** (3 * powers[0])) - 1) < 1e-3
        and abs(scaled / (0.996 * 0.1 ** (3 * powers[1])) - 1) < 1e-3
        and abs(exponent - 3) < 0.15
    )
    text = f"{plain:.3e} and {scaled:.3e}; with AdaGrad's own rates in proportion to β^{exponent:.2f}"
    return Finding(text, bool(passed), {"plain": plain, "scaled": scaled, "exponent": exponent})


@row(
    "speed-up-0.1",
    SECTION,
    "β = 0.1, n = 4: AdaGrad needs about 1,000 times fewer iterations",
    "theoretically about 1,000 times, (1/β)^(n−1); no count",
    texts=UNBALANCED,
    ours=f"{DRAWS} random H, none chosen, under the lecture's formula, ε = 1e-7 inside the root: there the steps go "
    "like √ε, and AdaGrad takes ηΛ₁/√ε times fewer, with this β as with a smaller one; and with ε outside the root",
    note="ε, not β, sets the speed that the lecture's own formula has; see docs/errata.md",
)
def speed_up_tenth(beta=0.1, rates=(0.1, 1.0)) -> Finding:
    matrices = draws(4, beta)
    descent, root = descent_counts(matrices), math.sqrt(1e-7)
    pairs = list(zip(rates, (0.1, 1.0), strict=True))
    low, high = (count("adagrad", matrices, inside(eta), lr, **INSIDE) for lr, eta in pairs)
    beyond = [count("adagrad", matrices, outside(eta), lr, **OUTSIDE) for lr, eta in pairs]
    sizes = np.array([1e-6, 1e-8])
    by_size = [count("adagrad", matrices, inside(1.0, size), 1.0, eps_root=size) for size in sizes]
    medians = [float(np.median(steps)) for steps in by_size]
    exponent = float(np.log(medians[0] / medians[1]) / np.log(sizes[0] / sizes[1]))
    # While ε outweighs the squares of the flattest coordinate, AdaGrad is gradient descent at the rate η/√ε there.
    expected = math.log(50) * root / np.linalg.eigvalsh(draws(4, 0.1))[:, 0]
    near = [float(np.median(steps * lr / expected)) for steps, lr in ((low, 0.1), (high, 1.0))]
    fewer = [float(np.median(descent / steps)) for steps in (low, high, *beyond)]
    passed = (
        all(abs(ratio - 1) < 0.05 for ratio in near) and abs(exponent - 0.5) < 0.02 and fewer[0] < 1000 < min(fewer[1:])
    )
    text = (
        f"medians (and ranges) of {DRAWS} draws: gradient descent {spread(descent)}; AdaGrad, ε inside, η = 0.1 "
        f"{spread(low)}, η = 1 {spread(high)}: {fewer[0]:,.0f} and {fewer[1]:,.0f} times fewer, steps ~ "
        f"ε^{exponent:.2f}; ε outside {spread(beyond[0])} and {spread(beyond[1])}: {fewer[2]:,.0f} and "
        f"{fewer[3]:,.0f} times fewer"
    )
    names = ("inside_0.1", "inside_1", "outside_0.1", "outside_1")
    return Finding(text, passed, {"exponent": exponent, **dict(zip(names, fewer, strict=True))})


@row(
    "speed-up-0.9",
    SECTION,
    "β = 0.9, n = 100: AdaGrad needs (1/β)^(n−1) times fewer iterations",
    "“close to 30k”",
    texts=UNBALANCED,
    ours="(1/β)^(n−1) = 33,884; √κ(H_β) of 5 random H. Counted with ε = 1e-7 outside the root, it is that many at "
    "η = 0.1 alone, and over 100,000 at 0.3, 1 and 3; at η = 1 it grows with n like (1/β)^(n−1), n = 40 to 100",
    note="the claim has no η, and the count depends on it: at larger η, nearer to the distance of the start, AdaGrad "
    "gains more; what stays is the power of 1/β. With the lecture's ε, inside the root, the speed-up is that of ε; see "
    "docs/errata.md",
)
def speed_up_hundred(beta=0.9, n=100, seeds=5, rates=(0.1, 0.3, 1.0, 3.0)) -> Finding:
    matrices = draws(n, beta, seeds)
    values = np.linalg.eigvalsh(matrices)
    theory = float(np.sqrt(values[:, -1] / values[:, 0]).mean())
    descent = descent_counts(matrices)
    fewer = [
        descent / count("adagrad", matrices, outside(eta), lr, **OUTSIDE)
        for lr, eta in zip(rates, (0.1, 0.3, 1.0, 3.0), strict=True)
    ]
    medians = [float(np.median(ratios)) for ratios in fewer]
    power = growth(beta, np.array([40, 60, 80, 100]), seeds)
    passed = (
        abs(theory / 33_884 - 1) < 0.05
        and 20_000 < medians[0] < 50_000
        and min(medians[1:]) > 100_000
        and abs(power - 1) < 0.15
    )
    shown = ", ".join(f"{spread(ratios)} at η = {lr:g}" for ratios, lr in zip(fewer, rates, strict=True))
    text = (
        f"(1/β)^(n−1) = {beta ** (1 - n):,.0f}; √κ(H_β) = {theory:,.0f}; counted, {seeds} draws of H: {shown} times "
        f"fewer; growing like (1/β)^({power:.2f}(n−1)) at η = 1"
    )
    numbers = {f"fewer_at_{lr:g}": median for lr, median in zip(rates, medians, strict=True)}
    return Finding(text, passed, {"root_condition": theory, "power": power, **numbers})


def growth(beta: float, sizes: np.ndarray, seeds: int) -> float:
    """The power of (1/β)^(n−1) with which AdaGrad's speed-up grows with n, at η = 1."""
    fewer = []
    for n in sizes:
        matrices = draws(n, beta, seeds)
        steps = count("adagrad", matrices, outside(1.0), 1.0, **OUTSIDE)
        fewer.append(np.median(descent_counts(matrices) / steps))
    return float(np.polyfit((sizes - 1) * math.log(1 / beta), np.log(fewer), 1)[0])


@row(
    "limit-balanced",
    SECTION,
    "AdaGrad is slow even where H is perfectly balanced, since its rate falls",
    "slow convergence",
    texts=UNBALANCED,
    ours=f"{DRAWS} random H near the identity: AdaGrad at η = 0.1 takes over 20 times as many steps as gradient "
    "descent",
)
def limit_balanced(lr=0.1) -> Finding:
    matrices = draws(4, 1.0)
    descent, steps = descent_counts(matrices), count("adagrad", matrices, inside(0.1), lr, **INSIDE)
    more = steps / descent
    text = (
        f"gradient descent {spread(descent)} steps, AdaGrad {spread(steps)}: {more.min():.0f} to {more.max():.0f} times"
    )
    return Finding(text, bool(more.min() > 20), {"median_more": float(np.median(more))})


@row(
    "limit-turned",
    SECTION,
    "AdaGrad does not accelerate every problem: β = 0.3, n = 4, the same H_β turned at random",
    "no acceleration on all problems",
    texts=UNBALANCED,
    ours=f"at η = 1, median of {DRAWS} draws: about 5,200 times fewer steps with the axes of H_β, less than 10 turned",
)
def limit_turned(beta=0.3, lr=1.0, turn=True) -> Finding:
    aligned = draws(4, beta)
    bases = [np.linalg.qr(np.random.default_rng([seed, 1]).standard_normal((4, 4)))[0] for seed in range(DRAWS)]
    V = np.array(bases if turn else [np.eye(4)] * DRAWS)
    fewer = []
    for matrices in (aligned, V @ aligned @ V.transpose(0, 2, 1)):
        steps = count("adagrad", matrices, outside(1.0), lr, **OUTSIDE)
        fewer.append(float(np.median(descent_counts(matrices) / steps)))
    text = f"{fewer[0]:,.0f} times fewer; turned {fewer[1]:.1f} times"
    return Finding(text, abs(fewer[0] / 5200 - 1) < 0.02 and fewer[1] < 10, {"aligned": fewer[0], "turned": fewer[1]})
