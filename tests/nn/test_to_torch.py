"""Modules of torch that stand for ours have the same outputs, exported and scripted."""

import warnings

import pytest
from support.optimizers import assert_tensors_close, assert_tensors_identical, torch

from surefoot import nn
from surefoot.nn import EmbeddingBagConfig, EmbeddingTables

IDS, ENDS = torch.tensor([1, 4, 1, 0, 2]), torch.tensor([0, 3, 3, 5])
VALUES = {"items": IDS, "shop": IDS.int(), "more": IDS}
OFFSETS = {"items": ENDS, "shop": torch.tensor([0, 1, 2, 5]), "more": ENDS}
WEIGHTS = {name: torch.linspace(-1, 2, len(IDS)) for name in VALUES}


def scripted(module, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch's: "switch to torch.export"
        return torch.jit.script(module)


def exported(module, *arguments):
    return torch.export.export(module, arguments).module()


WAYS = {"as it is": lambda module, *_: module, "scripted": scripted, "exported": exported}


def tables(**settings):
    torch.manual_seed(0)
    configs = [
        EmbeddingBagConfig(7, 4, "items", feature_names=["items", "shop"]),
        EmbeddingBagConfig(5, 3, "shops", feature_names=["shop"], pooling="mean", **settings),
    ]
    return EmbeddingTables(configs)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
@pytest.mark.parametrize("way", WAYS)
def test_tables(way, weights):
    ours = tables().eval()
    arguments = (VALUES, OFFSETS) if weights is None else (VALUES, OFFSETS, weights)
    theirs = WAYS[way](ours.to_torch(), *arguments)
    expected = ours({name: (VALUES[name], OFFSETS[name]) for name in VALUES}, weights).values()
    assert_tensors_close(theirs(*arguments).detach(), expected.detach(), "torch float32")


def test_batches_of_any_size_after_export():
    ours, sizes = tables(), [{0: torch.export.Dim.AUTO} for _ in VALUES]
    shapes = dict(zip(VALUES, sizes, strict=True))
    program = torch.export.export(ours.to_torch(), (VALUES, OFFSETS), dynamic_shapes=(shapes, shapes)).module()
    values = {name: torch.tensor([4, 1, 1, 2]) for name in VALUES} | {
        "shop": torch.tensor([3, 0, 1], dtype=torch.int32)
    }
    ends = {name: torch.tensor([0, 1, 1, 2, 4]) for name in VALUES} | {"shop": torch.tensor([0, 0, 0, 1, 3])}
    expected = ours({name: (values[name], ends[name]) for name in VALUES}).values()
    assert_tensors_close(program(values, ends).detach(), expected.detach(), "torch float32")


def test_double_and_shared_weights():
    ours = tables(data_type=torch.float64)
    theirs = ours.to_torch()
    assert theirs(VALUES, OFFSETS).dtype is torch.float64
    assert all(a is b for a, b in zip(theirs.parameters(), ours.parameters(), strict=True))
    assert theirs.training
    assert all(type(bag) is torch.nn.EmbeddingBag for bag in theirs.embedding_bags)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_single_tables(kind, way):
    settings = {"mode": "mean"} if kind == "EmbeddingBag" else {}
    ours = getattr(nn, kind)(7, 4, padding_idx=1, sparse=True, **settings).eval()
    ids = torch.tensor([[1, 4], [0, 2]])
    theirs = WAYS[way](ours.to_torch(), ids)
    assert type(ours.to_torch()) is getattr(torch.nn, kind)
    assert repr(ours.to_torch()) == repr(ours)
    assert_tensors_identical(theirs(ids).detach(), ours(ids).detach())
    assert list(ours.to_torch().state_dict()) == ["weight"]
