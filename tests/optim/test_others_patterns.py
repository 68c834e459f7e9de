"""Code that others have written for torch's optimizers takes the same steps with ours: SAM, Lookahead, densification.

Each is the pattern of its library (pytorch_optimizer's SAM and Lookahead, timm's Lookahead, gsplat's densification),
what it reads and writes of the optimizer included; pytorch_optimizer's own run as well where it is installed.
"""

import copy
from collections import defaultdict

import pytest
from support.optimizers import assert_tensors_close, optim, torch

CLASSES = ("SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "NAdam", "RAdam", "Adamax")
EACH = pytest.mark.parametrize("name", CLASSES)


class SAM(torch.optim.Optimizer):
    """Climbs by rho along the gradient, and lets another optimizer step with the gradient found there."""

    def __init__(self, params, base_optimizer, rho=0.05, adaptive=False, **kwargs):
        super().__init__(params, {"rho": rho, "adaptive": adaptive, **kwargs})
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def step(self, closure):
        norms = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["old"] = p.data.clone()
                p.add_(p.grad, alpha=group["rho"] / float(norm))
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            for p in group["params"]:
                p.data = self.state[p]["old"]
        self.base_optimizer.step()


class Lookahead(torch.optim.Optimizer):
    """Weights that follow slowly, which take the place of the fast ones at every k-th step."""

    def __init__(self, base_optimizer, alpha=0.5, k=2):
        self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks = {}, {}
        self.base_optimizer = base_optimizer
        self.defaults = base_optimizer.defaults
        self.defaults.update({"lookahead_alpha": alpha, "lookahead_k": k, "lookahead_step": 0})
        self.state = defaultdict(dict)
        for name, default in self.defaults.items():
            for group in base_optimizer.param_groups:
                group.setdefault(name, default)
        self.param_groups = base_optimizer.param_groups

    @torch.no_grad()
    def step(self, closure=None):
        self.base_optimizer.step(closure)
        for group in self.param_groups:
            group["lookahead_step"] += 1
            if group["lookahead_step"] % group["lookahead_k"] == 0:
                for p in group["params"]:
                    state = self.base_optimizer.state[p]
                    slow = state.setdefault("lookahead_slow_buff", p.detach().clone())
                    slow.add_(p - slow, alpha=group["lookahead_alpha"])
                    p.copy_(slow)

    def state_dict(self):
        return self.base_optimizer.state_dict()

    def load_state_dict(self, state_dict):
        self.base_optimizer.load_state_dict(state_dict)
        self.param_groups = self.base_optimizer.param_groups


def problem():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)), torch.randn(8, 3)


def steps(model, optimizer, x, count):
    def closure():
        optimizer.zero_grad()
        loss = (model(x).squeeze(1) - x.sum(1)).square().mean()
        loss.backward()
        return loss

    for _ in range(count):
        closure()
        optimizer.step(closure)


def both(run):
    """Runs of ours and torch's classes, compared by their parameters."""
    ours, theirs = run(optim), run(torch.optim)
    for found, expected in zip(ours, theirs, strict=True):
        assert_tensors_close(found.detach(), expected.detach(), "torch float32")


@EACH
@pytest.mark.parametrize("adaptive", [False, True])
def test_sam(name, adaptive):
    def run(library):
        model, x = problem()
        optimizer = SAM(model.parameters(), getattr(library, name), rho=0.1, adaptive=adaptive, lr=0.01)
        steps(model, optimizer, x, 5)
        return list(model.parameters())

    both(run)


@EACH
def test_lookahead_and_its_checkpoints(name):
    def run(library):
        model, x = problem()
        optimizer = Lookahead(getattr(library, name)(model.parameters(), lr=0.01))
        steps(model, optimizer, x, 3)
        other = copy.deepcopy(model)
        resumed = Lookahead(getattr(library, name)(other.parameters(), lr=0.01))
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        steps(other, resumed, x, 3)
        return list(other.parameters())

    both(run)


def replaced(optimizer, params, name, of_parameter, of_state):
    """gsplat's way: another parameter takes the place of one, and its state is made of the old."""
    old = params[name]
    new = torch.nn.Parameter(of_parameter(old), requires_grad=old.requires_grad)
    for index, group in enumerate(optimizer.param_groups):
        if group["params"][0] is not old:
            continue
        state = optimizer.state.pop(old, {})
        for key in state:
            if key != "step" and state[key].ndim:  # NAdam has another number
                state[key] = of_state(state[key])
        optimizer.param_groups[index]["params"] = [new]
        optimizer.state[new] = state
    params[name] = new


@EACH
def test_densification(name):
    """Rows are duplicated, split and removed between steps; the optimizer is the same one."""

    def run(library):
        torch.manual_seed(0)
        params = {"means": torch.nn.Parameter(torch.randn(5, 3)), "scales": torch.nn.Parameter(torch.randn(5, 2))}
        groups = [{"params": [p], "lr": 0.01 * (1 + k), "name": n} for k, (n, p) in enumerate(params.items())]
        optimizer = getattr(library, name)(groups)

        def trained(count):
            for _ in range(count):
                optimizer.zero_grad()
                sum(p.square().sum() for p in params.values()).backward()
                optimizer.step()

        trained(2)
        for n in params:  # duplicate
            replaced(
                optimizer,
                params,
                n,
                lambda p: torch.cat([p, p[1:3]]),
                lambda s: torch.cat([s, torch.zeros_like(s[1:3])]),
            )
        trained(2)
        for n in params:  # remove
            replaced(optimizer, params, n, lambda p: p[2:].clone(), lambda s: s[2:])
        trained(2)
        assert [group["name"] for group in optimizer.param_groups] == ["means", "scales"]
        return list(params.values())

    both(run)


# pytorch_optimizer's own


@EACH
@pytest.mark.parametrize("wrapper", ["SAM", "LookSAM", "WSAM", "GSAM", "BSAM", "Lookahead"])
def test_wrappers_of_pytorch_optimizer(name, wrapper):
    theirs = pytest.importorskip("pytorch_optimizer")
    cls = getattr(theirs, wrapper)
    if (wrapper, name) == ("WSAM", "RMSprop"):
        pytest.skip("WSAM's alpha of 9 becomes RMSprop's, in torch too, and no average has such a share")

    def run(library):
        model, x = problem()
        base = getattr(library, name)
        if wrapper == "Lookahead":
            optimizer = cls(base(model.parameters(), lr=0.01))
        elif wrapper == "WSAM":
            optimizer = cls(model, model.parameters(), base, lr=0.01)
        elif wrapper == "GSAM":
            own = base(model.parameters(), lr=0.01)
            rho = theirs.ProportionScheduler(torch.optim.lr_scheduler.StepLR(own, 10), 0.1, 0.1)
            optimizer = cls(model.parameters(), own, model, rho)
        elif wrapper == "BSAM":
            optimizer = cls(model.parameters(), lr=0.01, num_data=8)
        else:
            optimizer = cls(model.parameters(), base, lr=0.01)
        torch.manual_seed(1)
        if wrapper == "GSAM":
            for _ in range(4):
                optimizer.set_closure(lambda a, b: (a.squeeze(1) - b).square().mean(), x, x.sum(1))
                optimizer.step()
        else:
            steps(model, optimizer, x, 4)
        return list(model.parameters())

    both(run)
