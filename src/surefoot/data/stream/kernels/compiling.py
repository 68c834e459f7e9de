"""Decorators of kernels, and of what is compiled into the kernels that call it."""

from surefoot.native.emitting import jitted

kernel = inner = jitted
