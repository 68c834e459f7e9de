"""Section 5: theory. Every claim as a number that could have come out otherwise."""

import math
from typing import Any

import numpy as np

from surefoot import losses
from surefoot.engines import ORACLE, Step, order
from surefoot.lab.published.rows import Finding, clock, row, signed
from surefoot.lab.race import pass_through, weights_of
from surefoot.learn.arrays import ArrayDataset
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings

SECTION = "5 theory"


# Weights and recursions


def states(step: Step, gradients: np.ndarray, slot: str) -> np.ndarray:
    """A slot of one coordinate after each of a sequence of gradients."""
    x = np.zeros(1)
    state, seen = step.init(x), []
    for g in gradients:
        step.dense(x, np.array([g]), state)
        seen.append(float(state.slots[slot][0]))
    return np.array(seen)


@row(
    "gd-scalar",
    SECTION,
    "gradient descent on ½λx² at η = 0.1: x_t = (1 − ηλ)^t x₀ for λ = 0.1, 1, 10, 19; converges iff |1 − ηλ| < 1",
    "x_t = (1 − ηλ)^t x₀; λ = 19 converges, λ = 21 does not",
)
def descent(lr=0.1) -> Finding:
    curvature = np.array([0.1, 1.0, 10.0, 19.0, 21.0])
    step, x = Step("sgd", lr=lr, engine=ORACLE), np.ones(5)
    state, worst = step.init(x), 0.0
    for t in range(1, 21):
        step.dense(x, curvature * x, state)
        worst = max(worst, float(np.abs(x - (1 - 0.1 * curvature) ** t).max()))
    converges = np.abs(x) < 1
    passed = worst < 1e-9 and converges.tolist() == [True, True, True, True, False]
    text = f"20 steps, within {worst:.0e}; |x₂₀| = {abs(x[3]):.3f} for λ = 19, {abs(x[4]):.2f} for λ = 21"
    return Finding(text, passed, {"largest_error": worst, "x_19": float(x[3]), "x_21": float(x[4])})


@row(
    "momentum-region",
    SECTION,
    "momentum on ½λx²: iteration matrix [[β, λ], [−ηβ, 1 − ηλ]], spectral radius below 1 iff 0 < ηλ < 2 + 2β",
    "converges for 0 < ηλ < 2 + 2β",
)
def momentum_region(bound=lambda beta: 2 + 2 * beta) -> Finding:
    # At η = 1, without loss of generality: only ηλ counts. The grid keeps clear of the bounds themselves.
    beta, curvature = np.meshgrid(np.linspace(0, 0.99, 100), np.linspace(-0.5, 4.5, 201) + 1e-3)
    matrices = np.array([[beta, curvature], [-beta, 1 - curvature]]).transpose(2, 3, 0, 1)
    inside = np.abs(np.linalg.eigvals(matrices)).max(axis=-1) < 1
    wrong = int(np.count_nonzero(inside != ((curvature > 0) & (curvature < bound(beta)))))
    differing = int(sum(momentum_verdicts(b, bound(b)) for b in (0.0, 0.25, 0.5, 0.9)))
    text = f"{inside.size:,} points, {wrong} on the wrong side; of 80 runs of the rule {differing} end otherwise"
    return Finding(text, wrong == 0 and differing == 0, {"points_wrong": wrong, "runs_wrong": differing})


def momentum_verdicts(beta: float, bound: float) -> int:
    """Of 20 runs at η = 1 with ηλ from 5% to 200% of the bound, those that do not end as the bound says."""
    curvature = bound * np.append(np.linspace(0.05, 0.95, 10), np.linspace(1.05, 2.0, 10))
    step, x = Step("momentum", lr=1.0, momentum=beta, engine=ORACLE, nonfinite="skip"), np.ones(20)
    state = step.init(x)
    for _ in range(400):
        step.dense(x, curvature * x, state)
    return int(np.count_nonzero((np.abs(x) < 1e-3) != (curvature < bound)))


