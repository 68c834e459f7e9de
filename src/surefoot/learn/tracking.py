"""The weights of models that follow their losses, one example after the other, for the losses that are built in."""

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from surefoot import losses
from surefoot.native import Kernel, digest, kernel
from surefoot.records.functions import fingerprint

GIVEN = -1
"""The code of a logarithmic loss whose values are given."""


def take(code, parameter, p, targets, importance, settings, shares, sums, gaps, eta, numbers, each, found, lost):
    """What `Mixture` describes, for each of M mixtures.

    Args:
        code, parameter: the loss, by its code, and its own number; or a logarithmic one by GIVEN.
        p: predictions of every model before each example, or if they are given the losses, (n, M, R).
        targets, importance: of the examples, (n,).
        settings: whether the loss is logarithmic; what is shared out after example t is the second over t + 1; and the
            largest η.
        shares, sums: the weight of each model, and what it has lost, (M, R).
        gaps, eta: of each mixture, (M,) and (M, 1).
        numbers: what the mixtures have lost, how many examples they have seen, and the largest importance of these
            where the loss is logarithmic.
        each: room for R numbers.
        found: the weights before each example, (n, M, R).
        lost: the loss of the mix times the importance, (n,).
    """
    logarithmic, switching, largest_eta = settings
    mixtures, count = shares.shape
    for i in range(p.shape[0]):
        total, weight = 0.0, importance[i]
        if logarithmic and weight > numbers[2]:
            temper(numbers[2] / weight, shares)
            numbers[2] = weight
        part = weight / numbers[2] if logarithmic and weight > 0.0 else 0.0
        for m in range(mixtures):
            wanted = targets[i]
            if mixtures > 1:
                wanted = 1.0 if np.int64(targets[i]) == m else 0.0
            for r in range(count):
                found[i, m, r] = shares[m, r]
                each[r] = p[i, m, r] if code < 0 else value_of(code, p[i, m, r], wanted, parameter)
            if count == 1:
                loss = each[0]
            elif logarithmic:
                loss = follow(each, part, switching / (numbers[1] + 2.0), shares, m)
            else:
                mix = 0.0
                for r in range(count):
                    mix += shares[m, r] * p[i, m, r]
                loss = value_of(code, mix, wanted, parameter)
                gaps[m] += gap(each, weight, eta[m, 0], shares, sums, m)
            for r in range(count):
                sums[m, r] += each[r] * weight
            total += loss * weight
        lost[i] = total
        numbers[0] += total
        numbers[1] += 1.0
        if count > 1 and not logarithmic:
            seen = np.int64(numbers[1])
            for m in range(mixtures):
                if seen & (seen - 1) == 0:
                    eta[m, 0] = min(np.log(np.float64(count)) / gaps[m], largest_eta)
                softmax(eta[m, 0], shares, sums, m)
    return 0


def value_of(code, prediction, y, parameter):
    """The value of the loss with a code; kernels have `value_by_code` in its place."""
    loss = next(loss for loss, own in losses.CODES.items() if own == code)
    return loss.value(prediction, y, *loss.own(parameter))


def temper(power, shares):
    """Raises shares to a power, and normalizes them."""
    mixtures, count = shares.shape
    for m in range(mixtures):
        total = 0.0
        for r in range(count):
            shares[m, r] **= power
            total += shares[m, r]
        for r in range(count):
            shares[m, r] /= total


def follow(each, part, given, shares, m):
    """Multiplies weights by exp(−part · loss), and shares out what is given among all models; the loss of the mix."""
    count = shares.shape[1]
    least, likelihood, total = np.inf, 0.0, 0.0
    for r in range(count):
        least = min(least, each[r])
    for r in range(count):
        factor = np.exp(least - each[r])
        likelihood += shares[m, r] * factor
        if part != 1.0:
            factor = np.exp(part * (least - each[r]))
        shares[m, r] *= factor
        total += shares[m, r]
    for r in range(count):
        shares[m, r] = (1.0 - given) * shares[m, r] / total + given / np.float64(count)
    return least - np.log(likelihood)


