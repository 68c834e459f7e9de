"""surefoot.nn.EmbeddingTables gives what torch's EmbeddingBag gives feature by feature, from batches in any form."""

import copy
import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.optimizers import assert_tensors_close as assert_close_within
from support.optimizers import assert_tensors_identical, optim, torch
from support.sampling import up_to

from surefoot import nn
from surefoot.engines import set_threads
from surefoot.nn import EmbeddingBagConfig, EmbeddingTables

BATCH = 3
CONFIGS = (
    EmbeddingBagConfig(7, 4, "items", feature_names=["viewed", "bought"]),
    EmbeddingBagConfig(5, 3, "shops", feature_names=["shop"], pooling="mean"),
    EmbeddingBagConfig(9, 2, "words", feature_names=["title", "viewed"]),
)
BAGS = {
    "viewed": [[1, 6, 1], [], [2]],
    "bought": [[], [1, 1], [0]],
    "shop": [[4, 0, 4], [3], []],
    "title": [[8], [7], [8]],
}
KEYS = ["viewed@items", "bought", "shop", "title", "viewed@words"]


class Jagged:
    """The part of TorchRec's KeyedJaggedTensor that is needed, and of its JaggedTensor."""

    def __init__(self, bags, weights=None, keys=None, dtype=torch.int64):
        flat = list(itertools.chain(*bags.values())) if isinstance(bags, dict) else bags
        self._keys = keys or (list(bags) if isinstance(bags, dict) else None)
        self._values = torch.tensor(list(itertools.chain(*flat)), dtype=dtype)
        self._offsets = torch.tensor([0, *itertools.accumulate(map(len, flat))], dtype=torch.int32)
        self._weights = weights

    def keys(self):
        return self._keys

    def values(self):
        return self._values

    def offsets(self):
        return self._offsets

    def weights_or_none(self):
        return self._weights


def offset_form(bags, dtype=torch.int64):
    jagged = Jagged(bags, dtype=dtype)
    return jagged.values(), jagged.offsets()


FORMS = {
    "values and offsets": lambda: {name: offset_form(bags) for name, bags in BAGS.items()},
    "32 bits": lambda: {name: offset_form(bags, torch.int32) for name, bags in BAGS.items()},
    "jagged": lambda: {name: Jagged(bags) for name, bags in BAGS.items()},
    "keyed": lambda: Jagged({"more": [[9]] * BATCH} | BAGS),
    "nested": lambda: {
        name: torch.nested.nested_tensor([torch.tensor(bag, dtype=torch.int64) for bag in bags], layout=torch.jagged)
        for name, bags in BAGS.items()
    },
}


def tables_of(configs=CONFIGS, **settings):
    torch.manual_seed(0)
    return EmbeddingTables(configs, **settings)


def by_feature(tables, bags, weights=None):
    """The same by torch's EmbeddingBag, a call for each feature of a table."""
    parts = []
    for config in tables.embedding_bag_configs():
        weight = tables.embedding_bags[config.name].weight.detach()
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True).requires_grad_()
        for name in config.feature_names:
            values, offsets = offset_form(bags[name])
            more = {"mode": config.pooling, "include_last_offset": True, "sparse": True}
            if weights is not None:
                factors = weights[name].to(weight.dtype)
                if config.pooling == "mean":
                    sizes = offsets.diff()
                    factors = factors / sizes.clamp(min=1).repeat_interleave(sizes)
                more |= {"mode": "sum", "per_sample_weights": factors}
            parts.append((config, weight, torch.nn.functional.embedding_bag(values, weight, offsets.long(), **more)))
    return parts


def assert_close(found, expected):
    kind = "torch float64" if expected.dtype is torch.float64 else "torch float32"
    if found.dtype in (torch.float16, torch.bfloat16):
        kind, expected = str(found.dtype), expected.to(found.dtype)
    assert_close_within(found.detach(), expected.detach(), kind)


