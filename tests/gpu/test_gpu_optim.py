"""torch optimizers stepped by the GPU engine: the same bits as the reference; on a GPU, or interpreted."""

import copy
import linecache
import re
import sys
import warnings

import pytest
from support.gpu_twins import assert_same, parameters, some_gradients, sparse_gradient, step_both, twins
from support.on_gpu import DEVICE, torch, triton
from support.on_gpu import interpreted as interpreted

from surefoot import optim
from surefoot.engines import NonFiniteError
from surefoot.engines.gpu import source_of
from surefoot.optim import backends
from surefoot.optim.backends import gpu as steps_on_gpu
from surefoot.rules import RuleError, nonnegative, rule

pytestmark = pytest.mark.usefixtures("interpreted")


@pytest.mark.parametrize("granularity", ["coordinate", "row"])
@pytest.mark.parametrize("kind", [optim.Adagrad, optim.NAdam, optim.FTRL])
def test_dense_steps(kind, granularity):
    made = twins(kind, granularity=granularity)
    for step in range(3):
        step_both(made, some_gradients(step))
    assert_same(made)


def test_parameters_added_later_and_missing_gradients():
    made = twins(optim.Adam)
    for step in range(4):
        gradients = [None if (step + k) % 3 == 0 else g for k, g in enumerate(some_gradients(step))]
        step_both(made, gradients)
    step_both(made, some_gradients(9))
    assert_same(made)


def test_noncontiguous_memory_and_gradients_of_another_layout():
    made = twins(shapes=((6, 4),), cut=lambda data: data[::2].t()[:, :2])
    for step in range(2):
        step_both(made, some_gradients(step, ((4, 2),)))
    step_both(made, [some_gradients(5, ((2, 4),))[0].t()])
    assert_same(made)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.complex64])
def test_types(dtype):
    settings = {"stochastic_rounding": 3} if dtype is torch.bfloat16 else {}
    made = twins(optim.SGD, dtype=dtype, momentum=0.9, **settings)
    for step in range(2):
        step_both(made, some_gradients(step, dtype=dtype))
    assert_same(made)


@pytest.mark.parametrize(
    "kind, settings",
    [
        (optim.Adagrad, {}),
        (optim.Adagrad, {"l1": 0.1, "granularity": "row"}),
        (optim.SGD, {"momentum": 0.9}),
        (optim.FTRL, {"l1": 0.1}),
        (optim.Adam, {"lazy": "touched"}),
    ],
)
def test_sparse_steps_with_a_rate_that_changes_and_dense_ones_between(kind, settings):
    made = twins(kind, shapes=((6, 3),), lr=0.1, **settings)
    for step in range(4):
        step_both(made, [sparse_gradient(step) if step != 2 else some_gradients(0, ((6, 3),))[0]])
        for _, optimizer in made:
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
    for _, optimizer in made:
        optimizer.settle()
    assert_same(made)


@pytest.mark.parametrize(
    "settings", [{"granularity": "tensor"}, {"granularity": "row"}, {"momentum": 0.5, "lazy": "touched"}]
)
def test_a_sparse_gradient_without_rows_is_a_zero_gradient(settings):
    made = twins(optim.RMSprop, shapes=((6, 3),), **settings)
    nothing = torch.sparse_coo_tensor(torch.zeros(1, 0).long(), torch.zeros(0, 3), (6, 3), check_invariants=True)
    for gradient in (sparse_gradient(0), nothing, sparse_gradient(1)):
        step_both(made, [gradient])
    for _, optimizer in made:
        optimizer.settle()
    assert_same(made)


def test_a_saved_state_continues_where_it_was():
    made = twins(optim.SGD, shapes=((6, 3),), lr=0.1, momentum=0.9)
    for step in range(2):
        step_both(made, [sparse_gradient(step)])
    for own, optimizer in made:
        saved = copy.deepcopy(optimizer.state_dict())
        optimizer.load_state_dict(saved)
        assert set(optimizer.state[own[0]]) >= {"momentum_buffer", "last", "history"}
    step_both(made, [sparse_gradient(3)])
    for _, optimizer in made:
        optimizer.settle()
    assert_same(made)