def gap(each, weight, eta, shares, sums, m):
    """How much the average loss exceeds the mix: in logarithms, since under a large η all shares but one are too small
    for a number of their own."""
    count = shares.shape[1]
    average, least, before, after = 0.0, np.inf, np.inf, np.inf
    for r in range(count):
        loss = each[r] * weight
        average += shares[m, r] * loss
        least = min(least, loss)
        before = min(before, eta * sums[m, r])
        after = min(after, eta * (sums[m, r] + loss))
    mix = least
    if eta > 0.0:
        total_before, total_after = 0.0, 0.0
        for r in range(count):
            total_before += np.exp(before - eta * sums[m, r])
            total_after += np.exp(after - eta * (sums[m, r] + each[r] * weight))
        mix = ((np.log(total_before) - before) - (np.log(total_after) - after)) / eta
    return max(average - mix, 0.0)


def softmax(eta, shares, sums, m):
    """Weights exp(−η · sum), normalized."""
    count = shares.shape[1]
    least, total = np.inf, 0.0
    for r in range(count):
        least = min(least, eta * sums[m, r])
    for r in range(count):
        shares[m, r] = np.exp(least - eta * sums[m, r])
        total += shares[m, r]
    for r in range(count):
        shares[m, r] /= total


@functools.cache
def taking() -> Kernel:
    """`take`, for all losses that are built in and learn outputs apart."""
    values = [(loss.name, fingerprint(loss.value)) for loss in losses.CODES if not loss.joint]
    return kernel(take, temper, follow, gap, softmax, made=lambda: {"value_of": value_by_code()}, of=digest(values))


def value_by_code() -> Callable:
    """The value of the loss with a given code, of numbers."""
    from surefoot.native.codegen import jitted

    names, calls = {}, []
    for loss, code in losses.CODES.items():
        if not loss.joint:
            names[f"value_{code}"] = jitted(of_numbers(loss.value))
            own = ", parameter" if loss.parameter is not None else ""
            calls.append((code, f"value_{code}(prediction, y{own})"))
    chain = "".join(f"{call} if loss == {code} else " for code, call in calls[:-1])
    return jitted(eval(f"lambda loss, prediction, y, parameter: np.float64({chain}{calls[-1][1]})", names | {"np": np}))


def of_numbers(function: Any) -> types.FunctionType:
    """A function of arrays as one of numbers, with what it calls."""
    from surefoot.native.codegen import jitted

    names = function.__globals__ | {"np": of_one()}
    called = {
        name: names[name] for name in function.__code__.co_names if isinstance(names.get(name), types.FunctionType)
    }
    names |= {name: jitted(of_numbers(own)) for name, own in called.items()}
    return types.FunctionType(function.__code__, names, function.__name__)


@functools.cache
def of_one() -> types.ModuleType:
    """NumPy, whose `where` chooses between two numbers."""
    from surefoot.native.codegen import jitted

    module = types.ModuleType("numpy_of_numbers")
    own = {name: value for name, value in vars(np).items() if not name.startswith("_")}
    vars(module).update(own, where=jitted(chosen))
    return module


def chosen(condition, first, second):
    return first if condition else second


class One:
    """The call of `take` for one example, whose arguments are laid out once.

    Args:
        code, parameter, settings, memory: as `take` takes them.
    """

    def __init__(self, code: int, parameter: float, settings: tuple, memory: tuple):
        shape = memory[0].shape
        self.p, self.targets, self.importance = np.empty((1, *shape)), np.empty(1), np.empty(1)
        room = np.empty(shape[1]), np.empty((1, *shape)), np.empty(1)
        self._call = taking().bound(code, parameter, self.p, self.targets, self.importance, settings, *memory, *room)

    def take(self, predictions: np.ndarray, target: float, weight: float) -> None:
        self.p[0] = predictions
        self.targets[0], self.importance[0] = target, weight
        self._call()
