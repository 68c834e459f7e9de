"""Every kernel compiled ahead for two generations of GPUs, without one: no spills, no rounding but IEEE 754's, and as
many loads and stores as the step has to make."""

import functools
import re
import subprocess
from pathlib import Path

import pytest
from support.covering import marked
from support.on_gpu import triton
from support.powers import POWERS
from support.table import CONCRETE, Concrete, granularities

from surefoot import modifiers
from surefoot.engines.gpu.compiling import AHEAD, BLOCK, OPTIONS, WARPS, Kind, made, warps_of
from surefoot.engines.program import Program

ARCHITECTURES = (80, 90)
WIDTH = 128
POINTERS = {"float64": "*fp64", "float32": "*fp32", "float16": "*fp16", "bfloat16": "*u16"}
SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
TYPES = {
    **dict.fromkeys(("table", "counts", "order"), "*i64"),
    **dict.fromkeys(("owners", "first", "ids"), "*i32"),
    **dict.fromkeys(("numbers", "means", "mean", "shared", "parts", "result", "history"), "*fp64"),
    **dict.fromkeys(("scale", "found"), "*fp32"),
    **dict.fromkeys(("stride", "count", "height", "width", "stretches", "now", "place", "outside"), "i32"),
}


ADJUSTS = {"maximize": True, "clip_value": 1.0, "clip_norm": 1.0, "weight_decay": 0.1}
SHRINKS, DECAYS = {"l1": 0.1, "l2": 0.1}, {"decoupled_weight_decay": 0.1}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Nothing is taken from, nor left in, the user's cache of kernels."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@functools.cache
def tool(name: str) -> str:
    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name)


def compiled(driver: str, c: Concrete, kind: Kind, architecture: int):
    kernel, warps = made(driver, kind, False), warps_of(kind.width) if "row" in driver else WARPS
    warps = WARPS if driver == "dense_by_row" else warps
    x, slots = POINTERS[kind.x], tuple(POINTERS[name] for name in kind.slots)
    own = {
        "x": x,
        "values": x,
        "slots": slots,
        "sums": POINTERS[kind.dtype],
        "last": "*i32" if driver == "sums" else "*i64",
    }
    signature = {name: (TYPES | own)[name] for name in kernel.arg_names}
    sixteen = [["tt.divisibility", 16]]
    attributes = {(k,): sixteen for k, (name, kind_) in enumerate(signature.items()) if is_even(name, kind_)}
    place = kernel.arg_names.index("slots") if "slots" in signature else 0
    attributes |= {(place, k): sixteen for k in range(len(slots)) if "slots" in signature}
    if kind.width == 1:  # Triton takes such numbers for constants
        signature["width"] = "constexpr"
    constants = {"width": 1} if kind.width == 1 else {}
    source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
    target = triton.backends.compiler.GPUTarget("cuda", architecture, 32)
    return triton.compile(source, target=target, options={"num_warps": warps, **OPTIONS})


def is_even(name: str, kind) -> bool:
    return name == "width" or (isinstance(kind, str) and kind.startswith("*"))


def check(binary, path: Path) -> None:
    """No local memory, which registers that do not suffice are spilled to; and IEEE 754's arithmetic."""
    path.write_bytes(binary.asm["cubin"])
    usage = subprocess.run([tool("cuobjdump"), "-res-usage", str(path)], capture_output=True, text=True, check=True)
    found = re.findall(r"STACK:(\d+).*LOCAL:(\d+)", usage.stdout)
    assert found == [("0", "0")], usage.stdout
    ptx = binary.asm["ptx"]
    assert not re.findall(r"\b(?:fma|mad)\.\S*f(?:32|64)|\.ftz|\.approx|div\.full", ptx)
    assert ".local" not in ptx


