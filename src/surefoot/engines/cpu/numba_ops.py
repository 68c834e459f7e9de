"""`ops` for Numba: the scalar module, compiled."""

import math

import numba

from surefoot import ops

sqrt, exp, log = math.sqrt, math.exp, math.log
abs = abs
where = numba.njit(ops.where)
maximum = numba.njit(ops.maximum)
minimum = numba.njit(ops.minimum)
power = numba.njit(ops.power)
