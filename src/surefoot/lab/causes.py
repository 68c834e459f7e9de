"""The one verdict on a run: what is worst, what causes it, and the change that cures it.

A cause is found by trying: the next step is computed as it is, and with one thing changed (without weight decay, at the
highest learning rate so far, with the memory that the present gradient alone would have made).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from surefoot.lab.adopting import Adopted
from surefoot.lab.findings import Case
from surefoot.lab.motion import DECAYS, Motion, altered
from surefoot.lab.rates import FALLEN, Rate
from surefoot.lab.remedies import TARGET, Remedies, Remedy
from surefoot.lab.scales import EXPLODED, Weights, root_mean_square, weights_of
from surefoot.optim.conversion import weight_of_square

SLOWEST, FASTEST = 1e-5, 0.6
"""The band: ‖update‖/‖parameter‖ of a step, below which a parameter stands still, and above which a run diverges."""

TARGET_OF_FAST = 1e-2
"""‖update‖/‖parameter‖ to which the remedy for a run that is too fast leads."""

AS_FAR_AGAIN = 0.01
"""A slow parameter stands still only if as many steps again as it has taken would not move it by this share of it."""

OUTLIER = 1e-3
"""A parameter this many times slower than the run is judged by itself; otherwise, most coordinates count."""

FEW = 10
"""Coordinates, of fewer than which a single gradient does not tell what gradients are like."""

WARM_UP = 10
"""Steps before which a run is not said to diverge, to have decayed or to have missed coordinates."""

FORGETS, SHRINKS = 0.05, 2.0
"""Weight decay eats a parameter that it shortens by this share in a step, or by more than this times the gradient."""

FROZEN, SATURATED, SKIPPED = 0.2, 0.5, 1e-3
"""Shares of coordinates above which they count."""

UNVISITED = ((0.8, 2), (0.5, 5))
"""Shares of coordinates never visited, and after how many passes of steps that visit as many as all they count."""

RESTING = 0.1
"""The share of a gradient's norm that coordinates which do not move have at least, unless they have converged."""

DOMINATED = 10.0
"""How many times as long a step would be, if all gradients so far had been the present one, for a memory of others."""

CONVERGED = 1e-4
"""‖gradient‖·‖parameter‖, the change of the loss if parameters doubled, below which there is nothing left to do."""


@dataclass
class Verdict:
    """What is wrong with a run, if anything.

    Attributes:
        symptom: "not finite", "diverges", "shrinks", "stands still", "frozen", "saturated", "never visited",
            "healthy" or "unknown".
        cause: "rate", "decay", "memory", "storage", "gradient" or "data"; None where nothing is wrong.
        names: the parameters concerned.
        what: a sentence about them.
        remedy: what cures it; None where there is nothing to do.
    """

    symptom: str
    cause: str | None
    names: list[str]
    what: str
    remedy: Remedy | None = None

    def __str__(self) -> str:
        head = self.symptom if self.cause is None else f"{self.symptom}, cause: {self.cause}"
        text = f"Verdict: {head}. {self.what}"
        return text if self.remedy is None else f"{text} Remedy: {self.remedy.what}: {self.remedy.call}"

    def to_dict(self) -> dict[str, Any]:
        """As plain strings and lists."""
        return asdict(self) | {"remedy": None if self.remedy is None else self.remedy._asdict()}


def percent(share: float | None) -> str:
    """A share in percent, never rounded to nothing or to all.

    >>> percent(0.00001), percent(0.5), percent(0.99999), percent(0.0)
    ('<0.1 %', '50 %', '>99.9 %', '0 %')
    """
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.3g} %"


def below(value: float, bound: float) -> str:
    """In as few digits as show that it is below a bound.

    >>> below(2.34e-6, 1e-5), below(9.999e-6, 1e-5)
    ('2.3e-06', '9.999e-06')
    """
    return next((text for digits in range(2, 16) if float(text := f"{value:.{digits}g}") < bound), f"{value:g}")


