"""Full-matrix AdaGrad: the ideal that the diagonal of AdaGrad stands in for, for a few coordinates.

A matrix and its inverse root per step, where AdaGrad has a vector and its root, so nothing for large models. It does
not care how the coordinates are turned: on a rotated problem it keeps the advantage that the diagonal loses.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative, positive
from surefoot.rules.matrix import matrix, matrix_rule


def scaled_inverse_root(outer, lr, eps):
    """η (ε I + G)^{−½}."""
    values, vectors = ops.eigh(outer)
    # An eigenvalue of a sum of outer products is not negative, but its rounded value may be.
    scaled = vectors / ops.sqrt(ops.maximum(values, 0.0) + eps)[..., None, :]
    return lr * scaled @ vectors.swapaxes(-1, -2)


def rates(outer, lr, eps):
    """The diagonal: what the next step would multiply a coordinate's own gradient by."""
    return scaled_inverse_root(outer, lr, eps).diagonal(0, -2, -1)


@matrix_rule(
    formula="G ← G + g gᵀ;  x ← x − η (ε I + G)^{−½} g",
    source="Duchi, Hazan & Singer (2011), Adaptive subgradient methods for online learning, JMLR 12, figure 1",
    slots={"outer": matrix(lambda shape: (*shape, shape[-1]))},
    hyper={
        "lr": nonnegative(0.1, "learning rate η"),
        "eps": positive(1e-6, "ε, added to the diagonal of the sum of outer products"),
    },
    rates=rates,
)
def full_matrix(x, g, outer, lr, eps):
    """Full-matrix AdaGrad: the rate is η over the root of the sum of outer products, one for each vector x[…, :]."""
    outer = outer + g[..., :, None] * g[..., None, :]
    return (scaled_inverse_root(outer, lr, eps) @ g[..., None])[..., 0], outer
