"""Rules as gradient transformations of optax, for JAX: compiled, mapped and sharded as any other.

    optimizer = surefoot.optax.transformation("adagrad", lr=0.1)

Needs JAX and optax (`pip install surefoot[jax]`), and is imported only on request.
"""

import copy
import dis
from collections.abc import Callable
from typing import Any, NamedTuple

try:
    import jax
    import jax.numpy as jnp
    import optax
except ImportError as error:
    raise ImportError(f'surefoot.optax needs JAX and optax ({error}); run pip install "surefoot[jax]"') from error

from surefoot.engines import eager
from surefoot.engines.namespaces.jax import JAX
from surefoot.engines.numerics import ARITHMETIC
from surefoot.engines.settings import OF_STORAGE, Settings
from surefoot.rules import Rule, RuleError, Slot, resolve

REJECTED = {
    "average": "keep an average of the parameters with optax.ema or optax.incremental_update",
    "engine": "JAX compiles the steps",
    "lazy": "gradients in JAX are dense",
    "stochastic_rounding": "parameters are rounded by optax.apply_updates",
    "threads": "JAX has threads of its own",
}
"""Settings of `engines.Step` that have no meaning here, and why."""


class State(NamedTuple):
    """What a rule remembers of a tree of parameters.

    Attributes:
        count: the number of steps taken.
        slots: for each slot of the rule, by name, a tree like the parameters.
        skipped: the number of coordinates skipped so far, because something was not finite.
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]  # as optax's states name it
    slots: dict[str, Any]
    skipped: jax.Array


def transformation(rule: str | Rule, **settings: Any) -> optax.GradientTransformation:
    """A rule, also a user-defined one, as an optax.GradientTransformation.

    What it returns as updates is the new parameters minus the old, so that optax.apply_updates gives the new ones to
    within a rounding; where only −rate · direction is added to the parameters, updates are just that.

    Args:
        rule: a Rule, the name of one, or "path/to/file.py:name", whose file is run.
        **settings: the rule's hyperparameters, and those of `engines.Step` that are no matter of memory or threads:
            granularity, convention, weight_decay, decoupled_weight_decay, l1, l2, clip_value, clip_norm (each of one
            array of parameters; optax.clip_by_global_norm bounds the norm of all), maximize, state_dtype, name.
            `lr` is a number, a scalar of JAX (as optax.inject_hyperparams gives), or a schedule: one that optax made is
            called with the count of steps before, 0, 1, …; any other, also a written one, with t = 1, 2, …, as
            elsewhere in Surefoot.
            `nonfinite` is "skip" (the default: `State.skipped` counts such coordinates) or "propagate". "raise" is
            rejected, because compiled code cannot raise errors.

    Returns:
        init(params) -> State and update(grads, state, params) -> (updates, State). Parameters are float64, float32,
        bfloat16 or float16; state and arithmetic are float32, or float64 for float64 parameters. `params` may be
        omitted only where neither the rule nor the settings read them.

    Raises:
        RuleError, ValueError: for settings that cannot be honoured; nothing is ignored.

    >>> import jax.numpy as jnp, optax
    >>> optimizer = transformation("adagrad", lr=0.5)
    >>> params = {"w": jnp.array([1.0, 2.0])}
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update({"w": jnp.array([3.0, 0.0])}, state, params)
    >>> optax.apply_updates(params, updates)["w"]
    Array([0.5, 2. ], dtype=float32)
    """
    step, lr = settings_of(rule, settings)

    def init(params) -> State:
        check_parameters(step, params)
        slots = {
            key: jax.tree.map(lambda x, slot=slot: new_slot(step, slot, x), params)
            for key, slot in step.rule.slots.items()
        }
        return State(jnp.zeros((), jnp.int32), slots, jnp.zeros((), jnp.int32))

    def update(updates, state: Any, params=None):
        check_gradients(step, updates, params)
        acting, leaves = at(step, lr, state.count), list(map(jnp.asarray, jax.tree.leaves(updates)))
        old = map(jnp.zeros_like, leaves) if params is None else map(jnp.asarray, like(updates, params))
        slots = [like(updates, state.slots[key]) for key in step.rule.slots]
        results = [change(*acting, x, g, own) for x, g, *own in zip(old, leaves, *slots, strict=True)]
        tree = jax.tree.structure(updates)
        kept = {key: tree.unflatten([after[k] for _, after, _ in results]) for k, key in enumerate(step.rule.slots)}
        skipped = state.skipped + sum(count for _, _, count in results)
        after = State(jnp.asarray(optax.safe_increment(state.count)), kept, skipped)
        return tree.unflatten([added for added, _, _ in results]), after

    return optax.GradientTransformation(init, update)


# Settings


def settings_of(rule: str | Rule, given: dict[str, Any]) -> tuple[Settings, Any]:
    """The settings, and the learning rate as a function of the count of steps before."""
    for key in REJECTED.keys() & given.keys():
        raise ValueError(f"transformation: {key} cannot be set here: {REJECTED[key]}")
    given = {"name": "transformation", "nonfinite": "skip"} | given
    if given["nonfinite"] == "raise":
        raise ValueError(
            "transformation: nonfinite='raise' is not possible, as compiled code cannot raise errors; expected 'skip', "
            "with State.skipped to look at, or 'propagate'"
        )
    rule, lr = resolve(rule), given.get("lr")
    if isinstance(lr, jax.Array):
        if lr.ndim:
            raise ValueError(f"transformation: lr must be a number, got an array of shape {lr.shape}")
        given = {key: value for key, value in given.items() if key != "lr"}
        return checked(Settings(rule, **given)), lambda count: wide(lr)
    step = checked(Settings(rule, **given))
    lr = step.hyper["lr"]
    if not callable(lr):
        return step, lambda count: lr
    return step, lambda count: wide(lr(count if is_of_optax(lr) else (count + 1).astype(int)))


def checked(step: Settings) -> Settings:
    """The settings; raises ValueError where the rule or a modifier needs what is not here."""
    extents = (*step.extents, *(statistic.over for statistic in step.program.statistics.values()))
    if "group" in extents:
        raise ValueError(f"{step.name}: {step.rule.name} has numbers over a group of arrays; expected over 'tensor'")
    for modifier in step.modifiers:
        if modifier.stage in OF_STORAGE:
            raise ValueError(f"{step.name}: {modifier.name} acts when parameters are stored, by optax.apply_updates")
    return step


def wide(lr: Any) -> jax.Array:
    """A learning rate in the dtype in which coefficients are computed: float64 where JAX has it."""
    return jnp.asarray(lr, float)


def is_of_optax(schedule: Any) -> bool:
    """Whether optax made a schedule, which counts from 0."""
    function = getattr(schedule, "func", schedule)
    return getattr(function, "__module__", "").partition(".")[0] == "optax"


def at(step: Settings, lr: Callable, count: jax.Array) -> tuple[Settings, jax.Array]:
    """The settings with the learning rate of a step, and the number of the step.

    Raises:
        RuleError: where a schedule or the rule's coefficients cannot be traced.
    """
    now, t = copy.copy(step), (count + 1).astype(int)  # int64 where JAX has it, whose quotients are float64
    try:
        now.hyper = step.hyper | {"lr": lr(count)}
        now.coefficients(t)
    except jax.errors.JAXTypeError as error:
        raise RuleError(
            f"{step.name}: the coefficients of {step.rule.name}, or its schedule, cannot be traced by JAX; expected "
            f"arithmetic and functions of surefoot.ops, without branches on t: {error}"
        ) from error
    return now, t


# Arrays of parameters


def new_slot(step: Settings, slot: Slot, x) -> jax.Array:
    """One slot before the first step, laid out like the parameters."""
    x = jnp.asarray(x)
    shape, dtype = step.slot_shape(x.shape, slot), step.state_dtype or ARITHMETIC[x.dtype.name]
    if slot.initial == "x":
        return x.astype(dtype)
    return jnp.full_like(x, step.initial(slot), dtype=dtype, shape=None if shape == x.shape else shape)


def change(step: Settings, t: jax.Array, x: jax.Array, g: jax.Array, slots: list) -> tuple[jax.Array, list, jax.Array]:
    """(what is added to the parameters, their slots after the step, how many coordinates were skipped)."""
    values, memory, adds = JAX.decode(x), list(map(JAX.decode, slots)), eager.adds(step)
    raw = JAX.cast(g, values)
    new, memory, ok = eager.advance(JAX, step, values, raw, memory, t, change=adds)
    added = new if adds else new - values
    ok = ok & jnp.isfinite(JAX.cast(values + added, x))
    (added, *after), ok = eager.commit(JAX, step, [jnp.zeros_like(x), *slots], [added, *memory], ok)
    return added, after, jnp.sum(~ok, dtype=jnp.int32)


# Checks


def check_parameters(step: Settings, params: Any) -> None:
    """Raises ValueError, naming the array, for parameters that cannot be stepped."""
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        if (dtype := jnp.asarray(x).dtype.name) not in ARITHMETIC:
            hint = "; optax.contrib.split_real_and_imaginary makes two of a complex one" if "complex" in dtype else ""
            raise ValueError(f"{place(step, path)} is {dtype}; expected {', '.join(ARITHMETIC)}{hint}")
    if step.state_dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            f"{step.name}: state_dtype='float64' needs jax_enable_x64; jax.config.update('jax_enable_x64', True)"
        )


def check_gradients(step: Settings, updates: Any, params: Any) -> None:
    """Raises ValueError where parameters are needed and missing, or a gradient has another shape."""
    if params is None:
        if reads_parameters(step):
            raise ValueError(
                f"{step.name}: {step.rule.name} with these settings reads the parameters, but update got params=None; "
                "expected update(grads, state, params)"
            )
        return
    for (path, g), x in zip(jax.tree_util.tree_leaves_with_path(updates), like(updates, params), strict=True):
        if jnp.shape(g) != jnp.shape(x):
            found, expected = jnp.shape(g), jnp.shape(x)
            raise ValueError(f"{place(step, path)} has a gradient of shape {found}; expected {expected}")


def reads_parameters(step: Settings) -> bool:
    """Whether a step depends on the parameters, not only on their gradient."""
    functions = [each.function for each in step.program.operations if each.name != "ADVANCE"]
    starts = any(slot.initial == "x" for slot in step.rule.slots.values())
    return starts or not eager.adds(step) or any("x" in names_read(function) for function in functions)


def names_read(function: Callable) -> set[str]:
    """The arguments and variables that a function reads.

    >>> sorted(names_read(lambda x, g: g * g))
    ['g']
    """
    found: set[str] = set()
    for instruction in dis.get_instructions(function):
        if "LOAD_FAST" in instruction.opname:
            named = instruction.argval
            found.update([named] if isinstance(named, str) else named)
    return found


def like(tree: Any, other: Any) -> list:
    """The parts of another tree that stand where this one has its arrays."""
    return jax.tree.structure(tree).flatten_up_to(other)


def place(step: Settings, path: tuple) -> str:
    """How errors name an array of a tree."""
    return f"{step.name}{jax.tree_util.keystr(path)}"