def test_merged_gradients_are_not_sorted_again(monkeypatch):
    made = twins(shapes=((6, 3),))
    monkeypatch.setattr(torch, "sort", None)
    step_both(made, [sparse_gradient(0).coalesce()])
    assert_same(made)


# Steps counted on the device


@pytest.mark.parametrize("kind", [optim.Adam, optim.SGD, optim.Adagrad])
def test_steps_counted_on_the_device(kind):
    settings = {"momentum": 0.9, "dampening": 0.5} if kind is optim.SGD else {}
    made = twins(kind, **settings)
    own, _ = made[0]
    made[0] = own, kind(own, engine="gpu", capturable=True, **settings)
    for step in range(3):
        step_both(made, some_gradients(step))
    for a, b in zip(own, made[1][0], strict=True):
        assert torch.equal(a.data.cpu(), b.data)
        assert made[0][1].state[a]["step"].item() == 3


def test_a_rule_whose_coefficients_the_device_cannot_compute_is_rejected():
    own = parameters()
    optimizer = optim.NAdam(own, engine="gpu", capturable=True)
    for p in own:
        p.grad = torch.ones_like(p)
    before = [p.data.clone() for p in own]
    with pytest.raises(ValueError, match="nadam or its schedule cannot compute its coefficients on the device"):
        optimizer.step()
    assert all(torch.equal(p.data, b) for p, b in zip(own, before, strict=True))


def test_rows_cannot_catch_up_with_steps_counted_on_the_device():
    own = parameters(((6, 3),))
    optimizer = optim.SGD(own, momentum=0.9, engine="gpu", capturable=True)
    own[0].grad = sparse_gradient(0).to(DEVICE)
    with pytest.raises(ValueError, match="lazy updates need the number of steps, which is counted on the device"):
        optimizer.step()


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_scaled_by_gradscaler(sparse):
    """Gradients are divided by its scale; where it found one that is not finite, there is no step."""
    shape = (6, 3)
    gradient = sparse_gradient(0) if sparse else some_gradients(0, (shape,))[0]
    made = [
        (own, optim.Adam(own, fused=True, lazy="touched", engine="gpu"))
        for own in (parameters((shape,)), parameters((shape,)))
    ]
    assert all(optimizer._step_supports_amp_scaling for _, optimizer in made)
    (scaled, optimizer), (plain, other) = made
    for found in (1.0, 0.0):
        optimizer.grad_scale = torch.full((), 1024.0, device=DEVICE)
        optimizer.found_inf = torch.full((), found, device=DEVICE)
        scaled[0].grad = (gradient * 1024).to(DEVICE)
        optimizer.step()
        if found:
            assert optimizer.state[scaled[0]]["step"].item() == 0
            assert torch.equal(scaled[0].data, plain[0].data)
    plain[0].grad = gradient.to(DEVICE)
    other.step()
    assert torch.equal(scaled[0].data, plain[0].data)
    assert not optim.Adam(parameters())._step_supports_amp_scaling


@pytest.fixture
def capturing(monkeypatch):
    """Lets steps believe that a CUDA graph is being captured, while this holds "yes"."""
    answer = set()
    monkeypatch.setattr("surefoot.engines.gpu.is_capturing", lambda: "yes" in answer)
    return answer


def test_the_tensors_of_a_graph_are_kept_and_not_reused(capturing):
    """The addresses that a graph copies are only valid once it is replayed."""
    own = parameters()
    optimizer = optim.Adam(own, engine="gpu", capturable=True)
    tables = []
    for captured in (False, True, False):
        capturing.update({"yes"} if captured else ())
        for p in own:
            p.grad = torch.ones_like(p)
        optimizer.step()
        (group,) = optimizer._known.fused[0].fused.values()
        tables.append(group.many.table)
        capturing.clear()
    assert len({table.data_ptr() for table in tables}) == 3
    (captured,) = group.many.captured
    assert torch.equal(captured, tables[1].cpu())
    optimizer.add_param_group({"params": parameters(((2,),))})
    assert not optimizer._known.fused
    assert group in optimizer._captured
    kept = {id(some) for some in optimizer._captured}
    assert kept.issuperset(map(id, own))