@row(
    "effective-weight",
    SECTION,
    "momentum weighs a gradient by β^τ, in all 1/(1 − β), for β = 0.95, 0.9, 0.6, 0; "
    "RMSProp by (1 − γ)γ^τ, in all 1, for γ = 0.95, 0.9, 0.8, 0.7",
    "sums 20, 10, 2.5, 1; and 1, 1, 1, 1",
)
def effective_weight(betas=(0.95, 0.9, 0.6, 0.0), gammas=(0.95, 0.9, 0.8, 0.7)) -> Finding:
    settings: list[Any] = [("momentum", "velocity", {"momentum": beta}, beta, 1.0) for beta in betas]
    settings += [("rmsprop", "square", {"gamma": gamma}, gamma, 1 - gamma) for gamma in gammas]
    worst, sums, impulse = 0.0, [], np.append(1.0, np.zeros(40))
    for rule, slot, hyper, kept, fresh in settings:
        step = Step(rule, engine=ORACLE, **hyper)
        worst = max(worst, float(np.abs(states(step, impulse, slot) - fresh * kept ** np.arange(41)).max()))
        sums.append(float(states(step, np.ones(500), slot)[-1]))
    expected = [20, 10, 2.5, 1, 1, 1, 1, 1]
    passed = worst < 1e-12 and np.allclose(sums, expected, rtol=1e-6)
    first, second = (", ".join(f"{total:.4g}" for total in part) for part in (sums[:4], sums[4:]))
    text = f"sums {first}; and {second}; weights within {worst:.0e}"
    return Finding(text, bool(passed), {"largest_error": worst, "sum_momentum_0.95": sums[0]})


# Rates of convergence and regret


