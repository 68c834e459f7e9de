"""The update rules as texts and papers print them, to hold the library's rules against.

Each is `(t, x, g, *states, **setting) -> (x, *states)`: the step number from 1, the parameter, its gradient, and what
the rule keeps. They are written with operators, so that one line serves numbers, arrays of NumPy and tensors of torch.
States are 0 before the first step, except `s`, which may start from `initial_accumulator_value`. The settings have the
library's names, and the texts' defaults. The texts put ε inside the root (`eps_root`) or outside of it (`eps`).

This module imports nothing of the library, which an import contract checks.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np


def sign(x):
    """−1, 0 or 1."""
    return x.sign() if hasattr(x, "sign") else np.sign(x)


def shrunk(z, threshold):
    """sgn(z) max(|z| − threshold, 0)."""
    return sign(z) * (abs(z) - threshold) * (abs(z) > threshold)


def sgd(t, x, g, lr):
    """x ← x − η g (Dive into Deep Learning, Stochastic Gradient Descent)."""
    return (x - lr * g,)


def momentum(t, x, g, v, lr, momentum=0.9, dampening=0.0, nesterov=False):
    """v ← β v + g; x ← x − η v (Dive into Deep Learning, Momentum; Sutskever et al. 2013 for Nesterov's).

    The first gradient enters undampened, as PyTorch documents.
    """
    v = momentum * v + (1 - dampening if t > 1 else 1) * g
    return x - lr * (g + momentum * v if nesterov else v), v


def visits(t, x, g, s, lr, c=1.0):
    """η₀/√(s(i, t) + c), where s counts nonzero gradients (Dive into Deep Learning, Adagrad, section 1)."""
    s = s + (g != 0)
    return x - lr * g / (s + c) ** 0.5, s


def adagrad(t, x, g, s, lr, lr_decay=0.0, eps=0.0, eps_root=1e-6):
    """s ← s + g²; x ← x − η g/√(s + ε) (Dive into Deep Learning, Adagrad, section The Algorithm).

    PyTorch documents lr_decay: η/(1 + (t − 1) lr_decay).
    """
    s = s + g * g
    return x - lr / (1 + (t - 1) * lr_decay) * g / ((s + eps_root) ** 0.5 + eps), s


def mean_adagrad(t, x, g, s, lr, eps=0.0, eps_root=1e-6):
    """s/t in place of s (lecture notebook, Adagrad)."""
    s = s + g * g
    return x - lr * g / ((s / t + eps_root) ** 0.5 + eps), s


def dual_averaging(t, x, g, s, z, lr, l1=0.0, eps=0.0, eps_root=1e-6):
    """x ← −η sgn(z) max(|z| − λt, 0)/√s, z the sum of gradients (Duchi, Hazan & Singer 2011, equation 19)."""
    s, z = s + g * g, z + g
    return -lr * shrunk(z, l1 * t) / ((s + eps_root) ** 0.5 + eps), s, z


def ftrl(t, x, g, s, z, inverse, lr, beta=1.0, l1=0.0, l2=0.0):
    """z ← z + g − σ x, σ = 1/η_t − 1/η_{t−1}, 1/η = (β + √s)/α; x ← −S(z)/(1/η + λ₂)
    (McMahan et al. 2013, algorithm 1 and theorem 2).
    """
    s = s + g * g
    before, inverse = inverse, (beta + s**0.5) / lr
    z = z + g - (inverse - before) * x
    return -shrunk(z, l1) / (inverse + l2), s, z, inverse


def rmsprop(t, x, g, s, mean, v, lr, gamma=0.9, centered=False, momentum=0.0, eps=0.0, eps_root=1e-6):
    """s ← γ s + (1 − γ) g²; x ← x − η g/√(s + ε) (Dive into Deep Learning, RMSProp).

    Centered divides by the standard deviation; with momentum the scaled gradients are summed (Graves 2013, 38–45).
    """
    s, square = gamma * s + (1 - gamma) * g * g, 0.0
    if centered:
        mean = gamma * mean + (1 - gamma) * g
        square = mean * mean
    step = g / ((s - square + eps_root) ** 0.5 + eps)
    if momentum:
        step = v = momentum * v + step
    return x - lr * step, s, mean, v


def adadelta(t, x, g, s, delta, lr=1.0, rho=0.9, eps=0.0, eps_root=1e-5):
    """s ← ρ s + (1 − ρ) g²; u = √(Δ + ε)/√(s + ε) g; x ← x − u; Δ ← ρ Δ + (1 − ρ) u² (Zeiler 2012, algorithm 1)."""
    s = rho * s + (1 - rho) * g * g
    u = ((delta + eps_root) ** 0.5 + eps) / ((s + eps_root) ** 0.5 + eps) * g
    return x - lr * u, s, rho * delta + (1 - rho) * u * u


def adam(t, x, g, v, s, largest, lr, beta1=0.9, beta2=0.999, amsgrad=False, eps=1e-6, eps_root=0.0):
    """v ← β₁ v + (1 − β₁) g; s ← β₂ s + (1 − β₂) g²; v̂ = v/(1 − β₁ᵗ), ŝ = s/(1 − β₂ᵗ);
    x ← x − η v̂/(√ŝ + ε) (Dive into Deep Learning, Adam).

    With amsgrad, the largest s so far (Reddi, Kale & Kumar 2018, algorithm 2, with PyTorch's correction).
    """
    v, s = beta1 * v + (1 - beta1) * g, beta2 * s + (1 - beta2) * g * g
    if amsgrad:
        largest = largest + (s - largest) * (s > largest)
    corrected = (largest if amsgrad else s) / (1 - beta2**t)
    return x - lr * (v / (1 - beta1**t)) / ((corrected + eps_root) ** 0.5 + eps), v, s, largest


def adamw(t, x, g, v, s, largest, lr, decoupled_weight_decay=0.01, **setting):
    """x ← (1 − ηλ) x, then the step of Adam (Loshchilov & Hutter 2019, algorithm 2)."""
    return adam(t, x - lr * decoupled_weight_decay * x, g, v, s, largest, lr, **setting)


def nadam(t, x, g, v, s, lr, beta1=0.9, beta2=0.999, momentum_decay=0.004, eps=1e-8, eps_root=0.0):
    """Adam along μ_{t+1} v/(1 − Π_{t+1}) + (1 − μ_t) g/(1 − Π_t) (Dozat 2016; μ_t as PyTorch documents it)."""
    mu, product = momenta(beta1, momentum_decay, 1 << t.bit_length())
    v, s = beta1 * v + (1 - beta1) * g, beta2 * s + (1 - beta2) * g * g
    ahead = mu[t + 1] * v / (1 - product[t + 1]) + (1 - mu[t]) * g / (1 - product[t])
    return x - lr * ahead / ((s / (1 - beta2**t) + eps_root) ** 0.5 + eps), v, s


@functools.lru_cache(maxsize=32)
def momenta(beta1, momentum_decay, last):
    """NAdam's μ_t = β₁(1 − ½ · 0.96^(t · decay)) and the products Π_t of those up to it, for t = 0 … last + 1."""
    t = np.arange(1, last + 2)
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    return [0.0, *mu.tolist()], [1.0, *np.cumprod(mu).tolist()]


def yogi(t, x, g, v, s, lr, beta1=0.9, beta2=0.999, eps=1e-3, eps_root=0.0):
    """As Adam, with s ← s + (1 − β₂) g² sgn(g² − s) (Dive into Deep Learning, Adam, section Yogi)."""
    v, s = beta1 * v + (1 - beta1) * g, s + (1 - beta2) * g * g * sign(g * g - s)
    return x - lr * (v / (1 - beta1**t)) / ((s / (1 - beta2**t) + eps_root) ** 0.5 + eps), v, s


def lion(t, x, g, v, lr, beta1=0.9, beta2=0.99, decoupled_weight_decay=0.0):
    """c = β₁ v + (1 − β₁) g; x ← x − η (sgn(c) + λ x); v ← β₂ v + (1 − β₂) g (Chen et al. 2023, algorithm 2)."""
    c = beta1 * v + (1 - beta1) * g
    return x - lr * (sign(c) + decoupled_weight_decay * x), beta2 * v + (1 - beta2) * g


def adamax(t, x, g, v, u, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """v as in Adam; u ← max(β₂ u, |g|); x ← x − η/(1 − β₁ᵗ) v/u (Kingma & Ba 2015, algorithm 2).

    PyTorch documents |g| + ε.
    """
    v, u = beta1 * v + (1 - beta1) * g, beta2 * u
    u = u + (abs(g) + eps - u) * (abs(g) + eps > u)
    return x - lr / (1 - beta1**t) * v / u, v, u


def radam(t, x, g, v, s, lr, beta1=0.9, beta2=0.999, threshold=4.0, uncorrected_eps=False, eps=1e-8, eps_root=0.0):
    """Adam's step times r where ρ > 4, else that of its corrected momentum (Liu et al. 2020, algorithm 2).

    PyTorch documents √s + ε before the correction, and that ρ has to be above 5.
    """
    v, s = beta1 * v + (1 - beta1) * g, beta2 * s + (1 - beta2) * g * g
    corrected, power = v / (1 - beta1**t), beta2**t
    most = 2 / (1 - beta2) - 1
    rho = most - 2 * t * power / (1 - power)
    if rho <= max(threshold, 4):
        return x - lr * corrected, v, s
    r = math.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    if uncorrected_eps:
        eps = eps / (1 - power) ** 0.5
    return x - lr * r * corrected / ((s / (1 - power) + eps_root) ** 0.5 + eps), v, s


def adabelief(t, x, g, v, s, lr, beta1=0.9, beta2=0.999, eps=1e-8, eps_root=1e-8):
    """v as in Adam; s ← β₂ s + (1 − β₂)(g − v)² + ε; x ← x − η v̂/(√ŝ + ε) (Zhuang et al. 2020, algorithm 2)."""
    v = beta1 * v + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * (g - v) ** 2 + eps_root
    return x - lr * (v / (1 - beta1**t)) / ((s / (1 - beta2**t)) ** 0.5 + eps), v, s


def adopt(t, x, g, v, s, lr, beta1=0.9, beta2=0.9999, clips=True, eps=1e-6):
    """v ← β₁ v + (1 − β₁) clip(g/max(√s, ε), t^¼); x ← x − η v; s ← β₂ s + (1 − β₂) g² (Taniguchi et al. 2024).

    Algorithm 2; s starts from the square of the first gradient, which counts as step 0.
    """
    if t == 1:
        return x, v, g * g
    root, most = s**0.5, (t - 1) ** 0.25 if clips else math.inf
    scaled = g / (root + (eps - root) * (root < eps))
    v = beta1 * v + (1 - beta1) * scaled.clip(-most, most)
    return x - lr * v, v, beta2 * s + (1 - beta2) * g * g


def madgrad(t, x, g, s, nu, start, lr, momentum=0.9, eps=1e-6):
    """s ← s + λ g, ν ← ν + λ g², λ = η √t; z = x₀ − s/(∛ν + ε); x ← β x + (1 − β) z (Defazio & Jelassi 2022).

    Algorithm 1; its c is 1 − β.
    """
    start = x if t == 1 else start
    s, nu = s + lr * t**0.5 * g, nu + lr * t**0.5 * g * g
    return momentum * x + (1 - momentum) * (start - s / (nu ** (1 / 3) + eps)), s, nu, start


def lamb(t, x, g, v, s, lr, beta1=0.9, beta2=0.999, decay=0.0, eps=1e-6, eps_root=0.0):
    """r = v̂/(√ŝ + ε) + λ x; x ← x − η ‖x‖/‖r‖ r (You et al. 2020, algorithm 2)."""
    v, s = beta1 * v + (1 - beta1) * g, beta2 * s + (1 - beta2) * g * g
    r = v / (1 - beta1**t) / ((s / (1 - beta2**t) + eps_root) ** 0.5 + eps) + decay * x
    return x - lr * np.linalg.norm(x) / np.linalg.norm(r) * r, v, s


def novograd(t, x, g, v, s, lr, beta1=0.95, beta2=0.98, decay=0.0, eps=1e-8, eps_root=0.0):
    """s ← β₂ s + (1 − β₂)‖g‖²; v ← β₁ v + (g/√s + λ x); x ← x − η v (Ginsburg et al. 2019, algorithm 1).

    s starts from the first ‖g‖².
    """
    s = beta2 * s + (1 - beta2) * np.sum(g * g) if t > 1 else np.sum(g * g)
    v = beta1 * v + (g / ((s + eps_root) ** 0.5 + eps) + decay * x)
    return x - lr * v, v, s


def sm3(t, x, g, rows, columns, v, lr, momentum=0.0, eps=0.0, eps_root=1e-8):
    """ν = min(row, column) + g²; row, column ← the largest ν in it; x ← x − η v, v a mean of g/√ν (Anil et al. 2019).

    Algorithm SM3-II; a row of a vector is a single number.
    """
    nu = np.minimum(rows, columns) + g * g
    rows, columns = (nu.max(axes, keepdims=True) for axes in (of_row(x), 0))
    v = momentum * v + (1 - momentum) * g / ((nu + eps_root) ** 0.5 + eps)
    return x - lr * v, rows, columns, v


def of_row(x) -> tuple[int, ...]:
    """The axes that a sum over each row takes."""
    return tuple(range(1, x.ndim))


def adafactor(t, x, g, rows, columns, lr=0.01, forgetting=0.8, threshold=1.0, eps_scale=1e-3, eps_root=1e-30):
    """R, C ← β R + (1 − β) sums of g² + ε by rows and columns, β = 1 − t^(−0.8); u = g/√(R C/ΣR);
    û = u/max(1, RMS(u)/d); x ← x − α û.

    α = max(ε₂, RMS(x)) min(10⁻², 1/√t) (Shazeer & Stern 2018, algorithms 4 and 6; of vectors 5).
    """
    beta, added = 1 - t**-forgetting, g * g + eps_root
    rows, columns = (
        beta * kept + (1 - beta) * added.sum(axes, keepdims=True) for kept, axes in ((rows, of_row(x)), (columns, 0))
    )
    u = g / (rows * columns / rows.sum()) ** 0.5
    u = u / max(1.0, np.mean(u * u) ** 0.5 / threshold)
    return x - max(eps_scale, np.mean(x * x) ** 0.5) * min(lr, t**-0.5) * u, rows, columns


def cocob(t, x, g, reward, dual, total, largest, bet, lr=1.0, alpha=100.0, eps=1e-8):
    """w ← θ (L + R)/(L max(G + L, α L)); x ← x₁ + w (Orabona & Tommasi 2017, algorithm 2); bets are scaled by η."""
    largest, total, dual = np.maximum(np.maximum(largest, eps), abs(g)), total + abs(g), dual - g
    reward = np.maximum(reward - g * bet, 0)
    won = dual / (largest * np.maximum(total + largest, alpha * largest)) * (largest + reward)
    return x + lr * (won - bet), reward, dual, total, largest, won


def dog(t, x, g, start, most, total, lr=1.0, first=1e-6, layerwise=False, eps=1e-8):
    """x ← x − η r/√(Σ‖g‖² + ε) g, r the largest ‖x − x₀‖, r_ε (1 + ‖x₀‖) at first (Ivgi, Hinder & Carmon 2023).

    Of one parameter, L-DoG is the same.
    """
    start = x if t == 1 else start
    most = max(most, first * (1 + np.linalg.norm(start)), np.linalg.norm(x - start))
    total = total + np.sum(g * g)
    return x - lr * most / (total + eps) ** 0.5 * g, start, most, total


def dadapt_adagrad(t, x, g, s, a, start, spent, d, lr=1.0, a0=1e-6, d0=1e-6, eps=0.0):
    """s ← s + d g; a ← a + g²; d ← max(d, (Σ s²/√a − Σ d² g²/√a)/‖s‖₁); x ← x₀ − s/√a (Defazio & Mishchenko 2023).

    As in the authors' code: without the factor ½, squares over the roots that include them.
    """
    start, d = (x, d0) if t == 1 else (start, d)
    s, a = s + lr * d * g, a + g * g
    root = (a + a0) ** 0.5 + eps
    spent = spent + (lr * d) ** 2 * np.sum(g * g / root)
    d = max(d, (np.sum(s * s / root) - spent) / np.sum(abs(s)))
    return start - s / root, s, a, start, spent, d


def prodigy(
    t,
    x,
    g,
    m,
    v,
    u,
    start,
    r,
    d,
    lr=1.0,
    beta1=0.9,
    beta2=0.999,
    d0=1e-6,
    coef=1.0,
    bias_correction=False,
    eps=1e-8,
):
    """r ← √β₂ r + η d² ⟨g, x₀ − x⟩; u ← √β₂ u + η d² g; d ← max(d, r/‖u‖₁); x ← x − η d v/(√s + d ε), s of d² g².

    Mishchenko & Defazio (2023), algorithm 4; as in the authors' code, ε is multiplied by the new d.
    """
    start, d = (x, d0) if t == 1 else (start, d)
    far = lr * d * ((1 - beta2**t) ** 0.5 / (1 - beta1**t) if bias_correction else 1)
    m, v = beta1 * m + (1 - beta1) * d * g, beta2 * v + (1 - beta2) * d * d * g * g
    r, u = beta2**0.5 * r + far * d * np.sum(g * (start - x)), beta2**0.5 * u + far * d * g
    d = max(d, coef * r / np.sum(abs(u)))
    return x - far * m / (v**0.5 + d * eps), m, v, u, start, r, d


def schedule_free_sgd(t, y, g, z, x, weight, lr, momentum=0.9):
    """z ← z − η g(y); x ← (1 − c) x + c z, c = η²/Σ η²; y = (1 − β) z + β x (Defazio et al. 2024)."""
    return averaged(t, y, g, z, x, weight, lr, momentum)


def averaged(t, y, step, z, x, weight, lr, momentum):
    z, x = (y, y) if t == 1 else (z, x)
    z, weight = z - lr * step, weight + lr * lr
    c = lr * lr / weight
    x = (1 - c) * x + c * z
    return (1 - momentum) * z + momentum * x, z, x, weight


def schedule_free_adamw(t, y, g, z, x, weight, v, lr, momentum=0.9, beta2=0.999, decay=0.0, eps=1e-8):
    """v ← β₂ v + (1 − β₂) g²; z ← z − η (g/(√v̂ + ε) + λ y); x and y as above (Defazio et al. 2024, algorithm 1)."""
    v = beta2 * v + (1 - beta2) * g * g
    step = g / ((v / (1 - beta2**t)) ** 0.5 + eps) + decay * y
    return *averaged(t, y, step, z, x, weight, lr, momentum), v


def schedule_free_adagrad(t, y, g, z, x, weight, total, lr, momentum=0.9, decay=0.0, eps=1e-8):
    """s ← s + g²; z ← z − η (g/(√s + ε) + λ y); x and y as above (Defazio et al. 2024; Duchi, Hazan & Singer 2011)."""
    total = total + g * g
    step = g / (total**0.5 + eps) + decay * y
    return *averaged(t, y, step, z, x, weight, lr, momentum), total


def shampoo(t, x, g, left, right, lr, eps=1e-6):
    """X ← X − η (ε I + Σ G Gᵀ)^{−¼} G (ε I + Σ Gᵀ G)^{−¼} (Gupta, Koren & Singer 2018, algorithm 1)."""
    m, n = g.shape[-2:]
    left, right = left + g @ g.swapaxes(-1, -2), right + g.swapaxes(-1, -2) @ g
    U, rows, _ = np.linalg.svd(left + eps * np.eye(m))
    V, columns, _ = np.linalg.svd(right + eps * np.eye(n))
    inner = U.swapaxes(-1, -2) @ g @ V / (rows[..., :, None] * columns[..., None, :]) ** 0.25
    return x - lr * U @ inner @ V.swapaxes(-1, -2), left, right


def full_matrix(t, x, g, outer, lr, eps=1e-6):
    """x ← x − η (ε I + Σ g gᵀ)^{−½} g (Duchi, Hazan & Singer 2011, figure 1), for each vector x[…, :].

    A symmetric matrix that is positive definite is U Λ Uᵀ, its singular value decomposition, and its root U Λ^{½} Uᵀ.
    """
    outer = outer + g[..., :, None] * g[..., None, :]
    U, values, _ = np.linalg.svd(outer + eps * np.eye(g.shape[-1]))
    along = (U.swapaxes(-1, -2) @ g[..., None])[..., 0] / values**0.5
    return x - lr * (U @ along[..., None])[..., 0], outer


Formula = Callable[..., tuple]

FORMULAS: dict[str, Formula] = {
    formula.__name__: formula
    for formula in (
        sgd,
        momentum,
        visits,
        adagrad,
        mean_adagrad,
        dual_averaging,
        ftrl,
        rmsprop,
        adadelta,
        adam,
        adamw,
        nadam,
        yogi,
        lion,
        adamax,
        radam,
        adabelief,
        adopt,
        madgrad,
        lamb,
        novograd,
        sm3,
        adafactor,
        cocob,
        schedule_free_sgd,
        schedule_free_adamw,
        schedule_free_adagrad,
        dog,
        dadapt_adagrad,
        prodigy,
        full_matrix,
        shampoo,
    )
}
"""By the names of the rules."""


def printed(name: str) -> str:
    """A formula as the texts print it: how its description begins, without what prints it.

    >>> printed("sgd")
    'x ← x − η g'
    """
    begins = " ".join(str(FORMULAS[name].__doc__).partition("\n\n")[0].split())
    return re.split(r" \((?:Dive into Deep Learning|lecture notebook|Zeiler)", begins)[0]


FRAMEWORK: dict[str, dict[str, float]] = {
    "adagrad": {"eps": 1e-10, "eps_root": 0.0},
    "rmsprop": {"eps": 1e-8, "eps_root": 0.0},
    "adadelta": {"eps_root": 1e-6},
    "adam": {"eps": 1e-8},
}
"""Where PyTorch documents that its optimizers differ from the texts' formulas."""


def states_of(formula: Formula, s: float = 0.0) -> tuple[float, ...]:
    """What a formula keeps, before the first step."""
    names = list(inspect.signature(formula).parameters)[3:]
    return tuple(s if name == "s" else 0.0 for name in names[: names.index("lr")])


def walk(
    name: str, x, gradient: Callable[[int, Any], Any], steps: int | Iterable[int], setting: Mapping[str, Any]
) -> Iterator[Any]:
    """Where the formula of that name is after each step.

    Args:
        name: of FORMULAS.
        x: where it starts.
        gradient: (t, x) -> the gradient of step t.
        steps: how many, or the numbers of the steps.
        setting: of the formula; also `initial_accumulator_value`.

    >>> [round(x, 6) for x in walk("adagrad", -5.0, lambda t, x: 0.2 * x, 2, {"lr": 0.4})]
    [-4.6, -4.329178]
    """
    given = dict(setting)
    states = states_of(FORMULAS[name], given.pop("initial_accumulator_value", 0.0))
    for t in range(1, steps + 1) if isinstance(steps, (int, np.integer)) else steps:
        x, *states = FORMULAS[name](t, x, gradient(t, x), *states, **given)
        yield x
