"""torch's own table of optimizers, optim_db, pointed at surefoot.optim: what torch promises of each holds of ours.

What its test-suite has besides, and why it is not here: see SKIPPED.
"""

import copy
import functools
import io
import itertools

import pytest
from hypothesis import settings
from support.optimizers import (
    ENGINES,
    SHARED,
    assert_states_identical,
    assert_tensors_close,
    assert_tensors_identical,
    optim,
    torch,
)
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

pytest.importorskip("expecttest", reason="torch's table needs expecttest")
optimizers = pytest.importorskip("torch.testing._internal.common_optimizers")
settings.load_profile("surefoot")  # torch.testing brings a Hypothesis profile of its own

SKIPPED = {
    "Adafactor, ASGD, LBFGS, Muon, Rprop": "no such class here",
    "SparseAdam": "Adam takes sparse gradients here; tests/optim/test_gradients.py",
    "multigpu, state_dict_with_cuda_params, cpu_load_on_gpu, cuda graphs, peak memory of foreach": "need CUDA",
    "foreach_matches_forloop, fused_matches_forloop, defaults_changed_to_foreach, mixed_device_dtype of foreach": (
        "there is one implementation; tests/oracles/test_torch_lockstep.py has that the hints change nothing"
    ),
    "compiled": "a step of ours is left out of compiled graphs; it is compiled already",
    "second_order_optims_return_consistent_types": "only LBFGS is one",
    "grad_scaling_autocast_fused_optimizers": "tests/optim/test_life.py has GradScaler",
}
"""Tests of torch's suite that are not run, and why."""


def pointed(info):
    """The entry with our class for torch's."""
    info = copy.copy(info)
    info.optim_cls = getattr(optim, info.name)
    return info


DB = {info.name: pointed(info) for info in optimizers.optim_db if info.name in SHARED}
EACH = pytest.mark.parametrize("info", DB.values(), ids=DB.keys())


def inputs(info):
    """All settings of an entry, those that torch has for GPUs only too."""
    return info.optim_inputs_func(device="cuda")


def every(keep=lambda info, settings: True):
    cases = [(info, case) for info in DB.values() for case in inputs(info) if keep(info, case.kwargs)]
    parameters = [pytest.param(info, case.kwargs, id=f"{info.name}, {case.desc}") for info, case in cases]
    return pytest.mark.parametrize("info, kwargs", parameters)


def has_tensors(kwargs):
    """Whether torch has no loops over such settings."""
    tensors = [isinstance(value, torch.Tensor) for value in (kwargs.get("lr"), *kwargs.get("betas", ()))]
    return any(tensors) and not kwargs.get("capturable")


def with_implementations():
    """All settings, each with each of the flags that choose an implementation in torch."""
    return pytest.mark.parametrize(
        "info, kwargs",
        [
            pytest.param(info, case.kwargs | flag, id=f"{info.name}, {case.desc} {' '.join(flag)}")
            for info in DB.values()
            for case in inputs(info)
            for flag in [{}, *({name: True} for name in info.supported_impls)]
            if not (flag == {"foreach": True} and has_tensors(case.kwargs))
        ],
    )


def made(info, params, kwargs=None, **more):
    return info.optim_cls(params, **(copy.deepcopy(kwargs or {}) | more))


class Problem:
    """Least squares with one example, in float64: torch's own test problem."""

    def __init__(self, contiguous: bool = True):
        source = torch.Generator().manual_seed(0)
        weight, bias = (torch.randn(*shape, 2, dtype=torch.float64, generator=source) for shape in ((10, 5), (10,)))
        parts = (weight[..., 0], bias[..., 0])
        self.weight, self.bias = (torch.nn.Parameter(p.clone() if contiguous else p) for p in parts)
        self.input = torch.randn(5, dtype=torch.float64, generator=source)
        self.parameters = [self.weight, self.bias]

    def __call__(self):
        for parameter in self.parameters:
            parameter.grad = None
        loss = (self.weight.mv(self.input) + self.bias).square().sum()
        loss.backward()
        return loss


