"""Maximize: a step uphill."""

from surefoot.modifiers.record import modifier
from surefoot.records.hyper import flag


@modifier(stage="gradient", settings={"maximize": flag(False, "step uphill")}, formula="g ← −g", zero_grad="nothing")
def maximize(g):
    """The gradient of what is to be minimized."""
    return -g
