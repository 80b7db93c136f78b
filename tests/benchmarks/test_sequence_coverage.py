"""The fast version of the coverage benchmark; the whole one takes minutes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.sequence_coverage import HIGHEST, LOWEST, MISTAKES, Case, Counts, cases, main, question_counts, simulate

COPY, STACK = np.full(64, 16), np.random.default_rng(0).integers(1, 7, 64)


@pytest.mark.parametrize("mistakes", MISTAKES)
@pytest.mark.parametrize("pool", [COPY, STACK], ids=["equally many questions", "one to six questions"])
def test_a_model_of_mistakes_has_the_accuracy_that_it_tells(mistakes: str, pool: Counts) -> None:
    random = np.random.default_rng(1)
    n_RS = random.choice(pool, (500, 200))
    correct_RS, accuracy = MISTAKES[mistakes](random, n_RS, pool, 0.8, 0.25)
    assert (correct_RS >= 0).all()
    assert (correct_RS <= n_RS).all()
    assert correct_RS.sum() / n_RS.sum() == pytest.approx(accuracy, abs=0.006)


@pytest.mark.parametrize("name", ["copy", "stack", "recall"])
def test_the_interval_covers_whatever_the_mistakes_are(name: str) -> None:
    pool, chance = question_counts(name)
    for case in cases(pool, chance, sequences=256, tests=300):
        assert LOWEST <= case.coverage <= HIGHEST, case


def test_wilsons_interval_over_questions_does_not() -> None:
    case = simulate("solved or guessed", COPY, 0.9, 1 / 16, sequences=256, tests=300, seed=0)
    assert case.wilson < 0.6
    assert not Case(case.mistakes, case.accuracy, case.wilson, 0.0, 0.0).is_within


def test_the_table_has_a_line_for_each_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity-last", "--tests", "300"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| parity-last | 1 | 4 | ")
    assert lines[-1] == "0 of 4 cases are outside of 93 to 99 %."
