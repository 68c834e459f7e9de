"""Rules of whole tensors against torch and against full-matrix AdaGrad, in float64, to 1e-12."""

import numpy as np
import pytest
from support.numerics import assert_close
from support.table import gradients, parameters

from surefoot.engines import Step


def test_shampoo_is_full_matrix_adagrad_along_pairs_of_singular_vectors():
    """Where each gradient is c u vᵀ, of orthonormal u and of orthonormal v, both sums have the roots of c² there."""
    rng = np.random.default_rng(0)
    (U, _), (V, _) = (np.linalg.qr(rng.normal(size=(3, 3))) for _ in range(2))
    x, y = np.zeros((3, 3)), np.zeros(9)
    steps = Step("shampoo", lr=0.3, eps=1e-3), Step("full_matrix", lr=0.3, eps=1e-3)
    states = steps[0].init(x), steps[1].init(y)
    for t in range(30):
        g = rng.normal() * np.outer(U[:, t % 3], V[:, t % 3])
        steps[0].dense(x, g, states[0])
        steps[1].dense(y, g.ravel(), states[1])
        np.testing.assert_allclose(x.ravel(), y, rtol=1e-9, atol=1e-12)
    assert abs(y).max() > 0.1


def test_shampoo_of_vectors_is_full_matrix_adagrad():
    steps, rng = (Step("shampoo", lr=0.3, eps=1e-3), Step("full_matrix", lr=0.3, eps=1e-3)), np.random.default_rng(0)
    xs = np.zeros(5), np.zeros(5)
    states = [step.init(x) for step, x in zip(steps, xs, strict=True)]
    for _ in range(30):
        g = rng.normal(size=5)
        for step, x, state in zip(steps, xs, states, strict=True):
            step.dense(x, g, state)
        np.testing.assert_allclose(*xs, rtol=1e-9)
        rates = [step.rates(x, state) for step, x, state in zip(steps, xs, states, strict=True)]
        np.testing.assert_allclose(*rates, rtol=1e-9)


@pytest.mark.parametrize("shape", [(7, 5), (9,), (3, 5000), (1, 5000)])
@pytest.mark.parametrize("settings", [{}, {"lr": 0.5}, {"threshold": 1.1, "eps_scale": 2.0, "forgetting": 0.5}])
def test_adafactor(shape, settings):
    """On the engine that compiles; (1, 5000) is a row of more than one block."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not hasattr(torch.optim, "Adafactor"):
        pytest.skip("torch.optim.Adafactor came with torch 2.5")
    names = {"lr": "lr", "threshold": "d", "forgetting": "beta2_decay"}
    options = {names[key]: value for key, value in settings.items() if key in names}
    options["beta2_decay"] = -settings.get("forgetting", 0.8)
    x = parameters(shape, "float64")
    y = torch.nn.Parameter(torch.tensor(x))
    theirs = torch.optim.Adafactor([y], eps=(1e-30, settings.get("eps_scale", 1e-3)), **options)
    ours = Step("adafactor", **settings)
    state = ours.init(x)
    for g in gradients(shape, "float64", 40):
        ours.dense(x, g, state)
        y.grad = torch.tensor(g)
        theirs.step()
        assert_close(x, y.detach().numpy(), "torch float64", f"{shape}")
