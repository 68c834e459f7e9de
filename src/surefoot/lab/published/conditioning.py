"""Section 5: condition numbers, and what becomes of a minimizer where the variables have other scales."""

import numpy as np

from surefoot.lab.published.lockstep import Lockstep, Printed
from surefoot.lab.published.rows import Finding, row

SECTION = "5 theory"
PRECONDITIONING = {"D2L": "Preconditioning", "notebook": ""}


def condition(Q: np.ndarray) -> float:
    values = np.linalg.eigvalsh(Q)
    return float(values[-1] / values[0])


def scaled(Q: np.ndarray) -> np.ndarray:
    """diag^{−½}(Q) Q diag^{−½}(Q)."""
    root = 1 / np.sqrt(np.diag(Q))
    return Q * root[:, None] * root


@row(
    "condition-number",
    SECTION,
    "κ = Λ₁/Λ_d; diag^(−½)(Q) Q diag^(−½)(Q) makes an axis-aligned quadratic perfectly conditioned; eigenvalues obey "
    "Gershgorin's circles",
    "κ = Λ₁/Λ_d; κ = 1 after scaling; all within the circles",
    texts={"D2L": "Preconditioning; Exercises", "notebook": ""},
    ours="axis-aligned κ 20 → 1, turned by 45° 20 → 20; 8,000 eigenvalues",
)
def condition_number(scaling=scaled) -> Finding:
    aligned, turned = np.diag([0.2, 4.0]), np.array([[4.2, -3.8], [-3.8, 4.2]])
    rng, outside, matrices = np.random.default_rng(0), 0, 1000
    for _ in range(matrices):
        A = rng.standard_normal((8, 12))
        Q = scaling(A @ A.T)
        radius = np.abs(Q).sum(axis=1) - np.abs(np.diag(Q))
        gaps = np.abs(np.linalg.eigvalsh(Q)[:, None] - np.diag(Q)) - radius
        outside += int(np.count_nonzero(gaps.min(axis=1) > 1e-9))
    after = {"aligned": condition(scaling(aligned)), "turned": condition(scaling(turned))}
    passed = outside == 0 and abs(after["aligned"] - 1) < 1e-12 and abs(after["turned"] - 20) < 1e-6
    text = (
        f"axis-aligned κ {condition(aligned):.0f} → {after['aligned']:.6g}, turned by 45° {condition(turned):.0f} → "
        f"{after['turned']:.6g}; of {8 * matrices:,} eigenvalues {outside} outside"
    )
    return Finding(text, passed, {**after, "outside": outside})


def random_quadratic(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q, and its eigenvalues and eigenvectors."""
    values = np.array([4.0, 1.0, 0.5, 0.2])
    vectors = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))[0]
    return vectors @ np.diag(values) @ vectors.T, values, vectors


@row(
    "perturbation",
    SECTION,
    "a change δ of c in ½xᵀQx + cᵀx, along the i-th eigenvector, moves the minimizer by δ/Λᵢ",
    "−Λ⁻¹c̄ is the minimizer: where Λᵢ is small, changes can be dramatic",
    texts=PRECONDITIONING,
    ours="δ/Λᵢ: minimizers found by momentum, Λ = 4, 1, 0.5, 0.2, δ = 0.1",
    note="the minimizer is −Q⁻¹c, which a text has with the wrong sign; see docs/errata.md",
)
def perturbation(power=1.0) -> Finding:
    Q, values, vectors = random_quadratic()
    c = np.random.default_rng(1).standard_normal(4)
    changes = np.vstack([np.zeros(4), 0.1 * vectors.T])
    run = Lockstep("momentum", np.zeros((5, 4)), Printed("momentum", 0.25, momentum=0.8), lr=0.25, momentum=0.8)
    for _ in range(500):
        run(run.x @ Q + c + changes)
    moved = np.linalg.norm(run.x[1:] - run.x[0], axis=1)
    passed = np.allclose(moved, 0.1 / values**power, rtol=1e-6)
    text = f"moved by {', '.join(f'{distance:.3f}' for distance in moved)}"
    return Finding(text, bool(passed), {"flattest": float(moved[-1]), "steepest": float(moved[0])})


@row(
    "whitening",
    SECTION,
    "in z = Λ^½ U x, where Q = UᵀΛU, the form xᵀQx is ‖z‖²: perfectly conditioned",
    "‖z‖²",
    texts=PRECONDITIONING,
    ours="gradient descent at η = 1 minimizes ½‖z‖² in one step, from 100 starts; in x not in 20",
)
def whitening(power=0.5) -> Finding:
    Q, values, vectors = random_quadratic()
    x = np.random.default_rng(1).standard_normal((100, 4))
    z = x @ vectors * values**power
    form = np.einsum("ki,ij,kj->k", x, Q, x)
    worst = float(np.abs((z**2).sum(axis=1) / form - 1).max())
    white = Lockstep("sgd", z.copy(), Printed("sgd", 1.0), lr=1.0)
    plain = Lockstep("sgd", x.copy(), Printed("sgd", 0.25), lr=1 / values[0])
    white(z)
    for _ in range(20):
        plain(plain.x @ Q)
    left, without = float(np.abs(white.x).max()), float(np.median(np.linalg.norm(plain.x, axis=1)))
    passed = worst < 1e-12 and left < 1e-12 and without > 0.1
    text = f"‖z‖² = xᵀQx within {worst:.0e}; {left:.0e} is left after one step in z, {without:.2f} after 20 in x"
    return Finding(text, passed, {"left": left, "left_in_x": without})
