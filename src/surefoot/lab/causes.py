"""The one verdict on a run: what is worst, what causes it, and the change that cures it.

A cause is found by trying: the next step is computed as it is, and with one thing changed (without weight decay, at the
highest learning rate so far, with the memory that the present gradient alone would have made).
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch

from surefoot.lab import activations, gaps, shrinking, storage
from surefoot.lab.adopting import Adopted
from surefoot.lab.clipping import clipped_to
from surefoot.lab.findings import Case
from surefoot.lab.losses import Losses
from surefoot.lab.motion import DECAYS, Motion, altered
from surefoot.lab.rates import FALLEN, Rate
from surefoot.lab.remedies import ELSE, TARGET, Remedies, Remedy
from surefoot.lab.scales import EXPLODED, FASTEST, LARGE, root_mean_square, weights_of
from surefoot.lab.standstill import AS_FAR_AGAIN, FROZEN, SLOWEST, WHY, Bounds, Rest
from surefoot.lab.verdicts import Verdict, below, listed, named, percent

TARGET_OF_FAST = 1e-2
"""‖update‖/‖parameter‖ to which the remedy for a run that is too fast leads."""

SATURATED, SKIPPED = 0.5, 1e-3
"""Shares of coordinates above which they count."""

FAR_TOO_LARGE = 1e3
"""How many times 1/√inputs weights are, behind which gradients that are not finite are no fault of the loss, and units
without a gradient none of the initial values."""

CONVERGED = 1e-4
"""‖gradient‖·‖parameter‖, the change of the loss if parameters doubled, below which there is nothing left to do."""

SATURATES = 0.2
"""How many times 1/√inputs a first step is by which later ones have saturated units, at the inputs that there are."""

COSTLY = 1.0
"""How much of the loss a step takes off, to first order, where a run whose losses do not fall is too fast: where steps
are random, they raise the loss by a quarter of that."""


def judge(
    cases: Sequence[Case], adopted: Adopted, losses: Losses, model: torch.nn.Module | None, without_state: Sequence[str]
) -> Verdict:
    """The worst of what is found.

    Args:
        cases: the parameters that have a state or a gradient.
        adopted: their optimizer.
        losses: of the run.
        model: if it is known.
        without_state: the names of the parameters that are to be trained and have neither.
    """
    judged = Judge(cases, Remedies(adopted, model), losses, without_state)
    checks: list[Callable[[], Verdict | None]] = [
        judged.not_finite,
        judged.climbs,
        judged.diverges,
        judged.shrinks,
        judged.loses,
        judged.vanishes,
        judged.stands_still,
        judged.frozen,
        judged.saturated,
        judged.dead_units,
        judged.never_visited,
    ]
    verdict = next((verdict for check in checks if (verdict := check()) is not None), judged.healthy())
    if verdict.remedy and verdict.cause == "rate" and verdict.symptom != "stands still" and losses.never_fell:
        what = f"{verdict.remedy.what} (if the losses do not fall then, check {ELSE})"
        verdict.remedy = verdict.remedy._replace(what=what)
    return verdict


class Judge:
    """Looks for one kind of fault after the other.

    Args:
        cases: the parameters.
        remedies: the calls that change their optimizer.
        losses: of the run.
        without_state: the names of the parameters that were never stepped.
    """

    def __init__(self, cases: Sequence[Case], remedies: Remedies, losses: Losses, without_state: Sequence[str] = ()):
        self.cases, self.remedies, self.losses, self.without_state = cases, remedies, losses, without_state
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

    @functools.cached_property
    def reach(self) -> float:
        """The length that parameters with a gradient have where they are made."""
        return math.hypot(*(motion.reach for _, motion in self.moving))

    @functools.cached_property
    def decays(self) -> list[shrinking.Decay]:
        return [shrinking.Decay.of(case) for case in self.cases]

    @functools.cached_property
    def firsts(self) -> dict[int, float]:
        """By how many times 1/√inputs a first step moves the weights of each group."""
        found: dict[int, float] = {}
        for weights in self.weights:
            found[weights.case.group] = max(weights.first, found.get(weights.case.group, 0.0))
        return found

    def fall(self, highest: bool = False) -> float:
        """What steps along the present gradient would take off the loss each, to first order.

        Where losses do not fall, gradients are noise, which steps follow: in a quadratic bowl the loss is above its
        minimum by a quarter of this, with or without momentum (Yaida 2018, Fluctuation-dissipation relations for
        stochastic gradient descent).

        Args:
            highest: at the highest learning rates so far.
        """
        falls = 0.0
        for case, _ in self.moving:
            lr = {"lr": Rate.of(case).highest, "lr_decay": 0.0} if highest else {}
            step = altered(case.view.step, dict.fromkeys(DECAYS, 0.0), **lr)
            falls += case.view.motion(step, moving=True, exact=True).downhill
        return falls

    @functools.cached_property
    def clipped(self) -> str | None:
        """What the gradients are clipped to, where they are so small that the run would seem to have converged."""
        is_flat = 0 < self.slope < CONVERGED * self.losses.scale
        return clipped_to([case for case, _ in self.moving]) if is_flat else None

    def has_converged(self) -> bool:
        return 0 < self.slope < CONVERGED * self.losses.scale and self.clipped is None

    # Faults, the worst first

    def not_finite(self) -> Verdict | None:
        lost = [case for case in self.cases if not math.isfinite(case.finding.parameter_norm)]
        if lost:
            return self.diverged(lost, "values are not finite; the run has diverged")
        bad = [case for case in self.cases if skipped(case) > SKIPPED]
        if not bad:
            return None
        exploded = [case for case in bad if root_mean_square(case) > EXPLODED]
        if exploded or any(weights.first >= 1 and weights.size > FAR_TOO_LARGE for weights in self.weights):
            return self.diverged(
                exploded or bad, "the weights are so large that gradients are not finite; the run has diverged"
            )
        share = max(map(skipped, bad))
        what = f"{listed(named(bad))}: up to {percent(share)} of the gradient is not finite, or its square is not."
        is_narrow = all(case.finding.dtype == "float16" for case in bad)
        remedy = self.remedies.float32(bad, cleared=True) if is_narrow else self.remedies.find_origin()
        return Verdict("not finite", "storage" if is_narrow else "gradient", named(bad), what, remedy)

    def diverged(self, lost: Sequence[Case], what: str) -> Verdict:
        """Why parameters are not finite."""
        if (verdict := self.by_storage(lost, what)) is not None:
            return verdict
        if strong := [case for case in lost if shrinking.overshoots(case) and self.is_strong(case)]:
            what = f"{listed(named(strong))}: {what}; a step of weight decay takes more than twice of a parameter."
            remedy = self.remedies.decay(strong, min(map(shrinking.cure_of_overshoot, strong)), again=True)
            return Verdict("not finite", "decay", named(strong), what, remedy)
        is_turned = self.losses.never_fell and any(case.settings.get("maximize") for case in lost)
        if is_turned and max(self.firsts.values(), default=0.0) < 1:
            what = f"{listed(named(lost))}: {what}; maximize=True steps uphill."
            return Verdict("not finite", "gradient", named(lost), what, self.remedies.other_sign(lost))
        guilty = self.guilty(lost)
        why = "" if named(guilty) == named(lost) else f"; the learning rate of {listed(named(guilty))} is far too large"
        what = f"{listed(named(lost))}: {what}{why}."
        return Verdict("not finite", "rate", named(guilty), what, self.start_again(guilty))

    def by_storage(self, cases: Sequence[Case], what: str) -> Verdict | None:
        """The verdict where float16 holds neither ε nor the squares, and the rate is not too large besides."""
        if not all(storage.is_narrow(c) and (storage.loses_eps(c) or self.firsts.get(c.group, 0) < 1) for c in cases):
            return None
        case = cases[0]
        why = "squares of gradients are beyond what float16 holds"
        if storage.loses_eps(case):
            why = f"ε = {case.view.step.hyper['eps']:g} is 0 in float16, as are squares of small gradients"
        remedy = self.remedies.float32(cases, again=True)
        return Verdict("not finite", "storage", named(cases), f"{listed(named(cases))}: {what}; {why}.", remedy)

    def is_strong(self, case: Case) -> bool:
        """Whether weight decay is to blame, rather than the rate."""
        return shrinking.is_strong(case, min(weights.natural for weights in self.weights))

    def guilty(self, cases: Sequence[Case]) -> list[Case]:
        """Those of the groups whose rate is far too large; where none or all are such, all of these."""
        worst = max(self.firsts.values(), default=0.0)
        groups = {group for group, first in self.firsts.items() if first >= max(1.0, worst / 10)}
        of_these = [case for case in cases if case.group in groups]
        return of_these or [weights.case for weights in self.weights if weights.case.group in groups] or list(cases)

    def climbs(self) -> Verdict | None:
        """Where the losses rise by what steps are to take off them, or are maximized."""
        cases, losses = [case for case, _ in self.moving], self.losses
        is_turned = losses.rose and any(case.settings.get("maximize") for case in cases)
        if not cases or not (is_turned or (losses.growth > 1 and losses.climbs(self.fall()))):
            return None
        why = "maximize=True steps uphill"
        if not is_turned:
            why = f"in each step by about what it is to take off, {self.fall():.2g}: the gradients have the wrong sign"
        what = f"{listed(named(cases))}: the losses rise, from {losses.first:.3g} to {losses.last:.3g}; {why}."
        return Verdict("diverges", "gradient", named(cases), what, self.remedies.other_sign(cases))

    def diverges(self) -> Verdict | None:
        alone = len(self.weights) == 1
        fast = [case for case, motion in self.moving if is_fast(case, motion)]
        if fast and self.update > FASTEST * self.reach:
            what = f"a step is {self.pace:.2g} times as long as the parameters"
            guilty = self.guilty(fast)
            # What is linear in its parameters comes back from anywhere; the curvature of networks has changed.
            slower = min(TARGET_OF_FAST / self.pace, self.new_start(fast[0].group))
            remedy = self.remedies.rate(guilty, slower) if alone else self.start_again(guilty)
            return Verdict("diverges", "rate", named(guilty), f"{listed(named(guilty))}: {what}.", remedy)
        # Where losses are known, and fell far, weights may be as large as they are.
        return None if self.losses.fell_far else self.blew_up(alone)

    def blew_up(self, alone: bool) -> Verdict | None:
        """Where steps have made weights so large that further steps are short compared with them."""
        kept = [weights for weights in self.weights if weights.case.is_warm]
        fastest = max((weights.pace for weights in kept), default=0.0)
        large = [weights for weights in kept if weights.is_large(alone, fastest)]
        steep = [weights for weights in kept if weights.is_steep()]
        found = large or steep
        if not found:
            return None
        worst, guilty = max(found, key=lambda weights: weights.size), self.guilty([each.case for each in found])
        why = f"the weights have grown to {worst.size:.2g} times 1/√inputs"
        if not large:
            uphill = max(weights.uphill for weights in steep)
            why = f"the loss would fall by {uphill:.2g} if the weights were shortened to nothing"
        first = max(self.firsts[case.group] for case in guilty)
        what = f"{listed(named(guilty))}: {why}; a first step at this rate is {first:.2g} times 1/√inputs."
        return Verdict("diverges", "rate", named(guilty), what, self.start_again(guilty))

    def new_start(self, group: int) -> float:
        """By what to multiply the learning rate of a group for a new start."""
        of_group = [weights for weights in self.weights if weights.case.group == group]
        return min(of_group, key=lambda weights: weights.natural).new_start if of_group else 0.1

    def start_again(self, cases: Sequence[Case]) -> Remedy:
        """The rates for a new start, and a tenth at most of those that the run began with."""
        return self.remedies.start_again(cases, lambda case: min(self.new_start(case.group), 0.1 * Rate.lowered(case)))

    def shrinks(self) -> Verdict | None:
        lost = shrinking.gone(self.weights, self.decays)
        found = lost or shrinking.eaten(self.decays)
        if not found:
            return None
        cases, worst = [decay.case for decay in found], max(found, key=lambda decay: decay.share)
        what = f"weight decay takes {percent(worst.share)} of the parameter in a step"
        if lost:
            largest = max(weights.size for weights in self.weights)
            what = f"weight decay has brought all weights to {largest:.2g} times 1/√inputs and less"
        elif math.isfinite(worst.against):
            what += f", {worst.against:.2g} times what its gradient adds"
        what = f"{listed(named(cases))}: {what}."
        first = max((self.firsts.get(case.group, 0.0) for case in cases), default=0.0)
        if first >= 1 and not any(map(self.is_strong, cases)):
            what += f" A first step at this rate is {first:.2g} times 1/√inputs."
            return Verdict("shrinks", "rate", named(cases), what, self.start_again(cases))
        remedy = self.remedies.decay(cases, min(decay.cure for decay in found), again=bool(lost))
        return Verdict("shrinks", "decay", named(cases), what, remedy)

    def loses(self) -> Verdict | None:
        """Where the losses of the run are known: whether they rose, or stand although steps are long."""
        bounces = self.losses.stays and self.fall() > COSTLY * self.losses.size and not self.has_converged()
        if not self.weights or not (self.losses.rose or bounces):
            return None
        guilty = self.guilty([weights.case for weights in self.weights])
        went = "rose" if self.losses.rose else "stand" if self.losses.stands else "hardly fall"
        before = min(self.losses.start, self.losses.first) if self.losses.rose else self.losses.first
        what = f"{listed(named(guilty))}: the losses {went}, from {before:.3g} to {self.losses.last:.3g}"
        what += f", while a step is {self.pace:.2g} times as long as the parameters"
        if bounces:
            what += f" and would change the loss by {self.fall():.2g}, to first order"
        return Verdict("diverges", "rate", named(guilty), f"{what}.", self.start_again(guilty))

    def vanishes(self) -> Verdict | None:
        """Where activations let no gradients through."""
        if self.has_converged():
            return None
        found = None if self.losses.fell_far else activations.saturated(self.cases, self.remedies.model)
        if found is None:
            return activations.vanishing(self.cases, self.remedies.model, self.remedies)
        names = named(found.own)
        if self.firsts[found.own[0].group] >= SATURATES or not (found.is_large or found.is_first):
            return Verdict("dead units", "rate", names, found.what, self.start_again(found.own))
        if not found.is_large:
            return Verdict("dead units", "data", names, found.what, self.remedies.smaller_inputs())
        return Verdict("dead units", "initial values", names, found.what, self.remedies.initial_values(found.own))

    def stands_still(self) -> Verdict | None:
        if self.has_converged() or activations.is_dead(self.cases):
            return None
        # Where steps are long enough to lower the loss visibly, and it does not fall, there is nothing to be gained;
        # where it rises, longer ones raise it faster.
        stand = self.losses.stands and not self.losses.would_show(self.fall(highest=True)) and not self.losses.rises
        bounds = Bounds.where_losses_stand(self.losses.count) if stand else Bounds()
        # A parameter on which the loss hardly depends any more has converged.
        scale = 0.0 if self.clipped else self.losses.scale
        least = CONVERGED * max(self.slope, scale) / max(len(self.moving), 1)
        steep = [(case, motion) for case, motion in self.moving if motion.gradient * motion.length > least]
        rests = [rest for case, motion in steep if (rest := Rest.of(case, motion, bounds)) is not None]
        # Gradients are smaller than they were where the losses fell, too.
        rests = [rest for rest in rests if rest.cause != "memory" or not self.losses.fell]
        having = sum(motion.having for _, motion in self.moving)
        alone = sum(rest.having for rest in rests) < having / 2
        if alone:
            others = [motion for case, motion in self.moving if all(case is not rest.case for rest in rests)]
            pace = math.hypot(*(each.update for each in others)) / math.hypot(*(each.length for each in others))
            rests = [rest for rest in rests if rest.is_outlier(pace) or rest.partly]
        elif self.losses.fell_far:  # which the losses of a run whose rate is too small do not
            rests = [rest for rest in rests if rest.cause != "rate"]
        if not rests:
            return None
        cause = Counter(rest.cause for rest in rests).most_common(1)[0][0]
        rests = [rest for rest in rests if rest.cause == cause]
        still, names = [rest.case for rest in rests], listed(named([rest.case for rest in rests]))
        moves = f"a step moves {percent(rests[0].partly)} of the coordinates by nothing"
        if not rests[0].partly:
            moves = f"a step moves a parameter by {below(pace_of(rests), bounds.slowest)} of its size"
        why = WHY[cause] if self.clipped is None else f"{WHY[cause]}, for gradients that are clipped to {self.clipped}"
        if stand:
            why = f"the losses stand, from {self.losses.first:.3g} to {self.losses.last:.3g}; {why}"
        paces = {rest.case.group: pace_of([o for o in rests if o.case.group == rest.case.group]) for rest in rests}

        def factor(case: Case) -> float:
            return TARGET / paces[case.group] if paces[case.group] else math.inf

        remedy = {
            "rate": lambda: self.faster(still, factor, alone),
            "decay": lambda: self.remedies.no_decay_of_rate(still, factor),
            "memory": lambda: self.remedies.forget(still, 1 / pace_of(rests) if pace_of(rests) else math.inf),
        }[cause]()
        return Verdict("stands still", cause, named(still), f"{names}: {moves}; {why}.", remedy)

    def faster(self, still: Sequence[Case], factor: Callable[[Case], float], alone: bool) -> Remedy:
        """A larger rate. Its value is known if losses did not fall, gradients are clipped, or a run could begin so.

        Otherwise, steps may be short because they are near a minimum.
        """
        of_group = {group: [case for case in still if case.group == group] for group in {case.group for case in still}}
        largest = [
            max(weights_of(cases), key=lambda one: one.natural * max(one.size, 1)) for cases in of_group.values()
        ]
        usual = all(
            factor(one.case) * Rate.of(one.case).now <= one.new_start * Rate.of_start(one.case) * max(one.size, 1)
            for one in largest
        )
        if usual or self.losses.never_fell or self.clipped is not None:
            return self.remedies.rate(still, factor, alone)
        known = "" if self.losses.count else ", which losses= tells"
        return Remedy(f"a larger learning rate, unless the run has converged{known}")

    def frozen(self) -> Verdict | None:
        lost = [case for case, motion in self.moving if (motion.lost or 0) > FROZEN and not is_scheduled(case)]
        if not lost:
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

    def dead_units(self) -> Verdict | None:
        if verdict := activations.dead_units(self.cases, self.remedies):
            large = [weights for weights in self.weights if weights.size > FAR_TOO_LARGE and weights.case.is_warm]
            if not large:
                return verdict
            grown = f"The weights have grown to {max(weights.size for weights in large):.2g} times 1/√inputs."
            remedy = self.start_again([weights.case for weights in large])
            return Verdict("dead units", "rate", verdict.names, f"{verdict.what} {grown}", remedy)
        if silent := gaps.silent_layers(self.cases):
            what = f"{activations.units(silent[0], silent[0].marks.silent)} no longer have a gradient."
            return Verdict("dead units", "rate", named(silent), what, self.start_again(silent))
        return None

    def never_visited(self) -> Verdict | None:
        inputs = gaps.without_inputs(self.cases)
        missed = inputs or gaps.without_rows(self.cases)
        if not missed:
            return self.unused()
        share = max(gaps.share_of(case.marks.columns) if inputs else case.finding.never_visited or 0 for case in missed)
        kind = "inputs" if inputs else "rows" if any(len(case.finding.shape) > 1 for case in missed) else ""
        what = f"{listed(named(missed))}: up to {percent(share)} "
        what += f"of the {kind} never occurred." if kind else "never had a gradient."
        remedy = self.remedies.fewer_inputs(inputs) if inputs else self.remedies.fewer_rows(missed)
        return Verdict("never visited", "data", named(missed), what, remedy)

    def unused(self) -> Verdict | None:
        """Where some parameters are to be trained and never had a gradient."""
        names = [*named(gaps.unused(self.cases)), *(self.without_state if any(c.is_warm for c in self.cases) else ())]
        if not names:
            return None
        what = f"{listed(names)}: never had a gradient."
        return Verdict("never visited", "data", names, what, self.remedies.not_trained(names))

    def healthy(self) -> Verdict:
        if not any(case.motion for case in self.cases):
            what = (
                "There are no gradients to compute the next step from: call diagnose between backward() and "
                "zero_grad(), or let surefoot.Monitor do so in every Nth step."
            )
            return Verdict("unknown", None, [], what)
        if self.has_converged():
            what = f"Nothing to do: the loss would change by {self.slope:.1g} if the parameters doubled, to first order"
            what += "." if self.losses.count else "; whether it is as small itself, losses= can tell."
            return Verdict("healthy", None, [], what)
        what = f"Nothing to do: a step is {self.pace:.2g} times as long as the parameters"
        if self.moving and self.pace < SLOWEST:
            what = f"Nothing to do: a step is {below(self.pace, SLOWEST)} times as long as the parameters"
            what += f", which is below the band of {SLOWEST:g} to {FASTEST:g}, but {self.why_slow()}"
        if self.losses.stands and self.losses.rises:
            what += f". The losses rise, from {self.losses.first:.3g} to {self.losses.last:.3g}; check {ELSE}"
        elif self.losses.stands:
            what += f". The losses stand, from {self.losses.first:.3g} to {self.losses.last:.3g}; "
            what += "if they can be lower, check the labels, and the scale of inputs and targets"
        return Verdict("healthy", None, [], f"{what}.")

    def why_slow(self) -> str:
        """Why steps that are shorter than the band has it are in order."""
        fallen = max(Rate.of(case).fallen for case, _ in self.moving)
        if fallen > FALLEN:
            times = f"{fallen:.2g} times below its highest" if math.isfinite(fallen) else "to 0"
            return f"a schedule has set the learning rate {times}"
        steps = max(case.finding.steps or 0 for case, _ in self.moving)
        if self.pace * steps >= AS_FAR_AGAIN:
            return f"{steps} steps again move them by {percent(self.pace * steps)}"
        return "most of them move, or their gradients have vanished"


# What counts as a fault


def skipped(case: Case) -> float:
    """The share of coordinates skipped with this gradient, or in all steps so far."""
    so_far = case.finding.skipped_so_far / max(case.view.size * (case.finding.steps or 1), 1)
    return max(case.finding.skipped or 0.0, so_far)


def is_scheduled(case: Case) -> bool:
    """Whether updates are lost because a schedule has set a small rate for now."""
    rate = Rate.of(case)
    if rate.fallen <= FALLEN:
        return False
    at_highest = case.view.motion(altered(case.view.step, lr=rate.highest, lr_decay=0.0))
    return (at_highest.lost or 0.0) <= FROZEN


def is_fast(case: Case, motion: Motion) -> bool:
    """Whether a step is longer than the parameter, and not only because that began at zero."""
    if motion.update <= FASTEST * motion.reach or not case.is_warm:
        return False
    returns = motion.shrinkage > 0 or motion.parameter > LARGE * motion.natural
    return case.finding.steps is not None or returns


def pace_of(rests: Sequence[Rest]) -> float:
    """‖update‖/‖parameter‖ of several parameters."""
    return math.hypot(*(rest.pace * rest.length for rest in rests)) / math.hypot(*(rest.length for rest in rests))
