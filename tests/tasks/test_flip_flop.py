from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.records import Score
from attnlab.specs import TaskSpec
from attnlab.tasks import IGNORE, Batch, Split
from attnlab.tasks.flip_flop import FlipFlop
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.tasks.ops.chance import measure_chance
from attnlab.testing.check_task import check_task
from tests.tasks.chance import ALPHA, at_chance, counts, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[FlipFlop, Batch]:
    task = FlipFlop(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = FlipFlop(length=14)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


@pytest.mark.parametrize("name", ["flip-flop", "flip-flop-ignore"])
def test_every_level_is_solved(name: str) -> None:
    assert unsolved(name, rows=50) == 0


def test_instructions_and_bits_are_those_of_the_language() -> None:
    """Replay every sequence as text: w, then anything, then r; a read gives the last bit written."""
    task, batch = drawn(300, length=20, ignore=0.3)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        words = [task.token_to_str(token) for token in tokens]
        instructions, bits = words[0::2], [*words[1::2], str(targets[-1])]
        assert (instructions[0], instructions[-1]) == ("w", "r")
        assert set(instructions) <= set("wri")
        for index, (instruction, bit) in enumerate(zip(instructions, bits, strict=True)):
            if instruction == "r":
                written = [bits[earlier] for earlier in range(index) if instructions[earlier] == "w"]
                assert bit == written[-1] == str(targets[2 * index])
            else:
                assert targets[2 * index] == IGNORE
        assert set(targets[1::2]) <= {IGNORE}


@pytest.mark.parametrize("ignore", [0.1, 0.8, 0.98])
def test_instructions_have_the_stated_shares_and_bits_are_uniform(ignore: float) -> None:
    _, batch = drawn(4000, length=16, ignore=ignore)
    inner = counts(batch.inputs_BT[:, 2:14:2] - 2, 3)
    write = (1 - ignore) / 2
    assert p_value(inner, [write, write, ignore]) > ALPHA
    fresh = batch.inputs_BT[:, 1::2][batch.inputs_BT[:, 0:14:2] != 3]
    assert p_value(counts(fresh, 2)) > ALPHA
    reads = (batch.targets_BT != IGNORE).sum(axis=1).mean()
    assert reads == pytest.approx(1 + 6 * write, rel=0.03)


@pytest.mark.parametrize(("length", "ignore"), [(4, 0.8), (8, 0.5), (10, 0.0)])
def test_chance_is_that_of_all_sequences_listed(length: int, ignore: float) -> None:
    """Go through every choice of instructions and bits with its probability."""
    correct = total = 0.0
    shares = {"w": (1 - ignore) / 2, "r": (1 - ignore) / 2, "i": ignore}
    for inner in product("wri", repeat=length // 2 - 2):
        instructions = ("w", *inner, "r")
        weight = float(np.prod([shares[instruction] for instruction in inner]))
        for fresh in product((0, 1), repeat=sum(one != "r" for one in instructions)):
            bits, written, remaining = set[int](), -1, list(fresh)
            for instruction in instructions:
                if instruction == "r":
                    total += weight / 2 ** len(fresh)
                    correct += weight / 2 ** len(fresh) / len(bits)
                    continue
                bit = remaining.pop(0)
                written = bit if instruction == "w" else written
                bits |= {bit}
    assert FlipFlop(length=length, ignore=ignore).chance == pytest.approx(correct / total, abs=1e-12)


@pytest.mark.parametrize("loss", ["clean", "noisy"])
def test_its_own_guess_is_as_good_as_chance_and_no_blind_guess_is_better(loss: str) -> None:
    task, batch = drawn(4000, length=10, ignore=0.5, loss=loss)
    right = batch.query_targets()
    predictions = task.chance_baseline(np.random.default_rng(1), batch)
    score = Score(correct=int((predictions == right).sum()), total=len(right), chance=task.chance)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 0.5}))
    measured = measure_chance(task)
    assert measured.accuracy == pytest.approx(task.chance, abs=4.5 * measured.standard_error)


def test_the_noisy_loss_asks_for_every_next_token_in_training_alone() -> None:
    options: dict[str, Any] = {"length": 12, "ignore": 0.5}
    noisy, clean = FlipFlop(**options, loss="noisy"), FlipFlop(**options)
    same = [task.for_split(Split.TRAIN).sample(np.random.default_rng(3), 30) for task in (noisy, clean)]
    np.testing.assert_array_equal(same[0].inputs_BT, same[1].inputs_BT)
    np.testing.assert_array_equal(same[0].targets_BT[:, :-1], same[0].inputs_BT[:, 1:])
    asked = same[1].targets_BT != IGNORE
    np.testing.assert_array_equal(same[0].targets_BT[asked], same[1].targets_BT[asked])
    for split in (Split.VALIDATION, Split.TEST):
        held_out = [task.for_split(split).sample(np.random.default_rng(3), 30) for task in (noisy, clean)]
        np.testing.assert_array_equal(held_out[0].targets_BT, held_out[1].targets_BT)


def test_a_model_is_trained_on_one_probability_and_tested_on_three() -> None:
    spec: TaskSpec = task_spec(find_ladder("flip-flop-ignore"), {}, 0.98)
    source = Source(spec, seed=0)
    assert set(source.other_levels) | {spec.level} == {0.1, 0.8, 0.98}
    ignored = (source.training(0, 400).inputs_BT[:, 2:-1:2] == 4).mean()
    assert ignored == pytest.approx(0.8, abs=0.01)
    tested = source.held_out(Split.TEST, 400, 400, source.task)[0]
    assert (tested.inputs_BT[:, 2:-1:2] == 4).mean() == pytest.approx(0.98, abs=0.01)


def test_an_odd_length_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        FlipFlop(length=9)
    problem = "Length must be even, not 9: a bit follows each instruction."
    assert str(caught.value) == f"flip-flop\n  {problem}\n  Use 8 or 10."


def test_the_noisy_loss_passes_the_audit_though_its_further_targets_are_random() -> None:
    report = check_task(find_ladder("flip-flop"), {"loss": "noisy"}, 16, samples=256)
    assert report.passed
    (level,) = report.levels
    assert level.level_audit.labels.contradictions == 0
