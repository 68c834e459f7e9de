"""Networks on data of their own, in training, for tests of diagnoses: other models than those of `runs`."""

import torch
from torch import nn

import surefoot
from support.runs import Run


def generator(k):
    return torch.Generator().manual_seed(k)


PATTERNS = torch.randn(4, 1, 8, 8, generator=generator(5))


def pictures(model, k):
    """Which of four patterns is in a noisy picture."""
    g = generator(1000 + k)
    kinds = torch.randint(0, 4, (32,), generator=g)
    x = PATTERNS[kinds] + torch.randn(32, 1, 8, 8, generator=g)
    return nn.functional.cross_entropy(model(x.to(next(model.parameters()).dtype)).float(), kinds)


def convolutions(activation=nn.ReLU):
    head = (nn.Conv2d(8, 8, 3, stride=2), activation(), nn.Flatten(), nn.Linear(32, 4))
    return nn.Sequential(nn.Conv2d(1, 8, 3), activation(), *head)


def waves(model, k, scale=1.0):
    """A smooth function of five features."""
    x = torch.randn(48, 5, generator=generator(2000 + k))
    y = 1.5 * torch.sin(x).sum(1, keepdim=True)
    return (model(scale * x.to(next(model.parameters()).dtype)).float() - y).square().mean()


def deep(activation=nn.ReLU):
    layers = (nn.Linear(5, 20), activation(), nn.Linear(20, 20), activation(), nn.Linear(20, 1))
    return nn.Sequential(*layers)


PROBLEMS = {"pictures": (convolutions, pictures), "waves": (deep, waves)}


def start(problem, kind, change=None, dtype=torch.float32, activation=nn.ReLU, **settings):
    make, loss = PROBLEMS[problem]
    torch.manual_seed(3)
    model = make(activation)
    if change is not None:
        with torch.no_grad():
            change(model)
    model = model.to(dtype)
    return Run(model, kind(model.parameters(), **settings), loss)


def applied(remedy, run):
    call = {"optimizer": run.optimizer, "model": run.model, "torch": torch, "surefoot": surefoot}
    exec(remedy.call, call)
