from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.specs import TaskSpec
from attnlab.tasks import Batch, Split
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, build, generator, parse_range

COPY = TaskSpec(name="copy", options={"symbols": 8})


def ranged(**train: Any) -> Source:
    return Source(TaskSpec(name="copy", options={"symbols": 4}, train=train), seed=0)


def test_every_seed_split_and_index_has_its_own_stream() -> None:
    keys = [(seed, split, index) for seed in range(5) for split in Split for index in range(5)]
    first = {int(generator(*key).integers(2**62)) for key in keys}
    assert len(first) == len(keys)


def test_a_generator_starts_anew_each_time() -> None:
    one, other = (generator(1, Split.TRAIN, 2).random(5) for _ in range(2))
    np.testing.assert_array_equal(one[:2], other[:2])


def test_the_numbers_of_the_splits_do_not_change() -> None:
    assert {split.name: int(split) for split in Split} == {
        "TRAIN": 1,
        "VALIDATION": 2,
        "TEST": 3,
        "INIT": 4,
        "BOOTSTRAP": 5,
        "DIAGNOSTICS": 6,
        "NOISE": 7,
        "ORDER": 8,
    }


def test_training_validation_and_test_share_no_sequence() -> None:
    source = Source(TaskSpec(name="copy", options={"symbols": 16}), seed=0)
    splits = [
        [source.training(step, 50) for step in range(4)],
        source.held_out(Split.VALIDATION, 200, 50),
        source.held_out(Split.TEST, 200, 50),
    ]
    drawn = [{tuple(row) for batch in split for row in batch.inputs_BT.tolist()} for split in splits]
    assert [len(rows) for rows in drawn] == [200, 200, 200]
    assert len(set.union(*drawn)) == 600


def test_the_batch_of_a_step_depends_on_nothing_else() -> None:
    used, fresh = Source(COPY, seed=3), Source(COPY, seed=3)
    for step in range(3):
        used.training(step, 7)
    used.held_out(Split.TEST, 10, 4)
    np.testing.assert_array_equal(used.training(5, 8)[:2], fresh.training(5, 8)[:2])


def test_seeds_and_steps_differ() -> None:
    batches = [Source(COPY, seed).training(step, 8).inputs_BT.tobytes() for seed in range(3) for step in range(3)]
    assert len(set(batches)) == 9


def test_held_out_batches_end_with_the_remainder() -> None:
    sizes = [len(batch.inputs_BT) for batch in Source(COPY, 0).held_out(Split.TEST, 10, 4)]
    assert sizes == [4, 4, 2]


def test_a_range_is_drawn_for_each_batch_including_both_ends() -> None:
    source = ranged(symbols="2..6")
    lengths = [source.training(step, 3).inputs_BT.shape[1] for step in range(60)]
    assert set(lengths) == {4, 6, 8, 10, 12}
    assert source.length == 12
    again = ranged(symbols="2..6")
    assert again.training(7, 3).inputs_BT.shape[1] == lengths[7]


def test_evaluation_uses_the_level_whatever_training_uses() -> None:
    for source in (ranged(symbols="2..6"), ranged(symbols=9)):
        assert {batch.inputs_BT.shape for batch in source.held_out(Split.VALIDATION, 6, 3)} == {(3, 8)}


def test_an_option_of_training_can_be_fixed() -> None:
    source = ranged(symbols=9)
    assert source.training(0, 2).inputs_BT.shape == (2, 18)
    assert source.length == 18


def test_sizes_are_those_of_the_largest_split() -> None:
    assert ranged(alphabet="2..30").vocabulary == 31
    assert ranged(alphabet=2).vocabulary == 17
    assert ranged(symbols="1..2").length == 8


