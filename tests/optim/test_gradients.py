"""Every kind of gradient: sparse ones do what dense ones do, whatever the layout, the type or the shape."""

import pytest
from support.covering import marked
from support.optimizers import (
    CLASSES,
    ENGINES,
    RULES,
    assert_tensors_close,
    assert_tensors_identical,
    by_hand,
    clones,
    coo,
    numbers,
    optim,
    parameters,
    stepped,
    torch,
)

STEPS = 5
IDS = ([0, 2, 0], [2, 3, 2, 2], [4, 4, 0], [], [1, 0, 1])
"""The rows that each step names: some twice, some never (5), some after a long time, and once none."""


def values(*shape, dtype=torch.float64, seed: int = 0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def ids_of(t):
    return torch.tensor([IDS[t]], dtype=torch.int64)


# Sparse gradients: kind: (shape of the parameter, step number -> gradient)


def rows(*shape):
    def make(t, dtype):
        return coo(ids_of(t), values(len(IDS[t]), *shape[1:], dtype=dtype, seed=t), shape)

    return shape, make


def coalesced(t, dtype):
    return rows(6, 3)[1](t, dtype).coalesce()


def places(sparse_dims, *shape):
    """Several sparse dimensions: the last two entries name the same place."""

    def make(t, dtype):
        source = torch.Generator().manual_seed(t)
        ids = torch.stack([torch.randint(0, n - 1, (4,), generator=source) for n in shape[:sparse_dims]])
        ids[:, 3] = ids[:, 2]
        return coo(ids, values(4, *shape[sparse_dims:], dtype=dtype, seed=t), shape)

    return shape, make


def expanded(*shape):
    """One value for all, at one address."""

    def make(t, dtype):
        value = values(*len(shape) * [1], dtype=dtype, seed=t)
        return coo(ids_of(t), value.expand(len(IDS[t]), *shape[1:]), shape)

    return shape, make


def with_gaps(t, dtype):
    return coo(ids_of(t), values(len(IDS[t]), 3, 2, dtype=dtype, seed=t)[..., 0], (6, 3))


def by_columns(t, dtype):
    return coo(ids_of(t), values(3, len(IDS[t]), dtype=dtype, seed=t).t(), (6, 3))


SPARSE = {
    "uncoalesced": rows(6, 3),
    "coalesced": ((6, 3), coalesced),
    "one-dimensional": rows(6),
    "one column": rows(6, 1),
    "hybrid": rows(6, 2, 3),
    "no columns": rows(6, 0),
    "two sparse dimensions": places(2, 6, 3),
    "two sparse dimensions, one dense": places(2, 6, 3, 2),
    "three sparse dimensions": places(3, 6, 3, 2),
    "expanded": expanded(6, 3),
    "expanded, one column": expanded(6, 1),
    "values with gaps": ((6, 3), with_gaps),
    "values column by column": ((6, 3), by_columns),
}
EXACT = {
    "sgd": ("SGD", {"lr": 0.1}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.5}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True}),
    "adagrad": ("Adagrad", {"lr": 0.1}),
    "rmsprop": ("RMSprop", {"lr": 0.1, "alpha": 0.8}),
    "adadelta": ("Adadelta", {"lr": 10.0}),
    "ftrl": ("FTRL", {"lr": 0.5, "l1": 0.1, "l2": 0.1}),
}
"""Rows without a gradient can catch up exactly."""

EACH_RULE = pytest.mark.parametrize("rule", marked(EXACT, EXACT.keys() - {"nesterov", "adadelta"}))