def expected_distance(points: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """R(x) = the mean distance from the samples: convex, with subgradients of norm 1 at most."""
    return np.linalg.norm(points[..., None, :] - samples, axis=-1).mean(axis=-1)


def median_point(samples: np.ndarray) -> np.ndarray:
    """The minimizer of the mean distance, by Weiszfeld's iteration."""
    x = samples.mean(axis=0)
    for _ in range(200):
        weight = 1 / np.maximum(np.linalg.norm(samples - x, axis=1), 1e-12)
        x = weight @ samples / weight.sum()
    return x


@row(
    "convex-bound",
    SECTION,
    "SGD's averaged iterate x̄ = Ση_t x_t/Ση_t: E[R(x̄)] − R* ≤ (r² + L²Ση_t²)/(2Ση_t); η = r/(L√T) gives ≤ rL/√T; "
    "η ~ 1/√t costs a log",
    "three inequalities; log growth",
)
def convex_bound(steps=400, horizon_factor=1.0) -> Finding:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((200, 2)) * [3.0, 0.5]
    best, start = median_point(samples), np.array([-5.0, -2.0])
    r, t = float(np.linalg.norm(start - best)), np.arange(1, steps + 1)
    lowest = float(expected_distance(best, samples))
    slack = {}
    for name, eta in {
        "constant": np.full(steps, 0.1),
        "1/√t": r / np.sqrt(t),
        "horizon": np.full(steps, horizon_factor * r / math.sqrt(steps)),
    }.items():
        excess = float(expected_distance(averaged_sgd(samples, start, eta, rng), samples).mean()) - lowest
        bound = r / math.sqrt(steps) if name == "horizon" else (r * r + (eta**2).sum()) / (2 * eta.sum())
        slack[name] = float(excess / bound)
    growth = log_growth()
    passed = all(0 < share <= 1 for share in slack.values()) and abs(growth - 0.25) < 0.01
    shares = ", ".join(f"{name} {share:.0%}" for name, share in slack.items())
    text = f"excess risk as a share of its bound: {shares}; the bound of 1/√t times √T grows by {growth:.3f} ln T"
    return Finding(text, passed, {**slack, "log_growth": growth})


def averaged_sgd(samples: np.ndarray, start: np.ndarray, eta: np.ndarray, rng, seeds: int = 200) -> np.ndarray:
    """x̄ for every seed: SGD on ‖x − ξ‖ with a new sample ξ at every step, weighted by the learning rates."""
    step = Step("sgd", lr=lambda t: eta[t - 1], engine=ORACLE)
    x = np.tile(start, (seeds, 1))
    state, total = step.init(x), np.zeros_like(x)
    for rate in eta:
        total += rate * x
        away = x - samples[rng.integers(len(samples), size=seeds)]
        step.dense(x, away / np.linalg.norm(away, axis=1, keepdims=True), state)
    return total / eta.sum()


def log_growth() -> float:
    """How fast the bound for η_t = 1/√t, times √T, grows with ln T: the cost of not knowing the horizon."""
    ends = np.array([10**4, 10**5, 10**6])
    eta = 1 / np.sqrt(np.arange(1, ends[-1] + 1))
    bounds = (1 + np.cumsum(eta**2)) / (2 * np.cumsum(eta))
    return float(np.polyfit(np.log(ends), bounds[ends - 1] * np.sqrt(ends), 1)[0])


@row(
    "adagrad-rate",
    SECTION,
    "AdaGrad under steady noise: s grows about linearly, so the effective rate falls like t^(−½), and the steps freeze "
    "late in training",
    "s ~ t, rate ~ t^(−0.5)",
)
def adagrad_rate(rule="adagrad", steps=2000) -> Finding:
    rng, x = np.random.default_rng(0), np.zeros(500)
    step = Step(rule, lr=0.1, engine=ORACLE)
    state, moved, rates = step.init(x), np.empty(steps), np.empty(steps)
    for t in range(steps):
        before = x.copy()
        step.dense(x, rng.standard_normal(500), state)
        moved[t], rates[t] = np.abs(x - before).mean(), step.rates(x, state).mean()
    late = np.arange(100, steps)
    slope = float(np.polyfit(np.log(late), np.log(rates[late]), 1)[0])
    growth = float(np.polyfit(np.log(late), np.log(rates[late] ** -2), 1)[0])
    frozen = float(moved[-100:].mean() / moved[:10].mean())
    text = f"s ~ t^{growth:.2f}, rate ~ t^({signed(slope, 3)}); the last steps are {frozen:.1%} as long as the first"
    passed = abs(slope + 0.5) < 0.02 and frozen < 0.1
    return Finding(text, passed, {"slope": slope, "growth": growth, "frozen": frozen})


@row(
    "adagrad-regret",
    SECTION,
    "Duchi, Hazan & Singer 2011, Theorem 5: R_T ≤ (D∞²/(2η) + η) Σᵢ ‖g_{1:T,i}‖₂",
    "regret ≤ bound, at every η",
)
def adagrad_regret(rule="adagrad", rates=(0.05, 0.2, 1.0, 5.0)) -> Finding:
    shares = {}
    for lr in rates:
        regret, bound = online(rule, lr)
        shares[lr] = regret / bound
    passed = all(0 < share <= 1 for share in shares.values())
    text = "regret as a share of the bound: " + ", ".join(f"{share:.0%} at η = {lr:g}" for lr, share in shares.items())
    return Finding(text, passed, {f"share_at_{lr:g}": share for lr, share in shares.items()})


def online(rule: str, lr: float, rounds: int = 2000, features: int = 20) -> tuple[float, float]:
    """The regret of a rule on a stream of sparse examples with an absolute loss, and Theorem 5's bound on it.

    The cost of round t is Σ cᵢ |xᵢ − z_{t,i}| over the features that occur in it, feature i about every i rounds, as
    words do. The costs cᵢ are small and differ: AdaGrad does not care, and for other rules the bound does not hold.
    """
    rng = np.random.default_rng(0)
    cost = 10 ** rng.uniform(-3, -2, features) * (rng.random((rounds, features)) < 1 / np.arange(1, features + 1))
    targets = rng.choice([-1.0, 1.0], features) + 0.5 * rng.standard_normal((rounds, features))
    best = np.array([np.median(targets[cost[:, i] > 0, i]) for i in range(features)])
    hyper: dict[str, Any] = {"eps_root": 0.0} if rule == "adagrad" else {}
    step, x = Step(rule, lr=lr, engine=ORACLE, **hyper), np.zeros(features)
    state, iterates, gradients = step.init(x), np.empty((rounds, features)), np.empty((rounds, features))
    for t in range(rounds):
        iterates[t], gradients[t] = x, cost[t] * np.sign(x - targets[t])
        step.dense(x, gradients[t], state)
    regret = float((cost * (np.abs(iterates - targets) - np.abs(best - targets))).sum())
    radius = float(np.abs(iterates - best).max())
    return regret, (radius**2 / (2 * lr) + lr) * float(np.linalg.norm(gradients, axis=0).sum())


# Sampling and memory


@row(
    "sampling",
    SECTION,
    "n draws of n with replacement see a given example with probability 1 − 1/e, exactly once with 1/e; "
    "without replacement the variance is lower",
    "0.63, 0.37; lower",
)
def sampling(replacement=True, n=1500, repeats=400) -> Finding:
    rng = np.random.default_rng(0)
    counts = np.array([np.bincount(order(n, rng, replacement), minlength=n) for _ in range(repeats)])
    seen, once = float((counts > 0).mean()), float((counts == 1).mean())
    values = rng.standard_normal(n)
    # The mean over half an epoch, as an estimate of the mean over all: without replacement, half the variance.
    variance = {
        way: float(np.var([values[order(n, rng, way)[: n // 2]].mean() for _ in range(4 * repeats)]))
        for way in (True, False)
    }
    ratio = variance[False] / variance[True]
    passed = abs(seen - (1 - 1 / math.e)) < 0.002 and abs(once - 1 / math.e) < 0.002 and ratio < 0.7
    text = f"{seen:.4f}, {once:.4f}; variance of half an epoch's mean {ratio:.2f} times that with replacement"
    return Finding(text, passed, {"seen": seen, "once": once, "variance_ratio": ratio})


@row("minibatch-variance", SECTION, "the standard deviation of a batch-b gradient falls like b^(−½)", "b^(−0.5)")
def minibatch_variance(draws=500, sizes=(1, 4, 16, 64, 256)) -> Finding:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 5))
    y = X @ np.ones(5) + rng.standard_normal(2000)
    # A step of gradient descent at η = 1 from the origin is the negative gradient.
    data, deviations = ArrayDataset(X, y, np.ones(len(y))), []
    for size in sizes:
        settings = Settings("sgd", lr=1.0, batch_size=size, normalize=False, dtype="float64", loss=losses.squared)
        gradients = np.empty((draws, 6))
        for k in range(draws):
            learner = Learner(settings, 5)
            pass_through(learner, data, rng.integers(2000, size=size))
            gradients[k] = weights_of(learner)
        deviations.append(math.sqrt(gradients.var(axis=0).sum()))
    slope = float(np.polyfit(np.log(sizes), np.log(deviations), 1)[0])
    text = f"b^({signed(slope, 3)}) over b = {', '.join(map(str, sizes))}"
    return Finding(text, abs(slope + 0.5) < 0.03, {"slope": slope})


@row(
    "sparse-equals-dense",
    SECTION,
    "a row whose gradient is zero does not move under AdaGrad, so updating only the touched rows is exact",
    "equal; untouched rows do not move",
)
def sparse_equals_dense(rule="adagrad", steps=50) -> Finding:
    rng = np.random.default_rng(0)
    step = Step(rule, lr=0.1, lazy="touched")
    table = rng.standard_normal((1000, 8)).astype(np.float32)
    dense, sparse = table.copy(), table.copy()
    dense_state, sparse_state = step.init(dense), step.init(sparse)
    moved = 0
    for _ in range(steps):
        ids = rng.choice(1000, 50, replace=False)
        values = rng.standard_normal((50, 8)).astype(np.float32)
        full, before = np.zeros_like(table), dense.copy()
        full[ids] = values
        step.dense(dense, full, dense_state)
        step.rows(sparse, ids, values, sparse_state)
        untouched = np.setdiff1d(np.arange(1000), ids)
        moved += int(np.count_nonzero(dense[untouched] != before[untouched]))
    different = int(np.count_nonzero(dense.view(np.uint32) != sparse.view(np.uint32)))
    text = f"{steps} steps on 1,000 × 8: {different} of 8,000 numbers differ in any bit, {moved} moved untouched"
    return Finding(text, different == 0 and moved == 0, {"different": different, "moved": moved})


# Speed


@row(
    "vectorization",
    SECTION,
    "256 × 256 product element by element, column by column, whole, in blocks of 64 columns",
    '"Gigaflops" 1.473, 85.459, 117.515, 398.282; 256³ is 0.0336 Gflop, so 0.025, 1.43, 1.97, 6.68 Gflop/s',
)
def vectorization(size=256) -> Finding:
    rng = np.random.default_rng(0)
    B, C = rng.random((size, size)), rng.random((size, size))
    ways = {"element": by_element, "column": by_column, "whole": whole, "blocks": by_blocks}
    speed = {name: 2 * size**3 / fastest(way, B, C, 1 if name == "element" else 20) / 1e9 for name, way in ways.items()}
    exact = all(np.allclose(way(B, C), B @ C) for name, way in ways.items() if name != "element")
    passed = exact and 3 * speed["element"] < speed["column"] < min(speed["whole"], speed["blocks"])
    text = ", ".join(f"{name} {value:.3g}" for name, value in speed.items())
    return Finding(f"{text} Gflop/s: element ≪ column < whole and blocks", passed, speed)


def fastest(way, B, C, repeats: int) -> float:
    """The shortest of several times, on one thread."""
    times = []
    for _ in range(repeats):
        begin = clock()
        way(B, C)
        times.append(clock() - begin)
    return min(times)


def by_element(B, C):
    A = np.zeros((len(B), C.shape[1]))
    for i in range(len(B)):
        for j in range(C.shape[1]):
            A[i, j] = np.dot(B[i, :], C[:, j])
    return A


def by_column(B, C):
    A = np.zeros((len(B), C.shape[1]))
    for j in range(C.shape[1]):
        A[:, j] = np.dot(B, C[:, j])
    return A


def whole(B, C):
    return np.dot(B, C)


def by_blocks(B, C, columns: int = 64):
    A = np.zeros((len(B), C.shape[1]))
    for j in range(0, C.shape[1], columns):
        A[:, j : j + columns] = np.dot(B, C[:, j : j + columns])
    return A