def listed(names: Sequence[str]) -> str:
    """One line, however many names.

    >>> listed(["a"]), listed(["a", "b", "c", "d", "e"])
    ('a', '5 parameters (a, b, c, …)')
    """
    if len(names) == 1:
        return names[0]
    return f"{len(names)} parameters ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def judge(cases: Sequence[Case], adopted: Adopted) -> Verdict:
    """The worst of what is found."""
    judged = Judge(cases, Remedies(adopted))
    checks: list[Callable[[], Verdict | None]] = [
        judged.not_finite,
        judged.diverges,
        judged.shrinks,
        judged.stands_still,
        judged.frozen,
        judged.saturated,
        judged.never_visited,
    ]
    return next((verdict for check in checks if (verdict := check()) is not None), judged.healthy())


class Judge:
    """Looks for one kind of fault after the other.

    Args:
        cases: the parameters.
        remedies: the calls that change their optimizer.
    """

    def __init__(self, cases: Sequence[Case], remedies: Remedies):
        self.cases, self.remedies = cases, remedies
        self.moving = [(case, case.motion) for case in cases if case.motion is not None and case.motion.having]
        self.update = math.hypot(*(motion.update for _, motion in self.moving))
        self.parameter = math.hypot(*(motion.length for _, motion in self.moving))
        self.weights = weights_of(cases)
        # What the loss would change by, to first order, if all of the parameters were doubled.
        self.slope = sum(motion.gradient * motion.length for _, motion in self.moving)

    @property
    def pace(self) -> float:
        """‖update‖/‖parameter‖ of the run."""
        return self.update / self.parameter if self.parameter else 0.0

    def has_converged(self) -> bool:
        return bool(self.moving) and 0 < self.slope < CONVERGED

    # Faults, the worst first

    def not_finite(self) -> Verdict | None:
        lost = [case for case in self.cases if not math.isfinite(case.finding.parameter_norm)]
        if lost:
            what = f"{listed(named(lost))}: values are not finite; the run has diverged."
            return Verdict("not finite", "rate", named(lost), what, self.start_again(lost))
        bad = [case for case in self.cases if skipped(case) > SKIPPED]
        if not bad:
            return None
        exploded = [case for case in bad if root_mean_square(case) > EXPLODED]
        if exploded:
            what = f"{listed(named(exploded))}: so large that gradients are not finite; the run has diverged."
            return Verdict("not finite", "rate", named(exploded), what, self.start_again(exploded))
        share = max(map(skipped, bad))
        what = f"{listed(named(bad))}: up to {percent(share)} of the gradient is not finite, or its square is not."
        storage = all(case.finding.dtype == "float16" for case in bad)
        remedy = self.remedies.wider(bad) if storage else self.remedies.find_origin()
        return Verdict("not finite", "storage" if storage else "gradient", named(bad), what, remedy)

    def diverges(self) -> Verdict | None:
        alone = len(self.weights) == 1
        fast = [case for case, motion in self.moving if (motion.pace or 0) > FASTEST and warm(case)]
        if fast and self.pace > FASTEST:
            what = f"{listed(named(fast))}: a step is {self.pace:.2g} times as long as the parameters."
            # What is linear in its parameters comes back from anywhere; the curvature of networks has changed.
            slower = min(TARGET_OF_FAST / self.pace, self.new_start(fast)) if alone else 0.0
            remedy = self.remedies.rate(fast, slower) if alone else self.start_again(fast)
            return Verdict("diverges", "rate", named(fast), what, remedy)
        kept = [weights for weights in self.weights if warm(weights.case)]
        fastest = max((weights.pace for weights in kept), default=0.0)
        large = [weights for weights in kept if weights.is_large(alone, fastest)]
        steep = [weights for weights in kept if weights.is_steep()]
        still = [weights for weights in kept if weights.first >= 1 and not alone and self.is_cut_off()]
        found = large or steep or still
        if not found:
            return None
        worst, names = max(found, key=lambda weights: weights.size), named([weights.case for weights in found])
        uphill = max(weights.uphill for weights in found)
        why = (
            f"the weights have grown to {worst.size:.2g} times 1/√inputs"
            if large
            else f"the loss would fall by {uphill:.2g} if the weights were shortened to nothing"
            if steep
            else "no weight matrix has a gradient any more"
        )
        what = f"{listed(names)}: {why}; a first step at this rate is {worst.first:.2g} times 1/√inputs."
        return Verdict("diverges", "rate", names, what, self.start_again([weights.case for weights in found]))

    def is_cut_off(self) -> bool:
        """Whether gradients reach biases alone: all hidden units are dead."""
        return bool(self.moving) and all(len(case.finding.shape) < 2 for case, _ in self.moving)

    def new_start(self, cases: Sequence[Case]) -> float:
        """By what to multiply the learning rates of the groups of these parameters for a new start."""
        groups = {case.group for case in cases}
        tightest: dict[int, Weights] = {}
        for weights in sorted(self.weights, key=lambda weights: weights.natural, reverse=True):
            tightest[weights.case.group] = weights
        return min((weights.new_start for group, weights in tightest.items() if group in groups), default=0.1)

    def start_again(self, cases: Sequence[Case]) -> Remedy:
        """The rate for a new start, and a tenth at most of that with which the run diverged."""
        return self.remedies.start_again(cases, min(self.new_start(cases), 0.1))

    def shrinks(self) -> Verdict | None:
        found = [(case, decay) for case, motion in self.moving if (decay := Decay.of(case, motion)).eats(case)]
        if not found:
            return None
        eaten = [case for case, _ in found]
        worst = max(found, key=lambda pair: pair[1].share)[1]
        what = (
            f"{listed(named(eaten))}: weight decay takes {percent(worst.share)} of the parameter in a step, "
            f"{worst.against:.2g} times what its gradient adds."
        )
        groups = {case.group for case in eaten}
        if too_fast := [weights for weights in self.weights if weights.first >= 1 and weights.case.group in groups]:
            what += f" A first step at this rate is {too_fast[0].first:.2g} times 1/√inputs."
            return Verdict("shrinks", "rate", named(eaten), what, self.start_again(eaten))
        return Verdict("shrinks", "decay", named(eaten), what, self.remedies.decay(eaten, worst.cure))

    def stands_still(self) -> Verdict | None:
        if self.has_converged():
            return None
        # A parameter on which the loss hardly depends any more has converged.
        least = CONVERGED * max(self.slope, 1.0) / max(len(self.moving), 1)
        steep = [(case, motion) for case, motion in self.moving if motion.gradient * motion.length > least]
        rests = [rest for case, motion in steep if (rest := Rest.of(case, motion)) is not None]
        having = sum(motion.having for _, motion in self.moving)
        alone = sum(rest.having for rest in rests) < having / 2
        if alone:
            rests = [rest for rest in rests if rest.is_outlier(self.pace) or rest.partly]
        if not rests:
            return None
        cause = Counter(rest.cause for rest in rests).most_common(1)[0][0]
        rests = [rest for rest in rests if rest.cause == cause]
        still = [rest.case for rest in rests]
        lengths = [rest.case.motion.length for rest in rests if rest.case.motion]
        pace = math.hypot(*(rest.pace * each for rest, each in zip(rests, lengths, strict=True))) / math.hypot(*lengths)
        moves = f"a step moves {percent(rests[0].partly)} of the coordinates by nothing"
        if not rests[0].partly:
            moves = f"a step moves a parameter by {below(pace, SLOWEST)} of its size"
        factor = TARGET / pace if pace else math.inf
        remedy = {
            "rate": lambda: self.remedies.rate(still, factor, alone),
            "decay": lambda: self.remedies.no_decay_of_rate(still, factor),
            "memory": lambda: self.remedies.forget(still, 1 / pace if pace else math.inf),
        }[cause]()
        return Verdict("stands still", cause, named(still), f"{listed(named(still))}: {moves}; {WHY[cause]}.", remedy)

    def frozen(self) -> Verdict | None:
        lost = [case for case, motion in self.moving if (motion.lost or 0) > FROZEN and not is_scheduled(case)]
        if not lost or self.has_converged():
            return None
        share = max(case.motion.lost or 0 for case in lost if case.motion)
        kinds = sorted({case.finding.dtype for case in lost})
        what = f"{listed(named(lost))}: {percent(share)} of the updates round to nothing in {', '.join(kinds)}."
        return Verdict("frozen", "storage", named(lost), what, self.remedies.wider(lost))

    def saturated(self) -> Verdict | None:
        full = [
            case
            for case, motion in self.moving
            if (motion.saturated or 0) > SATURATED and case.view.step.state_dtype in ("bfloat16", "float16")
        ]
        if not full or self.has_converged():
            return None
        kinds = sorted({str(case.view.step.state_dtype) for case in full})
        what = f"{listed(named(full))}: most squared gradients round to nothing in a state of {', '.join(kinds)}."
        return Verdict("saturated", "storage", named(full), what, self.remedies.wider_state())

    def never_visited(self) -> Verdict | None:
        missed = [case for case in self.cases if is_missed(case)]
        if not missed:
            return None
        share = max(case.finding.never_visited or 0 for case in missed)
        what = f"{listed(named(missed))}: up to {percent(share)} never had a gradient."
        return Verdict("never visited", "data", named(missed), what, self.remedies.fewer_rows(missed))

    def healthy(self) -> Verdict:
        if not any(case.motion for case in self.cases):
            what = (
                "There are no gradients to compute the next step from: call diagnose between backward() and "
                "zero_grad(), or let surefoot.Monitor do so in every Nth step."
            )
            return Verdict("unknown", None, [], what)
        if self.has_converged():
            what = f"Nothing to do: the gradients have vanished (‖gradient‖·‖parameter‖ = {self.slope:.1g})."
            return Verdict("healthy", None, [], what)
        what = f"Nothing to do: a step is {self.pace:.2g} times as long as the parameters"
        if self.moving and self.pace < SLOWEST:
            what = f"Nothing to do: a step is {below(self.pace, SLOWEST)} times as long as the parameters"
            what += f", which is below the band of {SLOWEST:g} to {FASTEST:g}, but {self.why_slow()}"
        return Verdict("healthy", None, [], f"{what}.")

    def why_slow(self) -> str:
        """Why steps that are shorter than the band has it are in order."""
        fallen = max(Rate.of(case).fallen for case, _ in self.moving)
        if fallen > FALLEN:
            return f"a schedule has set the learning rate {fallen:.2g} times below its highest"
        steps = max(case.finding.steps or 0 for case, _ in self.moving)
        if self.pace * steps >= AS_FAR_AGAIN:
            return f"{steps} steps again move them by {percent(self.pace * steps)}"
        return "most of them move, or their gradients have vanished"