@pytest.mark.sampled(8)
@pytest.mark.parametrize("kind", SPARSE)
@EACH_RULE
def test_sparse_is_dense(rule, kind):
    """On all rows, also those without a gradient, and in the state."""
    (name, settings), (shape, make) = EXACT[rule], SPARSE[kind]
    sparse, dense = parameters(shape, dtype=torch.float64), parameters(shape, dtype=torch.float64)
    some, all_ = getattr(optim, name)(sparse, **settings), getattr(optim, name)(dense, **settings)
    gradients = [make(t, torch.float64) for t in range(STEPS)]
    stepped(some, sparse[0], gradients)
    stepped(all_, dense[0], [gradient.to_dense() for gradient in gradients])
    assert_tensors_close(sparse[0], dense[0], "lazy")
    if name == "FTRL":  # whose z takes in an initial value when its row is stepped
        stepped(some, sparse[0], [torch.zeros(shape, dtype=torch.float64)])
        stepped(all_, dense[0], [torch.zeros(shape, dtype=torch.float64)])
    for key, value in all_.state[dense[0]].items():
        assert_tensors_close(some.state[sparse[0]][key], value, "lazy", key)


@pytest.mark.parametrize("name", [*CLASSES, "SGD with momentum"])
def test_touched(name):
    """With lazy="touched" the rows without a gradient are skipped, and so is their state."""
    name, momentum = name.split()[0], {"momentum": 0.5} if "momentum" in name else {}
    shape, make = SPARSE["uncoalesced"]
    (parameter,) = parameters(shape, dtype=torch.float64)
    optimizer = getattr(optim, name)([parameter], lr=0.1, lazy="touched", engine=ENGINES[name], **momentum)
    for t in range(STEPS):
        before = parameter.detach().clone()
        memory = {key: value.clone() for key, value in optimizer.state.get(parameter, {}).items()}
        stepped(optimizer, parameter, [make(t, torch.float64)])
        left_out = [row for row in range(6) if row not in IDS[t]]
        assert_tensors_identical(parameter.detach()[left_out], before[left_out])
        for key, value in memory.items():
            if value.shape:
                assert_tensors_identical(optimizer.state[parameter][key][left_out], value[left_out], key)
        for row in IDS[t]:
            assert (parameter[row] != before[row]).all()


ALWAYS = [0, 2, 3]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", CLASSES)
def test_rows_with_a_gradient_in_every_step(name):
    """They are stepped as by dense gradients, bit for bit, bias corrections and all."""
    sparse, dense = parameters((6, 3), dtype=torch.float64), parameters((6, 3), dtype=torch.float64)
    gradients = [coo([ALWAYS], values(3, 3, seed=t), (6, 3)) for t in range(STEPS)]
    engine = None if name in ("SGD", "Adagrad", "Adam", "Yogi") else "reference"
    optimizer = getattr(optim, name)(sparse, lazy="touched", engine=engine)
    stepped(optimizer, sparse[0], gradients)
    stepped(getattr(optim, name)(dense), dense[0], [gradient.to_dense() for gradient in gradients])
    assert_tensors_identical(sparse[0].detach()[ALWAYS], dense[0].detach()[ALWAYS])


@pytest.mark.parametrize("name, lazy", [*((name, "touched") for name in CLASSES), ("SGD", "exact"), ("FTRL", "exact")])
@pytest.mark.parametrize("granularity", ["coordinate", "row"])
def test_sparse_rows_by_hand(name, lazy, granularity):
    if name == "SGD" and granularity == "row":
        granularity = "coordinate"
    shape, make = SPARSE["hybrid"]
    start, gradients = parameters(shape)[0], [make(t, torch.float32) for t in range(STEPS)]
    (mine,) = clones([start])
    optimizer = getattr(optim, name)([mine], lr=0.1, lazy=lazy, granularity=granularity, engine="reference")
    rule = "sgd" if name == "SGD" else RULES[name]
    expected, _ = by_hand(rule, start, gradients, lr=0.1, lazy=lazy, granularity=granularity)
    assert_tensors_identical(stepped(optimizer, mine, gradients), expected)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "Yogi"])
