"""Machine code that is loaded without its compiler: what is passed, rejected, raised and cached."""

import ctypes
import gc
import itertools
import json
import math
import threading

import numpy as np
import pytest
from support.numerics import assert_identical

from surefoot.native import Team, compilation, kernel
from surefoot.native.cache import seal
from surefoot.native.codegen import jitted


def mixed(table, rows, pair, number, small, whole, flag, nothing):
    """Something of every kind of argument."""
    first, (second,) = pair
    total = number + whole
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            table[i, j] = table[i, j] * small + first[j] - second
            total += math.exp(rows[i]) * np.float64(table[i, j])
    return total if flag and nothing is None else -total


def arguments(dtype=np.float32, order="C"):
    rng = np.random.default_rng(0)
    table = np.asarray(rng.normal(size=(4, 3)), dtype, order=order)
    pair = rng.normal(size=6)[::2], (np.uint8(3),)
    return table, rng.normal(size=4), pair, 0.1, np.float32(0.3), 7, True, None


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder of kernels for this module's functions, used by nothing else."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("cache")
    patch.setenv("NUMBA_CACHE_DIR", str(folder))
    yield folder
    patch.undo()


def pure(function, given):
    """The result of plain Python, and its table."""
    given = (given[0].copy(order="K"), *given[1:])
    return function(*given), given[0]


@pytest.mark.parametrize("dtype, order", [(np.float32, "C"), (np.float64, "C"), (np.float32, "F")], ids=str)
def test_the_bits_of_plain_python(cache, dtype, order):
    """For all types of arguments, each of which has its own code."""
    given = arguments(dtype, order)
    total, table = pure(mixed, given)
    assert_identical(np.float64(MIXED(*given)), np.float64(total))
    assert_identical(given[0], table)


MIXED = kernel(mixed)


def test_numba_gives_the_same_bits(cache):
    import numba

    ours, numbas = arguments(), arguments()
    assert MIXED(*ours) == numba.njit(error_model="numpy")(mixed)(*numbas)
    assert_identical(ours[0], numbas[0])


def test_arrays_of_other_kinds(cache):
    """A subclass, another name for the same type of numbers, memory with gaps and memory that is read only."""
    table, rows, pair, *rest = arguments()
    expected, _ = pure(mixed, (table, rows, pair, *rest))
    gaps = np.repeat(rows, 2)[::2]
    frozen = rows.copy()
    frozen.flags.writeable = False
    longs = np.dtype(np.longdouble) if np.dtype(np.longdouble).itemsize == 8 else rows.dtype
    for other in (rows.view(np.recarray), gaps, frozen, rows.astype(longs)):
        assert MIXED(table.copy(), other, pair, *rest) == expected


@pytest.mark.parametrize("wrong", ["1", b"1", [1.0], {}], ids=str)
def test_invalid_kernel_arguments(cache, wrong):
    with pytest.raises(TypeError, match="kernels take arrays, numbers and tuples of them; got"):
        MIXED(*arguments()[:3], wrong, *arguments()[4:])


def test_tuples_of_another_length(cache):
    """They are other types, which this function does not compile for."""
    table, rows, pair, *rest = arguments()
    MIXED(table, rows, pair, *rest)
    with pytest.raises(Exception, match="wrong tuple length"):
        MIXED(table, rows, (*pair, 1.0), *rest)


def test_functions_that_python_calls_too(cache):
    """A user's function that a kernel calls is compiled as by Numba alone, and still works outside of the kernel."""
    import numba

    @numba.njit
    def half(number):
        return number / 2

    def halves(numbers):
        total = 0.0
        for i in range(numbers.shape[0]):
            total += half(numbers[i])
        return total

    @numba.njit
    def outside(numbers):
        return half(numbers[0])

    numbers = np.arange(4.0) + 1
    assert kernel(halves)(numbers) == 5.0
    assert half(3.0) == 1.5
    assert outside(numbers) == 0.5


def raising(numbers):
    if numbers[0] > 0.0:
        raise ValueError("found a positive number", 1)
    numbers[0] = 1.0


def test_exceptions_of_kernels(cache):
    call, numbers = kernel(raising), np.zeros(1)
    assert call(numbers) is None
    with pytest.raises(ValueError, match="found a positive number") as caught:
        call(numbers)
    assert caught.value.args == ("found a positive number", 1)


def add_up(numbers, sums, part):
    """Leaves the sum of a part's numbers."""
    if numbers[part] < 0:
        raise ValueError("found a negative number")
    for k in range(numbers[part]):
        sums[part] += k
    return numbers[part]


ADD_UP = kernel(add_up)


