"""The same parameters stepped by the GPU engine and by the reference, through `surefoot.optim`."""

from support.on_gpu import DEVICE, torch
from surefoot import optim

SHAPES = ((4, 3), (5,), (), (2, 3))


def parameters(shapes=SHAPES, dtype=None):
    source = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, dtype=dtype, generator=source).to(DEVICE)) for shape in shapes]


def twins(kind=optim.Adagrad, shapes=SHAPES, dtype=None, cut=lambda data: data, **settings):
    """The same parameters and optimizer twice: by the gpu engine, and by the reference; `cut` takes parts of them."""
    made = []
    for engine in ("gpu", "reference"):
        copies = [p.data.clone() if engine == "gpu" else p.data.cpu() for p in parameters(shapes, dtype)]
        own = [torch.nn.Parameter(cut(copy)) for copy in copies]
        made.append((own, kind(own, engine=engine, **settings)))
    return made


def step_both(made, gradients):
    """Steps both along the gradients; None stands for no gradient."""
    for own, optimizer in made:
        for parameter, gradient in zip(own, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
        optimizer.step()


def some_gradients(step: int, shapes=SHAPES, dtype=None):
    source = torch.Generator().manual_seed(step + 1)
    return [torch.randn(shape, dtype=dtype, generator=source) for shape in shapes]


def sparse_gradient(step: int, shape=(6, 3)):
    source = torch.Generator().manual_seed(step + 1)
    ids = torch.randint(0, shape[0], (1, 4), generator=source)
    values = torch.randn(4, *shape[1:], generator=source)
    return torch.sparse_coo_tensor(ids, values, shape, check_invariants=True)


def assert_same(made):
    """Parameters and memory, bit for bit."""
    (ours, optimizer), (theirs, other) = made
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.data.cpu(), b.data)
        kept, expected = optimizer.state[a], other.state[b]
        assert kept.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(kept[key].cpu().to(value.dtype), value), key