def test_rules_without_a_closed_form_say_so(name):
    (parameter,) = parameters((6, 3), dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"parameter 0 of group 0: lazy updates are not exact .* no closed form .*lazy='touched'"
    ):
        stepped(getattr(optim, name)([parameter]), parameter, [SPARSE["uncoalesced"][1](0, torch.float64)])


# Dense and sparse


@EACH_RULE
def test_dense_and_sparse_in_one_group(rule):
    """Two parameters take turns; in either order the result is that of dense gradients."""
    name, settings = EXACT[rule]
    mixed, dense = parameters((6, 3), (6, 3), dtype=torch.float64), parameters((6, 3), (6, 3), dtype=torch.float64)
    optimizers = getattr(optim, name)(mixed, **settings), getattr(optim, name)(dense, **settings)
    make = SPARSE["uncoalesced"][1]
    for t in range(2 * STEPS):
        gradients = [make((t + k) % STEPS, torch.float64) for k in range(2)]
        mixed[0].grad, mixed[1].grad = (g.to_dense() if (t + k) % 3 else g for k, g in enumerate(gradients))
        dense[0].grad, dense[1].grad = (g.to_dense() for g in gradients)
        for optimizer in optimizers:
            optimizer.step()
    optimizers[0].settle()
    for found, expected in zip(mixed, dense, strict=True):
        assert_tensors_close(found, expected, "lazy")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("settings", [{"decoupled_weight_decay": 0.5}, {"l2": 0.5}, {"l1": 0.05}], ids=str)
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_regularization_of_rows_without_a_gradient(name, settings):
    """They catch up when they are next touched, at the rates of the steps that they missed."""
    sparse, dense = parameters((6, 3), dtype=torch.float64), parameters((6, 3), dtype=torch.float64)
    make = SPARSE["uncoalesced"][1]
    engine = None if name == "Adagrad" else "reference"
    runs = [(getattr(optim, name)(ps, lr=0.1, engine=engine, **settings), ps[0]) for ps in (sparse, dense)]
    for t in range(STEPS):
        for (optimizer, parameter), gradient in zip(
            runs, (make(t, torch.float64), make(t, torch.float64).to_dense()), strict=True
        ):
            optimizer.param_groups[0]["lr"] = 0.1 / (t + 1)
            stepped_once(optimizer, parameter, gradient)
    runs[0][0].settle()
    assert_tensors_close(sparse[0], dense[0], "lazy")


def stepped_once(optimizer, parameter, gradient):
    parameter.grad = gradient
    optimizer.step()


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "AdamW"])
def test_weight_decay_of_touched_rows(name):
    """Coupled L2 has no closed form: it acts on the rows with a gradient, on request."""
    make = SPARSE["uncoalesced"][1]
    (parameter,) = parameters((6, 3), dtype=torch.float64)
    start = parameter.detach().clone()
    with pytest.raises(ValueError, match=r"weight_decay adds to every gradient .*lazy='touched'"):
        stepped_once(getattr(optim, name)([parameter], weight_decay=0.5), parameter, make(0, torch.float64))
    assert_tensors_identical(parameter.detach(), start)
    optimizer = getattr(optim, name)([parameter], lr=0.1, weight_decay=0.5, lazy="touched", engine="reference")
    gradients = [make(t, torch.float64) for t in range(STEPS)]
    rule = "sgd" if name == "SGD" else RULES[name]
    expected, _ = by_hand(rule, start, gradients, lr=0.1, weight_decay=0.5, lazy="touched")
    assert_tensors_identical(stepped(optimizer, parameter, gradients), expected)


@pytest.mark.parametrize("kind", ["uncoalesced", "two sparse dimensions"])
@pytest.mark.parametrize("rule", ["sgd", "adagrad", "momentum"])
def test_uphill(rule, kind):
    """maximize is a step along the negative gradient, sparse or dense."""
    (name, settings), (shape, make) = EXACT[rule], SPARSE[kind]
    for of in (lambda g: g, lambda g: g.to_dense()):
        up, down = parameters(shape, dtype=torch.float64), parameters(shape, dtype=torch.float64)
        gradients = [of(make(t, torch.float64)) for t in range(STEPS)]
        engine = None if rule == "adagrad" else "reference"
        stepped(getattr(optim, name)(up, maximize=True, engine=engine, **settings), up[0], gradients)
        stepped(getattr(optim, name)(down, **settings), down[0], [-gradient for gradient in gradients])
        assert_tensors_close(up[0], down[0], "float64")


