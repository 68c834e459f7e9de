"""`ops` for Numba: the scalar module, compiled. (For NumPy it is `numpy`, for Triton `triton.language`.)"""

import math

import numba

from surefoot import ops

sqrt, exp, log = math.sqrt, math.exp, math.log
abs = abs
where = numba.njit(ops.where)
maximum = numba.njit(ops.maximum)
minimum = numba.njit(ops.minimum)
power = numba.njit(ops.power)
