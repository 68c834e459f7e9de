"""How a sort of rows is laid out."""

MOST_BITS = 11
"""Of a digit: with more, its counts no longer fit into the nearest cache."""
COUNTS = 3, 1 << MOST_BITS
"""The shape of what a sort counts with: ids have up to 32 bits, in three digits."""
MOST = 1 << 32
"""Rows, and ids."""