# Accumulation


def test_micro_batches_are_merged():
    """After the first step, gradients of many backward passes are no longer than a few of them."""
    table = torch.nn.Embedding(1000, 2, sparse=True, dtype=torch.float64)
    dense = torch.nn.Embedding(1000, 2, dtype=torch.float64, _weight=table.weight.detach().clone())
    optimizers = [optim.Adagrad(t.parameters(), lr=0.1) for t in (table, dense)]
    source = torch.Generator().manual_seed(0)
    for _ in range(3):
        longest = 0
        for _ in range(50):
            ids = torch.randint(0, 8, (16,), generator=source)
            for t in (table, dense):
                t(ids).square().sum().backward()
            longest = max(longest, table.weight.grad._nnz())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert longest <= 2 * 8 + 16
    assert_tensors_close(table.weight, dense.weight, "float64")


def test_gradients_that_cannot_be_merged_are_still_summed():
    """Rows without duplicates, and several sparse dimensions."""
    (parameter,) = parameters((6, 3), dtype=torch.float64)
    optimizer = optim.SGD([parameter], lr=0.1)
    make = SPARSE["two sparse dimensions"][1]
    stepped_once(optimizer, parameter, make(0, torch.float64))
    before, parameter.grad = parameter.detach().clone(), None
    for t in range(1, STEPS):
        (make(t, torch.float64).to_dense() * parameter).sum().backward()
    total = sum(make(t, torch.float64).to_dense() for t in range(1, STEPS))
    optimizer.step()
    assert_tensors_close(parameter.detach(), before - 0.1 * total, "float64")


# Complex numbers


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("rule", ["adagrad", "momentum"])
def test_complex_and_sparse(rule, kind):
    """A complex number is two real ones, in sparse gradients too."""
    (name, settings), (shape, make) = EXACT[rule], SPARSE[kind]
    (whole,) = parameters(shape, dtype=torch.complex128)
    pair = torch.nn.Parameter(torch.view_as_real(whole.detach()).clone())
    gradients = [make(t, torch.complex128) for t in range(STEPS)]
    stepped(getattr(optim, name)([whole], **settings), whole, gradients)
    stepped(getattr(optim, name)([pair], **settings), pair, [torch.view_as_real(g.to_dense()) for g in gradients])
    assert_tensors_close(torch.view_as_real(whole.detach()), pair.detach(), "lazy")


@pytest.mark.parametrize(
    "view", [torch.conj, torch._neg_view, lambda g: torch._neg_view(g.conj())], ids=["conj", "neg", "both"]
)
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_gradients_that_are_views(name, view):
    """A conjugate or negative view shows other numbers than its memory holds."""
    gradient = view(values(4, 3, dtype=torch.complex128))
    plain = gradient.resolve_conj().resolve_neg()
    assert plain.data_ptr() != gradient.data_ptr()
    found, expected = parameters((4, 3), dtype=torch.complex128), parameters((4, 3), dtype=torch.complex128)
    stepped(getattr(optim, name)(found), found[0], [gradient, plain, gradient])
    stepped(getattr(optim, name)(expected), expected[0], [plain, plain, plain])
    assert_tensors_identical(found[0].detach(), expected[0].detach())


# Layouts


def gaps(tensor):
    wide = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1])
    wide[..., ::2] = tensor
    return wide[..., ::2]