@pytest.mark.parametrize(
    ("train", "kind", "message"),
    [
        ({"symbols": "6..2"}, InvalidValueError, "The range 6..2 is empty.\n  Write 2..6."),
        ({"symbols": "0..2"}, InvalidValueError, "Option 'symbols' cannot be 0."),
        ({"symbol": 3}, UnknownNameError, "'copy' has no option 'symbol'; did you mean 'symbols'?"),
    ],
)
def test_an_invalid_training_option_is_refused_at_once(
    train: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        ranged(**train)
    assert str(caught.value).startswith(f"  {message}")


@pytest.mark.parametrize("value", [4, "4", "a..b", "1..2..3", "1...2", None, "1..2+"])
def test_values_that_are_not_ranges(value: Any) -> None:
    assert parse_range(value) is None


@pytest.mark.parametrize(("value", "ends"), [("1..40", (1, 40)), ("-3..-1", (-3, -1)), ("5..5", (5, 5))])
def test_ranges(value: str, ends: tuple[int, int]) -> None:
    assert parse_range(value) == ends


def test_build_refuses_an_unknown_task() -> None:
    with pytest.raises(UnknownNameError, match=r"There is no task 'copi'; did you mean 'copy'\?"):
        build(TaskSpec(name="copi"))


def rows_of(batches: Sequence[Batch]) -> list[tuple[int, ...]]:
    return [tuple(row) for batch in batches for row in batch.inputs_BT.tolist()]


@pytest.mark.parametrize(("sequences", "batch"), [(256, 64), (512, 64), (1280, 64), (64, 256), (8, 64), (100, 64)])
def test_further_sequences_are_as_many_as_asked_for_and_others(sequences: int, batch: int) -> None:
    source = Source(TaskSpec(name="copy", options={"symbols": 16}), seed=0)
    seen = source.held_out(Split.VALIDATION, sequences, batch)
    further = source.further(Split.VALIDATION, seen, 4 * sequences, batch)
    assert len(rows_of(further)) == 4 * sequences
    assert not set(rows_of(further)) & set(rows_of(seen))
    assert max(len(one.inputs_BT) for one in further) <= batch


def two_lengths(folder: Path) -> str:
    """A file of rows of two lengths, 500 of each; no two rows are alike."""
    path = folder / "two.jsonl"
    lines = []
    for number in range(1000):
        inputs = [int(digit) for digit in f"{number:010b}"] + [2] * (14 if number % 2 else 0)
        lines.append(json.dumps({"inputs": inputs, "targets": [-100] * (len(inputs) - 1) + [number % 2]}))
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize(("sequences", "more"), [(16, 64), (40, 60), (100, 0), (256, 0)])
def test_further_rows_of_a_file_are_others_of_the_same_split(tmp_path: Path, sequences: int, more: int) -> None:
    task = task_spec(find_ladder("file"), {"path": two_lengths(tmp_path), "shift": False}, None)
    source = Source(task, seed=0)
    seen = source.held_out(Split.VALIDATION, sequences, 64)
    further = source.further(Split.VALIDATION, seen, 4 * sequences, 64)
    split = rows_of(source.held_out(Split.VALIDATION, 100, 64))
    assert len(rows_of(further)) == more
    assert not set(rows_of(further)) & set(rows_of(seen))
    assert set(rows_of(further)) <= set(split)
    if more:
        assert {len(row) for row in rows_of(further)} == {10, 24}


def test_further_sequences_of_a_mixture_with_a_file_repeat_none(tmp_path: Path) -> None:
    parts = [f"file:path={two_lengths(tmp_path)},shift=false", "copy:symbols=12"]
    source = Source(task_spec(find_ladder("mixture"), {"tasks": parts}, None), seed=0)
    seen = source.held_out(Split.VALIDATION, 32, 16)
    further = source.further(Split.VALIDATION, seen, 128, 16)
    assert not set(rows_of(further)) & set(rows_of(seen))
    assert 128 <= len(rows_of(further)) <= 160
    assert np.bincount(np.concatenate([source.task.subtask_of(one) for one in further])).min() > 32
