"""Shampoo: full-matrix AdaGrad for matrices, by a matrix for the rows and one for the columns in place of one for all.

On gradients c u vᵀ, of orthonormal u and of orthonormal v, the steps are those of full-matrix AdaGrad, as are those of
vectors, which have one matrix.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative, positive
from surefoot.rules.matrix import matrix, matrix_rule


def inverse_fourth_root(sums, eps):
    """(ε I + M)^{−¼}."""
    values, vectors = ops.eigh(sums)
    # An eigenvalue of a sum of such products is not negative, but its rounded value may be.
    scaled = vectors / ops.sqrt(ops.sqrt(ops.maximum(values, 0.0) + eps))[..., None, :]
    return scaled @ vectors.swapaxes(-1, -2)


def rates(x, left, right, lr, eps):
    """What the next step would multiply a coordinate's own gradient by."""
    columns = inverse_fourth_root(right, eps)
    if x.ndim == 1:
        return lr * (columns @ columns).diagonal(0, -2, -1)
    rows = inverse_fourth_root(left, eps).diagonal(0, -2, -1)
    return lr * rows[..., :, None] * columns.diagonal(0, -2, -1)[..., None, :]


def of_rows(shape):
    """Vectors have none."""
    return (*shape[:-1], shape[-2]) if len(shape) > 1 else (0, 0)


@matrix_rule(
    formula="L ← L + G Gᵀ;  R ← R + Gᵀ G;  X ← X − η (ε I + L)^{−¼} G (ε I + R)^{−¼}",
    source="Gupta, Koren & Singer (2018), Shampoo: preconditioned stochastic tensor optimization, ICML, algorithm 1",
    slots={
        "left": matrix(of_rows),
        "right": matrix(lambda shape: (*shape[:-2], shape[-1], shape[-1])),
    },
    hyper={
        "lr": nonnegative(0.1, "learning rate η"),
        "eps": positive(1e-6, "ε, added to the diagonals of both sums"),
    },
    rates=rates,
)
def shampoo(x, g, left, right, lr, eps):
    """Shampoo: gradients between the inverse fourth roots of the sums of G Gᵀ and Gᵀ G, for each x[…, :, :]."""
    if x.ndim == 1:
        right = right + g[:, None] * g
        root = inverse_fourth_root(right, eps)
        return lr * root @ (root @ g), left, right
    turned = g.swapaxes(-1, -2)
    left, right = left + g @ turned, right + turned @ g
    return lr * inverse_fourth_root(left, eps) @ g @ inverse_fourth_root(right, eps), left, right
