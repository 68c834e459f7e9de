"""How much is read at once, and how much of a file is looked at first. Tests change these numbers."""

PIECE = 1 << 20
"""Bytes of a piece, as far as lines allow."""
LONGEST_LINE = 16 << 20
"""Bytes; longer lines are faults, and never held in memory as a whole."""
BEGINNING = 1 << 20
"""Bytes of a file, as stored, from which its format is guessed, and the columns of a table."""
LOOK_AHEAD = 1 << 16
"""Bytes that are searched for a line end at once."""
