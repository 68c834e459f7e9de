"""`ops` for Numba: the functions of numbers, compiled."""

import inspect
import math

import numba

from surefoot import ops

sqrt, exp, log = math.sqrt, math.exp, math.log
abs = abs
where = numba.njit(inspect.unwrap(ops.where))
maximum = numba.njit(inspect.unwrap(ops.maximum))
minimum = numba.njit(inspect.unwrap(ops.minimum))
power = numba.njit(ops.power)
