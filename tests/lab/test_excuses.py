"""Conditions under which diagnose takes a finding back: left out one by one, each changes the verdict on a run."""

import pytest
from support import runs
from support.excuses import Excuse, named
from support.scenes import SCENES, verdict_of

import surefoot

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:Sparse invariant checks")]

EXCUSES = [
    Excuse("findings.first_lr_of", "len(now) == 1 and now.pop()", "min(now)", "slow-one-of-200"),
    Excuse("standstill.Rest.of", " and matters", "", "slow-one-of-200"),
    Excuse("standstill.Rest.is_outlier", "self.having >= FEW", "True", "adagrad-faint-bias"),
    Excuse("rates.Rate.has_decayed", " and self.halfway < needed", "", "decayed-written"),
    Excuse("shrinking.Decay.eats", " and self.against > 0.5", "", "ridge"),
    Excuse("shrinking.eaten", "cost > COSTS", "cost > 0", "ridge"),
    Excuse("causes.Judge.stands_still", " and not self.losses.would_show(self.fall(highest=True))", "", "noise-slowly"),
    Excuse("causes.Judge.stands_still", "self.fall(highest=True)", "self.fall()", "noise-cosine"),
    Excuse("causes.Judge.stands_still", " or activations.is_dead(self.cases)", "", "dead-sgd"),
    Excuse("causes.Judge.blew_up", " if weights.case.is_warm", "", "large-first"),
    Excuse("causes.is_fast", " or not case.is_warm", "", "large-first"),
    Excuse("standstill.Rest.of", "case.is_warm and rate.has_decayed(", "True or rate.has_decayed(", "noise-cosine"),
    Excuse(
        "scales.Weights.is_steep", "max(made, FIRST_OF_STEEP * self.size)", "FIRST_OF_STEEP * self.size", "tied-first"
    ),
    Excuse("gaps.is_missed", " or not case.is_warm", "", "zeros-table-first"),
    Excuse("gaps.dead_now", "began(case)", "False", "zeros-residual-first"),
    Excuse("gaps.dead_now", "case.view.remembers or ", "", "unused-by-zero"),
    Excuse("gaps.dead_layers", "whole if used else", "whole if whole else", "unused-by-zero"),
    Excuse("gaps.dead_layers", "not sees_nothing(case, cases)", "True", "zeros-all-adam"),
    Excuse("gaps.without_inputs", " if not case.marks.rows.all()", "", "unused-by-zero"),
    Excuse("gaps.without_rows", " and not case.marks.rows.all()", "", "unused-by-zero"),
    Excuse("causes.Judge.not_finite", " and weights.size > FAR_TOO_LARGE", "", "nan-fast"),
    Excuse("causes.Judge.not_finite", 'case.finding.dtype == "float16"', "False", "fp16-overflow"),
    Excuse("causes.Judge.diverged", " and self.is_strong(case)", "", "exploded-decay"),
    Excuse("causes.Judge.diverged", "shrinking.overshoots(case)", "False", "overshoots"),
    Excuse("causes.Judge.shrinks", "first >= 1 and", "False and", "eaten-fast"),
    Excuse("causes.Judge.saturated", " or self.has_converged()", "", "converged-bf16-state"),
    Excuse(
        "causes.Judge.stands_still", 'rest.cause != "memory" or not self.losses.fell', "True", "large-biases-at-first"
    ),
    Excuse("shrinking.gone", 'all(each.case.settings.get("l1") for each in weights)', "True", "zeros-all-decay"),
    Excuse("shrinking.gone", " and so_far > 0.5", "", "tiny-at-first"),
]


def verdict(name):
    return verdict_of(name) if name in SCENES else surefoot.diagnose(runs.run_of(name).optimizer).verdict


@pytest.mark.parametrize("excuse", EXCUSES, ids=named)
def test_an_excuse_is_needed(excuse, monkeypatch):
    before = verdict(excuse.run)
    excuse.leave_out(monkeypatch)
    assert verdict(excuse.run) != before
