"""Several processes give the result of one, with a replicated or a sharded model, and through checkpoints."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from support.numerics import assert_close, assert_identical

torch = pytest.importorskip("torch", reason="torch is not installed")
if not torch.distributed.is_available():
    pytest.skip("this torch was built without torch.distributed", allow_module_level=True)

parallel = pytest.importorskip("support.parallel")
optim = pytest.importorskip("surefoot.optim")

pytestmark = [
    pytest.mark.slow,
    # Checkpoints of a single process are meant to be.
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized"),
]
SCRIPTS = Path(__file__).parent / "distributed"
EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed.py"


@pytest.fixture(autouse=True)
def _one_thread():
    """As each of the processes: sums of torch's own depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fresh(*kinds):
    """A model and its optimizer, for each optimizer and each of these kinds of gradients."""
    made = {}
    for name, kind in itertools.product(parallel.OPTIMIZERS, kinds):
        model = parallel.Recommender(sparse=kind == "sparse")
        made[name, kind] = model, parallel.make(name, model.named_parameters())
    return made


def train(trained, steps=parallel.STEPS, settle=False):
    """Steps them all in this process."""
    for model, optimizer in trained.values():
        parallel.train_alone(model, optimizer, steps)
        if settle:
            optimizer.settle()
    return trained


def contents(trained):
    return {key: parallel.contents(model, optimizer.state_dict()) for key, (model, optimizer) in trained.items()}


def launch(script, folder):
    """What two processes that run the script leave; they must agree with each other."""
    parallel.launch(SCRIPTS / script, folder)
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(parallel.PROCESSES))
    assert first.keys() == second.keys()
    for key, found in first.items():
        if isinstance(found, dict):
            assert_agree(second[key], found, f"{', '.join(key)}, second process")
    return first


def assert_agree(found, expected, what, tolerance=None):
    """Fails unless both have the same tensors, bit for bit or within the tolerance."""
    assert found.keys() == expected.keys(), f"{what}: {', '.join(found)}; expected {', '.join(expected)}"
    for key, values in expected.items():
        if tolerance is None:
            assert_identical(found[key], values, f"{what}: {key}")
        else:
            assert_close(found[key], values, tolerance, f"{what}: {key}")


def test_replicated_training_equals_training_on_one_process(tmp_path):
    """DistributedDataParallel, and ZeroRedundancyOptimizer with its state gathered and sharded again: bit for bit."""
    expected = contents(train(fresh("dense", "sparse")))
    found = launch("replicated.py", tmp_path)
    assert "averages gradients only after the steps" in found.pop(("step in backward",))
    for (name, kind, way), tensors in found.items():
        assert_agree(tensors, expected[name, kind], f"{name}, {kind}, {way}")


def test_sharded_training_equals_training_on_one_process(tmp_path):
    """fully_shard: bit for bit. Tensor parallelism and norms sum in another order than one process does."""
    # Here first: what is compiled for them, the two processes need not compile twice.
    expected = contents(train(fresh("dense")))
    within = {name: clipped(name) for name in parallel.OPTIMIZERS}
    found = launch("sharded.py", tmp_path)
    for error, words in {
        "tensor": "table.weight: is split among processes along [0], .* granularity='tensor'",
        "row": "score.weight: is split among processes along [1], .* granularity='row'",
        "whole": "table.weight: 'exp_avg' is placed on processes as None; expected (Shard",
        "columns": "table.weight: 'exp_avg' is placed on processes as (Shard(dim=1),); expected (Shard(dim=0),)",
        "second backward": "modified by an inplace operation",
    }.items():
        first, *others = words.split(" .* ")
        said = found.pop((error,))
        assert first in said
        assert all(other in said for other in others)
    assert found.pop(("wholes and summands",)) == [-1.0, -1.0, -1.0]
    assert found.pop(("visits",)) == [1, 2, 1]
    for (name, way), tensors in found.items():
        if way == "clipped":
            assert_agree(tensors, within[name], f"{name}, {way}", "float64")
        else:
            tolerance = "float64" if way == "divided" else None
            assert_agree(tensors, expected[name, "dense"], f"{name}, {way}", tolerance)


def clipped(name):
    """The result of one process when gradients are clipped in each step."""
    model = parallel.Recommender()
    optimizer = parallel.make(name, model.named_parameters())
    norms = []

    def clip(*_):
        norms.append(optim.clip_grad_norm_(model.parameters(), max_norm=0.1))
        optim.clip_grad_value_(model.parameters(), clip_value=0.01)

    optimizer.register_step_pre_hook(clip)
    parallel.train_alone(model, optimizer)
    return parallel.contents(model, optimizer.state_dict()) | {"norms": torch.stack(norms)}


def test_checkpoints_of_one_process_and_of_several(tmp_path):
    """What one process saves, two load, continue and save; what they save, one loads: bit for bit, in every layout."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    alone = train(fresh("dense", "sparse"), parallel.FIRST_HALF, settle=True)
    halfway = contents(alone)
    for layout, kinds in parallel.LAYOUTS.items():
        chosen = {key: pair for key, pair in alone.items() if key[1] in kinds}
        parallel.save(tmp_path / "one", chosen, layout)
    found = launch("checkpoints.py", tmp_path)
    for (name, kind, layout), tensors in found.items():
        assert_agree(tensors, halfway[name, kind], f"{name}, {kind}, {layout}, loaded by two")
    expected = contents(train(alone, parallel.SECOND_HALF, settle=True))
    for layout, kinds in parallel.LAYOUTS.items():
        loaded = fresh(*kinds)
        parallel.load(tmp_path / "two", loaded, layout)
        for key, tensors in contents(loaded).items():
            assert_agree(tensors, expected[key], f"{', '.join(key)}, {layout}, loaded by one")


def test_example():
    """The losses do not depend on the number of processes."""
    arguments = ["--people", "2048", "--epochs", "2"]
    alone = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments], capture_output=True, text=True, timeout=parallel.PATIENCE
    )
    assert alone.returncode == 0, alone.stderr
    several = parallel.launch(EXAMPLE, *arguments)
    losses = [line for line in alone.stdout.splitlines() if line.startswith("epoch")]
    assert len(losses) == 2
    assert losses == [line for line in several.splitlines() if line.startswith("epoch")]
