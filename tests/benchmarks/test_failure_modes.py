"""Runs with a known cause, trained into a store and read by the command line, against what is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.analysis.failure_modes import FAILURE_MODES
from attnlab.config.inline_parts import parse_part
from attnlab.specs import TrainSpec
from attnlab.tasks.io.ladders import find_ladder, task_spec
from benchmarks.failure_causes import ATTENTIONS, BASE, CORE, SCHEDULES, USED, Cause, Failing, failing_runs
from benchmarks.failure_modes import FIRST, reported, table, trained


@pytest.mark.parametrize("name", FIRST)
def test_the_runs_of_a_set_can_be_planned(name: str) -> None:
    runs = [*failing_runs(name, FIRST[name], 2)]
    assert len({run.seed for run in runs}) == len(runs)
    assert {run.cause.expected for run in runs} <= set(FAILURE_MODES)
    for run in runs:
        task_spec(find_ladder(run.task), run.options, run.level, ())
        parse_part(run.attention)
        TrainSpec.model_validate({**BASE, **run.cause.train})


def test_the_sets_have_other_causes_and_seeds_and_the_fresh_runs_are_sixteen() -> None:
    sets = {name: [*failing_runs(name, first, 1)] for name, first in FIRST.items()}
    for name, other in (("written", "held-out"), ("written", "fresh"), ("held-out", "fresh")):
        assert not {run.seed for run in sets[name]} & {run.seed for run in sets[other]}
    assert not {run.cause.name for run in sets["written"]} & {run.cause.name for run in sets["held-out"]}
    held_out = sets["held-out"]
    assert {run.attention for run in held_out} >= set(ATTENTIONS)
    assert {run.schedule for run in held_out} == set(SCHEDULES)
    assert len({run.task for run in held_out} - set(USED)) >= 4
    assert sorted(run.task for run in sets["fresh"]) == sorted(CORE * 4)


def test_a_run_is_trained_once_and_read_by_the_command_line(tmp_path: Path) -> None:
    cause = Cause("2 steps", "undertrained", {"max_steps": 2, "test_examples": 16, "validation_examples": 16})
    runs = [Failing(cause, "parity", "softmax", "cosine", seed) for seed in (0, 1)]
    by_id = trained(runs, tmp_path)
    before = (tmp_path / "records.jsonl").read_bytes()
    assert trained(runs, tmp_path) == by_id
    assert (tmp_path / "records.jsonl").read_bytes() == before
    modes = reported(tmp_path)
    assert modes.keys() == by_id.keys()
    assert "\n2 runs: 2 as expected, 0 with an alternative, 0 as the alternative, 0 wrong." in table(by_id, modes)


def test_the_table_counts_runs_by_cause_and_tells_those_that_are_not_as_expected() -> None:
    cause = Cause("a small model", "capacity")
    runs = {str(seed): Failing(cause, "copy", "softmax", "cosine", seed) for seed in range(4)}
    found = (("capacity", ""), ("capacity", "undertrained"), ("undertrained", "capacity"), ("undertrained", ""))
    modes = {
        str(seed): {"failure_mode": name, "alternative": other, "evidence": f"evidence {seed}"}
        for seed, (name, other) in enumerate(found)
    }
    lines = table(runs, modes).splitlines()
    assert (
        lines[0]
        == "| cause | expected | capacity | capacity or undertrained | undertrained | undertrained or capacity |"
    )
    assert lines[2] == "| a small model | capacity | 1 | 1 | 1 | 1 |"
    assert lines[4] == "4 runs: 1 as expected, 1 with an alternative, 1 as the alternative, 1 wrong."
    assert lines[5] == "- a small model (copy, softmax, cosine, seed 1): capacity or undertrained; evidence 1"
    assert len(lines) == 8
