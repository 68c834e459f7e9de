"""JAX for the eager engine: pure functions of arrays, which JAX compiles, maps and differentiates."""

from types import SimpleNamespace

import jax.numpy as jnp
from jax import Array

from surefoot import ops
from surefoot.engines.eager import Namespace
from surefoot.engines.numerics import ARITHMETIC


def decode(stored: Array) -> Array:
    return stored.astype(ARITHMETIC[stored.dtype.name])


def cast(values, like: Array) -> Array:
    return jnp.asarray(values, like.dtype)


def total(values: Array, axis: int | None) -> Array:
    return jnp.sum(values, axis, dtype=float)  # float64 where JAX has it, by jax_enable_x64


def largest(values: Array, axis: int | None) -> Array:
    return jnp.max(values, axis, initial=-jnp.inf)


def merge(ids: Array, values: Array) -> tuple[Array, Array]:
    """Not for traced ids: how many are distinct decides shapes."""
    named, place = jnp.unique(ids, return_inverse=True)
    return named, jnp.zeros((len(named), *values.shape[1:]), values.dtype).at[place].add(values)


JAX = Namespace(
    ops=SimpleNamespace(
        sqrt=jnp.sqrt,
        where=jnp.where,
        abs=jnp.abs,
        maximum=jnp.maximum,
        minimum=jnp.minimum,
        exp=jnp.exp,
        log=jnp.log,
        power=ops.power,
    ),
    isfinite=jnp.isfinite,
    decode=decode,
    cast=cast,
    number=cast,
    total=total,
    largest=largest,
    merge=merge,
    put=lambda table, ids, rows: table.at[ids].set(rows),
)