def moved(ptx: str, what: str) -> list[tuple[int, bool]]:
    """(bytes for each thread, whether only where a mask says so) of every load ("ld") or store ("st")."""
    found = re.findall(rf"^\s*(@\S+ )?{what}\.global\S*?(?:\.v(\d))?\.b(\d+)", ptx, re.MULTILINE)
    return [(int(lanes or 1) * int(bits) // 8, bool(mask)) for mask, lanes, bits in found]


def kind_of(c: Concrete, granularity: str = "coordinate", x: str = "float32", options=(), **more) -> Kind:
    arithmetic = "float64" if x == "float64" else "float32"
    around = modifiers.acting({name: hyper.default for name, hyper in modifiers.settings().items()} | dict(options))
    return Kind(arithmetic, x, (arithmetic,) * len(c.rule.slots), Program(c.rule, around, granularity), **more)


def cases(every: int):
    """Every rule, granularity and generation of GPUs. Fast are shared rates of one rule, and of other rules every
    `every`-th; generations take turns."""
    for k, c in enumerate(CONCRETE.values()):
        for j, granularity in enumerate(granularities(c, "row", "tensor")):
            chosen = c.name == "adagrad" or (granularity == "coordinate" and k % every == 0)
            for i, architecture in enumerate(ARCHITECTURES):
                fast = chosen and i == (k + j) % 2
                name = f"{c.name}-{granularity}-sm_{architecture}"
                yield pytest.param(c, granularity, architecture, id=name, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize("c, granularity, architecture", list(cases(3)))
def test_dense(c, granularity, architecture, tmp_path):
    kind = kind_of(c, granularity, options=ADJUSTS if granularity != "coordinate" else {}, width=256)
    binary = compiled("dense_by_row" if granularity == "row" else "dense", c, kind, architecture)
    check(binary, tmp_path / "cubin")
    if granularity != "row":
        each_coordinate_moves_once(binary.asm["ptx"], kind, c)


def each_coordinate_moves_once(ptx: str, kind: Kind, c: Concrete) -> None:
    """In a full block a thread loads x, g and the slots of its coordinates, 16 bytes at once, and stores x and the
    slots; in a block's last, shorter part, one by one."""
    each, slots = BLOCK // (32 * WARPS), own_slots(kind, c)
    loads, stores = moved(ptx, "ld"), moved(ptx, "st")
    assert sum(size for size, _ in loads if size == 16) == each * (2 * SIZES[kind.x] + slots)
    assert sum(size for size, _ in stores if size == 16) == each * (SIZES[kind.x] + slots)
    assert sum(size for size, masked in loads if masked and size < 16) == each * (2 * SIZES[kind.x] + slots)


def own_slots(kind: Kind, c: Concrete) -> int:
    """Bytes of memory that each coordinate has of its own."""
    kinds = [slot.kind for slot in c.rule.slots.values()]
    return sum(
        SIZES[s] for s, k in zip(kind.slots, kinds, strict=True) if kind.granularity == "coordinate" or k != "scale"
    )


@pytest.mark.parametrize("x", ["float64", "bfloat16", "float16"])
def test_dense_of_other_types(x, tmp_path):
    c = CONCRETE["adam"]
    kind = kind_of(c, x=x, seed=1 if x == "bfloat16" else None, amp=True, options=ADJUSTS | SHRINKS | DECAYS)
    binary = compiled("dense", c, kind, 90)
    check(binary, tmp_path / "cubin")
    each_coordinate_moves_once(binary.asm["ptx"], kind, c)


def test_whole_powers(tmp_path):
    check(compiled("dense", POWERS, kind_of(POWERS), 90), tmp_path / "cubin")


@pytest.mark.parametrize("c, granularity, architecture", list(cases(6)))
def test_rows(c, granularity, architecture, tmp_path):
    """A warp asks for a row of every array, 16 bytes for each thread, and for the gradients of 1 + AHEAD duplicates, or
    their sum."""
    catches_up = c.rule.lazy_exact or callable(c.rule.zero_grad_steps)
    kind = kind_of(
        c,
        granularity,
        catches_up=catches_up,
        options=SHRINKS if c.rule.lazy_exact and not c.rule.from_origin else {},
        width=WIDTH,
    )
    binary = compiled("rows", c, kind, architecture)
    check(binary, tmp_path / "cubin")
    each, ahead = WIDTH // 32, AHEAD // (WIDTH // 32)
    sums = SIZES[kind.dtype]
    moves = {what: sum(size for size, _ in moved(binary.asm["ptx"], what) if size == 16) for what in ("ld", "st")}
    own = SIZES[kind.x] + own_slots(kind, c)
    assert moves == {"ld": each * (own + sums + SIZES[kind.x] * (1 + ahead)), "st": each * own}


@pytest.mark.parametrize("driver", ["terms", "sums", "common", "rows_terms", "settle"])
@pytest.mark.parametrize("architecture", [pytest.param(ARCHITECTURES[0], marks=pytest.mark.slow), *ARCHITECTURES[1:]])
def test_other_drivers(driver, architecture, tmp_path):
    c = CONCRETE["adagrad"]
    kind = kind_of(c, "tensor", options=ADJUSTS | SHRINKS, catches_up=driver == "settle", width=WIDTH)
    check(compiled(driver, c, kind, architecture), tmp_path / "cubin")


@pytest.mark.parametrize("x", marked(["float32", "float64", "bfloat16"], ["bfloat16"]))
def test_long_runs(x, tmp_path):
    check(
        compiled("long_runs", CONCRETE["adagrad"], kind_of(CONCRETE["adagrad"], x=x, width=32), 90), tmp_path / "cubin"
    )


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["coordinate", pytest.param("row", marks=pytest.mark.slow)])
def test_rows_of_one_column(granularity, tmp_path):
    kind = kind_of(CONCRETE["adagrad"], granularity, catches_up=True, options=SHRINKS, width=1)
    check(compiled("rows", CONCRETE["adagrad"], kind, 90), tmp_path / "cubin")