class Differentiable(Problem):
    """The same for parameters that are not leaves after a step."""

    def __init__(self):
        super().__init__()
        self.parameters = [self.weight, self.bias] = [p.detach().clone() for p in self.parameters]

    def __call__(self):
        leaves = [parameter.detach().requires_grad_() for parameter in self.parameters]
        loss = (leaves[0].mv(self.input) + leaves[1]).square().sum()
        for parameter, gradient in zip(self.parameters, torch.autograd.grad(loss, leaves), strict=True):
            parameter.grad = gradient
        return loss


def run(problem, optimizer, steps, schedulers=()):
    for _ in range(steps):
        optimizer.step(problem)
        for scheduler in schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(problem().item())
            else:
                scheduler.step()


def downhill(problem, optimizer, kwargs, schedulers=()):
    before = problem().item()
    run(problem, optimizer, 10, schedulers)
    assert (problem().item() > before) if kwargs.get("maximize") else (problem().item() < before)


# The loss


@pytest.mark.sampled(80)
@with_implementations()
def test_goes_in_the_right_direction(info, kwargs):
    problem = Differentiable() if kwargs.get("differentiable") else Problem()
    downhill(problem, made(info, problem.parameters, kwargs), kwargs)


@pytest.mark.sampled(40)
@every()
def test_goes_in_the_right_direction_for_noncontiguous_memory(info, kwargs):
    problem = Problem(contiguous=False)
    downhill(problem, made(info, problem.parameters, kwargs, engine=ENGINES[info.name]), kwargs)


@every(lambda info, settings: not isinstance(settings.get("lr"), torch.Tensor))
def test_goes_in_the_right_direction_with_schedules(info, kwargs):
    for constructors in info.scheduler_inputs:
        problem = Problem()
        optimizer = made(info, problem.parameters, kwargs)
        downhill(problem, optimizer, kwargs, [constructor(optimizer) for constructor in constructors])


@every(lambda info, settings: not isinstance(settings.get("lr"), torch.Tensor))
def test_groups_with_their_own_rate_and_schedules(info, kwargs):
    for constructors in info.scheduler_inputs:
        problem = Problem()
        groups = [{"params": [problem.weight]}, {"params": [problem.bias], "lr": 0.01}]
        optimizer = made(info, groups, kwargs)
        downhill(problem, optimizer, kwargs, [constructor(optimizer) for constructor in constructors])


@pytest.mark.sampled(70)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
@every()
def test_a_tensor_as_rate(info, kwargs, shape):
    rate = float(kwargs.get("lr", 1e-3))
    results = []
    for lr in (rate, torch.full(shape, rate, dtype=torch.float64)):
        problem = Problem()
        optimizer = made(info, problem.parameters, kwargs | {"lr": lr})
        schedulers = [StepLR(optimizer, gamma=0.5, step_size=2)]
        run(problem, optimizer, 5, schedulers)
        assert type(optimizer.param_groups[0]["lr"]) is type(lr)
        results.append(problem.parameters)
    for found, expected in zip(*results, strict=True):
        assert_tensors_identical(found, expected)


# Groups


@EACH
def test_a_rate_for_each_group(info):
    """A group with rate 0 does not move; the other is stepped as if it were alone."""
    both, alone = Problem(), Problem()
    optimizer = made(info, [{"params": [both.weight]}, {"params": [both.bias], "lr": 0.0}], lr=0.01)
    still = both.bias.detach().clone()
    for _ in range(5):
        optimizer.step(both)
    assert_tensors_identical(both.bias.detach(), still)
    lone = made(info, [alone.weight], lr=0.01)
    for _ in range(5):
        lone.step(alone)
    assert_tensors_identical(both.weight, alone.weight)


