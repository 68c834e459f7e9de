"""What is done around the rule: `plain_…` where that is nothing."""

from surefoot.engines.around import Around

# ruff: noqa: F821


def plain_gradient(raw, x, around):
    return raw


def full_gradient(raw, x, around):
    return AROUND_GRADIENT(raw, x, around.scale, around.clip, around.weight_decay)


def plain_start(x, around):
    return x


def full_start(x, around):
    return around.keep * x


def plain_proximal(x, rate, around):
    return x


def full_proximal(x, rate, around):
    return AROUND_PROXIMAL(x, rate, around.l1, around.l2)


def plain_numbers(arounds, k):
    return ()


def full_numbers(arounds, k):
    """The numbers around the rule in row k of a table."""
    numbers = arounds[k]
    return Around(F(numbers[0]), F(numbers[1]), F(numbers[2]), F(numbers[3]), F(numbers[4]), F(numbers[5]))
