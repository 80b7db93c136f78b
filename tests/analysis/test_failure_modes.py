"""One constructed run for each failure mode; the failure modes of a store on its grid."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from attnlab.analysis.failure_modes import (
    COLLAPSED,
    EXPLODED,
    FAILURE_MODES,
    FALLING,
    SHARP,
    VANISHED,
    failure_mode,
    loss_drop,
)
from attnlab.records import DiagnosticsPoint, Evaluation, HistoryPoint, Record, Score
from attnlab.rendering.failure_mode_table import FailureModeTable, failure_mode_table
from attnlab.specs import TrainSpec
from tests.rendering.capture import drawn
from tests.rendering.samples import record, spec

FLAT = (1.4, 1.2, 1.0, 0.9, 0.89, 0.89, 0.885, 0.885)
STEEP = (1.4, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7)
HEALTHY = {
    "residual": (0.98, 0.9, 0.8),
    "cosine": (0.0, 0.1, 0.2),
    "entropy": (0.6, 0.3),
    "query-gradient": (0.01, 0.02),
    "value-gradient": (0.02, 0.03),
}


def make_run(
    correct: int = 600,
    *,
    losses: Sequence[float] = FLAT,
    diagnostics: dict[str, tuple[float, ...]] | None = HEALTHY,
    examples: int | None = None,
    **changes: Any,
) -> Record:
    """A run that learned something and stopped improving, unless other values are given."""
    base = spec()
    run = base.model_copy(update={"train": TrainSpec(train_examples=examples)})
    history = [
        HistoryPoint(step=100 * n, loss=loss, accuracy=0.5, validation_loss=loss) for n, loss in enumerate(losses, 1)
    ]
    logged = () if diagnostics is None else (DiagnosticsPoint(step=800, values=diagnostics),)
    update = {
        "history": tuple(history),
        "diagnostics_history": logged,
        "loss": losses[-1] if losses else None,
        "length": 64,
        **changes,
    }
    return record(run, correct).model_copy(update=update)


def evaluation(level: int, length: int, correct: int, subtask: str = "") -> Evaluation:
    share = Score(correct=correct, total=1000, chance=0.25)
    return Evaluation(subtask=subtask, level=level, length=length, accuracy=share, exact_match=share, loss=1.0)


CASES: dict[str, Record] = {
    "solved": make_run(995),
    "no length generalization": make_run(995, evaluations=(evaluation(4, 128, 500),)),
    "undertrained": make_run(losses=STEEP),
    "optimization failure": make_run(250, status="diverged", reason="the loss was 7e+03 at step 12"),
    "rank collapse": make_run(260, diagnostics={**HEALTHY, "residual": (0.98, 0.2, 0.01)}),
    "entropy collapse": make_run(260, diagnostics={**HEALTHY, "entropy": (0.01, 0.02)}),
    "overfit": make_run(400, losses=(1.4, 0.5, 0.1, 0.05), examples=64, loss=3.0),
    "capacity": make_run(),
    "inconclusive": make_run(252),
    "failed": make_run(0, status="failed", reason="its worker was lost"),
}


@pytest.mark.parametrize("kind", FAILURE_MODES)
def test_each_failure_mode_is_found(kind: str) -> None:
    mode = failure_mode(CASES[kind])
    assert mode.name == kind
    assert mode.evidence
    assert mode.missing_diagnostics == ()


EVIDENCE = {
    "no length generalization": "accuracy 99.5 %, chance 25.0 % on its own level, but 4: 50.0 %",
    "undertrained": "training loss 0.7, still falling by 21.1 % per quarter; accuracy 60.0 %, chance 25.0 %",
    "optimization failure": "it diverged: the loss was 7e+03 at step 12",
    "rank collapse": "the relative residual falls from 0.98 to 0.01 over 2 blocks",
    "entropy collapse": "the attention entropy is at most 2.0 % of its maximum in every layer, from early in training",
    "overfit": "64 training sequences, training loss 0.05, test loss 3",
    "capacity": "accuracy 60.0 %, chance 25.0 %; training loss 0.885, no longer falling",
    "failed": "its worker was lost",
}


@pytest.mark.parametrize("kind", EVIDENCE)
def test_the_evidence_has_the_numbers(kind: str) -> None:
    assert failure_mode(CASES[kind]).evidence == EVIDENCE[kind]


@pytest.mark.parametrize(
    ("diagnostics", "words"),
    [
        ({"query-gradient": (VANISHED, 0.1)}, "gradients vanish"),
        ({"value-gradient": (0.1, EXPLODED)}, "gradients explode: value-gradient up to 100"),
    ],
)
def test_gradients_that_vanish_or_explode_are_an_optimization_failure(
    diagnostics: dict[str, tuple[float, ...]], words: str
) -> None:
    mode = failure_mode(make_run(260, diagnostics={**HEALTHY, **diagnostics}))
    assert mode.name == "optimization failure"
    assert words in mode.evidence


def test_a_loss_far_above_chance_is_an_optimization_failure() -> None:
    mode = failure_mode(make_run(255, losses=(9.0, 8.0, 8.0, 8.0)))
    assert mode.name == "optimization failure"
    assert mode.evidence == "the training loss ended at 8; a guess at chance has a loss of 1.39"


def test_a_loss_far_above_chance_that_is_falling_is_undertrained() -> None:
    mode = failure_mode(make_run(250, losses=(6.0, 5.0, 4.5, 4.0)))
    assert mode.name == "undertrained"
    assert mode.evidence.startswith("training loss 4, still falling")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"residual": (0.98, 0.2, 1.01 * COLLAPSED)}, "capacity"),
        ({"residual": (0.98, 0.2, COLLAPSED)}, "rank collapse"),
        ({"entropy": (SHARP, SHARP)}, "entropy collapse"),
        ({"entropy": (0.0, 1.01 * SHARP)}, "capacity"),
        ({"query-gradient": (0.01, VANISHED)}, "capacity"),
        ({"residual": (math.nan, math.nan, math.nan)}, "capacity"),
    ],
)
def test_the_bounds(changes: dict[str, tuple[float, ...]], kind: str) -> None:
    assert failure_mode(make_run(diagnostics={**HEALTHY, **changes})).name == kind


def test_attention_that_sharpened_as_it_learned_has_not_collapsed() -> None:
    sharp = {**HEALTHY, "entropy": (0.01, 0.02)}
    steps = {100: HEALTHY, 128: sharp, 1200: sharp}  # a tenth of 1200 steps is 120
    early = tuple(DiagnosticsPoint(step=step, values=values) for step, values in steps.items())
    base = make_run()
    assert failure_mode(base.model_copy(update={"diagnostics_history": early})).name == "entropy collapse"
    late = tuple(
        DiagnosticsPoint(step=step, values=values) for step, values in {128: HEALTHY, 600: sharp, 1200: sharp}.items()
    )
    assert failure_mode(base.model_copy(update={"diagnostics_history": late})).name == "capacity"


def test_diagnostics_that_were_not_logged_are_named() -> None:
    collapsed = CASES["rank collapse"].model_copy(update={"diagnostics_history": ()})
    mode = failure_mode(collapsed)
    assert mode.name == "inconclusive"
    assert mode.missing_diagnostics == ("rank", "gradients", "attention")
    assert str(mode).endswith("(not logged: rank, gradients, attention)")
    partly = make_run(diagnostics={"residual": (0.9, 0.8)})
    assert failure_mode(partly).missing_diagnostics == ("gradients", "attention")
    assert failure_mode(make_run(995, diagnostics=None)).missing_diagnostics == ()


def test_a_longer_level_has_longer_sequences() -> None:
    for other in (
        evaluation(2, 32, 0),
        evaluation(8, 64, 0),
        evaluation(4, 128, 999),
        evaluation(4, 128, 0, subtask="copy"),
    ):
        assert failure_mode(make_run(995, evaluations=(other,))).name == "solved"
    assert failure_mode(make_run(600, evaluations=(evaluation(4, 128, 0),))).name == "capacity"


def test_many_sequences_are_not_overfit_and_few_may_be_solved() -> None:
    assert failure_mode(make_run(400, losses=(1.4, 0.5, 0.1, 0.1), loss=3.0)).name == "capacity"
    assert failure_mode(make_run(995, losses=(1.4, 0.5, 0.1, 0.05), examples=64, loss=3.0)).name == "solved"


def test_the_loss_drop_compares_quarters_or_the_last_loss_with_the_validation_loss() -> None:
    assert loss_drop(make_run(losses=STEEP)) == pytest.approx((0.95 - 0.75) / 0.95)
    assert abs(loss_drop(make_run(losses=FLAT))) < FALLING
    short = make_run(losses=(2.0,))
    assert loss_drop(short) == 0.0
    later = short.history[0].model_copy(update={"validation_loss": 1.5})
    assert loss_drop(short.model_copy(update={"history": (later,)})) == 0.25
    assert math.isnan(loss_drop(make_run(losses=())))
    assert math.isnan(loss_drop(make_run(losses=(2.0,), examples=64)))


def mixed() -> FailureModeTable:
    """Three seeds on two levels: all solved, and then one capacity and two rank collapses."""
    result = []
    for pairs in (2, 4):
        for seed in range(3):
            kind = "solved" if pairs == 2 else "rank collapse" if seed else "capacity"
            base = spec(pairs=pairs, seed=seed)
            result.append(CASES[kind].model_copy(update={"id": base.id, "spec": base}))
    return failure_mode_table(result)


def test_the_grid_shows_the_commonest_failure_mode_and_its_count() -> None:
    table = mixed()
    lines = [line.strip() for line in drawn(table)]
    assert lines[0] == "recall  failure mode by pairs"
    row = next(line for line in lines if line.startswith("softmax"))
    assert row.split() == ["softmax", "solved", "rank", "collapse"]
    assert lines[lines.index(row) + 1].split() == ["3", "of", "3", "2", "of", "3"]
    assert any("the relative residual falls from 0.98 to 0.01" in line for line in lines)
    data = json.loads(json.dumps(table.runs()))
    assert [one["failure_mode"] for one in data] == ["solved"] * 3 + ["capacity", "rank collapse", "rank collapse"]
    assert all(one["evidence"] for one in data)


def test_a_cell_in_which_all_runs_failed_shows_it() -> None:
    table = failure_mode_table([CASES["failed"], CASES["solved"].model_copy(update={"spec": spec(pairs=8)})])
    assert any(line.split()[:3] == ["softmax", "failed", "solved"] for line in drawn(table))


def test_the_grid_is_drawn_where_every_run_failed() -> None:
    lines = drawn(failure_mode_table([CASES["failed"]]))
    assert any(line.split() == ["softmax", "failed"] for line in lines)
