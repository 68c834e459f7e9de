"""What only a GPU can show: graphs, streams, GradScaler, and steps that the host does not wait for."""

import contextlib

import pytest
from support.on_gpu import torch

from surefoot import optim
from surefoot.engines import NonFiniteError

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHAPES = ((1000, 33), (1000,), (7,), (64, 128))


def parameters(shapes=SHAPES, seed: int = 0, dtype=None):
    source = torch.Generator(device="cuda").manual_seed(seed)
    made = [torch.randn(shape, generator=source, device="cuda", dtype=dtype) for shape in shapes]
    return [torch.nn.Parameter(data) for data in made]


def set_gradients(own, seed: int):
    source = torch.Generator(device="cuda").manual_seed(seed)
    for p in own:
        gradient = torch.randn(p.shape, generator=source, device="cuda", dtype=p.dtype)
        if p.grad is None:
            p.grad = gradient
        else:
            p.grad.copy_(gradient)


@contextlib.contextmanager
def no_waiting():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def zipf_gradient(rows: int, width: int, count: int, seed: int):
    source = torch.Generator(device="cuda").manual_seed(seed)
    ids = (rows ** torch.rand(count, generator=source, device="cuda")).long() - 1
    values = torch.randn(count, width, generator=source, device="cuda")
    return torch.sparse_coo_tensor(ids[None], values, (rows, width), check_invariants=False)


KINDS = [optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adadelta, optim.Adam, optim.NAdam, optim.Yogi, optim.FTRL]


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cpu_engines_bits(kind, granularity):
    if kind is optim.SGD and granularity != "coordinate":
        return
    ours = parameters()
    theirs = [torch.nn.Parameter(p.data.cpu()) for p in ours]
    pair = [kind(own, lr=0.1, granularity=granularity) for own in (ours, theirs)]
    for step in range(3):
        set_gradients(ours, step)
        for a, b in zip(ours, theirs, strict=True):
            b.grad = a.grad.cpu()
        for optimizer in pair:
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        if granularity == "coordinate":
            assert torch.equal(a.cpu(), b)
        else:
            torch.testing.assert_close(a.cpu(), b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("settings", [{}, {"l1": 1e-3}, {"granularity": "row"}, {"momentum": 0.9}])
def test_the_cpu_engines_bits_of_sparse_steps(settings):
    kind = optim.SGD if "momentum" in settings else optim.Adagrad
    ours = parameters(((5000, 64),))
    theirs = [torch.nn.Parameter(p.data.cpu()) for p in ours]
    pair = [kind(own, lr=0.1, **settings) for own in (ours, theirs)]
    for step in range(3):
        ours[0].grad = zipf_gradient(5000, 64, 3000, step)
        theirs[0].grad = ours[0].grad.cpu()
        for optimizer in pair:
            optimizer.step()
    for optimizer in pair:
        optimizer.settle()
    if "granularity" in settings:
        torch.testing.assert_close(ours[0].cpu(), theirs[0], rtol=1e-5, atol=1e-7)
    else:
        assert torch.equal(ours[0].cpu(), theirs[0])


@pytest.mark.parametrize("kind", [optim.Adagrad, optim.Adam])
def test_threads_do_not_wait(kind):
    own = parameters()
    table = parameters(((1000, 16),))[0]
    optimizer = kind([*own, table], lr=0.1, lazy="touched")
    for step in range(3):
        set_gradients(own, step)
        table.grad = zipf_gradient(1000, 16, 500, step)
        with no_waiting():
            optimizer.step()
    optimizer.synchronize()


def test_equal_bits_in_every_run():
    results = []
    for _ in range(2):
        table = parameters(((1000, 16),))[0]
        optimizer = optim.Adagrad([table], lr=0.1, granularity="tensor")
        for step in range(3):
            table.grad = zipf_gradient(1000, 16, 20_000, step)
            optimizer.step()
        results.append(table.data)
    assert torch.equal(*results)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adagrad, optim.Adam, optim.Adadelta])
