"""Ranges that change over a training: how they are written, which one each step has, and what runs with them do."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnlab
from attnlab.analysis.reproduction import reproduction
from attnlab.config.experiment import experiment
from attnlab.errors import AttnlabError, InterruptedTraining
from attnlab.experiments.expand import expand
from attnlab.experiments.plan import plan
from attnlab.experiments.request import parse_request
from attnlab.specs import RunSpec, TaskSpec
from attnlab.tasks.io.curriculum import Curriculum, parse_curriculum
from attnlab.tasks.io.ladder_training import with_training
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, parse_range
from attnlab.training.eval_levels import trained_length
from attnlab.training.run import train_runs
from tests.training.runs import COPY, MemoryCheckpointer, interrupt_at, tiny

GROWING = COPY.model_copy(update={"train": {"symbols": "1..2 -> 3..8"}})
MODEL: dict[str, Any] = {"layers": 1, "width": 8, "heads": 1}
FAST: dict[str, Any] = {"max_steps": 4, "batch_size": 4, "validation_examples": 4, "test_examples": 4}


def parsed(text: str) -> Curriculum:
    curriculum = parse_curriculum(text)
    assert curriculum is not None
    return curriculum


@pytest.mark.parametrize("text", ["3..40 -> 3..160", "4 -> 16", "1..9 -> 5..7 -> 2..3", "-4..4 -> 0..90"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
def test_moving_ends_lie_on_straight_lines(text: str, steps: int) -> None:
    """Compare with exact fractions, and with numpy's interpolation."""
    curriculum = parsed(text)
    at = [curriculum.at(step, steps) for step in range(steps)]
    assert at[-1] == curriculum.ranges[-1]
    assert steps == 1 or at[0] == curriculum.ranges[0]
    last = len(curriculum.ranges) - 1
    for side in (0, 1):
        ends = [ends[side] for ends in curriculum.ranges]
        places = [Fraction(step * last, max(1, steps - 1)) for step in range(steps)] if steps > 1 else [Fraction(last)]
        exact = np.interp([float(place) for place in places], range(last + 1), ends)
        assert all(abs(found[side] - one) <= 0.5 + 1e-9 for found, one in zip(at, exact, strict=True))
    assert curriculum.at(10 * steps, steps) == curriculum.ranges[-1]


@pytest.mark.parametrize(("steps", "lengths"), [(9, [3, 3, 3]), (10, [4, 3, 3]), (2, [1, 1]), (300, [100, 100, 100])])
def test_stages_have_equally_many_steps(steps: int, lengths: list[int]) -> None:
    curriculum = parsed("3..40 | 3..80 | 3..160")
    at = [curriculum.at(step, steps) for step in range(steps)]
    assert at == sorted(at)
    assert [at.count(ends) for ends in dict.fromkeys(at)] == lengths


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("3..40->3..160", "3..40 -> 3..160"),
        (" 4 ->  16 ", "4 -> 16"),
        ("1..2|1..4", "1..2 | 1..4"),
        ("2..2 -> 8", "2 -> 8"),
        ("1..40", "1..40"),
        (" 1 .. 40", "1..40"),
    ],
)
def test_equal_curricula_are_written_alike(written: str, text: str) -> None:
    assert str(parsed(written)) == text
    assert parsed(text) == parsed(written)
    assert parse_range(written) == parsed(written).final


