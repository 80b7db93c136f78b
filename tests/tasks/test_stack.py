from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.stack import WORDS, Stack
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def final(question: tuple[int, ...]) -> list[int]:
    """The final stack, bottom first, by replacing tails of a string."""
    stack = ""
    for symbol in question:
        stack = stack[:-1] if symbol == 2 else stack + {0: "0", 1: "1", 3: "0", 4: "1"}[symbol]
    return list(map(int, stack))


def test_the_example_of_the_module() -> None:
    tokens = ids("0 1 1 pop push1 pop | 1 0 # # # #")
    targets = Stack(symbols=6).solve(tokens)
    rendered = " ".join("." if token == IGNORE else WORDS[token] for token in targets)
    assert rendered == ". . . . . . 1 0 # . . . ."


@pytest.mark.parametrize("symbols", [1, 2, 7])
def test_what_is_written_is_the_final_stack_from_its_top(symbols: int) -> None:
    task = Stack(symbols=symbols)
    batch = task.sample(np.random.default_rng(0), 300)
    assert batch.inputs_BT.shape == (300, task.length) == (300, 2 * symbols + 1)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        answer = [*reversed(final(tuple(tokens[:symbols]))), WORDS.index("#")]
        rest = symbols + 1 - len(answer)
        assert targets == [IGNORE] * symbols + answer + [IGNORE] * rest
        assert tokens[symbols:] == [WORDS.index("|"), *(answer + ids("#") * rest)[:-1]]


def test_pop_does_nothing_to_an_empty_stack() -> None:
    assert Stack(symbols=4).solve(ids("0 pop pop push1 | 1 # # #"))[4:] == [*ids("1 #"), *[IGNORE] * 3]


def test_bits_and_actions_are_drawn_evenly() -> None:
    question = Stack(symbols=6).sample(np.random.default_rng(0), 12_000).inputs_BT[:, :6]
    bits = (question < 2).sum(axis=1)
    assert ((question < 2) == (np.arange(6) < bits[:, None])).all()
    assert p_value(counts(bits - 1, 5)) > ALPHA
    assert p_value(counts(question[question < 2], 2)) > ALPHA
    assert p_value(counts(question[question >= 2] - 2, 3)) > ALPHA
    assert p_value(counts(question[question >= 2] - 2, 3), [0.5, 0.25, 0.25]) < ALPHA


@pytest.mark.parametrize("symbols", [1, 2, 3, 6])
def test_chance_is_that_of_the_most_likely_target_of_each_step(symbols: int) -> None:
    """Sum over all questions, weighted by probability."""
    shares = np.zeros((symbols + 1, 3))
    starts = range(1, max(2, symbols))
    for bits in starts:
        share = 1 / len(starts) / 2**bits / 3 ** (symbols - bits)
        for question in product(*[(0, 1)] * bits, *[(2, 3, 4)] * (symbols - bits)):
            for number, answer in enumerate([*reversed(final(question)), 2]):
                shares[number, answer] += share
    assert Stack(symbols=symbols).chance == pytest.approx(shares.max(axis=1).sum() / shares.sum())


@pytest.mark.parametrize("symbols", [3, 10])
def test_the_best_guess_by_step_alone_scores_chance(symbols: int) -> None:
    task, random = Stack(symbols=symbols), np.random.default_rng(3)
    targets = task.sample(random, 50_000).targets_BT
    seen = np.stack([(targets == answer).sum(axis=0) for answer in (0, 1, 6)])
    likeliest = np.array([0, 1, 6])[seen.argmax(axis=0)]
    batch = task.sample(random, 4000)
    assert at_chance(guess_score(task, batch, likeliest))
    uniform = guess_score(task, batch, random.choice([0, 1, 6], batch.inputs_BT.shape))
    assert uniform.interval[0] < 1 / 3 < uniform.interval[1] < task.chance


@pytest.mark.parametrize("level", find_ladder("stack").levels)
def test_the_solver_solves_every_level(level: int) -> None:
    task = build(task_spec(find_ladder("stack"), {}, level))
    batch = task.sample(np.random.default_rng(0), 200)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


def test_the_solver_reads_the_question_only() -> None:
    task = Stack(symbols=5)
    batch = task.sample(np.random.default_rng(0), 50)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve([*tokens[:6], *[0] * 5]) == targets
