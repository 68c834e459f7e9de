"""Compiled parsers: from bytes to arrays, a line at a time; they hold no lock of the interpreter.

Every text ends with a line end that `sources` adds, so that a scan over digits or blanks stops by itself.
"""
