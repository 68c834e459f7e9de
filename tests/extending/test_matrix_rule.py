"""A custom rule of whole matrices, defined in this file, steps in lockstep with the same loop written out in NumPy.

What a change of this kind touches: for a custom rule only the file that defines it; for a built-in one
`src/surefoot/rules/NAME.py`, its line in `rules/__init__.py`, and the changelog.
"""

import pickle

import numpy as np
import pytest
from support.numerics import assert_identical

import surefoot
from surefoot import ops, rules
from surefoot.cli import run
from surefoot.engines import NonFiniteError, Step
from surefoot.engines.bank import ModelBank
from surefoot.rules import RuleError, direction, fraction, matrix, matrix_rule, nonnegative, scalar

ENGINES = ("cpu", "reference")


def power(symmetric, exponent):
    values, vectors = ops.eigh(symmetric)
    return (vectors * ops.maximum(values, 1e-12) ** exponent) @ vectors.swapaxes(-1, -2)


@matrix_rule(
    slots={"left": matrix(lambda shape: (shape[0],) * 2), "right": matrix(lambda shape: (shape[1],) * 2)},
    hyper={"lr": nonnegative(0.1), "eps": nonnegative(1e-4)},
    dimensions=2,
)
def shampoo(x, g, left, right, lr, eps):
    "Shampoo: a preconditioner for the rows and one for the columns."
    left, right = left + g @ g.swapaxes(-1, -2), right + g.swapaxes(-1, -2) @ g
    update = power(left + eps * np.eye(len(left), dtype=g.dtype), -0.25) @ g
    return lr * update @ power(right + eps * np.eye(len(right), dtype=g.dtype), -0.25), left, right


@matrix_rule(
    slots={"velocity": direction(), "steps": scalar()},
    hyper={"lr": nonnegative(0.1), "beta": fraction(0.9)},
    dimensions=2,
)
def orthogonal(x, g, velocity, steps, lr, beta):
    "Muon by a singular value decomposition: the velocity with all singular values 1."
    velocity = beta * velocity + g
    U, _, V = ops.svd(velocity, full_matrices=False)
    return lr * U @ V, velocity, steps + 1


def written_out(x, gradients, lr, eps, decay=0.0):
    """Shampoo as a loop, with decoupled weight decay."""
    L, R = np.zeros((len(x),) * 2), np.zeros((x.shape[1],) * 2)
    for g in gradients:
        x = (1 - lr * decay) * x
        L, R, roots = L + g @ g.T, R + g.T @ g, []
        for total in (L, R):
            values, vectors = np.linalg.eigh(total + eps * np.eye(len(total)))
            roots.append((vectors * values**-0.25) @ vectors.T)
        x = x - lr * roots[0] @ g @ roots[1]
        yield x


@pytest.fixture
def gradients():
    return np.random.default_rng(0).normal(size=(12, 4, 3))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lockstep_with_the_loop(gradients, engine, decay):
    step = Step(shampoo, lr=0.2, engine=engine, decoupled_weight_decay=decay)
    x = np.ones((4, 3))
    state = step.init(x)
    assert {name: slot.shape for name, slot in state.slots.items()} == {"left": (4, 4), "right": (3, 3)}
    for g, expected in zip(gradients, written_out(x, gradients, 0.2, 1e-4, decay), strict=True):
        step.dense(x, g, state)
        np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-14)


def test_the_gradient_is_changed_before_the_rule_sees_it(gradients):
    """As it is for gradient descent, whose step at η = 1 it is."""
    settings = {"weight_decay": 0.5, "clip_norm": 1.0, "maximize": True}
    changed, plain = Step("full_matrix", **settings), Step("full_matrix")
    descent = Step("sgd", lr=1.0, engine="reference", **settings)
    x, y = np.ones((4, 3)), np.ones((4, 3))
    of_x, of_y = changed.init(x), plain.init(y)
    for g in gradients:
        moved = y.copy()
        descent.dense(moved, g, descent.init(moved))
        changed.dense(x, g, of_x)
        plain.dense(y, y - moved, of_y)
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_stacks_step_as_their_vectors_do(gradients):
    step, x = Step("full_matrix", average=True), np.ones((4, 3))
    state, alone = step.init(x), [np.ones(3) for _ in x]
    states = list(map(step.init, alone))
    for g in gradients:
        step.dense(x, g, state)
        for part, of_part, y in zip(g, states, alone, strict=True):
            step.dense(y, part, of_part)
    np.testing.assert_allclose(x, alone, rtol=1e-12)
    np.testing.assert_allclose(state.average, [each.average for each in states], rtol=1e-12)
    np.testing.assert_allclose(step.rates(x, state), list(map(step.rates, alone, states)), rtol=1e-9)