@EACH
def test_a_weight_decay_for_each_group(info):
    """Without gradient, weight decay alone moves the parameters of its group."""
    weight, bias = (torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    groups = [{"params": [weight], "weight_decay": 0.5}, {"params": [bias]}]
    optimizer = made(info, groups, lr=0.01, weight_decay=0)
    for _ in range(5):
        for parameter in (weight, bias):
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    assert (weight < 1).all()
    assert (bias == 1).all()


# Nothing to do


@every()
def test_no_gradient_is_no_step(info, kwargs):
    problem = Problem()
    optimizer = made(info, problem.parameters, kwargs)
    before, state = [p.detach().clone() for p in problem.parameters], copy.deepcopy(optimizer.state_dict())
    optimizer.step()
    for parameter, old in zip(problem.parameters, before, strict=True):
        assert_tensors_identical(parameter.detach(), old)
    assert_states_identical(optimizer.state_dict(), state)


def with_zeros():
    """Settings with dense and with sparse gradients, of which fast are the first ones: each has its own kernel."""
    for info in DB.values():
        cases = [c for c in inputs(info) if info.name != "AdamW" or c.kwargs.get("weight_decay") == 0]
        for case, of in itertools.product(cases, ("dense", "sparse")):
            marks = pytest.mark.slow if of == "sparse" and case is not cases[0] else ()
            yield pytest.param(info, case.kwargs, of, id=f"{info.name}, {case.desc}-{of}", marks=marks)


@pytest.mark.sampled(40)
@pytest.mark.parametrize("info, kwargs, of", list(with_zeros()))
def test_a_zero_gradient_moves_nothing(info, kwargs, of):
    problem = Problem()
    optimizer = made(info, problem.parameters, kwargs, weight_decay=0)
    before = [p.detach().clone() for p in problem.parameters]
    for parameter in problem.parameters:
        parameter.grad = torch.zeros_like(parameter)
        if of == "sparse":
            parameter.grad = no_rows(parameter)
            optimizer.param_groups[0]["lazy"] = "touched"
    optimizer.step()
    for parameter, old in zip(problem.parameters, before, strict=True):
        assert (parameter == old).all()


def no_rows(parameter):
    ids, values = torch.empty(1, 0, dtype=torch.int64), parameter.new_empty(0, *parameter.shape[1:])
    return torch.sparse_coo_tensor(ids, values, parameter.shape, check_invariants=True)


@every()
def test_gradients_are_not_modified(info, kwargs):
    problem = Problem()
    optimizer = made(info, problem.parameters, kwargs)
    problem()
    before = [(p.grad.clone(), p.grad._version) for p in problem.parameters]
    optimizer.step()
    for parameter, (gradient, version) in zip(problem.parameters, before, strict=True):
        assert_tensors_identical(parameter.grad, gradient)
        assert parameter.grad._version == version


# Complex numbers


@every()
def test_a_complex_number_is_two_real_ones(info, kwargs):
    source = torch.Generator().manual_seed(0)
    whole = torch.nn.Parameter(torch.randn(5, 4, dtype=torch.complex128, generator=source))
    pair = torch.nn.Parameter(torch.view_as_real(whole.detach()).clone())
    optimizers = made(info, [whole], kwargs), made(info, [pair], kwargs)
    for _ in range(4):
        whole.grad = torch.randn(whole.shape, dtype=whole.dtype, generator=source)
        pair.grad = torch.view_as_real(whole.grad)
        for optimizer in optimizers:
            optimizer.step()
        assert_tensors_identical(torch.view_as_real(whole.detach()), pair.detach())


def rosenbrock(xy):
    x, y = xy
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


@every()
def test_real_and_imaginary_parts_apart(info, kwargs):
    whole = torch.nn.Parameter(torch.tensor([0.5 + 0.2j, -0.3 + 1j], dtype=torch.complex128))
    parts = [torch.nn.Parameter(part.clone()) for part in (whole.detach().real, whole.detach().imag)]
    optimizers = made(info, [whole], kwargs), made(info, parts, kwargs)
    for _ in range(4):
        for optimizer in optimizers:
            optimizer.zero_grad()
        rosenbrock(whole).abs().backward()
        rosenbrock(torch.complex(*parts)).abs().backward()
        for optimizer in optimizers:
            optimizer.step()
        assert_tensors_close(whole.detach(), torch.complex(*parts).detach(), "float64")


# Sparse gradients


def one_sided(parameter, side: int, sparse: bool):
    """The gradient of one coordinate, as a sparse tensor that names its row twice."""
    x, y = parameter.detach()
    value = [-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2)][side]
    gradient = torch.sparse_coo_tensor(
        [[side, side]], torch.stack([value / 4, value - value / 4]), (2,), check_invariants=True
    )
    return gradient if sparse else gradient.to_dense()