def test_a_cuda_graph_replays_steps(kind):
    """With the number of the step, and a learning rate that is a tensor, as they are at each replay."""
    settings = {"momentum": 0.9} if kind is optim.SGD else {}
    ours, theirs = parameters(), parameters()
    rate = torch.full((), 0.1, device="cuda")
    optimizer = kind(ours, lr=rate, capturable=True, **settings)
    other = kind(theirs, lr=0.1, **settings)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for step in range(3):
            set_gradients(ours, step)
            optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for step in range(3, 6):
        set_gradients(ours, step)
        rate.fill_(0.1 / step)
        graph.replay()
    for step in range(6):
        set_gradients(theirs, step)
        other.param_groups[0]["lr"] = rate.new_tensor(0.1 / step if step >= 3 else 0.1).item()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_graph_of_a_whole_training_step():
    """Gradients that are allocated while a graph is captured have addresses that no step has seen before."""
    data = torch.randn(64, 33, device="cuda")
    trained = []
    for captured in (True, False):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(33, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)).cuda()
        optimizer = optim.Adam(net.parameters(), lr=0.01, capturable=True)

        def train(net=net, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=True)
            net(data).square().mean().backward()
            optimizer.step()

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                train()
        torch.cuda.current_stream().wait_stream(side)
        if captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                train()
        for _ in range(4):
            graph.replay() if captured else train()
        trained.append(list(net.parameters()))
    for p, q in zip(*trained, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_steps_between_replays_and_after():
    """A step that is called uses its own addresses, and does not change those of a graph."""
    ours, theirs = parameters(), parameters()
    optimizer, other = optim.Adam(ours, capturable=True), optim.Adam(theirs, capturable=True)
    for step in range(2):
        set_gradients(ours, step)
        optimizer.step()
    graph = torch.cuda.CUDAGraph()
    static = [p.grad for p in ours]
    with torch.cuda.graph(graph):
        optimizer.step()
    for step in range(2, 6):
        if step % 2:
            for p, g in zip(ours, static, strict=True):
                p.grad = g
            set_gradients(ours, step)
            graph.replay()
        else:
            for p in ours:
                p.grad = None
            set_gradients(ours, step)
            optimizer.step()
    for step in range(6):
        set_gradients(theirs, step)
        other.step()
    optimizer.synchronize()
    for p, q in zip(ours, theirs, strict=True):
        assert torch.equal(p, q)


def test_a_graph_of_a_sparse_step():
    ours, theirs = parameters(((500, 16),)), parameters(((500, 16),))
    gradient = zipf_gradient(500, 16, 400, 0)
    pair = [optim.Adagrad(own, lr=0.1, capturable=True) for own in (ours, theirs)]
    for own in (ours, theirs):
        own[0].grad = gradient
    pair[0].step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        pair[0].step()
    for _ in range(3):
        graph.replay()
    for _ in range(4):
        pair[1].step()
    assert torch.equal(ours[0], theirs[0])


def test_coordinates_skipped_in_a_replay_are_reported():
    own = parameters()
    optimizer = optim.Adagrad([(str(k), p) for k, p in enumerate(own)], capturable=True)
    set_gradients(own, 0)
    optimizer.step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    own[1].grad[5] = torch.nan
    graph.replay()
    with pytest.raises(NonFiniteError, match=r"1: 1 of \d+ coordinates had .* in earlier steps"):
        optimizer.synchronize()


def test_long_runs_of_equal_ids_have_the_cpu_engines_bits():
    ids = torch.randint(0, 5, (20_000,), device="cuda") ** 2
    values = torch.randn(20_000, 100, device="cuda")
    gradient = torch.sparse_coo_tensor(ids[None], values, (20, 100), check_invariants=False)
    ours = parameters(((20, 100),))
    theirs = [torch.nn.Parameter(p.data.cpu()) for p in ours]
    ours[0].grad, theirs[0].grad = gradient, gradient.cpu()
    for own in (ours, theirs):
        optim.Adagrad(own, lr=0.1).step()
    assert torch.equal(ours[0].cpu(), theirs[0])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_parameters_on_two_devices():
    own = parameters()
    spread = [torch.nn.Parameter(p.data.to(f"cuda:{k % 2}")) for k, p in enumerate(own)]
    pair = [optim.Adam(some) for some in (own, spread)]
    for step in range(3):
        set_gradients(own, step)
        for p, q in zip(own, spread, strict=True):
            q.grad = p.grad.to(q.device)
        for optimizer in pair:
            optimizer.step()
    pair[1].synchronize()
    for p, q in zip(own, spread, strict=True):
        assert torch.equal(p, q.to(p.device))
    spread[1].grad[0] = torch.nan
    pair[1].step()
    with pytest.raises(NonFiniteError, match="1 coordinates"):
        pair[1].synchronize()


def test_a_graph_that_would_repeat_one_step_is_rejected():
    own = parameters()
    optimizer = optim.Adam(own)
    set_gradients(own, 0)
    optimizer.step()
    before = [p.data.clone() for p in own]
    with pytest.raises(RuntimeError, match="expected capturable=True"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        optimizer.step()
    assert all(torch.equal(p.data, b) for p, b in zip(own, before, strict=True))


@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler(fused):
    """A step whose scaled gradients overflow is skipped and not counted; with fused=True the host does not wait."""
    own = parameters()
    optimizer = optim.Adam(own, lr=0.01, fused=fused)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10, growth_interval=1000)
    reference = parameters()
    other = torch.optim.Adam(reference, lr=0.01)
    for step in range(4):
        set_gradients(own, step)
        for p, q in zip(own, reference, strict=True):
            q.grad = p.grad.clone()
            p.grad.mul_(scaler.get_scale())
        scaler.scale(torch.zeros(1, device="cuda"))
        if step == 2:
            own[1].grad[3] = torch.inf
        with no_waiting() if fused else contextlib.nullcontext():
            scaler.step(optimizer)
        scaler.update()
        if step != 2:
            other.step()
    for p, q in zip(own, reference, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    assert optimizer.state[own[0]]["step"].item() == 3


def test_a_step_on_another_stream():
    own, reference = parameters(), parameters()
    optimizer, other = optim.Adagrad(own), optim.Adagrad(reference)
    side = torch.cuda.Stream()
    for step in range(4):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side if step % 2 else torch.cuda.current_stream()):
            set_gradients(own, step)
            optimizer.step()
        torch.cuda.current_stream().wait_stream(side)
        set_gradients(reference, step)
        other.step()
    torch.cuda.synchronize()
    for p, q in zip(own, reference, strict=True):
        assert torch.equal(p, q)


def test_two_optimizers_on_two_streams():
    streams = [torch.cuda.Stream() for _ in range(2)]
    trained = []
    for stream in streams:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            own = parameters()
            trained.append((own, optim.Adam(own)))
    for step in range(3):
        for stream, (own, optimizer) in zip(streams, trained, strict=True):
            with torch.cuda.stream(stream):
                set_gradients(own, step)
                optimizer.step()
    torch.cuda.synchronize()
    for p, q in zip(trained[0][0], trained[1][0], strict=True):
        assert torch.equal(p, q)


def test_nonfinite_values_are_reported_without_waiting():
    own = parameters()
    optimizer = optim.Adagrad([(str(k), p) for k, p in enumerate(own)])
    set_gradients(own, 0)
    own[1].grad[5] = torch.nan
    with no_waiting():
        optimizer.step()
    torch.cuda.synchronize()
    set_gradients(own, 1)
    with pytest.raises(NonFiniteError, match=r"1: 1 of \d+ coordinates had .* in earlier steps"):
        optimizer.step()


def test_a_state_moves_between_devices():
    own = parameters()
    optimizer = optim.Adam(own, lr=0.1)
    set_gradients(own, 0)
    optimizer.step()
    theirs = [torch.nn.Parameter(p.data.cpu()) for p in own]
    other = optim.Adam(theirs, lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    set_gradients(own, 1)
    for p, q in zip(own, theirs, strict=True):
        q.grad = p.grad.cpu()
    optimizer.step()
    other.step()
    for p, q in zip(own, theirs, strict=True):
        assert torch.equal(p.cpu(), q)


def test_no_memory_in_proportion_to_the_table():
    table = parameters(((200_000, 64),))[0]
    optimizer = optim.Adagrad([table], granularity="row")
    table.grad = zipf_gradient(200_000, 64, 1000, 0)
    optimizer.step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    optimizer.step()
    assert torch.cuda.max_memory_allocated() - before < table.numel()