def compare(tables, batch, bags=BAGS, weights=None, given=None):
    """Values and gradients are torch's."""
    tables.zero_grad()
    pooled, parts = tables(batch, given), by_feature(tables, bags, weights)
    assert pooled.keys() == list(pooled.to_dict())
    slope = torch.randn(pooled.values().shape, generator=torch.Generator().manual_seed(1)).to(pooled.values().dtype)
    pieces = slope.split(pooled.length_per_key(), 1)
    for found, piece, (config, _, expected) in zip(pooled.to_dict().values(), pieces, parts, strict=True):
        assert_close(found.to(config.data_type), expected)
        expected.backward(piece)
    pooled.values().backward(slope)
    for config, weight, _ in parts:
        found = tables.embedding_bags[config.name].weight.grad
        assert found.layout is torch.sparse_coo
        assert_close(found.to_dense(), weight.grad.to_dense())
    return pooled


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_batch(form):
    pooled = compare(tables_of(), FORMS[form]())
    assert pooled.keys() == KEYS
    assert pooled.length_per_key() == [4, 4, 3, 2, 2]
    assert pooled.offset_per_key() == [0, 4, 8, 11, 13, 15]
    assert_tensors_identical(pooled["shop"], pooled.values()[:, 8:11])
    assert pooled["shop"][2].tolist() == [0, 0, 0]


@pytest.mark.parametrize("dimensions", [1, 2])
def test_bags_of_one_size(dimensions):
    ids = {name: torch.tensor([[1, 4, 1], [0, 0, 2]])[:, : 1 if dimensions == 1 else 3] for name in BAGS}
    bags = {name: each.tolist() for name, each in ids.items()}
    compare(tables_of(), {name: each[:, 0] if dimensions == 1 else each for name, each in ids.items()}, bags)


SLOW = [pytest.param(dtype, marks=pytest.mark.slow) for dtype in (torch.float64, torch.bfloat16)]


@pytest.mark.parametrize("dtype", [torch.float16, *SLOW], ids=str)
def test_types_of_tables(dtype):
    """Others than float32 and float64 are pooled and summed in float32."""
    pooled = compare(tables_of([mixed(config, dtype) for config in CONFIGS]), Jagged(BAGS))
    assert pooled.values().dtype is (torch.float64 if dtype is torch.float64 else torch.float32)


def factors_of(name):
    return torch.linspace(-1, 2, sum(map(len, BAGS[name]))) + len(name)


def test_weights_of_ids():
    """Of a mapping and of jagged tensors; a mean is divided by the number of ids, as FBGEMM does."""
    weights = {name: factors_of(name) for name in BAGS}
    batch = {name: offset_form(bags) for name, bags in BAGS.items()}
    compare(tables_of(), batch, weights=weights, given=weights)
    keyed = Jagged(BAGS, torch.cat(list(weights.values())))
    compare(tables_of(is_weighted=True), keyed, weights=weights)
    compare(tables_of(), keyed)  # as in TorchRec
    compare(tables_of(is_weighted=True), {n: Jagged(b, weights[n]) for n, b in BAGS.items()}, weights=weights)
    compare(tables_of(), {name: (*batch[name], weights[name]) for name in BAGS}, weights=weights)


def test_weights_of_ids_are_learned():
    weights = {name: factors_of(name).requires_grad_() for name in BAGS}
    twins = {name: each.detach().clone().requires_grad_() for name, each in weights.items()}
    tables = tables_of()
    pooled = tables({name: offset_form(bags) for name, bags in BAGS.items()}, weights)
    parts = by_feature(tables, BAGS, twins)
    pooled.values().square().sum().backward()
    sum(part.square().sum() for _, _, part in parts).backward()
    for name, each in weights.items():
        assert_close(each.grad, twins[name].grad)


@settings(max_examples=up_to(60), deadline=None)
@given(st.integers(0, 4), st.booleans(), st.data())
def test_any_bags(batch, is_weighted, data):
    sizes = st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=batch, max_size=batch)
    bags = {name: data.draw(sizes) for name in BAGS}
    weights = None
    if is_weighted:
        weights = {name: torch.linspace(0.5, 2, sum(map(len, each))) for name, each in bags.items()}
    compare(tables_of(), {name: offset_form(each) for name, each in bags.items()}, bags, weights, weights)
    keyed = Jagged(bags, weights and torch.cat(list(weights.values())))
    compare(tables_of(is_weighted=is_weighted), keyed, bags, weights)