@pytest.mark.sampled(12)
@pytest.mark.parametrize("scheduled", [False, True], ids=["", "scheduled"])
@pytest.mark.parametrize("maximize", [False, True], ids=["down", "up"])
@EACH
def test_sparse_rosenbrock(info, maximize, scheduled):
    """Cyclic coordinate descent: sparse gradients do what dense ones do, also where torch accepts none.

    Rows without a gradient catch up before each comparison; Adam and its kind have no closed form for that.
    """
    settings = info.metadata_for_sparse[0] if info.supports_sparse else {"lr": 1e-3}
    constructors = [functools.partial(StepLR, gamma=0.99, step_size=3)] if scheduled else []
    runs = []
    exact = info.name not in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")
    for sparse in (True, False):
        parameter = torch.nn.Parameter(torch.tensor([1.5, 1.5], dtype=torch.float64))
        how = {"lazy": "exact" if exact else "touched", "engine": "reference" if maximize else ENGINES[info.name]}
        optimizer = made(info, [parameter], settings | how, maximize=maximize, weight_decay=0)
        runs.append((sparse, parameter, optimizer, [constructor(optimizer) for constructor in constructors]))
    start = rosenbrock(runs[0][1]).item()
    for t in range(4 if maximize else 30):
        for sparse, parameter, optimizer, schedulers in runs:
            parameter.grad = one_sided(parameter, t % 2, sparse)
            optimizer.step()
            optimizer.settle()
            for scheduler in schedulers:
                scheduler.step()
        if exact:
            assert_tensors_close(runs[0][1], runs[1][1], "lazy", f"step {t + 1}")
    for _, parameter, *_ in runs:
        assert (rosenbrock(parameter).item() > start) == maximize


# State dicts


def on(info, kwargs, steps: int = 5):
    """A problem and its optimizer after some steps."""
    problem = Problem()
    optimizer = made(info, problem.parameters, kwargs)
    run(problem, optimizer, steps)
    return problem, optimizer


def resumed(info, kwargs, problem, state_dict):
    """Another optimizer of equal parameters, with the given state."""
    other = Problem()
    for parameter, old in zip(other.parameters, problem.parameters, strict=True):
        parameter.data = old.detach().clone()
    optimizer = made(info, other.parameters, kwargs)
    optimizer.load_state_dict(state_dict)
    return other, optimizer


def goes_on_alike(runs, steps: int = 5):
    for problem, optimizer in runs:
        run(problem, optimizer, steps)
    for found, expected in zip(runs[1][0].parameters, runs[0][0].parameters, strict=True):
        assert_tensors_identical(found, expected)


@every()
def test_a_loaded_state_continues_in_the_same_way(info, kwargs):
    problem, optimizer = on(info, kwargs)
    state, untouched = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(optimizer.state_dict())
    other, loaded = resumed(info, kwargs, problem, state)
    goes_on_alike([(problem, optimizer), (other, loaded)])
    assert_states_identical(state, untouched, "the state dict that was loaded")
    assert_states_identical(loaded.state_dict(), optimizer.state_dict())


