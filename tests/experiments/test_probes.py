"""Probes: the further runs of a run with two failure modes, and what is written into its record."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.analysis.failure_modes import failure_mode
from attnlab.experiments.probes import FIRST_SEED, SEEDS, STEPS, plan_probes, probe_specs, run_probes
from attnlab.records import HistoryPoint, Record
from attnlab.specs import RunSpec
from attnlab.storage import PROBES, Store
from attnlab.storage.status import find_stores
from tests.analysis.test_failure_modes import CASES, FLAT_RUN
from tests.experiments.sweeps import Fake, shown

FLAT = RunSpec.model_validate({**FLAT_RUN.spec.model_dump(), "seed": 5})
UNDECIDED = FLAT_RUN.model_copy(update={"spec": FLAT, "id": FLAT.id})


def outcome(solving: str) -> Fake:
    """An executor whose runs stay at the plateau, but for the probes with more steps or with other seeds."""

    def show(spec: RunSpec) -> Record:
        change = "more steps" if spec.seed == FLAT.seed else "another seed"
        loss = 0.01 if change == solving else UNDECIDED.history[-1].validation_loss
        point = HistoryPoint(step=spec.train.max_steps, loss=0.1, accuracy=0.3, validation_loss=loss)
        return shown(spec, 0.3, chance=0.25).model_copy(update={"history": (point,)})

    return Fake(show)


def test_a_probe_is_the_run_with_more_steps_or_another_seed() -> None:
    train = FLAT.train.model_copy(update={"log_diagnostics": ("rank",)})
    longer, *others = probe_specs(FLAT.model_copy(update={"train": train}))
    assert (longer.seed, longer.train.max_steps) == (FLAT.seed, STEPS * FLAT.train.max_steps)
    assert [spec.seed for spec in others] == [FLAT.seed + FIRST_SEED + number for number in range(SEEDS)]
    for spec in (longer, *others):
        assert (spec.task, spec.model, spec.train.log_diagnostics) == (FLAT.task, FLAT.model, ())
    assert all(spec.train == FLAT.train for spec in others)


def test_only_runs_with_two_failure_modes_are_probed() -> None:
    continued = UNDECIDED.model_copy(update={"spec": FLAT.model_copy(update={"continue_from": "f" * 12}), "id": "1"})
    last = UNDECIDED.history[-1].model_copy(update={"validation_loss": None})
    unmeasured = UNDECIDED.model_copy(update={"history": (*UNDECIDED.history[:-1], last), "id": "2"})
    unknown = FLAT.model_copy(update={"model": FLAT.model.model_copy(update={"attention": ({"name": "gone"},)})})
    unknown = RunSpec.model_validate({**unknown.model_dump(warnings=False)})
    gone = UNDECIDED.model_copy(update={"spec": unknown, "id": "3"})
    plan = plan_probes([*CASES.values(), UNDECIDED, continued, unmeasured, gone])
    assert plan.undecided == (UNDECIDED,)
    assert set(plan.refused) == {"1", "2", "3"}
    assert plan.refused["1"] == "It continues another run."
    assert plan.refused["3"].startswith("There is no attention 'gone'")
    assert plan.refused["3"].endswith("attnlab ls attentions")  # the hint
    assert [spec.id for spec in plan.specs] == [spec.id for spec in probe_specs(FLAT)]


@pytest.mark.parametrize(
    ("solving", "mode"),
    [("more steps", "undertrained"), ("another seed", "optimization failure"), ("", "capacity")],
)
def test_what_came_of_them_is_in_the_record(solving: str, mode: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    store.append([CASES["solved"], UNDECIDED])
    fake = outcome(solving)
    probed = run_probes(plan_probes(store.records()), tmp_path, fake)
    assert [spec.id for spec in fake.given] == [spec.id for spec in probe_specs(FLAT)]
    solved, record = sorted(store.records(), key=lambda one: one.id == UNDECIDED.id)
    assert (solved, record) == (CASES["solved"], probed[UNDECIDED.id])
    assert failure_mode(record).label == mode
    assert record.numbers() == UNDECIDED.numbers()
    assert [(one.change, one.max_steps) for one in record.probes] == [
        ("more steps", STEPS * FLAT.train.max_steps),
        *[("another seed", FLAT.train.max_steps)] * SEEDS,
    ]
    assert plan_probes(store.records()).undecided == ()
    assert find_stores(tmp_path) == [tmp_path]
    assert len(Store(tmp_path / PROBES).records()) == 1 + SEEDS


def test_probes_that_are_stored_are_not_run_again(tmp_path: Path) -> None:
    Store(tmp_path).open()
    plan = plan_probes([UNDECIDED])
    run_probes(plan, tmp_path, outcome(""))
    again = outcome("")
    run_probes(plan, tmp_path, again)
    assert again.given == []


def test_a_probe_that_failed_decides_nothing_and_is_tried_again(tmp_path: Path) -> None:
    Store(tmp_path).open()
    plan = plan_probes([UNDECIDED])
    record = run_probes(plan, tmp_path, Fake(lambda _: None))[UNDECIDED.id]
    assert record.probes == ()
    assert failure_mode(record).alternative == failure_mode(UNDECIDED).alternative
    again = outcome("")
    assert failure_mode(run_probes(plan, tmp_path, again)[UNDECIDED.id]).label == "capacity"
    assert len(again.given) == 1 + SEEDS
