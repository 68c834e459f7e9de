"""The weights of models that follow their losses, one example after the other."""

import numpy as np

from surefoot.native import kernel


@kernel
def follow(losses, importance, weights, seen, switching, found, mixed):
    """Multiplies weights by exp(−loss) after each example, and shares a part of them out among all models.

    Args:
        losses: of each example, (n, M, R).
        importance: what the losses of an example count, (n,).
        weights: before the first example; afterwards after the last, (M, R). Each row adds up to 1.
        seen: examples before the first.
        switching: after example t, this over t + 1 is shared out.
        found: the weights before each example, (n, M, R).
        mixed: −ln Σ weight · exp(−loss), (n, M).
    """
    count = weights.shape[1]
    for i in range(losses.shape[0]):
        given = switching / (seen + np.float64(i) + 2.0)
        for m in range(weights.shape[0]):
            least, likelihood, total = np.inf, 0.0, 0.0
            for r in range(count):
                least = min(least, losses[i, m, r])
            for r in range(count):
                found[i, m, r] = weights[m, r]
                factor = np.exp(least - losses[i, m, r])
                likelihood += weights[m, r] * factor
                if importance[i] != 1.0:
                    factor = np.exp(importance[i] * (least - losses[i, m, r]))
                weights[m, r] *= factor
                total += weights[m, r]
            mixed[i, m] = least - np.log(likelihood)
            for r in range(count):
                weights[m, r] = (1.0 - given) * weights[m, r] / total + given / np.float64(count)