def test_sparse_gradients_can_be_captured_but_not_first_steps_or_gaps(capturing):
    own = parameters(((6, 3), (6, 4)))
    own[1] = torch.nn.Parameter(own[1].data[:, ::2])
    optimizer = optim.Adam(own, engine="gpu", capturable=True, lazy="touched")
    own[0].grad = sparse_gradient(0).to(DEVICE)
    before = own[0].data.clone()
    capturing.add("yes")
    with pytest.raises(RuntimeError, match="captured in the first step of some parameters"):
        optimizer.step()
    assert torch.equal(own[0].data, before)
    capturing.clear()
    optimizer.step()
    capturing.add("yes")
    optimizer.step()
    assert not torch.equal(own[0].data, before)
    capturing.clear()
    own[1].grad = torch.ones_like(own[1])
    optimizer.step()
    capturing.add("yes")
    with pytest.raises(RuntimeError, match="gaps in memory"):
        optimizer.step()


def backend_of(optimizer):
    (backend,) = optimizer._backends
    return backend


def test_parameters_that_are_replaced_give_their_counters_back():
    """There are twice as many as parameters: a new parameter reuses the counter of a freed one."""
    (parameter,) = parameters(((3,),))
    optimizer = optim.Adagrad([("w", parameter)], engine="gpu")
    for size in range(4, 8):
        parameter.grad = torch.full_like(parameter, torch.nan)
        optimizer.step()
        with pytest.raises(NonFiniteError, match=f"w: {size - 1} of {size - 1} coordinates"):
            optimizer.synchronize()
        optimizer.state.clear()
        (parameter,) = parameters(((size,),))
        optimizer.param_groups[0]["params"] = [parameter]
    (counters,) = backend_of(optimizer).counters
    assert counters.size == len(counters.memories) == 2


def test_strides_of_dimensions_of_size_one_are_ignored():
    own = parameters(((4, 3, 1, 1),))
    optimizer = optim.Adagrad(own, engine="gpu")
    own[0].grad = torch.ones(4, 1, 1, 3, device=DEVICE).permute(0, 3, 1, 2)
    assert own[0].grad.stride() != own[0].stride()
    optimizer.step()
    assert optimizer._known.fused[0].fused


# What could not be stepped


def test_nonfinite_gradients_are_reported_at_a_later_step_or_on_request():
    own = parameters()
    optimizer = optim.Adagrad([(f"p{k}", p) for k, p in enumerate(own)], engine="gpu")
    for p in own:
        p.grad = torch.ones_like(p)
    own[0].grad[0, 1] = torch.nan
    before = own[0].data.clone()
    optimizer.step()
    assert own[0].data[0, 1] == before[0, 1]
    assert own[0].data[0, 0] != before[0, 0]
    with pytest.raises(NonFiniteError, match=r"p0: 1 of \d+ coordinates had .* in earlier steps"):
        optimizer.synchronize()
    optimizer.synchronize()
    own[0].grad = torch.ones_like(own[0])
    own[1].grad[2] = torch.inf
    optimizer.step()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    with pytest.raises(NonFiniteError, match=r"p1: 1 of \d+ coordinates had .* in earlier steps"):
        optimizer.step()
    found = {memory.name: memory.skipped for _, memory in optimizer.known()}
    assert found == {"p0": 1, "p1": 1, "p2": 0, "p3": 0}


def test_rows_out_of_range_are_reported_too():
    table = parameters(((3, 2),))[0]
    optimizer = optim.Adagrad([("table", table)], engine="gpu")
    ids, values = torch.tensor([[0, 5]]), torch.ones(2, 2)
    table.grad = torch.sparse_coo_tensor(ids, values, (3, 2), check_invariants=False).to(DEVICE)
    optimizer.step()
    with pytest.raises(ValueError, match="table: sparse gradients of earlier steps named rows out of range, 1 times"):
        optimizer.synchronize()


# Which engine