# What counts as a fault


WHY = {
    "rate": "the learning rate is too small",
    "decay": "the learning rate has decayed too far",
    "memory": "the state is of much larger gradients than today's",
}


def named(cases: Sequence[Case]) -> list[str]:
    return [case.finding.name for case in cases]


def warm(case: Case) -> bool:
    """Whether enough steps were taken, as far as they are counted."""
    return case.finding.steps is None or case.finding.steps >= WARM_UP


def skipped(case: Case) -> float:
    """The share of coordinates skipped with this gradient, or in all steps so far."""
    so_far = case.finding.skipped_so_far / max(case.view.size * (case.finding.steps or 1), 1)
    return max(case.finding.skipped or 0.0, so_far)


def is_missed(case: Case) -> bool:
    """Whether many coordinates were never visited, in steps that could have visited all of them."""
    if not case.finding.never_visited or not warm(case):
        return False
    having = case.motion.having if case.motion else 0
    passes = (case.finding.steps or 0) * having / max(case.view.size, 1) if having else math.inf
    return any(case.finding.never_visited > share and passes >= least for share, least in UNVISITED)


def is_scheduled(case: Case) -> bool:
    """Whether updates are lost because a schedule has set a small rate for now."""
    rate = Rate.of(case)
    if rate.fallen <= FALLEN:
        return False
    at_highest = case.view.motion(altered(case.view.step, lr=rate.highest, lr_decay=0.0))
    return (at_highest.lost or 0.0) <= FROZEN


