"""Known problems of torch's and other libraries' optimizers, and a test for each that it does not occur here.

`PYTHONPATH=tests python tests/optim/test_known_problems.py` writes the table.
"""

import math
import sys

import numpy as np
import pytest
from support.optimizers import (
    ENGINES,
    assert_tensors_close,
    assert_tensors_identical,
    by_hand,
    clones,
    coo,
    optim,
    parameters,
    stepped,
    torch,
)

import surefoot
from surefoot.engines import NonFiniteError

PROBLEMS: dict[str, str] = {}
"""The name of the test for each problem."""


def problem(text):
    """Marks the test that a problem does not occur."""

    def mark(test):
        PROBLEMS[text] = test.__name__
        return test

    return mark


def table(rows: int = 6, columns: int = 2, dtype=torch.float64):
    """(a table with sparse gradients, the same with dense ones)."""
    (start,) = parameters((rows, columns), dtype=dtype)
    return tuple(
        torch.nn.Embedding.from_pretrained(start.detach().clone(), freeze=False, sparse=sparse)
        for sparse in (True, False)
    )


BATCHES = [torch.tensor(ids) for ids in ([0, 2, 0], [2, 3, 2], [4, 4, 0], [1, 0, 1])]


def sparse_gradients(dtype=torch.float64):
    """A sparse gradient for each batch of ids."""
    source = torch.Generator().manual_seed(1)
    return [coo(ids[None], torch.randn(len(ids), 2, dtype=dtype, generator=source), (6, 2)) for ids in BATCHES]


def sloping(rows):
    """A loss whose gradient does not depend on rows that have yet to catch up."""
    return (rows * torch.arange(1.0, 1.0 + rows.numel()).reshape(rows.shape)).sum()


def train(module, optimizer, loss=sloping, batches=BATCHES):
    """A step for each batch of ids; rows without a gradient then catch up."""
    for ids in batches:
        optimizer.zero_grad()
        loss(module(ids)).backward()
        optimizer.step()
    optimizer.settle()
    return module.weight


@problem("torch: the sparse step coalesces, slowly (#81162)")
def test_a_sparse_step_does_not_coalesce(monkeypatch):
    def coalesce(gradient):
        raise AssertionError("coalesced")

    sparse, dense = table()
    monkeypatch.setattr(torch.Tensor, "coalesce", coalesce)
    found = train(sparse, optim.Adagrad(sparse.parameters(), lr=0.1))
    assert sparse.weight.grad._nnz() == len(BATCHES[-1])
    assert not sparse.weight.grad.is_coalesced()
    assert_tensors_close(found, train(dense, optim.Adagrad(dense.parameters(), lr=0.1)), "float64")


DECAYS = [{"decoupled_weight_decay": 0.1}, {"l2": 0.1}, {"weight_decay": 0.1, "lazy": "touched"}]


@problem("torch: weight decay is rejected for sparse gradients (#1285, #25484)")
@pytest.mark.parametrize("settings", DECAYS, ids=str)
def test_weight_decay_for_sparse_gradients(settings):
    """Of all rows, as with dense gradients, or of those that are touched."""
    start, gradients = parameters((6, 2), dtype=torch.float64)[0], sparse_gradients()
    (mine,) = clones([start])
    found = stepped(optim.Adagrad([mine], lr=0.1, **settings), mine, gradients)
    same = gradients if "lazy" in settings else [gradient.to_dense() for gradient in gradients]
    assert_tensors_close(found, by_hand("adagrad", start, same, lr=0.1, **settings)[0], "lazy")
    assert not torch.equal(found, by_hand("adagrad", start, gradients, lr=0.1)[0])


@problem("torch: clip_grad_norm_ and clip_grad_value_ reject sparse gradients (#4829)")
@pytest.mark.parametrize("clip", ["clip_grad_norm_", "clip_grad_value_"])
def test_clipping_of_sparse_gradients(clip):
    sparse, dense = table()
    for module, library in ((sparse, optim), (dense, torch.nn.utils)):
        module(BATCHES[0]).square().sum().backward()
        getattr(library, clip)(module.parameters(), 0.5)
    assert_tensors_close(sparse.weight.grad.to_dense(), dense.weight.grad, "float64")


