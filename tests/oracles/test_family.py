"""Rules of whole tensors against torch, in float64, to 1e-12."""

import pytest
from support.numerics import assert_close
from support.table import gradients, parameters

torch = pytest.importorskip("torch", reason="torch is not installed")

from surefoot.engines import Step  # noqa: E402

if not hasattr(torch.optim, "Adafactor"):
    pytest.skip("torch.optim.Adafactor came with torch 2.5", allow_module_level=True)


@pytest.mark.parametrize("shape", [(7, 5), (9,), (3, 5000), (1, 5000)])
@pytest.mark.parametrize("settings", [{}, {"lr": 0.5}, {"threshold": 1.1, "eps_scale": 2.0, "forgetting": 0.5}])
def test_adafactor(shape, settings):
    """On the engine that compiles; (1, 5000) is a row of more than one block."""
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
