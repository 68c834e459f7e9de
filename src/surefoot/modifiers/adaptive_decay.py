"""Adaptive decay: what rows keep at the end of an epoch, so that the next one does not find their examples in them.

A row that n examples of an epoch have moved is the mean of n noisy observations; of its distance from where it began,
the positive-part James–Stein estimator keeps max(0, 1 − κ/n), where κ is the variance of one observation relative to
that of what is observed. What is left of one example in a row is then less than what a single one leaves elsewhere, and
rows that occur fewer than κ times begin again, as those of tables that are initialized again after each epoch.

How noisy one example is can be seen in gradients. Where a log loss predicts the probability p, their sizes are p and
1 − p, and (mean size)²/(mean square) = 4 p (1 − p): four times the information that an example has (Fisher's). So
where few examples are positive, κ is larger in proportion.

Source: James & Stein (1961), Estimation with quadratic loss; Efron & Morris (1973), Stein's estimation rule and its
competitors: an empirical Bayes approach, JASA 68. Rows that wait are those of Li & Lyu (2026), arXiv:2511.06374, who
take 1 − min(1, η α I) after I steps without a gradient.
"""

from surefoot import ops


def occurrences(steps_with, steps):
    """How many examples have a row, by the number of steps in which one has, of all: n = −T ln(1 − touched/T).

    As if examples were drawn at random. Rows of every step count as if one in ten sets had missed one.
    """
    missed = ops.maximum(steps - steps_with, 0.1)
    return steps * ops.log(steps / missed)


def evenness(mean, mean_square):
    """(mean size)²/(mean square) of gradients: 1 if all are equal, and little where few matter; NaN if all are 0."""
    return mean * mean / mean_square


def kept(n, strength):
    """The share max(0, 1 − strength/n) that a row of n examples keeps; all, without any."""
    return ops.where(n > 0.0, ops.maximum(1.0 - strength / ops.maximum(n, 1e-9), 0.0), 1.0)


def decayed(x, initial, share):
    """What has kept that share of its distance from its initial value."""
    return initial + share * (x - initial)
