"""A click model as advertising competitions train it, written with torch, and ported by four lines to the same losses.

Embeddings are stepped by Adagrad at 0.05 and all else by AdamW. After each epoch, tables of many ids begin again, with
their state; that of the other tables is kept.
"""

import difflib
import inspect

import pytest
from support.optimizers import assert_tensors_close, optim, torch

nn = torch.nn
SIZES = (300, 7, 200, 12)
MANY = 100
"""Tables with more ids are initialized again."""
EPOCHS = 3


class ClickModel(nn.Module):
    def __init__(self, sparse: bool):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 4, sparse=sparse) for size in SIZES)
        self.tower = nn.Sequential(nn.Linear(4 * len(SIZES), 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, ids):
        embedded = [table(column) for table, column in zip(self.tables, ids.T, strict=True)]
        return self.tower(torch.cat(embedded, 1)).squeeze(1)


def made(sparse: bool):
    """A model and batches of clicks."""
    torch.manual_seed(0)
    model = ClickModel(sparse).double()
    batches = []
    for _ in range(8):
        ids = torch.stack([torch.randint(size, (32,)) for size in SIZES], 1)
        batches.append((ids, ((ids[:, 0] + ids[:, 1]) % 3 == 0).double()))
    return model, batches


def initialize(table):
    nn.init.constant_(table, 0.05)


def with_torch(model, batches):
    losses = []
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    others = [parameter for parameter in model.parameters() if all(parameter is not table for table in tables)]
    sparse = torch.optim.Adagrad(tables, lr=0.05)
    dense = torch.optim.AdamW(others, lr=1e-3)
    for _ in range(EPOCHS):
        for ids, clicks in batches:
            sparse.zero_grad()
            dense.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(model(ids), clicks)
            loss.backward()
            sparse.step()
            dense.step()
            losses.append(loss.detach())
        kept = {table: sparse.state[table] for table in tables if len(table) <= MANY}
        for table in tables:
            if len(table) > MANY:
                initialize(table)
        sparse = torch.optim.Adagrad(tables, lr=0.05)
        sparse.state.update(kept)
    return torch.stack(losses)


def ported(model, batches):
    losses = []
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    optimizer = optim.Grouped(optim.groups(model, {nn.Embedding: {"rule": "adagrad", "lr": 0.05}, "*": "adamw"}))
    for _ in range(EPOCHS):
        for ids, clicks in batches:
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(model(ids), clicks)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        for table in tables:
            if len(table) > MANY:
                optimizer.reset(table, initialize)
    return torch.stack(losses)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # of torch's Adagrad
@pytest.mark.parametrize("sparse", [False, True])
def test_the_ported_run_has_the_same_losses(sparse):
    expected, found = (run(*made(sparse)) for run in (with_torch, ported))
    assert_tensors_close(found, expected, "torch float64")


def test_the_port_changes_at_most_five_lines():
    theirs, ours = (inspect.getsource(run).splitlines()[1:] for run in (with_torch, ported))
    changed = [line for line in difflib.ndiff(theirs, ours) if line.startswith("+ ")]
    assert 0 < len(changed) <= 5, changed
