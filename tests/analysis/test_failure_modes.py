"""One constructed run for each failure mode; the failure modes of a store on its grid."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from attnlab.analysis._failure_signs import (
    BELOW_TEST,
    COLLAPSED,
    EXPLODED,
    FELL_BACK,
    GROWN_WORSE,
    HELD_SMALL,
    PEAK_MOVE,
    ROSE,
    SHARP,
    TOO_LARGE,
    VANISHED,
    guess_loss,
)
from attnlab.analysis.failure_modes import (
    DEEP,
    FAILURE_MODES,
    HARDLY_MOVED,
    SMALL_WIDTH,
    UNMOVED,
    WELL_MOVED,
    YOUNG,
    failure_mode,
)
from attnlab.analysis.loss_trend import weight_moved
from attnlab.analysis.probe_signs import HELPED, WORSENED, by_probes
from attnlab.records import DiagnosticsPoint, Evaluation, HistoryPoint, ProbeResult, Record, Score
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
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """A run that learned something and stopped improving, unless other values are given."""
    base = spec()
    sizes = base.model.model_copy(update=model or {})
    plan = TrainSpec(train_examples=examples, **(train or {}))
    run = base.model_copy(update={"train": plan, "model": sizes})
    history = [
        HistoryPoint(step=100 * n, loss=loss, accuracy=0.5, validation_loss=loss) for n, loss in enumerate(losses, 1)
    ]
    logged = () if diagnostics is None else (DiagnosticsPoint(step=800, values=diagnostics),)
    update = {
        "history": tuple(history),
        "diagnostics_history": logged,
        "loss": losses[-1] if losses else None,
        "length": 64,
        "vocabulary": 4,
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
    "inconclusive": make_run(252, losses=()),
    "failed": make_run(0, status="failed", reason="its worker was lost"),
}


@pytest.mark.parametrize("kind", FAILURE_MODES)
def test_each_failure_mode_is_found(kind: str) -> None:
    mode = failure_mode(CASES[kind])
    assert mode.name == kind
    assert mode.evidence
    assert (mode.missing_diagnostics, mode.alternative, mode.label) == ((), "", kind)


EVIDENCE = {
    "no length generalization": "accuracy 99.5 %, chance 25.0 % on its own level, but 4: 50.0 %",
    "undertrained": "accuracy 60.0 %, chance 25.0 %; loss 0.7, of a uniform guess 1.39, "
    "falling by 17.1 % and 23.4 % in the last quarters of the rate",
    "optimization failure": "it diverged: the loss was 7e+03 at step 12",
    "rank collapse": "the relative residual falls from 0.98 to 0.01 over 2 blocks",
    "entropy collapse": "the attention entropy is at most 2.0 % of its maximum in every layer, from early in training",
    "overfit": "64 training sequences, training loss 0.05, test loss 3",
    "capacity": "accuracy 60.0 %, chance 25.0 %; loss 0.885, of a uniform guess 1.39, no longer falling",
    "inconclusive": "accuracy 25.2 %, chance 25.0 %; no curve to decide whether the loss was falling",
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


@pytest.mark.parametrize(
    ("losses", "accuracy", "words"),
    [
        ((1.01 * ROSE * 1.4, 1.4, 1.39, 1.39), 255, "the training loss rose to 2.83 from 1.4 at the start"),
        ((1.3, 0.8, 0.8, 1.01 * FELL_BACK * 0.8), 400, "the loss rose again, from 0.8 to 0.97"),
    ],
)
def test_a_loss_that_rises_is_an_optimization_failure(losses: tuple[float, ...], accuracy: int, words: str) -> None:
    mode = failure_mode(make_run(accuracy, losses=losses, initial_loss=1.4))
    assert mode.label == "optimization failure"
    assert words in mode.evidence
    lower = (0.99 * losses[0], *losses[1:-1], 0.99 * 0.99 * losses[-1])
    assert "rose" not in failure_mode(make_run(accuracy, losses=lower, initial_loss=1.4)).evidence


def test_initial_weights_that_are_far_too_large_are_an_optimization_failure() -> None:
    sharp = {**HEALTHY, "entropy": (0.01, 0.02)}
    for factor, label in ((1.01, "optimization failure"), (0.99, "entropy collapse")):
        initial = factor * TOO_LARGE * math.log(4)
        run = make_run(252, losses=(1.5, 1.45, 1.4, 1.39), diagnostics=sharp, initial_loss=initial)
        assert failure_mode(run).label == label


def test_a_rate_that_collapsed_the_attention_is_an_optimization_failure() -> None:
    size = 1 / math.sqrt(make_run().spec.model.width)
    sharp = {**HEALTHY, "entropy": (0.01, 0.02)}
    for factor, label in ((1.01, "optimization failure"), (0.99, "entropy collapse")):
        run = make_run(400, diagnostics=sharp, train={"lr": factor * PEAK_MOVE * size})
        assert failure_mode(run).label == label


def test_a_decay_that_holds_the_weights_small_is_an_optimization_failure() -> None:
    size = 1 / math.sqrt(make_run().spec.model.width)
    for factor, label in ((1.01, "optimization failure"), (0.99, "capacity")):
        mode = failure_mode(make_run(train={"weight_decay": factor / size / HELD_SMALL}))
        assert mode.label == label
    mode = failure_mode(make_run(train={"weight_decay": 20.0}))
    assert "a weight decay of 20 holds weights below 0.4 of their size" in mode.evidence


def test_a_collapse_comes_before_the_loss_that_rose_with_it() -> None:
    collapsed = {**HEALTHY, "residual": (0.98, 0.2, 0.01)}
    rose = (1.01 * ROSE * 1.4, 1.4, 1.39, 1.39)
    assert failure_mode(make_run(252, losses=rose, diagnostics=collapsed)).label == "rank collapse"


def test_a_window_of_one_token_has_not_collapsed() -> None:
    one = {**HEALTHY, "entropy": (0.0, 0.0), "query-gradient": (1e-18, 1e-18)}
    assert failure_mode(make_run(diagnostics=one)).label == "capacity"
    sharp = {**HEALTHY, "entropy": (0.0, 1e-6), "query-gradient": (1e-18, 1e-18)}
    assert failure_mode(make_run(diagnostics=sharp)).label == "entropy collapse"


def test_a_rank_collapse_far_above_a_guess_among_the_values_of_the_context_is_no_optimization_failure() -> None:
    # Recall of 4 pairs among 128 ids: chance knows the context, with a loss of 1.39; the collapsed model does not.
    losses = (4.6, 4.3, 4.2, 4.17, 4.16, 4.16)
    collapsed = {**HEALTHY, "residual": (0.98, 0.2, 0.001)}
    mode = failure_mode(make_run(20, losses=losses, diagnostics=collapsed, vocabulary=128, initial_loss=4.9))
    assert mode.label == "rank collapse"


def test_a_loss_far_above_chance_that_is_falling_is_undertrained() -> None:
    mode = failure_mode(make_run(250, losses=(6.0, 5.0, 4.0, 3.0), vocabulary=128))
    assert mode.label == "undertrained"
    assert "loss 3, of a uniform guess 4.85, falling" in mode.evidence


STEADY = (4.2, 4.18, 4.16, 4.14, 4.12, 4.1, 4.08, 4.06)
"""Falls by less than half a percent a quarter, and as fast at the end as before."""
PLATEAU = (1.4, 1.39, 1.388, 1.386, 1.387, 1.386, 1.387, 1.386)
SLOW = (1.4, 1.2, 1.15, 1.11, 1.07, 1.04, 1.01, 0.98)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_rate_far_too_low_is_undertrained_though_the_loss_hardly_falls(schedule: str) -> None:
    run = make_run(20, losses=STEADY, vocabulary=32, initial_loss=4.25, train={"lr": 1e-5, "schedule": schedule})
    assert weight_moved(run) < HARDLY_MOVED
    assert failure_mode(run).label == "undertrained"
    assert "the steps can have moved a weight by" in failure_mode(run).evidence


def train_moving(run: Record, moved: float) -> Record:
    """The same curve at a rate that moves a weight by a multiple of its size."""
    plan = run.spec.train.model_copy(update={"lr": run.spec.train.lr * moved / weight_moved(run)})
    return run.model_copy(update={"spec": run.spec.model_copy(update={"train": plan})})


@pytest.mark.parametrize(
    ("losses", "correct", "moved", "label"),
    [
        (PLATEAU, 252, 0.99 * HARDLY_MOVED, "undertrained"),
        (PLATEAU, 252, 1.01 * HARDLY_MOVED, "undertrained or optimization failure"),
        (PLATEAU, 252, 1.01 * UNMOVED, "undertrained or optimization failure"),
        (PLATEAU, 252, 1.01 * YOUNG, "optimization failure or capacity"),
        (FLAT, 600, 0.99 * UNMOVED, "undertrained or capacity"),
        (FLAT, 600, 1.01 * UNMOVED, "capacity"),
        (SLOW, 500, 0.99 * UNMOVED, "undertrained"),
        (SLOW, 500, 0.99 * WELL_MOVED, "undertrained or capacity"),
        (SLOW, 500, 1.01 * WELL_MOVED, "capacity or undertrained"),
        (STEEP, 500, 1.01 * WELL_MOVED, "undertrained"),
    ],
)
def test_what_the_curve_and_the_way_of_the_weights_show(
    losses: tuple[float, ...], correct: int, moved: float, label: str
) -> None:
    run = train_moving(make_run(correct, losses=losses, initial_loss=1.45), moved)
    assert failure_mode(run).label == label


def test_at_a_plateau_a_small_model_is_first_of_all_small_and_a_rate_may_be_far_too_high() -> None:
    plateau: dict[str, Any] = {"losses": PLATEAU, "initial_loss": 1.45}
    for small in ({"layers": 1}, {"width": SMALL_WIDTH}):
        assert failure_mode(make_run(252, model=small, **plateau)).label == "capacity or optimization failure"
    size = 1 / math.sqrt(make_run().spec.model.width)
    high = make_run(252, train={"lr": 1.01 * PEAK_MOVE * size}, **plateau)
    assert failure_mode(high).label == "optimization failure"
    assert "one step may move a weight by 0.25 of its initial size" in failure_mode(high).evidence
    known = make_run(252, train={"lr": 0.99 * PEAK_MOVE * size}, **plateau)
    assert failure_mode(known).label == "optimization failure or capacity"


def test_without_residual_connections_a_collapse_that_was_not_logged_is_expected() -> None:
    deep = {"layers": DEEP, "residual": False}
    assert failure_mode(make_run(252, losses=PLATEAU, model=deep, diagnostics=None)).label == (
        "rank collapse or optimization failure"
    )
    for other in ({"layers": DEEP - 1, "residual": False}, {"layers": DEEP}):
        mode = failure_mode(make_run(252, losses=PLATEAU, model=other, diagnostics=None))
        assert mode.label == "optimization failure or capacity"


def test_an_old_record_is_compared_with_its_first_validation() -> None:
    assert guess_loss(make_run(vocabulary=0)) == FLAT[0]
    assert guess_loss(make_run(vocabulary=8)) == math.log(8)
    assert math.isnan(guess_loss(make_run(vocabulary=0, losses=())))


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
    collapsed = make_run(252, losses=PLATEAU, diagnostics=None)
    mode = failure_mode(collapsed)
    assert mode.label == "optimization failure or capacity"
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


def test_a_validation_loss_that_rises_above_the_training_loss_is_overfit() -> None:
    def run(training: float, worse: float) -> Record:
        base = make_run(400, losses=(1.4, 1.2, 1.1, training), examples=64, loss=1.0)
        points = zip(base.history, (1.3, 1.1, 0.95, 0.95 * worse), strict=True)
        history = tuple(point.model_copy(update={"validation_loss": loss}) for point, loss in points)
        return base.model_copy(update={"history": history})

    mode = failure_mode(run(0.99 * BELOW_TEST, 1.01 * GROWN_WORSE))
    assert mode.label == "overfit"
    assert "training loss 0.891, test loss 1, validation loss 0.95 and then 0.979" in mode.evidence
    assert failure_mode(run(1.01 * BELOW_TEST, 1.01 * GROWN_WORSE)).name != "overfit"
    assert failure_mode(run(0.99 * BELOW_TEST, 0.99 * GROWN_WORSE)).name != "overfit"


def test_many_sequences_are_not_overfit_and_few_may_be_solved() -> None:
    assert failure_mode(make_run(400, losses=(1.4, 0.5, 0.1, 0.1), loss=3.0)).name == "capacity"
    assert failure_mode(make_run(995, losses=(1.4, 0.5, 0.1, 0.05), examples=64, loss=3.0)).name == "solved"


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
    below = [line.split() for line in lines[lines.index(row) + 1 :]]
    assert below[0] == ["3", "of", "3", "2", "of", "3"]
    assert below[1:3] == [["capacity"], ["1", "of", "3"]]  # no second failure mode is hidden
    assert any("the relative residual falls from 0.98 to 0.01" in line for line in lines)
    data = json.loads(json.dumps(table.runs()))
    assert [one["failure_mode"] for one in data] == ["solved"] * 3 + ["capacity", "rank collapse", "rank collapse"]
    assert all(one["evidence"] for one in data)


def test_a_cell_in_which_all_runs_failed_shows_it() -> None:
    solved = CASES["solved"].model_copy(update={"spec": spec(pairs=8), "id": spec(pairs=8).id})
    table = failure_mode_table([CASES["failed"], solved])
    assert any(line.split()[:3] == ["softmax", "failed", "solved"] for line in drawn(table))


def test_the_grid_is_drawn_where_every_run_failed() -> None:
    lines = drawn(failure_mode_table([CASES["failed"]]))
    assert any(line.split() == ["softmax", "failed"] for line in lines)


def test_a_failure_mode_that_is_not_sure_stands_with_its_alternative() -> None:
    unsure = make_run(252, losses=PLATEAU)
    other = CASES["capacity"].model_copy(update={"spec": spec(seed=1), "id": spec(seed=1).id})
    table = failure_mode_table([unsure, other])
    text = [line.split() for line in drawn(table)]
    row = next(index for index, words in enumerate(text) if words[:1] == ["softmax"])
    assert text[row][1:] == ["optimization", "failure"]
    assert text[row + 1 : row + 5] == [["or", "capacity"], ["1", "of", "2"], ["capacity"], ["1", "of", "2"]]
    assert [(one["failure_mode"], one["alternative"]) for one in table.runs()] == [
        ("optimization failure", "capacity"),
        ("capacity", ""),
    ]


def probe(change: Any, loss: float, *, solved: bool = False) -> ProbeResult:
    """A further run of a run of 2,000 steps with seed 0."""
    longer = change == "more steps"
    return ProbeResult(
        change=change,
        seed=0 if longer else 1_000_000,
        max_steps=8000 if longer else 2000,
        steps=2000,
        solved=solved,
        accuracy=Score(correct=1000 if solved else 300, total=1000, chance=0.25),
        validation_loss=loss,
    )


SLOW_RUN = train_moving(make_run(500, losses=SLOW, initial_loss=1.45), 1.01 * WELL_MOVED)
FLAT_RUN = make_run(252, losses=PLATEAU)
FEW_RUN = FLAT_RUN.model_copy(
    update={"spec": FLAT_RUN.spec.model_copy(update={"train": TrainSpec(train_examples=64)}), "loss": PLATEAU[-1]}
)
YOUNG_RUN = train_moving(FLAT_RUN, 0.9 * UNMOVED)


@pytest.mark.parametrize(
    ("run", "longer", "others", "label"),
    [
        (SLOW_RUN, 0.99 - HELPED, (1.0, 1.0), "undertrained"),
        (SLOW_RUN, 1.01 - HELPED, (1.0, 1.0), "capacity"),
        (SLOW_RUN, 1.0, (1.0, 0.99 - HELPED), "optimization failure"),
        (FLAT_RUN, 0.1, (0.1, 0.1), "undertrained"),
        (FLAT_RUN, 1.0, (1.0, 0.5), "optimization failure"),
        (FLAT_RUN, 1.01, (1.0, 0.99), "capacity"),
        (FLAT_RUN, math.nan, (1.0, 0.99), "optimization failure or capacity"),
        (FLAT_RUN, 1.0, (math.nan, math.nan), "optimization failure or capacity"),
        (FLAT_RUN, 1.0, (math.nan, 1.0), "capacity"),
        (FEW_RUN, 1.01 * WORSENED, (1.0, 0.99), "overfit"),
        (FEW_RUN, 0.99 * WORSENED, (1.0, 0.99), "capacity"),
        (FLAT_RUN, 1.01 * WORSENED, (1.0, 0.99), "capacity"),
        (YOUNG_RUN, 1.0, (1.0, 1.0), "undertrained or optimization failure"),
        (YOUNG_RUN, 0.2, (1.0, 1.0), "undertrained"),
        (CASES["capacity"], 0.2, (1.0, 1.0), "capacity"),
    ],
)
def test_probes_decide(run: Record, longer: float, others: tuple[float, float], label: str) -> None:
    last = run.history[-1].validation_loss
    assert last is not None
    results = [probe("another seed", last * share) for share in others] + [probe("more steps", last * longer)]
    probed = failure_mode(run.model_copy(update={"probes": tuple(results)}))
    assert probed.label == label
    assert ("8,000 steps" in probed.evidence) == bool(failure_mode(run).alternative)


@pytest.mark.parametrize("loss", [0.0, math.nan, math.inf, None])
def test_probes_decide_nothing_without_a_loss_to_compare_with(loss: float | None) -> None:
    last = FLAT_RUN.history[-1].model_copy(update={"validation_loss": loss})
    run = FLAT_RUN.model_copy(update={"history": (*FLAT_RUN.history[:-1], last), "probes": (probe("more steps", 0.1),)})
    assert by_probes(run, "capacity", "undertrained", "flat") == ("capacity", "undertrained", "flat")


def test_a_probe_that_solved_it_decides_whatever_its_loss() -> None:
    again = probe("another seed", 5.0, solved=True)
    mode = failure_mode(FLAT_RUN.model_copy(update={"probes": (probe("more steps", 1.3), again)}))
    assert mode.label == "optimization failure"
    assert mode.evidence.endswith(f"; probes: 8,000 steps loss 1.3 after {PLATEAU[-1]:.3g}, seed 1000000 solved it")


def test_probes_are_advised_where_they_decide() -> None:
    (line,) = failure_mode_table([SLOW_RUN]).evidence()
    assert line.mode == "capacity or undertrained"
    assert line.evidence.endswith(" Further runs show which: --probe.")
    deep = {"layers": DEEP, "residual": False}
    young = train_moving(make_run(252, losses=PLATEAU, model=deep, diagnostics=None), 0.5 * UNMOVED)
    assert failure_mode(young).label == "rank collapse or undertrained"
    tried = FLAT_RUN.model_copy(update={"probes": (probe("more steps", math.nan),)})
    for other in (young, tried, CASES["capacity"]):
        (line,) = failure_mode_table([other]).evidence()
        assert "--probe" not in line.evidence