def test_each_row_of_a_gradient_comes_once():
    """In order, with the bits of our EmbeddingBag's, from one node of autograd."""
    tables = tables_of()
    pooled = tables(Jagged(BAGS)).values()
    assert len([node for node, _ in pooled.grad_fn.next_functions if node]) == len(CONFIGS)
    slope = torch.randn(pooled.shape)
    pooled.backward(slope)
    for name, rows in {"items": [0, 1, 2, 6], "shops": [0, 3, 4], "words": [1, 2, 6, 7, 8]}.items():
        assert tables.embedding_bags[name].weight.grad._indices().tolist() == [rows]
    weight = tables.embedding_bags["shops"].weight.detach()
    bag = nn.EmbeddingBag.from_pretrained(weight, False, mode="mean", sparse=True, include_last_offset=True)
    values, offsets = offset_form(BAGS["shop"])
    bag(values, offsets.long()).backward(slope[:, 8:11])
    assert_tensors_identical(tables.embedding_bags["shops"].weight.grad._values(), bag.weight.grad._values())


def test_threads_change_no_bits():
    torch.manual_seed(0)
    batch = {name: torch.randint(5, (2000, 20)) for name in BAGS}
    found = []
    try:
        for threads in (1, 2):
            set_threads(threads)
            tables = tables_of()
            pooled = tables(batch).values()
            pooled.square().sum().backward()
            found.append([pooled.detach(), *(weight.grad._values() for weight in tables.parameters())])
    finally:
        set_threads(None)
    for one, two in zip(*found, strict=True):
        assert_tensors_identical(one, two)


def mixed(config, dtype):
    return EmbeddingBagConfig(**{**vars(config), "data_type": dtype})


@pytest.mark.parametrize("dtype", SLOW, ids=str)
def test_tables_of_several_types(dtype):
    compare(tables_of([CONFIGS[0], mixed(CONFIGS[1], dtype), CONFIGS[2]]), Jagged(BAGS))


def test_function_transforms_take_torchs_path():
    tables = tables_of()
    weights = {name: weight.detach() for name, weight in tables.named_parameters()}
    assert tables.get_submodule("embedding_bags.items") is tables.embedding_bags["items"]
    found = torch.func.functional_call(tables, weights, (Jagged(BAGS),))
    assert_close(found.values(), tables(Jagged(BAGS)).values())


STEPS = {"Adagrad": {}, "Adagrad by row": {"granularity": "row"}, "SGD": {"decoupled_weight_decay": 0.1}}