LAYOUTS = {
    "contiguous": lambda tensor: tensor,
    "channels last": lambda tensor: tensor.contiguous(memory_format=torch.channels_last),
    "transposed": lambda tensor: tensor.transpose(0, 3).contiguous().transpose(0, 3),
    "with gaps": gaps,
    "cut out": lambda tensor: torch.nn.functional.pad(tensor, (1, 1, 1, 1))[..., 1:-1, 1:-1],
}


@pytest.mark.sampled(25)
@pytest.mark.parametrize("of_gradient", [*LAYOUTS, "expanded"])
@pytest.mark.parametrize("of_parameter", LAYOUTS)
@pytest.mark.parametrize("settings", [{}, {"granularity": "row"}], ids=["coordinate", "row"])
def test_layouts(settings, of_parameter, of_gradient):
    """However parameter and gradient lie in memory, the numbers are the same."""
    start = values(2, 3, 4, 5)
    laid, plain = torch.nn.Parameter(LAYOUTS[of_parameter](start.clone())), torch.nn.Parameter(start.clone())
    layout = LAYOUTS.get(of_gradient, lambda tensor: tensor[:1, :1, :1, :1].expand(2, 3, 4, 5))
    gradients = [layout(values(2, 3, 4, 5, seed=t)) for t in range(1, 4)]
    optimizer, expected = optim.Adagrad([laid], **settings), optim.Adagrad([plain], **settings)
    address, stride = laid.data_ptr(), laid.stride()
    stepped(optimizer, laid, gradients)
    stepped(expected, plain, [gradient.contiguous() for gradient in gradients])
    assert_tensors_close(laid, plain, "float64")
    assert_tensors_close(optimizer.state[laid]["sum"], expected.state[plain]["sum"], "float64")
    assert (laid.data_ptr(), laid.stride()) == (address, stride)