@problem("torch: load_state_dict casts the memory to the parameters' type (#43706)")
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "RMSprop", "Adam"])
def test_the_memorys_type_is_kept_on_load(name):
    (parameter,) = parameters((4,), dtype=torch.bfloat16)
    settings = {"engine": ENGINES[name]} | ({"momentum": 0.9} if name == "SGD" else {})
    optimizer = getattr(optim, name)([parameter], **settings)
    stepped(optimizer, parameter, [torch.full((4,), 0.3, dtype=torch.bfloat16)])
    other = getattr(optim, name)(clones([parameter]), **settings)
    other.load_state_dict(optimizer.state_dict())
    for key, value in optimizer.state[parameter].items():
        loaded = other.state[other.param_groups[0]["params"][0]][key]
        assert value.dtype == torch.float32
        assert_tensors_identical(loaded, value, key)


@problem("torch: accumulators in bfloat16 stop growing at 256 unit gradients")
def test_accumulators_of_bfloat16_parameters_keep_growing():
    (parameter,) = parameters((3,), dtype=torch.bfloat16)
    optimizer = optim.Adagrad([parameter])
    stepped(optimizer, parameter, 1000 * [torch.ones(3, dtype=torch.bfloat16)])
    assert (optimizer.state[parameter]["sum"] == 1000).all()


