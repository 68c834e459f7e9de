"""Section 5: what a rate of its own for each coordinate is good for, and what the other ways to have one cost."""

import math
from collections.abc import Iterator

import numpy as np

from surefoot import ops
from surefoot.engines import ORACLE, Step
from surefoot.engines.registry import DEFAULT
from surefoot.lab.published.formulas import walk
from surefoot.lab.published.lockstep import Lockstep, Printed
from surefoot.lab.published.rows import Finding, row
from surefoot.rules import nonnegative, rule

SECTION = "5 theory"
FEATURES, ACTIVE, BATCH, STEPS = 500, 5, 10, 2000


def words(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A stream of mini-batches of examples with five features each, drawn by Zipf's law: weights, ids, targets."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(FEATURES)
    ids = rng.choice(FEATURES, (STEPS, BATCH, ACTIVE), p=zipf())
    return weights, ids, weights[ids].sum(axis=-1) + 0.5 * rng.standard_normal((STEPS, BATCH))


def zipf() -> np.ndarray:
    share = 1 / np.arange(1, FEATURES + 1)
    return share / share.sum()


def excess(rule: str, lr: float, printed: Printed, streams: list) -> np.ndarray:
    """(w − w*)² of every seed and feature after the stream."""
    weights, ids, targets = map(np.array, zip(*streams, strict=True))
    run = Lockstep(rule, np.zeros_like(weights), printed, lr=lr)
    places = ids + FEATURES * np.arange(len(streams))[:, None, None, None]
    for t in range(STEPS):
        error = run.x.ravel()[places[:, t]].sum(axis=-1) - targets[:, t]
        slopes = np.bincount(places[:, t].ravel(), np.repeat(error.ravel(), ACTIVE), run.x.size)
        run(slopes.reshape(run.x.shape) / BATCH)
    return (run.x - weights) ** 2


@row(
    "sparse-features",
    SECTION,
    "where a few features are frequent and most are rare, AdaGrad learns the rare ones faster than the best single "
    "rate does, and the frequent ones to a lower loss",
    "particularly effective for sparse features",
    texts={"D2L": "Summary", "notebook": "", "guide": ""},
    ours=f"squared loss, {FEATURES} features by Zipf's law, {STEPS:,} mini-batches, 8 seeds, both at the best of η = "
    "0.1, 0.2, 0.4, 0.8: in every seed AdaGrad has the lower loss on the 10 most frequent features, on those that "
    "occur fewer than 50 times, and on all",
)
def sparse_features(rules=("adagrad", "sgd"), rates=(0.1, 0.2, 0.4, 0.8), seeds=8) -> Finding:
    streams, share = [words(seed) for seed in range(seeds)], zipf()
    groups = {
        "frequent": np.arange(FEATURES) < 10,
        "rare": share * STEPS * BATCH * ACTIVE < 50,
        "all": np.full(FEATURES, True),
    }
    losses = {}
    for name, formula in zip(rules, ("adagrad", "sgd"), strict=True):
        tried = []
        for lr, eta in zip(rates, (0.1, 0.2, 0.4, 0.8), strict=True):
            squares = excess(name, lr, Printed(formula, eta), streams)
            tried.append({key: squares[:, group] @ share[group] / share[group].sum() for key, group in groups.items()})
        losses[name] = min(tried, key=lambda found: found["all"].mean())
    ours, single = (losses[name] for name in rules)
    lower = all((ours[key] < single[key]).all() for key in groups)
    text = ", ".join(f"{key} {ours[key].mean():.4f} against {single[key].mean():.4f}" for key in groups)
    numbers = {f"{key}_{name}": float(losses[name][key].mean()) for name in rules for key in groups}
    return Finding(f"mean squared error of the weights, {text}", bool(lower), numbers)


@row(
    "visits-fail",
    SECTION,
    "counting visits in place of squared gradients fails where gradients are often tiny and seldom large",
    "fails where gradients are often very small and only rarely large",
    texts={"D2L": "Sparse Features and Learning Rates", "notebook": ""},
    ours="½c_t x² with c_t = 1 in one of 100 steps and 0.001 in the others, η = 0.2, 5,000 steps, 200 seeds: more than "
    "70% of the distance is left, as Π(1 − ηc_t/√(t + 1)) has it; less than 1% with AdaGrad",
)
def visits_fail(rules=("visits", "adagrad"), lr=0.2) -> Finding:
    left, kept = {}, np.ones(200)
    for name, formula in zip(rules, ("visits", "adagrad"), strict=True):
        rng, run = np.random.default_rng(0), Lockstep(name, np.ones(200), Printed(formula, 0.2), lr=lr)
        for t in range(1, 5001):
            c = np.where(rng.random(200) < 0.01, 1.0, 0.001)
            if formula == "visits":
                kept *= 1 - 0.2 * c / math.sqrt(t + 1)
            run(c * run.x)
        left[formula] = run.x
    counted, squared = (float(np.abs(x).mean()) for x in left.values())
    passed = np.allclose(left["visits"], kept, rtol=1e-9) and counted > 0.7 and squared < 0.01
    text = f"{counted:.0%} of the distance is left with visits, {squared:.1%} with AdaGrad"
    return Finding(text, bool(passed), {"visits": counted, "adagrad": squared})


@row(
    "initial-accumulator",
    SECTION,
    "initial_accumulator_value = 0.1 prevents large early updates; by how much depends on g",
    "prevents large early updates",
    texts={"guide": ""},
    ours="the first step is ηg/√(s₀ + g²) in place of η: at η = 0.1, 0.0032 for g = 0.01, 0.0302 for 0.1, 0.0953 for 1 "
    "and 0.0999 for 8",
)
def initial_accumulator(value=0.1, lr=0.1) -> Finding:
    sizes = np.array([0.01, 0.1, 1.0, 8.0])
    steps = []
    for start, s in ((0.0, 0.0), (value, 0.1)):
        printed = Printed("adagrad", 0.1, eps=1e-10, eps_root=0.0, initial_accumulator_value=s)
        run = Lockstep("adagrad", np.zeros(4), printed, lr=lr, eps=1e-10, eps_root=0.0, initial_accumulator_value=start)
        run(sizes)
        steps.append(-run.x)
    passed = np.allclose(steps[0], 0.1) and np.allclose(steps[1], 0.1 * sizes / np.sqrt(0.1 + sizes**2))
    text = f"first steps {', '.join(f'{step:.4f}' for step in steps[1])}; without it {steps[0].mean():.4f}"
    return Finding(
        text, bool(passed), {f"at_{size:g}": float(step) for size, step in zip(sizes, steps[1], strict=True)}
    )


@rule(formula="x ← x − α g/|g|", source="E. Darve, CME 216", hyper={"lr": nonnegative(0.1, "α")}, lazy_exact=True)
def inverse_gradient(x, g, g2, lr):
    """The rate α/|∂L/∂x|: every step is as long as the first."""
    return lr / ops.maximum(ops.sqrt(g2), 1e-300), g


@row(
    "inverse-gradient",
    SECTION,
    "the rate α/|∂L/∂xᵢ| would not work: x jumps by α for ever",
    "would not really work",
    texts={"CME 216": ""},
    ours="x₁² + 2x₂² from (−5, −2), α = 0.3, 1,000 steps: each of the last 500 moves both coordinates by 0.3, "
    "AdaGrad's by less than 0.001",
)
def inverse(rule=inverse_gradient, alpha=0.3) -> Finding:
    curvature, last = np.array([2.0, 4.0]), {}
    jumping, printed = Step(rule, lr=alpha, engine=ORACLE), np.array([-5.0, -2.0])
    x = printed.copy()
    state, agree = jumping.init(x), True
    run = Lockstep("adagrad", np.array([-5.0, -2.0]), Printed("adagrad", 0.3), lr=alpha)
    for t in range(1000):
        before = {"jumping": x.copy(), "adagrad": run.x.copy()}
        jumping.dense(x, curvature * x, state)
        run(curvature * run.x)
        printed = printed - 0.3 * np.sign(printed)
        agree &= np.allclose(x, printed, atol=1e-9)
        if t >= 500:
            for name, moved in (("jumping", x - before["jumping"]), ("adagrad", run.x - before["adagrad"])):
                last[name] = [*last.get(name, []), np.abs(moved)]
    jumps, adagrad = np.array(last["jumping"]), float(np.max(last["adagrad"]))
    passed = agree and np.allclose(jumps, 0.3, rtol=1e-9) and adagrad < 1e-3
    text = f"steps of {jumps.min():.3f} to {jumps.max():.3f}; AdaGrad's at most {adagrad:.0e}"
    return Finding(text, bool(passed), {"shortest": float(jumps.min()), "adagrad": adagrad})


def first_table(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((1000, 8)).astype(np.float32)


def rows_of(rng: np.random.Generator, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each step the rows that occur, some of them twice, their gradients, and the gradient of the whole table."""
    for _ in range(steps):
        ids, values = rng.choice(1000, 50), rng.standard_normal((50, 8)).astype(np.float32)
        full = np.zeros((1000, 8), np.float32)
        np.add.at(full, ids, values)
        yield ids, values, full


def tables_of(step: Step, steps: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A table after dense and after sparse steps, and how many numbers moved in rows without a gradient."""
    rng, moved = np.random.default_rng(0), 0
    dense = first_table(rng)
    sparse = dense.copy()
    dense_state, sparse_state = step.init(dense), step.init(sparse)
    for ids, values, full in rows_of(rng, steps):
        before = dense.copy()
        step.dense(dense, full, dense_state)
        step.rows(sparse, ids, values, sparse_state)
        untouched = np.setdiff1d(np.arange(1000), ids)
        moved += int(np.count_nonzero(dense[untouched] != before[untouched]))
    return dense, sparse, moved


@row(
    "sparse-equals-dense",
    SECTION,
    "a row whose gradient is zero does not move under AdaGrad, so updating only the touched rows is exact",
    "features that occur infrequently are only updated when they occur",
    texts={"D2L": "Sparse Features and Learning Rates", "guide": ""},
    ours="sparse and dense steps give the same bits, those of the printed formula on the whole table but for rounding",
)
def sparse_equals_dense(rule="adagrad", lr=0.1, steps=50) -> Finding:
    found = [tables_of(Step(rule, lr=lr, lazy="touched", engine=engine), steps) for engine in (ORACLE, DEFAULT)]
    rng = np.random.default_rng(0)
    table, gradients = first_table(rng), [full for _, _, full in rows_of(rng, steps)]
    *_, printed = walk("adagrad", table, lambda t, x: gradients[t - 1], steps, {"lr": 0.1})
    different = sum(int(np.count_nonzero(d.view(np.uint32) != s.view(np.uint32))) for d, s, _ in found)
    moved = sum(moved for *_, moved in found)
    agree = all(np.allclose(dense, printed, rtol=1e-5, atol=1e-5) for dense, *_ in found)
    passed = different == 0 and moved == 0 and agree
    text = f"{steps} steps on 1,000 × 8: {different} of 8,000 numbers differ in any bit, {moved} moved untouched"
    return Finding(text, bool(passed), {"different": different, "moved": moved})