@pytest.mark.parametrize("of_parameter", ["transposed", "with gaps", "cut out"])
def test_sparse_gradients_of_noncontiguous_parameters(of_parameter):
    start = values(6, 3, 4, 5)
    laid, plain = torch.nn.Parameter(LAYOUTS[of_parameter](start.clone())), torch.nn.Parameter(start.clone())
    gradients = [rows(6, 3, 4, 5)[1](t, torch.float64) for t in range(STEPS)]
    stepped(optim.RMSprop([laid]), laid, gradients)
    stepped(optim.RMSprop([plain]), plain, gradients)
    assert_tensors_identical(laid.detach(), plain.detach())


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,), (1, 1)], ids=str)
@pytest.mark.parametrize("name", CLASSES)
def test_small_and_empty(name, shape):
    (found,), (expected,) = parameters(shape, dtype=torch.float64), parameters(shape, dtype=torch.float64)
    gradients = [values(*shape, seed=t) for t in range(3)]
    stepped(getattr(optim, name)([found]), found, gradients)
    stepped(getattr(optim, name)([expected], engine="reference"), expected, gradients)
    assert_tensors_identical(found.detach(), expected.detach())
    assert found.shape == shape


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex128, torch.complex64]


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_mixed_types_in_one_group(name):
    """Each parameter is stepped as if it were alone."""
    together = [parameter for dtype in DTYPES for parameter in parameters((3, 2), (2,), dtype=dtype)]
    alone = clones(together)
    gradients = [[values(*p.shape, dtype=p.dtype, seed=10 * k + t) for t in range(3)] for k, p in enumerate(together)]
    optimizer = getattr(optim, name)(together, lr=0.1)
    for t in range(3):
        for parameter, some in zip(together, gradients, strict=True):
            parameter.grad = some[t]
        optimizer.step()
    for parameter, found, some in zip(alone, together, gradients, strict=True):
        lone = getattr(optim, name)([parameter], lr=0.1)
        stepped(lone, parameter, some)
        assert_tensors_identical(found.detach(), parameter.detach(), str(parameter.dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sparse_gradients_in_half_precision(dtype):
    shape, make = SPARSE["uncoalesced"]
    start, gradients = parameters(shape, dtype=dtype)[0], [make(t, dtype) for t in range(STEPS)]
    (mine,) = clones([start])
    found = stepped(optim.Adagrad([mine], lr=0.1), mine, gradients)
    assert_tensors_identical(found, by_hand("adagrad", start, gradients, lr=0.1)[0])


# Parameters without a gradient, and some with


def test_parameters_with_gradients_from_time_to_time():
    """Some have no gradient at some steps, which are then not counted for them."""
    ours, theirs = parameters((2,), (3,), (4,), dtype=torch.float64), parameters((2,), (3,), (4,), dtype=torch.float64)
    pairs = [(optim.Adam(ours), ours), (torch.optim.Adam(theirs), theirs)]
    for t, chosen in enumerate([(0, 1, 2), (1,), (), (0, 2), (0, 1, 2), (2,), (0, 1, 2)]):
        for optimizer, parameters_ in pairs:
            optimizer.zero_grad()
            for k in chosen:
                parameters_[k].grad = values(*parameters_[k].shape, seed=t)
            optimizer.step()
        for found, expected in zip(ours, theirs, strict=True):
            assert_tensors_close(found, expected, "float64", f"step {t + 1}")
    assert [int(pairs[0][0].state[p]["step"]) for p in ours] == [4, 4, 5]


def test_parameters_that_need_no_gradient():
    frozen, free = parameters((2,), (2,))
    frozen.requires_grad = False
    optimizer = optim.Adagrad([frozen, free])
    free.grad = torch.ones(2)
    before = frozen.detach().clone()
    optimizer.step()
    assert_tensors_identical(frozen.detach(), before)


# Closures


@pytest.mark.parametrize("name", CLASSES)
def test_closures(name):
    """They are called once, with gradients enabled, and what they return is returned."""
    (parameter,) = parameters((3,))
    optimizer, calls = getattr(optim, name)([parameter]), []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert calls == [True]
    assert loss.requires_grad
    assert optimizer.step() is None


# Steps that autograd sees through

DIFFERENTIABLE = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.1},
    "Adagrad": {"lr_decay": 0.1, "initial_accumulator_value": 0.2},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "Adadelta": {"weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"maximize": True},
    "NAdam": {},
    "RAdam": {},
    "Adamax": {},
    "Yogi": {},
    "FTRL": {"l1": 0.01, "l2": 0.1},
}


def trained(name, start, lr, steps: int = 3):
    """The parameters after some steps on a quartic, as a function of where they start and of the rate."""
    x = start.clone()
    optimizer = getattr(optim, name)([x], lr=lr, differentiable=True, **DIFFERENTIABLE[name])
    for _ in range(steps):
        x.grad = x.clone() ** 3
        optimizer.step()
    return x


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_derivative_by_the_start(name):
    start = values(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda start: trained(name, start, 0.1), (start,))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_derivative_by_the_rate(name):
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda lr: trained(name, values(3), lr), (lr,))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_derivative_by_the_memory(name):
    """By the state before the step, set by hand."""
    (like,) = parameters((3,), dtype=torch.float64)
    optimizer = getattr(optim, name)([like], **DIFFERENTIABLE[name])
    stepped(optimizer, like, [values(3)])
    memory = {key: value for key, value in optimizer.state[like].items() if value.shape}
    others = {key: value for key, value in optimizer.state[like].items() if not value.shape}

    def one_step(start, gradient, *slots):
        x = start.clone()
        x.grad = gradient.clone()
        later = getattr(optim, name)([x], lr=0.1, differentiable=True, **DIFFERENTIABLE[name])
        slots = {key: slot.clone() for key, slot in zip(memory, slots, strict=True)}
        later.state[x] = slots | {key: value.clone() for key, value in others.items()}
        later.step()
        return x, *(later.state[x][key] for key in memory)

    inputs = [values(3, seed=5), values(3, seed=6), *(value + 0.5 for value in memory.values())]
    assert torch.autograd.gradcheck(one_step, [tensor.requires_grad_() for tensor in inputs])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_differentiable_step_is_the_same_step(name):
    found = trained(name, values(3).requires_grad_(), 0.1)
    (expected,) = clones([values(3)])
    optimizer = getattr(optim, name)([expected], lr=0.1, **DIFFERENTIABLE[name])
    for _ in range(3):
        stepped(optimizer, expected, [expected.detach() ** 3])
    assert_tensors_close(found, expected, "float64")