def test_momentum_and_a_number_of_the_tensor(gradients):
    step, x = Step(orthogonal, lr=0.1), np.zeros((4, 3), np.float32)
    state = step.init(x)
    for g in gradients.astype(np.float32):
        before = x.copy()
        step.dense(x, g, state)
        np.testing.assert_allclose(np.linalg.svd(before - x)[1], 0.1, rtol=1e-4)
    assert state.slots["velocity"].shape == (4, 3)
    assert state.slots["steps"].item() == 12


def test_a_slot_that_is_handed_on():
    slots, hyper = {"last": direction(), "older": direction()}, {"lr": nonnegative(0.1)}
    step = Step(matrix_rule(slots=slots, hyper=hyper)(lambda x, g, last, older, lr: (lr * older, g, last)))
    x = np.zeros(3)
    state = step.init(x)
    for t in (1.0, 2.0, 3.0):
        step.dense(x, np.full(3, t), state)
    assert (state.slots["last"].tolist(), state.slots["older"].tolist()) == ([3.0] * 3, [2.0] * 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_a_step_takes_place_as_a_whole_or_not_at_all(bad):
    for rule in ("full_matrix", shampoo):
        g, x = np.ones((4, 3)), np.ones((4, 3))
        step = Step(rule, nonfinite="skip")
        state = step.init(x)
        step.dense(x, g, state)
        before = pickle.loads(pickle.dumps((x, state.slots)))
        g[1, 2] = bad
        step.dense(x, g, state)
        assert_identical(x, before[0])
        for name, slot in state.slots.items():
            assert_identical(slot, before[1][name])
        assert (state.t, state.skipped) == (2, 12)
        with pytest.raises(NonFiniteError, match="12 of 12 coordinates"):
            Step(rule).dense(x, g, state)
        Step(rule, nonfinite="propagate").dense(x, g, state)
        assert not np.isfinite(x).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"l1": 0.1}, "proximal acts on each coordinate and its rate.*leave out l1 and l2"),
        ({"stochastic_rounding": 1}, "leave out stochastic_rounding"),
        ({"granularity": "row"}, "granularity 'row' would change nothing"),
        ({"eps": -1}, "eps must lie in"),
    ],
)
def test_settings_that_cannot_be_honoured(settings, message):
    with pytest.raises(ValueError, match=message):
        Step(shampoo, **settings)


def test_parameters_and_gradients_that_do_not_fit():
    step, x = Step(shampoo), np.ones((4, 3))
    with pytest.raises(ValueError, match=r"shampoo is for parameters of 2 or more dimensions, got shape \(3,\)"):
        step.init(np.ones(3))
    with pytest.raises(ValueError, match="steps whole arrays, not some of their rows; expected a dense gradient"):
        step.rows(x, np.array([1]), np.ones((1, 3)), step.init(x))
    with pytest.raises(RuleError, match="shampoo: the rule has no rate for each coordinate"):
        step.rates(x, step.init(x))


def test_fronts_that_run_rules_of_coordinates_alone():
    data = np.ones((4, 2)), np.array([0, 1, 0, 1])
    fronts = [lambda rule: surefoot.LinearClassifier(optimizer=rule).fit(*data)]
    fronts.append(lambda rule: surefoot.compare("airfoil", [rule]))
    fronts.append(lambda rule: ModelBank("linear", [Step(rule)]))
    for front in fronts:
        for rule in ("full_matrix", shampoo):
            with pytest.raises(ValueError, match=r"takes whole arrays, which|found matrices"):
                front(rule)


@pytest.mark.parametrize("name", ["full_matrix", "shampoo"])
def test_torch_optimizers_take_the_same_steps(name):
    torch, rng = pytest.importorskip("torch"), np.random.default_rng(0)
    from surefoot import optim

    arrays = [rng.normal(size=shape) for shape in ((4, 3), (5,), (2, 3, 3))]
    own = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in arrays]
    optimizer = optim.RuleOptimizer(own, name, lr=0.1, decoupled_weight_decay=0.1)
    steps = [Step(name, lr=0.1, decoupled_weight_decay=0.1) for _ in arrays]
    states = [step.init(x) for step, x in zip(steps, arrays, strict=True)]
    for t in range(4):
        for x, p, step, state in zip(arrays, own, steps, states, strict=True):
            g = rng.normal(size=x.shape)
            step.dense(x, g, state)
            p.grad = torch.from_numpy(g)
        optimizer.step()
        if t == 1:  # which goes on from a state dict
            saved, optimizer = optimizer.state_dict(), optim.RuleOptimizer(own, name, lr=0.1)
            optimizer.load_state_dict(saved)
    for x, p, state in zip(arrays, own, states, strict=True):
        assert_identical(p.detach().numpy(), x)
        for slot, value in state.slots.items():
            assert_identical(optimizer.state[p][slot].numpy(), value)