@every()
def test_through_a_file_that_cannot_run_code(info, kwargs):
    problem, optimizer = on(info, kwargs)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    loaded = resumed(info, kwargs, problem, torch.load(file, weights_only=True))
    assert_states_identical(loaded[1].state_dict(), optimizer.state_dict())
    goes_on_alike([(problem, optimizer), loaded])


@EACH
def test_older_state_dicts(info):
    """Flags that torch added later are not in old checkpoints."""
    problem, optimizer = on(info, {})
    for flag in info.not_og_supported_flags:
        state = copy.deepcopy(optimizer.state_dict())
        for group in state["param_groups"]:
            group.pop(flag, None)
        goes_on_alike([on(info, {}), resumed(info, {}, problem, state)])


@EACH
def test_steps_counted_by_a_number(info):
    problem, optimizer = on(info, {})
    state = copy.deepcopy(optimizer.state_dict())
    for tensors in state["state"].values():
        if "step" in tensors:
            tensors["step"] = tensors["step"].item()
    goes_on_alike([(problem, optimizer), resumed(info, {}, problem, state)])


@every()
def test_there_is_state_to_compare(info, kwargs):
    _, optimizer = on(info, kwargs, steps=1)
    remembers = info.name != "SGD" or bool(kwargs.get("momentum"))
    assert all(bool(tensors) == remembers for tensors in optimizer.state_dict()["state"].values())


@pytest.mark.parametrize("loaded", ["named", "unnamed"])
@pytest.mark.parametrize("saved", ["named", "unnamed"])
@EACH
def test_names_of_parameters(info, saved, loaded):
    def optimizer_of(problem, kind):
        names = ("weight", "bias")
        return made(info, list(zip(names, problem.parameters, strict=True)) if kind == "named" else problem.parameters)

    old, new = Problem(), Problem()
    optimizer = optimizer_of(old, saved)
    run(old, optimizer, 2)
    other = optimizer_of(new, loaded)
    other.load_state_dict(optimizer.state_dict())
    assert ("param_names" in optimizer.param_groups[0]) == (saved == "named")
    assert ("param_names" in other.param_groups[0]) == ("named" in (saved, loaded))
    for tensors, expected in zip(other.state.values(), optimizer.state.values(), strict=True):
        for key, value in expected.items():
            assert_tensors_identical(tensors[key], value, key)


@EACH
def test_copies_have_all_public_attributes(info):
    _, optimizer = on(info, {})
    public = {key for key in vars(optimizer) if not key.startswith("_")}
    assert public == {key for key in vars(copy.deepcopy(optimizer)) if not key.startswith("_")}
    assert public == {key for key in vars(made(info, [torch.nn.Parameter(torch.ones(1))])) if not key.startswith("_")}


@every()
def test_a_printed_optimizer_names_its_settings(info, kwargs):
    _, optimizer = on(info, kwargs, steps=0)
    for key in kwargs:
        assert f"{key}: " in repr(optimizer)
    assert info.name in repr(optimizer)


# Hooks


@EACH
def test_step_hooks(info):
    """Own ones, and those for all optimizers, in torch's order; a hook may change the arguments."""
    problem, calls = Problem(), []
    optimizer = made(info, problem.parameters)

    def noting(what):
        return lambda hooked, args, kwargs: calls.append((what, hooked is optimizer))

    handles = [
        register_optimizer_step_pre_hook(noting("before any")),
        register_optimizer_step_post_hook(noting("after any")),
        optimizer.register_step_pre_hook(noting("before")),
        optimizer.register_step_post_hook(noting("after")),
    ]
    optimizer.step(problem)
    order = ["before any", "before", "after", "after any"]
    assert calls == [(what, True) for what in order]
    for handle in handles:
        handle.remove()
    optimizer.step(problem)
    assert len(calls) == 4
    optimizer.register_step_pre_hook(lambda hooked, args, kwargs: ((hooked, problem), {}))
    problem.parameters[0].grad = None
    assert optimizer.step() is not None
    assert problem.parameters[0].grad is not None