def test_the_engine_is_chosen_by_the_device(monkeypatch):
    adagrad = optim.Adagrad(parameters()).rule
    assert backends.fastest(adagrad, torch.device("mps")) == "torch"
    monkeypatch.setattr(steps_on_gpu, "obstacle_on_gpu", lambda rule, device: None)
    assert backends.fastest(adagrad, torch.device("cuda")) == "gpu"


@pytest.fixture
def an_h100(monkeypatch):
    """A GPU that Triton could be used for."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for kept in (steps_on_gpu.engine, steps_on_gpu.obstacle_on_gpu, backends.warn_once):
        kept.cache_clear()
    yield torch.device("cuda", 7)
    for kept in (steps_on_gpu.engine, steps_on_gpu.obstacle_on_gpu):
        kept.cache_clear()


def test_without_triton_there_is_one_warning_that_says_how_to_get_it(monkeypatch, an_h100):
    adagrad = optim.Adagrad(parameters()).rule
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.warns(UserWarning, match="slower than the gpu engine: Triton cannot be used .* update torch"):
        assert backends.fastest(adagrad, an_h100) == "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backends.fastest(adagrad, an_h100) == "torch"


@pytest.mark.parametrize("version, fits", [("3.3.1", False), ("3.5.1", False), ("3.6.0", True), ("4.0.0+git1", True)])
def test_a_triton_that_is_too_old_is_named(version, fits, monkeypatch, an_h100):
    """Earlier ones cannot be imported, fail to compile rows that catch up, or flush subnormal numbers."""
    monkeypatch.setattr(triton, "__version__", version)
    reason = steps_on_gpu.obstacle_on_gpu(optim.Adagrad(parameters()).rule, an_h100)
    expected = rf"found Triton {re.escape(version)}, which is too old\); expected Triton 3.6 or later, .* torch 2.10"
    assert reason is None if fits else re.search(expected, reason)


def test_parameters_on_a_cpu_are_rejected(monkeypatch):
    monkeypatch.setattr(steps_on_gpu, "is_interpreted", lambda: False)
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    optimizer = optim.Adagrad([parameter], engine="gpu")
    with pytest.raises(ValueError, match="the gpu engine cannot step parameters on cpu"):
        optimizer.step()


def defined(source, place):
    """The rule `mine` of a source, which lies where `place` says, as that of a notebook's cell does."""
    linecache.cache[place] = len(source), None, source.splitlines(keepends=True), place
    names = {"rule": rule, "nonnegative": nonnegative, "__name__": "__main__"}
    exec(compile(source, place, "exec"), names)
    return names["mine"]


SCALED = """
@rule(hyper={{"lr": nonnegative(1.0)}})
def mine(x, g, g2, lr):
    return lr * {factor}, g
"""


def test_a_rule_that_is_defined_again_leaves_the_first_one_its_formula():
    """Both are called `mine` in the same module; the first is compiled for another type after the second."""
    first, second = (defined(SCALED.format(factor=factor), f"<cell {factor}>") for factor in (1.0, 1000.0))
    for some, expected, dtype in (
        (first, -1.0, torch.float32),
        (second, -1000.0, torch.float32),
        (first, -1.0, torch.bfloat16),
        (second, -1000.0, torch.float64),
    ):
        parameter = torch.nn.Parameter(torch.zeros(3, dtype=dtype, device=DEVICE))
        parameter.grad = torch.ones_like(parameter)
        optim.RuleOptimizer([parameter], some, engine="gpu").step()
        assert parameter.tolist() == [expected] * 3, (expected, dtype)


def test_a_rule_whose_file_has_changed_since_is_rejected():
    first = defined(SCALED.format(factor=1.0), "<module>")
    defined(SCALED.format(factor=1000.0), "<module>")
    with pytest.raises(RuleError, match="mine: <module> has changed since the rule was defined"):
        source_of(first.function)


def test_a_rule_without_a_source_is_rejected_with_the_reason():
    names = {}
    exec("def halving(x, g, g2, lr):\n    return lr / 2.0, g", names)
    with pytest.raises(RuleError, match="halving: its source cannot be read"):
        source_of(names["halving"])