def test_what_torch_optimizers_of_such_rules_cannot_do():
    torch = pytest.importorskip("torch")
    from surefoot import optim

    def stepped(parameter, gradient=None, **settings):
        parameter = torch.nn.Parameter(parameter)
        optimizer = optim.RuleOptimizer([parameter], "shampoo", **settings)
        parameter.grad = torch.ones_like(parameter) if gradient is None else gradient
        optimizer.step()
        return optimizer, parameter

    sparse = torch.sparse_coo_tensor([[1]], torch.ones(1, 3), (4, 3), check_invariants=True)
    optimizer, parameter = stepped(torch.ones(4, 3))
    before = optimizer.state[parameter]["left"].clone()
    optimizer.reset(parameter, 0.0, rows=[1])  # rows have the state in common
    assert_identical(optimizer.state[parameter]["left"].numpy(), before.numpy())
    for wrong, message in (
        (lambda: stepped(torch.ones(())), "this parameter is a single number"),
        (lambda: stepped(torch.ones(2, 2, dtype=torch.complex64)), "this parameter is complex"),
        (lambda: stepped(torch.ones(4, 3), sparse), "not some of their rows; expected a dense gradient"),
        (lambda: stepped(torch.ones(4, 3), differentiable=True), "none of differentiable=True"),
        (lambda: stepped(torch.ones(4, 3), engine="torch"), "expected parameters on a CPU"),
        (lambda: optimizer.grow(parameter, 6), "the state is not of rows"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(TypeError, match="diagnose looks at coordinates, and shampoo steps whole arrays"):
        surefoot.diagnose(optimizer)
    matrices = optim.groups(torch.nn.Linear(3, 2), {"weight": {"rule": "shampoo", "lr": 0.1}, "*": "adamw"})
    assert list(optim.Grouped(matrices).parts) == ["shampoo", "adamw"]


def test_trace_and_rules_from_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "from surefoot.rules import matrix_rule, nonnegative\n\n@matrix_rule(hyper={'lr': nonnegative(0.1)})\n"
    (tmp_path / "own.py").write_text(text + "def turned(x, g, lr):\n    'Backwards.'\n    return (lr * g[::-1],)\n")
    rule = rules.resolve("own.py:turned", matrices=True)
    assert pickle.loads(pickle.dumps(rule)) is rule
    assert run(["rules", "own.py"]) == 0
    assert "Backwards." in capsys.readouterr().out
    assert run(["trace", "own.py:turned"]) == 2
    assert capsys.readouterr().err == (
        "error: turned: the rule has no rate for each coordinate; give it one, as MatrixRule(rates=…)\n"
    )


def wrong(function, message, **description):
    with pytest.raises(RuleError, match=message):
        matrix_rule(**{"hyper": {"lr": nonnegative(0.1)}, **description})(function)


def test_matrices_that_cannot_be_decomposed_give_nan():
    stack = np.float32([np.eye(2), np.full((2, 2), np.nan)])
    assert all(np.isnan(part[1]).all() and part.dtype == np.float32 for part in (*ops.eigh(stack), *ops.svd(stack)))
    assert [part.shape for part in ops.svd(stack[:, :1], full_matrices=False)] == [(2, 1, 1), (2, 1), (2, 1, 2)]


def test_rules_that_cannot_be_run():
    square = {"outer": matrix(lambda shape: (*shape, shape[-1]))}
    wrong(lambda g, lr: (lr * g,), r"must take \(x, g, …\)")
    wrong(lambda x, g, lr: lr * g, "returns one value; expected a tuple of update")
    wrong(lambda x, g, lr: (lr * g, g), "returns 2 values")
    wrong(lambda x, g, lr: (lr * g[:1],), r"update after the step is float32 of shape \(1,\)")
    wrong(lambda x, g, lr: (lr * np.float64([1, 2, 3]),), "update after the step is float64")
    wrong(lambda x, g, outer, lr: (lr * g, g), r"outer after the step is float32 of shape \(3,\)", slots=square)
    wrong(lambda x, g, lr: (lr @ g,), r"a trial step of a parameter of shape \(3,\) failed")
    wrong(lambda x, g, lr: (lr * g,), "lazy_exact is for rules of coordinates", lazy_exact=True)
    wrong(
        lambda x, g, outer, rate: (rate * g, outer),
        "coefficients take 'outer', a matrix",
        slots=square,
        coefficients=lambda t, lr, outer: (lr,),
    )
    with pytest.raises(RuleError, match="slot 'outer' is a matrix; expected a matrix_rule"):
        rules.rule(slots=square, hyper={"lr": nonnegative(0.1)})(lambda x, g, g2, outer, lr: (lr, g, outer))