@EACH
def test_state_dict_hooks(info):
    _, optimizer = on(info, {})
    calls = []
    optimizer.register_state_dict_pre_hook(lambda hooked: calls.append("before"))
    optimizer.register_state_dict_post_hook(lambda hooked, state: state | {"note": len(calls)})
    assert optimizer.state_dict()["note"] == 1
    optimizer.register_state_dict_post_hook(lambda hooked, state: state | {"note": -1}, prepend=True)
    assert optimizer.state_dict()["note"] == 2


@EACH
def test_load_hooks(info):
    """One before may change what is loaded, in order, each once; one after sees it loaded."""
    _, optimizer = on(info, {})
    state, calls = optimizer.state_dict(), []
    loading = made(info, Problem().parameters)

    def set_rate(rate):
        def hook(hooked, loaded):
            calls.append(rate)
            return loaded | {"param_groups": [group | {"lr": rate} for group in loaded["param_groups"]]}

        return hook

    loading.register_load_state_dict_pre_hook(set_rate(0.5))
    loading.register_load_state_dict_pre_hook(set_rate(0.25), prepend=True)
    loading.register_load_state_dict_post_hook(lambda hooked: calls.append(hooked.param_groups[0]["lr"]))
    loading.load_state_dict(state)
    assert calls == [0.25, 0.5, 0.5]
    assert loading.param_groups[0]["lr"] == 0.5
    assert state["param_groups"][0]["lr"] == optimizer.param_groups[0]["lr"]
    loading.load_state_dict(state)
    assert calls == 2 * [0.25, 0.5, 0.5]


@EACH
def test_a_load_hook_that_edits_in_place(info):
    _, optimizer = on(info, {})
    other = made(info, Problem().parameters)

    def hook(hooked, loaded):
        loaded["param_groups"] = [group | {"lr": 0.75} for group in loaded["param_groups"]]

    other.register_load_state_dict_pre_hook(hook)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.75


# Errors


ERRORS = [
    pytest.param(info, case, id=f"{info.name}, {case.optimizer_error_input.desc}")
    for info in DB.values()
    for case in info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
]


@pytest.mark.parametrize("info, case", ERRORS)
def test_errors(info, case):
    params, kwargs = case.optimizer_error_input.params, case.optimizer_error_input.kwargs
    if issubclass(case.error_type, Warning):
        with pytest.warns(case.error_type, match=case.error_regex):
            made(info, params, kwargs)
    else:
        with pytest.raises(case.error_type, match=case.error_regex):
            made(info, params, kwargs)


@pytest.mark.parametrize("name", [name for name, info in DB.items() if "fused" in info.supported_impls])
def test_fused_steps_of_parameters_without_memory(name):
    layer = torch.nn.Linear(3, 2, device="meta")
    optimizer = getattr(optim, name)(layer.parameters(), lr=0.1, fused=True)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    message = "`fused=True` requires all the params to be floating point Tensors of supported devices"
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()


@pytest.mark.parametrize("name", [name for name, info in DB.items() if "fused" in info.supported_impls])
@pytest.mark.parametrize("found", [0.0, 1.0])
def test_fused_steps_are_skipped_where_an_infinity_was_found(name, found):
    """As GradScaler hands it over, on CPUs too."""
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    for library, parameter in ((optim, ours), (torch.optim, theirs)):
        optimizer = getattr(library, name)([parameter], lr=0.1, fused=True)
        optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(found)
        parameter.grad = torch.ones(5)
        optimizer.step()
    assert_tensors_close(ours, theirs, "torch float32")
    assert torch.equal(ours, torch.ones(5)) == bool(found)