@pytest.mark.parametrize("kind", STEPS)
def test_steps(kind):
    """Steps of all tables are those along gradients that torch's modules make."""
    tables, twin = tables_of(), tables_of()
    make = getattr(optim, kind.split()[0])
    optimizers = [make(each.parameters(), lr=0.1, **STEPS[kind]) for each in (tables, twin)]
    for shift in range(3):
        bags = {name: [[(i + shift) % 5 for i in bag] for bag in each] for name, each in BAGS.items()}
        for optimizer in optimizers:
            optimizer.zero_grad()
        tables(Jagged(bags)).values().square().sum().backward()
        parts = by_feature(twin, bags)
        sum(part.square().sum() for _, _, part in parts).backward()
        for config, weight, _ in parts:
            twin.embedding_bags[config.name].weight.grad = weight.grad
        for optimizer in optimizers:
            optimizer.step()
    for ours, theirs in zip(tables.parameters(), twin.parameters(), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("sparse", [True, False])
def test_tables_that_grew(sparse):
    tables = tables_of(sparse=sparse)
    optimizer = optim.Adagrad(tables.parameters())
    optimizer.grow(tables.embedding_bags["shops"].weight, 9, torch.nn.init.ones_)
    bags = BAGS | {"shop": [[8], [4, 8], []]}
    assert tables(Jagged(bags))["shop"][0].tolist() == [1, 1, 1]
    with pytest.raises(RuntimeError, match=r"table 'shops': feature 'shop' has the id 9; expected 0 … 8"):
        tables(Jagged(BAGS | {"shop": [[9], [], []]}))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's, of its own look
def test_compiled_models_leave_tables_out():
    tables = tables_of()
    compiled = torch.compile(lambda batch: tables(batch).values() * 2, backend="eager")
    assert_tensors_identical(compiled(Jagged(BAGS)).detach(), 2 * tables(Jagged(BAGS)).values().detach())


def test_dense_gradients():
    tables = tables_of(sparse=False)
    tables(Jagged(BAGS)).values().square().sum().backward()
    other = tables_of()
    other(Jagged(BAGS)).values().square().sum().backward()
    for ours, theirs in zip(tables.parameters(), other.parameters(), strict=True):
        assert ours.grad.layout is torch.strided
        assert_close(theirs.grad.to_dense(), ours.grad)


def test_state_dicts_are_torchrecs():
    tables = tables_of()
    assert list(tables.state_dict()) == [f"embedding_bags.{name}.weight" for name in ("items", "shops", "words")]
    torch.manual_seed(1)
    other = EmbeddingTables(CONFIGS)
    other.load_state_dict(tables.state_dict())
    copied = copy.deepcopy(other)
    for each in (other, copied):
        assert_tensors_identical(each(Jagged(BAGS)).values(), tables(Jagged(BAGS)).values())
    assert repr(tables.embedding_bags["shops"]).startswith("Table(5, 3, mode='mean'")


def test_configurations_of_torchrec():
    """Its enums, and defaults: a table without features has one of its own name."""
    theirs = SimpleNamespace(
        num_embeddings=6,
        embedding_dim=2,
        name="user",
        data_type=SimpleNamespace(value="FP16"),
        feature_names=[],
        weight_init_max=None,
        weight_init_min=None,
        init_fn=torch.nn.init.ones_,
        pooling=SimpleNamespace(value="MEAN"),
        need_pos=False,
    )
    tables = EmbeddingTables([theirs])
    assert tables.embedding_bags["user"].weight.dtype is torch.float16
    assert tables({"user": torch.tensor([[0, 0]])})["user"].tolist() == [[1, 1]]
    assert not tables.is_weighted()
    assert tables.embedding_bag_configs()[0].feature_names == ["user"]
    assert theirs.feature_names == []


def test_initial_weights():
    low, high = EmbeddingTables([EmbeddingBagConfig(1000, 4, "t")]).embedding_bags["t"].weight.aminmax()
    assert -0.5 <= low < -0.45
    assert 0.45 < high <= 0.5
    config = EmbeddingBagConfig(50, 4, "t", weight_init_min=2.0, weight_init_max=3.0)
    low, high = EmbeddingTables([config]).embedding_bags["t"].weight.aminmax()
    assert 2 <= low < high <= 3
    for fill in (torch.nn.init.ones_, torch.ones_like):
        assert EmbeddingTables([EmbeddingBagConfig(5, 4, "t", init_fn=fill)]).embedding_bags["t"].weight.eq(1).all()
    assert EmbeddingTables(CONFIGS, device="meta").device.type == "meta"


def test_without_gradients():
    tables = tables_of()
    expected = tables(Jagged(BAGS)).values()
    with torch.no_grad():
        assert_tensors_identical(tables(Jagged(BAGS)).values(), expected.detach())
    tables.requires_grad_(False)
    found = tables(Jagged(BAGS)).values()
    assert not found.requires_grad
    assert_tensors_identical(found, expected.detach())
    tables.embedding_bags["shops"].requires_grad_(True)
    tables(Jagged(BAGS)).values().sum().backward()
    assert [weight.grad is None for weight in tables.parameters()] == [True, False, True]


def test_hooks_of_tables_are_called():
    seen = []
    tables = tables_of()
    for name, table in tables.embedding_bags.named_children():
        table.register_forward_pre_hook(lambda *_, name=name: seen.append(name))
    tables(Jagged(BAGS))
    assert seen == ["items", "shops", "words"]


WRONG = {
    "missing": ({"viewed": [[1]]}, ValueError, r"the features have no 'bought', 'shop', 'title', only 'viewed'"),
    "large": (
        BAGS | {"bought": [[], [1, 7], [0]]},
        RuntimeError,
        r"table 'items': feature 'bought' has the id 7; .* 6",
    ),
    "negative": (BAGS | {"shop": [[], [-1], [0]]}, RuntimeError, r"table 'shops': feature 'shop' has the id -1"),
    "batch": (BAGS | {"shop": [[], [1]]}, ValueError, r"feature 'shop' has 2 bags, and 'viewed' 3"),
}


@pytest.mark.parametrize("bags, error, message", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("with_gradients", [False, True])
def test_batches_that_do_not_fit(bags, error, message, with_gradients):
    tables = tables_of()
    with torch.set_grad_enabled(with_gradients), pytest.raises(error, match=message):
        tables({name: offset_form(each) for name, each in bags.items()})


ONE = {name: torch.zeros(2, 1, dtype=torch.int64) for name in BAGS}
ENDS = torch.tensor([0, 1, 2])
MALFORMED = [
    (ONE | {"shop": torch.zeros(2, 1)}, None, "feature 'shop': the ids are torch.float32"),
    (ONE | {"shop": torch.zeros(2, 1, dtype=torch.bool)}, None, "feature 'shop': the ids are torch.bool"),
    (ONE | {"shop": torch.zeros(2, 1, 1, dtype=torch.int64)}, None, r"feature 'shop' is of shape \(2, 1, 1\)"),
    (ONE | {"shop": [[1], [2]]}, None, "feature 'shop' is of type list"),
    (ONE | {"shop": (torch.tensor([1, 2]), torch.tensor([0, 1]))}, None, "'shop': .* end with 1; expected 0 and 2"),
    (ONE | {"shop": (torch.tensor([1, 2]), torch.tensor([1, 1, 2]))}, None, "'shop': .* begin with 1 "),
    (ONE | {"shop": (torch.tensor([1, 2]), torch.tensor([0, 3, 2]))}, None, "'shop': the offsets .* ascending"),
    (ONE | {"shop": (torch.tensor([[1], [2]]), ENDS)}, None, r"'shop': the values have shape \(2, 1\)"),
    (ONE, {"shop": torch.ones(3)}, "feature 'shop' has 3 weights of torch.float32; .* 2 ids"),
    (ONE, {"shop": torch.ones(2, dtype=torch.int64)}, "feature 'shop' has 2 weights of torch.int64"),
    (ONE, {"shop": [1.0, 1.0]}, "feature 'shop' has weights of type list"),
    (ONE, {"shops": torch.ones(2)}, "per_sample_weights names 'shops'"),
    (ONE, torch.ones(2), "per_sample_weights is of type Tensor"),
    (torch.zeros(2), None, "the features are of type Tensor"),
    (Jagged(BAGS), {}, "expected the weights in the KeyedJaggedTensor"),
    (Jagged(BAGS, keys=[*list(BAGS)[:3], "title", "more"]), None, "13 offsets of 5 keys"),
]


@pytest.mark.parametrize("batch, weights, message", MALFORMED, ids=[message for *_, message in MALFORMED])
def test_malformed_batches(batch, weights, message):
    with pytest.raises(ValueError, match=message):
        tables_of()(batch, weights)


@pytest.mark.parametrize("batch", [ONE, Jagged(BAGS)], ids=["mapping", "keyed"])
def test_weights_are_expected(batch):
    with pytest.raises(ValueError, match="has no weights; expected some, or tables with is_weighted=False"):
        tables_of(is_weighted=True)(batch)


def test_batches_of_several_sizes_are_rejected():
    keyed = Jagged(BAGS)
    keyed.variable_stride_per_key = lambda: True
    with pytest.raises(ValueError, match="batches of different sizes"):
        tables_of()(keyed)


@pytest.mark.parametrize(
    "configs, message",
    [
        ([], "there are no tables"),
        ([{"name": "a"}, {"name": "a"}], "two tables are called 'a'"),
        ([{"name": "a.b"}], "a table is called 'a.b'"),
        ([{}], "a table is called ''"),
        ([{"name": "a", "pooling": "max"}], "table 'a': pooling is 'max'"),
        ([{"name": "a", "data_type": torch.int8}], "table 'a': data_type is torch.int8"),
        ([{"name": "a", "num_embeddings": 0}], "table 'a': num_embeddings is 0"),
        ([{"name": "a", "num_embeddings": "3"}], "table 'a': num_embeddings is '3'"),
        ([{"name": "a", "embedding_dim": 2.0}], "table 'a': embedding_dim is 2.0"),
        ([{"name": 5}], "a table is called 5"),
        ([{"name": "a", "feature_names": "shop"}], "table 'a': feature_names is 'shop'"),
        ([{"name": "a", "weight_init_min": 3.0}], "table 'a': initial weights lie between 3 and 0.7"),
        ([{"name": "a", "feature_names": ["x", "x"]}], "table 'a': the features .* twice"),
    ],
)
def test_configurations_that_make_no_tables(configs, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingTables([EmbeddingBagConfig(**({"num_embeddings": 3, "embedding_dim": 2} | each)) for each in configs])


@pytest.mark.parametrize("tables", [None, {"a": EmbeddingBagConfig(3, 2, "a")}])
def test_tables_come_in_a_list_of_configurations(tables):
    with pytest.raises(ValueError, match=r"a table is given as .*; expected a list of EmbeddingBagConfig"):
        EmbeddingTables(tables)