# Clipping


def with_gradients(dtype=torch.float64):
    """(parameters with sparse and dense gradients, the same all dense)."""
    shapes, makes = zip(
        *(SPARSE[kind] for kind in ("uncoalesced", "one column", "two sparse dimensions", "hybrid")), strict=True
    )
    mixed = parameters(*shapes, (4,), (2,), dtype=dtype)
    dense = clones(mixed)
    for k, make in enumerate(makes):
        mixed[k].grad, dense[k].grad = make(0, dtype), make(0, dtype).to_dense()
    mixed[4].grad, dense[4].grad = values(4, dtype=dtype), values(4, dtype=dtype)
    return mixed, dense


CLIPS = {
    "norm": (optim.clip_grad_norm_, torch.nn.utils.clip_grad_norm_, (1.0,)),
    "norm that is not reached": (optim.clip_grad_norm_, torch.nn.utils.clip_grad_norm_, (1e6,)),
    "1-norm": (optim.clip_grad_norm_, torch.nn.utils.clip_grad_norm_, (1.0, 1.0)),
    "largest": (optim.clip_grad_norm_, torch.nn.utils.clip_grad_norm_, (0.5, float("inf"))),
    "value": (optim.clip_grad_value_, torch.nn.utils.clip_grad_value_, (0.3,)),
}


@pytest.mark.parametrize(
    "clip, dtype", [*((clip, torch.float64) for clip in CLIPS), ("norm", torch.complex128)], ids=str
)
def test_clipping(clip, dtype):
    """As torch clips the equivalent dense gradients: each row counts once, however often it is named."""
    ours, theirs, arguments = CLIPS[clip]
    mixed, dense = with_gradients(dtype)
    found, expected = ours(iter(mixed), *arguments), theirs(iter(dense), *arguments)
    if expected is not None:
        assert_tensors_close(found, expected, "float64", "norm")
    for one, other in zip(mixed, dense, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            assert_tensors_close(one.grad.to_dense(), other.grad, "float64")
    assert [p.grad.is_sparse for p in mixed[:4]] == 4 * [True]


def test_clipping_one_parameter_or_none():
    mixed, _ = with_gradients()
    assert optim.clip_grad_norm_(mixed[0], 1e-3) > 1e-3
    assert numbers(torch.linalg.vector_norm(mixed[0].grad.to_dense())) == pytest.approx(1e-3, rel=1e-2)
    assert optim.clip_grad_norm_([], 1.0) == 0
    optim.clip_grad_value_([mixed[5]], 1.0)


def test_clipping_nonfinite_gradients():
    mixed, _ = with_gradients()
    mixed[0].grad._values()[0, 0] = float("inf")
    before = [p.grad.to_dense() for p in mixed[:5]]
    with pytest.raises(RuntimeError, match="non-finite"):
        optim.clip_grad_norm_(mixed, 1.0, error_if_nonfinite=True)
    for parameter, old in zip(mixed, before, strict=False):
        assert_tensors_identical(parameter.grad.to_dense(), old)


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_a_clipped_step(name):
    mixed, dense = with_gradients()
    for some, clip in ((mixed, optim.clip_grad_norm_), (dense, torch.nn.utils.clip_grad_norm_)):
        optimizer = getattr(optim, name)(some, lr=0.1)
        clip(some, 1.0)
        optimizer.step()
    for found, expected in zip(mixed, dense, strict=True):
        assert_tensors_close(found, expected, "float64")