@dataclass
class Decay:
    """What weight decay does to a parameter in a step.

    Attributes:
        share: how much of the parameter it takes.
        against: how many times the update by the gradient alone it is.
    """

    share: float
    against: float

    @classmethod
    def of(cls, case: Case, motion: Motion) -> Decay:
        step = case.view.step
        if not any(step.options.get(name) for name in DECAYS) or not motion.parameter:
            return cls(0.0, 0.0)
        without = case.view.motion(altered(step, dict.fromkeys(DECAYS, 0.0)))
        share = motion.shrinkage - without.shrinkage
        return cls(share, share * motion.parameter / without.update if without.update else math.inf)

    def eats(self, case: Case) -> bool:
        """Whether the gradient cannot keep up, or the parameter is forgotten within a hundred steps."""
        so_far = self.share * (case.finding.steps or math.inf) if self.share > 0 else 0.0
        outweighs = self.against > SHRINKS and so_far > 0.5
        return outweighs or (self.share > FORGETS and self.against > 0.5)

    @property
    def cure(self) -> float:
        """By what to multiply the decay."""
        return min(0.1 / self.against, 1e-4 / self.share)


# Why a parameter stands still


@dataclass
class Rest:
    """A parameter that stands still.

    Attributes:
        case: the parameter.
        having: how many coordinates have a gradient.
        pace: ‖update‖/‖parameter‖.
        cause: "rate", "decay" or "memory".
        partly: the share of coordinates that do not move, where others do.
    """

    case: Case
    having: float
    pace: float
    cause: str
    partly: float | None = None

    def is_outlier(self, pace: float) -> bool:
        """Whether it is much slower than the run, and not only because one gradient happens to be small."""
        return self.pace < OUTLIER * pace and (self.cause != "memory" or self.having >= FEW)

    @classmethod
    def of(cls, case: Case, motion: Motion) -> Rest | None:
        """What there is to say of a parameter; None if it moves, or stands still by its schedule."""
        if motion.pace is None:
            return None
        steps, still = case.finding.steps, (motion.frozen or 0) - (motion.lost or 0)
        is_slow = motion.pace < SLOWEST and (steps is None or motion.pace * steps < AS_FAR_AGAIN)
        if is_slow:
            rate = Rate.of(case)
            fastest = rate.pace_at_highest(case)
            pace = motion.pace or fastest / rate.fallen
            if rate.fallen > 1 and fastest >= SLOWEST:
                # Otherwise its scheduler warms up, or has come to its end.
                has_decayed = warm(case) and rate.has_decayed(steps, rate.highest * SLOWEST / fastest)
                return cls(case, motion.having, pace, "decay") if has_decayed else None
            return cls(case, motion.having, pace, "memory" if remembers_larger(case, pace) else "rate")
        matters = motion.resting > RESTING * motion.gradient
        if still > FROZEN and matters and has_squares(case) and (case.view.motion(steady=True).frozen or 0) < still / 2:
            return cls(case, motion.having, motion.pace, "memory", still)
        return None


def has_squares(case: Case) -> bool:
    """Whether the rate follows from gradients of the past."""
    return bool(case.view.t) and any(slot.kind == "scale" for slot in case.view.step.rule.slots.values())


def remembers_larger(case: Case, pace: float) -> bool:
    """Whether a parameter would move if its memory were of gradients as large as the present one."""
    if not has_squares(case):
        return False
    view = case.view
    step = altered(view.step, lr=Rate.of(case).now, lr_decay=0.0)
    if any(weight_of_square(step, slot, 1) for slot in step.rule.slots):
        as_present = view.motion(step, steady=True, exact=True).pace or 0.0
    else:
        as_present = (view.motion(step, fresh=True).pace or 0.0) / math.sqrt(view.t)
    return as_present >= SLOWEST and as_present > DOMINATED * pace
