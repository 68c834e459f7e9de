"""What modifiers do to a parameter in many steps with zero gradient."""

from surefoot import ops


def zero_grad_steps(x, k, rate, keep, l1, l2, kept=None):
    """k steps with zero gradient at one constant rate, each x ← proximal(keep · x), in closed form.

    |x| shrinks to q |x| − a with q = keep/(1 + rate l2), a = rate l1/(1 + rate l2); after k steps
    to qᵏ |x| − a (1 − qᵏ)/(1 − q), and once at zero it stays there. `kept` is qᵏ, where it is known.
    """
    rate = ops.minimum(rate, 1e300)  # without ε, a coordinate that has seen no gradient has an infinite rate
    divisor = ops.where(l2 > 0.0, 1.0 + rate * l2, 1.0)
    threshold = ops.where(l1 > 0.0, rate * l1, 0.0) / divisor
    decay = keep / divisor
    kept = ops.power(decay, k) if kept is None else kept
    size = ops.abs(x) * kept - threshold * ops.where(decay < 1.0, (1.0 - kept) / (1.0 - decay), k)
    # Without l1 nothing stays at zero, and steps that shrink by more than all change the sign.
    size = ops.where(l1 > 0.0, ops.maximum(size, 0.0), size)
    return ops.where(x < 0.0, -size, size)


def zero_grad_sum(x, k, rate, keep, l1, l2):
    """The sum of x after each of these k steps, one at least, none of which makes it zero.

    With q and a as above and s = Σ qⁱ = q (1 − qᵏ)/(1 − q), |x| adds up to s |x| − a (k − s)/(1 − q).
    """
    rate = ops.minimum(rate, 1e300)
    divisor = ops.where(l2 > 0.0, 1.0 + rate * l2, 1.0)
    threshold = ops.where(l1 > 0.0, rate * l1, 0.0) / divisor
    decay = keep / divisor
    part = ops.where(decay < 1.0, decay * (1.0 - ops.power(decay, k)) / (1.0 - decay), k)
    lost = ops.where(decay < 1.0, (k - part) / (1.0 - decay), 0.5 * k * (k + 1.0))
    size = ops.abs(x) * part - threshold * lost
    return ops.where(x < 0.0, -size, size)