@problem("torch: float16 with the default ε gives −inf (loop) or NaN (fused)")
@pytest.mark.parametrize("name", ["Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "NAdam"])
def test_float16_with_the_default_eps(name):
    """ε is never rounded to a storage type, and a square that float16 cannot hold is none too small."""
    parameter = torch.nn.Parameter(torch.ones(9, dtype=torch.float16))
    gradient = torch.tensor([0.0, 6e-8, 1e-7, 1e-5, 1e-3, 1.0, 300.0, 6e4, -6e4], dtype=torch.float16)
    engine = None if name in ("Adagrad", "Adam") else "reference"
    found = stepped(getattr(optim, name)([parameter], engine=engine), parameter, 3 * [gradient])
    assert found.isfinite().all()
    assert (found[0] == 1) | (name == "AdamW")
    assert name == "Adadelta" or (found[4:] != 1).all()


@problem("torch: a gradient of 1e25 freezes its coordinate for good")
@pytest.mark.parametrize("nonfinite", ["raise", "skip"])
@pytest.mark.parametrize("name", ["Adagrad", "RMSprop", "Adam"])
def test_a_huge_gradient_freezes_nothing(name, nonfinite):
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = getattr(optim, name)([parameter], lr=0.1, nonfinite=nonfinite)
    huge = torch.tensor([1e25, 1.0])
    if nonfinite == "raise":
        with pytest.raises(NonFiniteError, match="1 of 2 coordinates"):
            stepped(optimizer, parameter, [huge])
    else:
        stepped(optimizer, parameter, [huge])
    assert parameter[0] == 0
    assert parameter[1] < 0
    stepped(optimizer, parameter, [torch.ones(2)])
    assert parameter[0] < 0


@problem("torch: a group's initial_accumulator_value is ignored")
def test_a_groups_initial_accumulator_value():
    one, other = (torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizer = optim.Adagrad([{"params": [one], "initial_accumulator_value": 3.0}, {"params": [other]}], lr=1.0, eps=0)
    assert [float(optimizer.state[parameter]["sum"]) for parameter in (one, other)] == [3.0, 0.0]
    one.grad = other.grad = torch.ones(1, dtype=torch.float64)
    optimizer.step()
    assert (one.item(), other.item()) == (-0.5, -1.0)


@problem("torch: sparse gradients of complex parameters are silently wrong")
def test_complex_and_sparse():
    (whole,) = parameters((6, 2), dtype=torch.complex128)
    pair = torch.nn.Parameter(torch.view_as_real(whole.detach()).clone())
    gradients = sparse_gradients(torch.complex128)
    found = stepped(optim.Adagrad([whole]), whole, gradients)
    expected = stepped(optim.Adagrad([pair]), pair, [torch.view_as_real(g.to_dense()) for g in gradients])
    assert_tensors_close(torch.view_as_real(found), expected, "float64")


@problem("torch: the momentum buffer of sparse gradients grows without bound")
def test_sparse_momentum_is_bounded():
    sparse, dense = table()
    optimizer = optim.SGD(sparse.parameters(), lr=0.01, momentum=0.9)
    found = train(sparse, optimizer, batches=10 * BATCHES)
    (memory,) = optimizer.state.values()
    assert memory["momentum_buffer"].layout is torch.strided
    assert sum(value.numel() for value in memory.values()) <= 2 * sparse.weight.numel()
    expected = train(dense, optim.SGD(dense.parameters(), lr=0.01, momentum=0.9), batches=10 * BATCHES)
    assert_tensors_close(found, expected, "lazy")


@pytest.fixture
def one_process():
    """A group of this process alone."""
    if not torch.distributed.is_available():
        pytest.skip("this torch was built without torch.distributed")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@problem("torch: fused=True fails under FSDP2")
@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam", "AdamW"])
def test_fused_under_fsdp2(name):
    from torch.distributed.fsdp import fully_shard

    split, whole = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    whole.load_state_dict(split.state_dict())
    fully_shard(split)
    for module in (split, whole):
        optimizer = getattr(optim, name)(module.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
    for found, expected in zip(split.parameters(), whole.parameters(), strict=True):
        assert_tensors_identical(found.full_tensor().detach(), expected.detach())


@problem("torch: no RMSprop, Adadelta, Yogi or Adam for sparse gradients of parameters that have dense ones too")
@pytest.mark.parametrize("name", ["RMSprop", "Adadelta", "Yogi", "Adam"])
def test_more_rules_for_sparse_gradients(name):
    """Exactly as with dense gradients where there is a closed form; else on the rows that take part."""
    exact = name in ("RMSprop", "Adadelta")
    batches = BATCHES if exact else 4 * [torch.tensor([0, 2, 2, 5])]
    rows, lazy = (slice(None), "exact") if exact else ([0, 2, 5], "touched")
    sparse, dense = table()
    found = train(sparse, getattr(optim, name)(sparse.parameters(), lazy=lazy), batches=batches)
    expected = train(dense, getattr(optim, name)(dense.parameters()), batches=batches)
    assert_tensors_close(found[rows], expected[rows], "lazy")


@problem("torch: gradient accumulation strings sparse gradients together")
def test_gradient_accumulation_merges():
    sparse, _ = table()
    optimizer = optim.Adagrad(sparse.parameters())
    train(sparse, optimizer, batches=BATCHES[:1])
    optimizer.zero_grad()
    for ids in 50 * BATCHES:
        sparse(ids).sum().backward()
    assert sparse.weight.grad._nnz() <= 2 * len(sparse.weight) + len(ids)
    expected = torch.bincount(torch.cat(50 * BATCHES), minlength=6).double()[:, None].expand(6, 2)
    assert_tensors_identical(sparse.weight.grad.to_dense(), expected)


@problem("torch: the expanded gradient of a one-column table is lost")
def test_the_expanded_gradient_of_a_one_column_table():
    """As the backward pass of a sum leaves it: every row has the same address."""
    sparse, dense = table(columns=1)
    found = train(sparse, optim.Adagrad(sparse.parameters(), lr=0.1), loss=torch.sum)
    assert_tensors_close(found, train(dense, optim.Adagrad(dense.parameters(), lr=0.1), loss=torch.sum), "float64")
    assert (found[[0, 1, 2, 3, 4]] != parameters((6, 1), dtype=torch.float64)[0][[0, 1, 2, 3, 4]]).all()


@problem("FBGEMM on CPUs: weight_decay is ignored silently")
def test_no_weight_decay_is_ignored():
    """It acts, or an error says why it cannot."""
    start, gradients = parameters((6, 2), dtype=torch.float64)[0], sparse_gradients()
    with pytest.raises(ValueError, match=r"weight_decay .*lazy='touched'"):
        stepped(optim.Adagrad([start], weight_decay=0.1), start, gradients)
    results = []
    for settings in ({}, *DECAYS):
        (mine,) = clones([start])
        results.append(stepped(optim.Adagrad([mine], lr=0.1, **settings), mine, gradients))
    assert not any(torch.equal(results[0], other) for other in results[1:])


@problem("FBGEMM on CPUs: max_norm is ignored silently")
def test_no_unknown_setting_is_ignored():
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_norm'"):
        optim.Adagrad(parameters((2,)), max_norm=1.0)
    sparse, _ = table()
    sparse(BATCHES[0]).square().sum().backward()
    optim.clip_grad_norm_(sparse.parameters(), max_norm=0.5)
    assert torch.linalg.vector_norm(sparse.weight.grad.to_dense()).item() == pytest.approx(0.5, rel=1e-5)


@problem("FBGEMM on CPUs: no momentum")
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_for_tables(nesterov):
    sparse, dense = table()
    settings = {"lr": 0.01, "momentum": 0.9, "nesterov": nesterov}
    found = train(sparse, optim.SGD(sparse.parameters(), **settings))
    assert_tensors_close(found, train(dense, optim.SGD(dense.parameters(), **settings)), "lazy")


@problem("FBGEMM, torchrec: no FTRL (FBGEMM#6295, torchrec#4710)")
def test_ftrl_for_tables():
    """With exact zeros under l1, for rows without a gradient too."""
    sparse, dense = table()
    for one in (sparse, dense):
        torch.nn.init.zeros_(one.weight)  # what L1 then keeps at zero has no gradient to speak of
    found = train(sparse, optim.FTRL(sparse.parameters(), lr=0.1, l1=1.0))
    assert_tensors_close(found, train(dense, optim.FTRL(dense.parameters(), lr=0.1, l1=1.0)), "lazy")
    assert (found == 0).any()
    assert (found != 0).any()


@problem("torchrec: RowWiseAdagrad rejects sparse gradients")
def test_row_wise_adagrad_takes_sparse_gradients():
    """One number for each row: the sum of the mean squares of its gradients."""
    sparse, dense = table()
    optimizer = optim.Adagrad(sparse.parameters(), lr=0.1, granularity="row")
    found = train(sparse, optimizer)
    assert optimizer.state[sparse.weight]["sum"].shape == (6, 1)
    other = optim.Adagrad(dense.parameters(), lr=0.1, granularity="row")
    assert_tensors_close(found, train(dense, other), "float64")


@problem("bitsandbytes: initial accumulators are rejected")
def test_initial_accumulators():
    parameter = torch.nn.Parameter(torch.zeros(2))
    stepped(optim.Adagrad([parameter], lr=1.0, initial_accumulator_value=3.0), parameter, [torch.ones(2)])
    assert (parameter == -0.5).all()


@problem("pytorch_optimizer: no plain AdaGrad")
def test_plain_adagrad():
    x, total = np.array([1.0, -2.0]), np.zeros(2)
    parameter = torch.nn.Parameter(torch.tensor(x))
    gradients = [np.array([3.0, 0.5]), np.array([-1.0, 0.0]), np.array([0.25, 4.0])]
    for g in gradients:
        total += g**2
        x -= 0.5 * g / (np.sqrt(total) + 1e-10)
    found = stepped(optim.Adagrad([parameter], lr=0.5), parameter, list(map(torch.tensor, gradients)))
    assert_tensors_close(found, torch.tensor(x), "float64")


@problem("all: none shows effective learning rates, frozen or never-visited coordinates")
def test_optimizers_explain_themselves():
    parameter = torch.nn.Parameter(torch.tensor([1e8, 1.0, 1.0, 1.0]))
    optimizer = optim.Adagrad([("w", parameter)], lr=1.0)
    stepped(optimizer, parameter, [torch.tensor([1.0, 4.0, 0.0, math.sqrt(3.0)])])
    found = surefoot.diagnose(optimizer)["w"]
    assert found.never_visited == 0.25
    assert found.frozen == pytest.approx(1 / 3)
    assert found.rate["max"] == pytest.approx(1.0)


def written() -> str:
    """The table of problems and tests."""
    width = max(map(len, PROBLEMS))
    return "".join(f"{text:{width}}  {test}\n" for text, test in PROBLEMS.items())


def test_the_table_has_every_test():
    tests = {name for name in globals() if name.startswith("test_")} - {"test_the_table_has_every_test"}
    assert tests == set(PROBLEMS.values())
    assert written().count("\n") == len(PROBLEMS)


if __name__ == "__main__":
    sys.stdout.write(written())
