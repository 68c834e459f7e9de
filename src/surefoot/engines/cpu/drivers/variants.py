"""What is done around the rule: `plain_…` where that is nothing."""

from surefoot.engines.modifiers import Modifiers

# ruff: noqa: F821


def plain_gradient(raw, x, modifiers):
    return raw


def full_gradient(raw, x, modifiers):
    return MODIFIED_GRADIENT(raw, x, modifiers.scale, modifiers.clip, modifiers.weight_decay)


def plain_start(x, modifiers):
    return x


def full_start(x, modifiers):
    return modifiers.keep * x


def plain_proximal(x, rate, modifiers):
    return x


def full_proximal(x, rate, modifiers):
    return PROXIMAL_STEP(x, rate, modifiers.l1, modifiers.l2)


def plain_numbers(modifiers, k):
    return ()


def full_numbers(modifiers, k):
    """The numbers around the rule in row k of a table."""
    numbers = modifiers[k]
    return Modifiers(F(numbers[0]), F(numbers[1]), F(numbers[2]), F(numbers[3]), F(numbers[4]), F(numbers[5]))
