"""Section 5: theory. Every claim as a number that could have come out otherwise."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from surefoot import schedules
from surefoot.engines import ORACLE, Step
from surefoot.lab.published.lockstep import Lockstep, Printed
from surefoot.lab.published.rows import NOTEBOOK, Finding, row, signed

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
    "yogi-first-batch",
    SECTION,
    "Yogi: a first batch of 100, taken at the rate 0, starts v and s from its gradient, here (−1, −8) + N(0, 2²)/√100",
    "initialize from a larger first batch, not from one example",
    texts=NOTEBOOK,
    ours="√ŝ is |g| of the batch; over 10,000 draws it spreads a tenth as far in x₂ as from one example",
)
def first_batch(batch=100, first_rate=0.0) -> Finding:
    rng, roots, moved, apart, draws = np.random.default_rng(0), {}, 0.0, 0.0, 10_000
    for size in (1, batch):
        step = Step("yogi", lr=schedules.piecewise_constant([2], [first_rate, 0.01]), engine=ORACLE)
        x = np.zeros((draws, 2))
        state, g = step.init(x), [-1.0, -8.0] + rng.normal(0, 2, (draws, 2)) / np.sqrt(size)
        step.dense(x, g, state)
        roots[size] = np.sqrt(state.slots["square"] / 0.001)
        moved, apart = max(moved, np.abs(x).max()), max(apart, np.abs(roots[size] - np.abs(g)).max())
    ratio = float(roots[batch][:, 1].std() / roots[1][:, 1].std())
    text = f"√ŝ within {apart:.0e} of |g|, parameters moved by {moved:g}; spread in x₂ {ratio:.3f} times as wide"
    passed = moved == 0 and apart < 1e-9 and abs(ratio - 0.1) < 0.01
    return Finding(text, bool(passed), {"moved": float(moved), "largest_difference": float(apart), "spread": ratio})


@row(
    "gd-scalar",
    SECTION,
    "gradient descent on ½λx² at η = 0.1: x_t = (1 − ηλ)^t x₀ for λ = 0.1, 1, 10, 19; converges iff |1 − ηλ| < 1",
    "x_t = (1 − ηλ)^t x₀; converges iff |1 − ηλ| < 1",
    texts=NOTEBOOK,
    ours="λ = 19 converges, λ = 21 does not",
    note="a text has it that things diverge beyond ηλ = 1; they do beyond 2; see docs/errata.md",
)
def descent(lr=0.1, curvatures=(0.1, 1.0, 10.0, 19.0, 21.0)) -> Finding:
    step, x = Step("sgd", lr=lr, engine=ORACLE), np.ones(5)
    state, worst, kept = step.init(x), 0.0, np.array([0.99, 0.9, 0.0, -0.9, -1.1])
    for t in range(1, 21):
        step.dense(x, np.array(curvatures) * x, state)
        worst = max(worst, float(np.abs(x - kept**t).max()))
    converges = np.abs(x) < 1
    passed = worst < 1e-9 and converges.tolist() == [True, True, True, True, False]
    text = f"20 steps, within {worst:.0e}; |x₂₀| = {abs(x[3]):.3f} for λ = 19, {abs(x[4]):.2f} for λ = 21"
    return Finding(text, passed, {"largest_error": worst, "x_19": float(x[3]), "x_21": float(x[4])})


@row(
    "momentum-region",
    SECTION,
    "momentum on ½λx²: iteration matrix [[β, λ], [−ηβ, 1 − ηλ]], spectral radius below 1 iff 0 < ηλ < 2 + 2β",
    "converges for 0 < ηλ < 2 + 2β",
    texts=NOTEBOOK,
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
    "β^τ, in all 1/(1 − β); (1 − γ)γ^τ, in all 1",
    texts=NOTEBOOK,
    ours="sums 20, 10, 2.5, 1; and 1, 1, 1, 1",
    note="1/γ, which a text calls the half-life of RMSProp's average, is not; see docs/errata.md",
)
def effective_weight(betas=(0.95, 0.9, 0.6, 0.0), gammas=(0.95, 0.9, 0.8, 0.7)) -> Finding:
    settings: list[Any] = [("momentum", "velocity", {"momentum": beta}) for beta in betas]
    settings += [("rmsprop", "square", {"gamma": gamma}) for gamma in gammas]
    printed = [(0.95, 1.0), (0.9, 1.0), (0.6, 1.0), (0.0, 1.0), (0.95, 0.05), (0.9, 0.1), (0.8, 0.2), (0.7, 0.3)]
    worst, sums, impulse = 0.0, [], np.append(1.0, np.zeros(40))
    for (rule, slot, hyper), (kept, fresh) in zip(settings, printed, strict=True):
        step = Step(rule, engine=ORACLE, **hyper)
        worst = max(worst, float(np.abs(states(step, impulse, slot) - fresh * kept ** np.arange(41)).max()))
        sums.append(float(states(step, np.ones(500), slot)[-1]))
    expected = [20, 10, 2.5, 1, 1, 1, 1, 1]
    passed = worst < 1e-12 and np.allclose(sums, expected, rtol=1e-6)
    first, second = (", ".join(f"{total:.4g}" for total in part) for part in (sums[:4], sums[4:]))
    text = f"sums {first}; and {second}; weights within {worst:.0e}"
    return Finding(text, bool(passed), {"largest_error": worst, "sum_momentum_0.95": sums[0]})


@row(
    "eigenvectors",
    SECTION,
    "gradient descent and momentum on ½xᵀQx decouple along the eigenvectors of Q",
    "both decouple along the eigenvectors",
    texts={"notebook": "", "CME 216": ""},
    ours="in each coordinate of the eigenbasis the powers of a 2 × 2 matrix, [[β, λ], [−ηβ, 1 − ηλ]]: 30 steps on a "
    "random 6 × 6 Q, η = 0.1, β = 0 and 0.9",
)
def eigenvectors(lr=0.1, beta=0.9, steps=30) -> Finding:
    rng = np.random.default_rng(0)
    V = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    curvature, start = np.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.1]), rng.standard_normal(6)
    Q, apart = V @ np.diag(curvature) @ V.T, {}
    for rule, kept, hyper in (("sgd", 0.0, {}), ("momentum", 0.9, {"momentum": beta})):
        step, x = Step(rule, lr=lr, engine=ORACLE, **hyper), start.copy()
        state = step.init(x)
        for _ in range(steps):
            step.dense(x, Q @ x, state)
        own = [
            (np.linalg.matrix_power(np.array([[kept, c], [-0.1 * kept, 1 - 0.1 * c]]), 30) @ [0.0, begin])[1]
            for c, begin in zip(curvature, V.T @ start, strict=True)
        ]
        apart[rule] = float(np.abs(V.T @ x - own).max())
    text = f"gradient descent within {apart['sgd']:.0e}, momentum within {apart['momentum']:.0e}"
    return Finding(text, max(apart.values()) < 1e-12, apart)


@row(
    "momentum-step",
    SECTION,
    "momentum's step is η/(1 − β) times the gradient, once the velocity has built up",
    "η/(1 − β)",
    texts=NOTEBOOK,
    ours="η = 0.01, a gradient of 1, β = 0.95, 0.9, 0.6, 0: steps of 0.2, 0.1, 0.025, 0.01",
)
def momentum_step(betas=(0.95, 0.9, 0.6, 0.0)) -> Finding:
    lengths = []
    for beta, printed in zip(betas, (0.95, 0.9, 0.6, 0.0), strict=True):
        run = Lockstep("momentum", np.zeros(1), Printed("momentum", 0.01, momentum=printed), lr=0.01, momentum=beta)
        before = 0.0
        for _ in range(400):
            before = run.x[0]
            run(np.ones(1))
        lengths.append(float(before - run.x[0]))
    passed = np.allclose(lengths, [0.2, 0.1, 0.025, 0.01], rtol=1e-6)
    return Finding(
        f"steps of {', '.join(f'{length:.4g}' for length in lengths)}", bool(passed), {"step_0.9": lengths[1]}
    )


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
    "(r² + L²Ση_t²)/(2Ση_t); rL/√T; a log",
    texts=NOTEBOOK,
    ours="the excess risk of the mean distance from 200 points at η = 0.1, r/√t and r/(L√T), 400 steps, 200 seeds; the "
    "bound of 1/√t, times √T, grows by ¼ ln T",
)
def convex_bound(steps=400, power=0.5) -> Finding:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((200, 2)) * [3.0, 0.5]
    best, start = median_point(samples), np.array([-5.0, -2.0])
    r, lowest, slack = float(np.linalg.norm(start - best)), float(expected_distance(best, samples)), {}
    ways: dict[str, tuple[Any, Callable[[int], float]]] = {
        "constant": (0.1, lambda t: 0.1),
        "1/√t": (lambda t: r * t**-power, lambda t: r / math.sqrt(t)),
        "horizon": (schedules.known_horizon(r, 1.0, steps), lambda t: r / 20),
    }
    for name, (lr, printed) in ways.items():
        eta = np.array([printed(t) for t in range(1, 401)])
        averaged = averaged_sgd(samples, start, lr, printed, eta, rng)
        excess = float(expected_distance(averaged, samples).mean()) - lowest
        bound = r / 20 if name == "horizon" else (r * r + (eta**2).sum()) / (2 * eta.sum())
        slack[name] = float(excess / bound)
    growth = log_growth()
    passed = all(0 < share <= 1 for share in slack.values()) and abs(growth - 0.25) < 0.01
    shares = ", ".join(f"{name} {share:.0%}" for name, share in slack.items())
    text = f"excess risk as a share of its bound: {shares}; the bound of 1/√t times √T grows by {growth:.3f} ln T"
    return Finding(text, passed, {**slack, "log_growth": growth})


def averaged_sgd(samples: np.ndarray, start: np.ndarray, lr, printed, eta: np.ndarray, rng, seeds: int = 200):
    """x̄ for every seed: SGD on ‖x − ξ‖ with a new sample ξ at every step, weighted by the learning rates."""
    run = Lockstep("sgd", np.tile(start, (seeds, 1)), Printed("sgd", printed), lr=lr)
    total = np.zeros_like(run.x)
    for rate in eta:
        total += rate * run.x
        away = run.x - samples[rng.integers(len(samples), size=seeds)]
        run(away / np.linalg.norm(away, axis=1, keepdims=True))
    return total / eta.sum()


def log_growth() -> float:
    """How fast the bound for η_t = 1/√t, times √T, grows with ln T: the cost of not knowing the horizon."""
    ends = np.array([10**4, 10**5, 10**6])
    eta = 1 / np.sqrt(np.arange(1, ends[-1] + 1))
    bounds = (1 + np.cumsum(eta**2)) / (2 * np.cumsum(eta))
    return float(np.polyfit(np.log(ends), bounds[ends - 1] * np.sqrt(ends), 1)[0])


@row(
    "strongly-convex",
    SECTION,
    "SGD on a strongly convex objective: η₀/(βt + 1) gives O(log T/T), where η₀/√(βt + 1) gives O(1/√T)",
    "O(log T/T)",
    texts=NOTEBOOK,
    ours="on ½x² with N(0, 1) noise, 4,000 seeds, T = 50 to 2,000: slope −1 against −½, and the recursion of E x²",
    note="a text gives this rate to exponential decay, which stops short; see docs/errata.md",
)
def strongly_convex(powers=(1.0, 0.5), seeds=4000) -> Finding:
    times, slopes, worst = np.array([50, 100, 200, 500, 1000, 2000]), [], 0.0
    for power, printed in zip(powers, (lambda t: 1 / (t + 1), lambda t: 1 / math.sqrt(t + 1)), strict=True):
        rng = np.random.default_rng(0)
        run = Lockstep("sgd", np.ones(seeds), Printed("sgd", printed), lr=schedules.polynomial(1.0, 1.0, power))
        exact, measured, expected = 1.0, [], []
        for t in range(1, 2001):
            run(run.x + rng.standard_normal(seeds))
            exact = (1 - printed(t)) ** 2 * exact + printed(t) ** 2
            if t in times:
                measured.append(float((run.x**2).mean()))
                expected.append(exact)
        slopes.append(float(np.polyfit(np.log(times), np.log(measured), 1)[0]))
        worst = max(worst, float(np.abs(np.divide(measured, expected) - 1).max()))
    passed = worst < 0.12 and abs(slopes[0] + 1) < 0.05 and abs(slopes[1] + 0.5) < 0.05
    text = f"E f ~ T^({signed(slopes[0], 2)}) and T^({signed(slopes[1], 2)}); within {worst:.0%} of the recursion"
    return Finding(text, passed, {"falling": slopes[0], "slowly": slopes[1], "largest_error": worst})


@row(
    "adam-diverges",
    SECTION,
    "Reddi, Kale & Kumar's sequence of losses Cx, −x, −x, Cx, … on [−1, 1]: Adam's mean regret stays, Yogi converges",
    "Adam can diverge; Yogi converges",
    texts=NOTEBOOK,
    ours="3,000 rounds at C = 4, 10 and 20 in the setting of that paper's Theorem 1: C > 2, x₁ = 1, β₁ = 0, "
    "β₂ = 1/(1 + C²), ε = 0, η = ½/√t < √((1 − β₂)/t). As in its proof, Adam is at the worst point, 1, after every "
    "third round, and every three rounds have a regret of at least 2C − 4; Yogi, with its own ε, ends near the best "
    "point, −1, and its last 333 threes have a mean regret of less than a tenth of that",
    note="at C = 3 Yogi's s comes to equal g² = 9, and rounding decides the sign of g² − s; at C = 2.2 Yogi stays at "
    "1, too",
)
def adam_diverges(rules=("adam", "yogi"), rares=(4.0, 10.0, 20.0), scale=0.5, rounds=3000) -> Finding:
    shown, passed, numbers = [], True, {}
    for rare, C in zip(rares, (4, 10, 20), strict=True):
        (worst, lost), (near, own) = (
            reddi(rule, scale, {"beta1": 0.0, "beta2": 1 / (1 + rare**2)}, formula, C, rounds)
            for rule, formula in zip(rules, ("adam", "yogi"), strict=True)
        )
        least, late = float(lost.min()), float(own[-333:].mean())
        passed &= bool((worst[::3] == 1).all()) and least >= 2 * C - 4 and near[-1] < -0.99 and late < 0.2 * C - 0.4
        numbers |= {f"adam_{C}": float(worst[-1]), f"yogi_{C}": float(near[-1])}
        shown.append(
            f"C = {C}: Adam at {signed(worst[-1], 3)}, {least:.3f} ≥ {2 * C - 4}; "
            f"Yogi at {signed(near[-1], 3)}, {late:.3f}"
        )
    stuck = float(reddi(rules[1], scale, {"beta1": 0.0, "beta2": 1 / 5.84}, "yogi", 2.2, rounds)[0][-1])
    text = f"end, and regret of three rounds, {'; '.join(shown)}; at C = 2.2 Yogi at {signed(stuck, 3)}"
    return Finding(text, passed and stuck > 0.99, numbers)


def reddi(rule: str, scale: float, hyper: dict[str, Any], formula: str, C: float, rounds: int):
    """Where a rule is before each round and at the end, and its regret in each three rounds."""
    own: dict[str, Any] = {"eps": 0.0} if formula == "adam" else {}
    printed = Printed(formula, lambda t: 0.5 / math.sqrt(t), beta1=0.0, beta2=1 / (1 + C * C), **own)
    run, seen = Lockstep(rule, np.ones(1), printed, lr=lambda t: scale / math.sqrt(t), **hyper, **own), [1.0]
    slopes = np.where(np.arange(rounds) % 3, -1.0, C)
    for slope in slopes:
        run(np.array([slope]))
        run.clip(-1.0, 1.0)
        seen.append(float(run.x[0]))
    positions = np.array(seen)
    # The best point is −1.
    return positions, (slopes * (positions[:-1] + 1)).reshape(-1, 3).sum(axis=1)


@row(
    "adagrad-rate",
    SECTION,
    "AdaGrad under steady noise: s grows about linearly, so the effective rate falls like t^(−½), and the steps freeze "
    "late in training",
    "s grows about linearly; the rate like t^(−½)",
    texts={"D2L": "The Algorithm", "notebook": "", "guide": ""},
    ours="the last of 2,000 steps are less than a tenth as long as the first",
)
def adagrad_rate(rule="adagrad", steps=2000) -> Finding:
    rng, run = np.random.default_rng(0), Lockstep(rule, np.zeros(500), Printed("adagrad", 0.1), lr=0.1)
    moved, rates = np.empty(steps), np.empty(steps)
    for t in range(steps):
        before = run.x.copy()
        run(rng.standard_normal(500))
        moved[t], rates[t] = np.abs(run.x - before).mean(), run.step.rates(run.x, run.state).mean()
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
    ours="the bound, which no text prints (D2L refers to the paper), on a stream of sparse examples, at four η",
)
def adagrad_regret(rule="adagrad", rates=(0.05, 0.2, 1.0, 5.0)) -> Finding:
    shares = {}
    for lr, printed in zip(rates, (0.05, 0.2, 1.0, 5.0), strict=True):
        regret, bound = online(rule, lr, printed)
        shares[lr] = regret / bound
    passed = all(0 < share <= 1 for share in shares.values())
    text = "regret as a share of the bound: " + ", ".join(f"{share:.0%} at η = {lr:g}" for lr, share in shares.items())
    return Finding(text, passed, {f"share_at_{lr:g}": share for lr, share in shares.items()})


def online(rule: str, lr: float, printed: float, rounds: int = 2000, features: int = 20) -> tuple[float, float]:
    """The regret of a rule on a stream of sparse examples with an absolute loss, and Theorem 5's bound at η = printed.

    The cost of round t is Σ cᵢ |xᵢ − z_{t,i}| over the features that occur in it, feature i about every i rounds, as
    words do. The costs cᵢ are small and differ: AdaGrad does not care, and for other rules the bound does not hold.
    """
    rng = np.random.default_rng(0)
    cost = 10 ** rng.uniform(-3, -2, features) * (rng.random((rounds, features)) < 1 / np.arange(1, features + 1))
    targets = rng.choice([-1.0, 1.0], features) + 0.5 * rng.standard_normal((rounds, features))
    best = np.array([np.median(targets[cost[:, i] > 0, i]) for i in range(features)])
    hyper: dict[str, Any] = {"eps_root": 1e-30} if rule == "adagrad" else {}
    run = Lockstep(rule, np.zeros(features), Printed("adagrad", printed, eps_root=1e-30), lr=lr, **hyper)
    iterates, gradients = np.empty((rounds, features)), np.empty((rounds, features))
    for t in range(rounds):
        iterates[t], gradients[t] = run.x, cost[t] * np.sign(run.x - targets[t])
        run(gradients[t])
    regret = float((cost * (np.abs(iterates - targets) - np.abs(best - targets))).sum())
    radius = float(np.abs(iterates - best).max())
    bound = (radius**2 / (2 * printed) + printed) * float(np.linalg.norm(gradients, axis=0).sum())
    return regret, bound