@pytest.fixture
def team():
    """Three Python threads in place of OpenMP's, and a clock that advances by a second whenever it is read."""
    asked, ticks = [], itertools.count(1)

    @ctypes.CFUNCTYPE(None, ctypes.CFUNCTYPE(None, ctypes.c_void_p), ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    def parallel(function, data, count, flags):
        asked.append((count, flags))
        others = [threading.Thread(target=function, args=(data,)) for _ in range(count - 1)]
        for other in others:
            other.start()
        function(data)
        for other in others:
            other.join()

    clock = ctypes.CFUNCTYPE(ctypes.c_double)(lambda: float(next(ticks)))
    addresses = (ctypes.cast(function, ctypes.c_void_p).value for function in (parallel, clock))
    team = Team(*addresses, 3, 5)
    yield team
    assert asked == [(3, 0)]
    assert team.begun < team.done < team.ended
    del parallel, clock  # not before they were called


def test_a_team_shares_the_parts(cache, team):
    numbers, sums = np.array([3, 100_000, 0, 5, 2]), np.zeros(6, np.int64)
    assert ADD_UP.among(team, numbers, sums, 0) == numbers.sum()
    assert sums[:5].tolist() == [n * (n - 1) // 2 for n in numbers.tolist()]
    assert sums[5] == 0


def test_exceptions_in_a_team(cache, team):
    """All other parts are done."""
    numbers, sums = np.array([3, -1, 2, 2, 4]), np.zeros(5, np.int64)
    with pytest.raises(ValueError, match="found a negative number"):
        ADD_UP.among(team, numbers, sums, 0)
    assert sums.tolist() == [3, 0, 1, 1, 6]


def double(numbers):
    for k in range(numbers.size):
        numbers[k] *= 2.0
    return numbers.size


def compiles() -> bool:
    """Doubles numbers as a new process would, and says whether that took compiling."""
    begun, table = [], np.arange(3.0)
    with compilation(lambda: begun.append(True), lambda seconds: None):
        assert kernel(double)(table) == 3
    assert table.tolist() == [0.0, 2.0, 4.0]
    return bool(begun)


@pytest.fixture
def file(cache):
    """The file of a kernel that is kept."""
    compiles()
    (file,) = cache.rglob("double__*.kernel")
    return file


def test_kernels_are_cached_for_other_processes(cache, file):
    assert not compiles()
    file.unlink()
    assert compiles()
    assert not compiles()


@pytest.mark.parametrize("damage", ["truncated", "a bit", "no head", "empty"])
def test_a_damaged_file_is_ignored(file, damage):
    """The kernel is compiled again, and the file replaced."""
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    file.write_bytes({"truncated": whole[:-9], "a bit": flipped, "no head": whole[9:], "empty": b""}[damage])
    assert compiles()
    assert not compiles()


def test_code_with_missing_symbols_is_ignored(file):
    """LLVM would end the process where it misses a function."""
    _, head, body = file.read_bytes().split(b"\n", 2)
    facts = json.loads(head) | {"symbols": ["surefoot_has_no_such_function"]}
    content = json.dumps(facts).encode() + b"\n" + body
    file.write_bytes(seal(content) + b"\n" + content)
    assert compiles()
    assert not compiles()


# Calls that are laid out once


def test_the_bits_of_a_call_that_is_laid_out(cache):
    """Whatever the arrays have in them by then."""
    given = arguments()
    call = MIXED.bound(*given)
    for _ in range(2):
        total, table = pure(mixed, given)
        assert_identical(np.float64(call()), np.float64(total))
        assert_identical(given[0], table)


def first(numbers):
    return numbers[0]


@pytest.mark.parametrize("number", [np.int64(-3), np.uint64(2**64 - 1), np.float64(0.1)], ids=str)
def test_results_of_a_call_that_is_laid_out(cache, number):
    """The call holds on to its arrays."""
    call = kernel(first).bound(np.array([number]))
    gc.collect()
    assert call() == call() == number.item()
    assert type(call()) is type(number.item())


def test_exceptions_of_a_call_that_is_laid_out(cache):
    """After one it can be called again."""
    numbers = np.zeros(1)
    call = kernel(raising).bound(numbers)
    for _ in range(2):
        numbers[0] = 0.0
        assert not call()
        with pytest.raises(ValueError, match="found a positive number") as caught:
            call()
        assert caught.value.args == ("found a positive number", 1)


def test_a_kernel_with_helpers(cache):
    """Each of which calls those before it, and what is made for it."""
    numbers = np.arange(4.0)
    assert kernel(total_of, own, doubled)(numbers) == total_of(numbers) == 12.0
    assert kernel(total_of, doubled, made=lambda: {"own": jitted(larger)}, of="larger")(numbers) == 20.0


def own(number):
    return number


def larger(number):
    return number + 1.0


def doubled(number):
    return 2.0 * own(number)


def total_of(numbers):
    total = 0.0
    for k in range(numbers.size):
        total += doubled(numbers[k])
    return total
