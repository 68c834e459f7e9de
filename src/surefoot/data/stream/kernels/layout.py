"""What kernels and those who call them have to agree on; it is there without Numba."""

import numpy as np

DONE, ROWS_FULL, ENTRIES_FULL, FAULTS_FULL, NAMES_FULL, UNQUOTED_FULL = range(6)
"""Why a kernel returns; it goes on where it stopped when the array has been enlarged."""

POSITION, LINES, ROWS, ENTRIES, FAULTS, SORTED, SUMMED, WEIGHTED, GROUPED, BASED, NAMES, ARENA = range(12)
"""Places in a kernel's state: where it is, how many it has read and found, what occurred, names and their bytes."""
STATE = 12

DROPPED, TARGET, WEIGHT, NUMERIC, CATEGORICAL, CLASS = range(6)
"""What a column of a table is; the last one is a target whose values are words."""
SEEN, CONTROL, UNSEEN, ABSENT = 0, 1, 2, 4
"""What a string of a column is: a value whose name is known; no text; a name that may be new; or it stands for none."""
FIELD_BITS = 20
"""Rows with fields are sorted by index and field at once, in an int64, of whose bits this number is the field's."""
LARGEST_INDEX = 2**63 - 1
"""Of an int64."""
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
"""What is larger is not finite: a label, a weight or a value, read as float64 too; models hold float32."""

PADDING = 16
"""Bytes that must follow the end of a text, so that a word may be read anywhere in it."""
MOST_BUCKETS = 1 << 12
"""Hashed entries are first put into buckets, about as many as there are entries."""
RECENT = 1 << 14
"""Hashes that a thread remembers to be noted or known: most names of most texts, in a table that its cache holds."""
PROBES = 64
"""Cells of a table of names that are looked at for one of them, at most."""
LIMBS = 256
"""Of 32 bits: 800 digits times 10^342 or 2^1075 take about 135."""
SCRATCH = (2, LIMBS)
"""The shape of a uint64 array that long numbers are compared in."""