@pytest.mark.parametrize("value", [4, 0.5, None, True, "causal", "5..", "a -> b", "1..level", "", (1, 2), "->"])
def test_other_values_are_no_curriculum(value: Any) -> None:
    assert parse_curriculum(value) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("3..40 -> 160..3", "The range 160..3 is empty.\n  Write 3..160."),
        ("3..40 -> ", "The ranges '3..40 -> ' cannot be read.\n  Write lo..hi, or lo..level to end"),
        ("3..40 | 3..80 -> 3..160", "The ranges '3..40 | 3..80 -> 3..160' cannot be read."),
        ("3..40 -> long", "The ranges '3..40 -> long' cannot be read."),
    ],
)
def test_ranges_that_cannot_be_read_are_refused(value: str, message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        parse_curriculum(value)
    assert message in str(caught.value)


def test_each_step_draws_from_its_own_range() -> None:
    source = Source(GROWING, seed=0, steps=200)
    lengths = [source.training(step, 1).inputs_BT.shape[1] // 2 for step in range(200)]
    for step, length in enumerate(lengths):
        low, high = parsed("1..2 -> 3..8").at(step, 200)
        assert low <= length <= high
        assert source.ranges_at(step) == {"symbols": (low, high)}
    assert set(lengths[:15]) == {1, 2}
    assert set(lengths[-60:]) >= {3, 4, 5, 6, 7, 8}


def test_a_constant_range_draws_what_it_always_did() -> None:
    spec = COPY.model_copy(update={"train": {"symbols": "1..9"}})
    before, now = Source(spec, seed=3), Source(spec, seed=3, steps=50)
    for step in range(20):
        np.testing.assert_array_equal(before.training(step, 3).inputs_BT, now.training(step, 3).inputs_BT)


def test_without_a_number_of_steps_the_last_ranges_hold() -> None:
    source = Source(GROWING, seed=0)
    assert {source.training(step, 1).inputs_BT.shape[1] // 2 for step in range(80)} == {3, 4, 5, 6, 7, 8}


def test_the_model_has_positions_for_the_longest_stage() -> None:
    shrinking = COPY.model_copy(update={"train": {"symbols": "3..20 -> 1..2"}})
    assert Source(shrinking, seed=0).length == trained_length(shrinking) == 40
    assert Source(GROWING, seed=0).length == trained_length(GROWING) == 16


def test_a_limited_number_of_sequences_is_refused() -> None:
    with pytest.raises(AttnlabError) as caught:
        Source(GROWING, seed=0, examples=100)
    assert str(caught.value) == (
        "copy\n  A curriculum needs new sequences at every step, and their number is limited.\n"
        "  Leave out train.train_examples or the curriculum."
    )
    Source(COPY.model_copy(update={"train": {"symbols": "1..4"}}), seed=0, examples=10)


def test_it_is_a_part_of_the_id_however_it_is_written() -> None:
    def planned(curriculum: Any) -> RunSpec:
        settings = {"task": {"train": curriculum}} if curriculum else {}
        (spec,) = plan(parse_request("parity", "softmax", complexity=8, settings={**settings, "model": MODEL}))
        return spec

    specs = [planned(one) for one in (None, "2..8", "2..4 -> 2..8", "2..4 | 2..8", {"bits": "2..4->2..8"})]
    assert len({spec.id for spec in specs}) == 4
    assert specs[2].id == specs[4].id == planned({"level": "2..4  ->  2..8"}).id
    assert specs[2].task.train == {"bits": "2..4 -> 2..8"}
    assert specs[2].task.level == 8


def test_an_interrupted_run_resumes_to_the_same_numbers() -> None:
    spec, checkpointer = tiny(task=GROWING), MemoryCheckpointer()
    with pytest.raises(InterruptedTraining):
        train_runs([spec], interrupt_at(9), checkpointer=checkpointer, checkpoint_seconds=0)
    (resumed,) = train_runs([spec], checkpointer=checkpointer, resume=True)
    (whole,) = train_runs([spec])
    assert resumed.numbers() == whole.numbers()
    (other,) = train_runs([tiny(task=COPY.model_copy(update={"train": {"symbols": "1..8"}}))])
    assert [point.loss for point in other.history] != [point.loss for point in whole.history]


def test_vmapped_runs_are_trained_on_the_same_batches() -> None:
    specs = [tiny(task=GROWING, seed=seed) for seed in range(3)]
    together, alone = train_runs(specs, vmap=3), train_runs(specs, vmap=1)
    assert {record.environment["vmap"] for record in together} == {3}
    for one, other in zip(together, alone, strict=True):
        assert one.id == other.id
        np.testing.assert_allclose(
            [point.loss for point in one.history], [point.loss for point in other.history], rtol=1e-4
        )


def test_the_command_that_reproduces_a_run_has_it(tmp_path: Path) -> None:
    records = attnlab.train(
        "parity", "softmax", complexity=8, curriculum="2..4 -> 2..8", model=MODEL, train=FAST, store=None, device="cpu"
    )
    (record,) = records
    assert record.spec.task.train == {"bits": "2..4 -> 2..8"}
    text = reproduction(record, tmp_path).command
    assert """'task.train.bits="2..4 -> 2..8"'""" in text


def test_python_and_settings_make_the_same_run() -> None:
    options: dict[str, Any] = {"model": MODEL, "train": FAST, "store": None, "device": "cpu", "complexity": 8}
    (one,) = attnlab.train("parity", "softmax", curriculum={"bits": "2..4|2..8"}, **options)
    (other,) = attnlab.train("parity", "softmax", options={"train": {"bits": "2..4 | 2..8"}}, **options)
    assert one.id == other.id


EXPERIMENT = """
name: grown
question: Does a curriculum help?
ladders:
  - {ladder: parity, levels: [4, 8], training: {bits: 2..4 -> 2..8}}
seeds: 3
model: {layers: 1, width: 8, heads: 1}
"""


def test_an_experiment_has_one_training_for_all_levels(tmp_path: Path) -> None:
    file = tmp_path / "grown.yaml"
    file.write_text(EXPERIMENT)
    specs = expand(experiment(str(file)))
    assert [spec.task.train for spec in specs] == [{"bits": "2..4 -> 2..8"}] * 3
    assert [(spec.task.level, spec.task.evaluate) for spec in specs] == [(8, (4,))] * 3


def test_curricula_can_be_compared_in_a_grid(tmp_path: Path) -> None:
    file = tmp_path / "grown.yaml"
    ranges = "[2..8, 2..4 -> 2..8]"
    text = EXPERIMENT.replace(", training: {bits: 2..4 -> 2..8}", "") + f"grid: {{task.train.bits: {ranges}}}\n"
    file.write_text(text)
    specs = expand(experiment(str(file)))
    assert [spec.task.train["bits"] for spec in specs] == ["2..8"] * 3 + ["2..4 -> 2..8"] * 3
    assert {(spec.task.level, spec.task.evaluate) for spec in specs} == {(8, (4,))}


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"bit": "1..4"}, "task.train.bit\n  'parity' has no option 'bit'; did you mean 'bits'?"),
        ({"bits": "0..4 -> 1..8"}, "task.train.bits\n  Option 'bits' cannot be 0."),
        ({"bits": "8..4"}, "task.train.bits\n  The range 8..4 is empty."),
        ({"asked": "1..4"}, "task.train.asked\n  Option 'asked' cannot be"),
    ],
)
def test_what_the_task_does_not_accept_is_refused(training: dict[str, Any], message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        with_training(find_ladder("parity"), training)
    assert str(caught.value).startswith(message)


def test_level_is_the_option_of_the_levels_unless_the_task_has_one_of_that_name() -> None:
    assert with_training(find_ladder("parity"), "1..4").training == {"bits": "1..4"}
    assert with_training(find_ladder("mixture"), {"level": "0..1"}).training["level"] == "0..1"
    spec: TaskSpec = task_spec(with_training(find_ladder("parity"), {"level": "1..4->1..9"}), {}, 8)
    assert spec.train == {"bits": "1..4 -> 1..9"}
