"""Section 5: stochastic gradients: what is drawn, how noisy it is, and how near to a minimum it leads."""

import math

import numpy as np

from surefoot import losses
from surefoot.engines import order
from surefoot.lab.published.lockstep import Lockstep, Printed
from surefoot.lab.published.rows import NOTEBOOK, Finding, row, signed
from surefoot.lab.race import pass_through, weights_of
from surefoot.learn.arrays import ArrayDataset
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings

SECTION = "5 theory"


@row(
    "sampling",
    SECTION,
    "n draws of n with replacement see a given example with probability 1 − 1/e, exactly once with 1/e; "
    "without replacement the variance is lower",
    "0.63, 0.37; lower",
    texts=NOTEBOOK,
    ours="exactly 1 − (1 − 1/n)ⁿ and (1 − 1/n)ⁿ⁻¹, 0.4096 for n = 5; half an epoch without replacement has half the "
    "variance",
    note="the exact probability of “exactly once” is misprinted; see docs/errata.md",
)
def sampling(replacement=True, n=1500, repeats=400) -> Finding:
    rng = np.random.default_rng(0)
    counts = np.array([np.bincount(order(n, rng, replacement), minlength=n) for _ in range(repeats)])
    seen, once = float((counts > 0).mean()), float((counts == 1).mean())
    few = np.array([np.bincount(order(5, rng, replacement), minlength=5) for _ in range(20_000)])
    once_of_five = float((few == 1).mean())
    values = rng.standard_normal(n)
    # The mean of half an epoch estimates that of all: without replacement with (n − h)/(n − 1) of the variance.
    variance = {
        way: float(np.var([values[order(n, rng, way)[: n // 2]].mean() for _ in range(8 * repeats)]))
        for way in (True, False)
    }
    ratio = variance[False] / variance[True]
    passed = (
        abs(seen - (1 - (1 - 1 / n) ** n)) < 0.002
        and abs(once - (1 - 1 / n) ** (n - 1)) < 0.002
        and abs(once_of_five - 0.8**4) < 0.006
        and abs(ratio - 0.5) < 0.1
    )
    text = (
        f"{seen:.4f}, {once:.4f}; {once_of_five:.4f} for n = 5; variance of half an epoch's mean {ratio:.2f} times "
        "that with replacement"
    )
    return Finding(text, passed, {"seen": seen, "once": once, "once_of_five": once_of_five, "variance_ratio": ratio})


def regression(examples: int, seed: int = 0) -> tuple[ArrayDataset, np.ndarray]:
    """A linear regression, and the gradient of the squared loss of each example at weights and bias of zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((examples, 5))
    y = X @ np.ones(5) + rng.standard_normal(examples)
    return ArrayDataset(X, y, np.ones(examples)), -y[:, None] * np.column_stack([X, np.ones(examples)])


def gradient(data: ArrayDataset, chosen: np.ndarray) -> np.ndarray:
    """The learner's gradient on some examples: a step of gradient descent at η = 1 from the origin, negated."""
    settings = Settings("sgd", lr=1.0, batch_size=len(chosen), normalize=False, dtype="float64", loss=losses.squared)
    learner = Learner(settings, 5)
    pass_through(learner, data, chosen)
    return -weights_of(learner)


@row(
    "unbiased",
    SECTION,
    "the stochastic gradient is unbiased: its mean over the examples is the gradient",
    "E ∇fᵢ(x) = ∇f(x)",
    texts=NOTEBOOK,
    ours="40 examples one by one, and all 190 pairs of 20: equal to ∇f but for rounding",
)
def unbiased(examples=40) -> Finding:
    data, expected = regression(40)
    single = np.mean([gradient(data, np.array([i])) for i in range(examples)], axis=0)
    pairs = np.mean([gradient(data, np.array([i, j])) for i in range(20) for j in range(i)], axis=0)
    apart = float(np.abs(single - expected.mean(axis=0)).max())
    of_pairs = float(np.abs(pairs - expected[:20].mean(axis=0)).max())
    text = f"within {apart:.0e} one by one, within {of_pairs:.0e} in pairs"
    return Finding(text, max(apart, of_pairs) < 1e-12, {"singly": apart, "in_pairs": of_pairs})


@row(
    "minibatch-variance",
    SECTION,
    "the standard deviation of a batch-b gradient falls like b^(−½)",
    "b^(−½)",
    texts=NOTEBOOK,
    ours="that of one example's gradient over √b, for b = 1, 4, 16, 64, 256 of 2,000 examples",
)
def minibatch_variance(draws=150, sizes=(1, 4, 16, 64, 256), power=0.5) -> Finding:
    rng = np.random.default_rng(1)
    data, gradients = regression(2000)
    single = math.sqrt(gradients.var(axis=0).sum())
    deviations = []
    for size in sizes:
        drawn = np.array([gradient(data, rng.integers(2000, size=size)) for _ in range(draws)])
        deviations.append(math.sqrt(drawn.var(axis=0).sum()))
    slope = float(np.polyfit(np.log(sizes), np.log(deviations), 1)[0])
    expected = single * np.array([1.0, 4.0, 16.0, 64.0, 256.0]) ** -power
    worst = float(np.abs(deviations / expected - 1).max())
    text = f"b^({signed(slope, 3)}) over b = {', '.join(map(str, sizes))}; within {worst:.0%} of σ/√b"
    return Finding(text, abs(slope + 0.5) < 0.03 and worst < 0.15, {"slope": slope, "largest_error": worst})


@row(
    "gradient-variance",
    SECTION,
    "at the optimum the variance of the gradient stands in for the diagonal of the Hessian, which AdaGrad cannot see",
    "the variance of the gradients as a proxy for the scale of the Hessian",
    texts={"D2L": "Preconditioning", "notebook": ""},
    ours="in proportion: AdaGrad's accumulator s/t over σ²Hᵢᵢ for features of scales 0.1 to 10: 1, within 4%",
)
def gradient_variance(steps=5000, at=0.0) -> Finding:
    scales, seeds = np.array([0.1, 0.3, 1.0, 3.0, 10.0]), 32
    rng, run = np.random.default_rng(0), Lockstep("adagrad", np.zeros((seeds, 5)), Printed("adagrad", 1e-6), lr=1e-6)
    squares, hessian = np.zeros((seeds, 5)), np.zeros(5)
    for _ in range(steps):
        # Linear regression at its optimum: what is left of an example is noise, here of σ = 1.
        features = scales * rng.standard_normal((seeds, 5))
        g = (rng.standard_normal((seeds, 1)) + at * scales[-1]) * features
        run(g)
        squares += g * g
        hessian += (features**2).mean(axis=0) / steps
    total = run.state.slots["total"]
    ratio = (total / steps).mean(axis=0) / hessian
    passed = np.allclose(total, squares, rtol=1e-9) and bool((np.abs(ratio - 1) < 0.04).all())
    text = f"{', '.join(f'{value:.2f}' for value in ratio)} at scales {', '.join(f'{scale:g}' for scale in scales)}"
    return Finding(text, bool(passed), {"lowest": float(ratio.min()), "highest": float(ratio.max())})


@row(
    "noise-floor",
    SECTION,
    "a larger step leaves more noise around the minimum",
    "more noise",
    texts={"notebook": "a handwritten note"},
    ours="½x² with N(0, 1) noise, 4,000 seeds: E x² = η/(2 − η), for η = 0.05, 0.1, 0.2, 0.4 0.026, 0.053, 0.111, 0.25",
)
def noise_floor(rates=(0.05, 0.1, 0.2, 0.4), seeds=4000) -> Finding:
    left, printed = [], (0.05, 0.1, 0.2, 0.4)
    for lr, eta in zip(rates, printed, strict=True):
        rng, run = np.random.default_rng(0), Lockstep("sgd", np.ones(seeds), Printed("sgd", eta), lr=lr)
        for _ in range(200):
            run(run.x + rng.standard_normal(seeds))
        left.append(float((run.x**2).mean()))
    expected = [eta / (2 - eta) for eta in printed]
    passed = left == sorted(left) and np.allclose(left, expected, rtol=0.1)
    text = f"E x² = {', '.join(f'{value:.3f}' for value in left)}"
    return Finding(text, bool(passed), dict(zip(map(str, rates), left, strict=True)))


@row(
    "local-minima",
    SECTION,
    "the noise of SGD gets x out of some local minima of x²(1 + sin x), where gradient descent stays",
    "leaves some local minima",
    texts={"notebook": "a handwritten note"},
    ours="η = 0.08, N(0, 1) noise, 3,000 steps, 1,000 seeds: from −π/2, behind a barrier of 0.2, more than a tenth "
    "leave; from 3π/2, behind one of 10, none; without noise none of either",
)
def local_minima(lr=0.08, noise=1.0) -> Finding:
    seeds, minima = 1000, np.array([-math.pi / 2, 3 * math.pi / 2])
    gone = {}
    for name, sigma in (("noisy", noise), ("exact", 0.0)):
        start = np.tile(minima + 0.05, (seeds, 1))
        rng, run = np.random.default_rng(0), Lockstep("sgd", start, Printed("sgd", 0.08), lr=lr)
        for _ in range(3000):
            x = run.x
            run(2 * x * (1 + np.sin(x)) + x * x * np.cos(x) + sigma * rng.standard_normal(x.shape))
        gone[name] = (np.abs(run.x - minima) > 1).mean(axis=0)
    passed = gone["noisy"][0] > 0.1 and gone["noisy"][1] == 0 and not gone["exact"].any()
    text = (
        f"{gone['noisy'][0]:.0%} leave −π/2 and {gone['noisy'][1]:.0%} leave 3π/2; without noise "
        f"{gone['exact'][0]:.0%} and {gone['exact'][1]:.0%}"
    )
    return Finding(text, bool(passed), {"shallow": float(gone["noisy"][0]), "deep": float(gone["noisy"][1])})
