from __future__ import annotations

import math

import numpy as np
import pytest

from attnlab.analysis.ranks import holm, p_value, ranks
from benchmarks.simulated_seeds import falling, ladder_grid, of_ranks, solves, told_apart


def test_the_p_value_counts_pairs_of_draws() -> None:
    lower, upper = np.array([1.0, 3.0, 5.0, math.inf]), np.array([0.0, 3.0, math.inf])
    pairs = sum(a <= b for a in lower for b in upper)
    assert p_value(lower, upper) == pytest.approx(pairs / 12)
    assert p_value(np.array([5.0, 6.0]), np.array([1.0, 2.0])) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("values", "rejected"),
    [
        ([], []),
        ([0.04], [True]),
        ([0.04, 0.04], [False, False]),
        ([0.04, 0.02], [True, True]),  # 0.02 is below 0.05 / 2, and then 0.04 below 0.05
        ([0.9, 0.001, 0.02], [False, True, True]),
        ([0.9, 0.01, 0.03], [False, True, False]),
    ],
)
def test_holm(values: list[float], rejected: list[bool]) -> None:
    assert holm(values) == rejected


def test_more_ladders_in_a_report_make_each_comparison_stricter() -> None:
    luck = list(np.random.default_rng(3).random((2, 5, 5)))
    grid = ladder_grid([falling(), falling()], luck)
    same = ladder_grid([falling()] * 6, list(np.random.default_rng(4).random((6, 5, 5))))
    alone, among = ranks([grid])[0], ranks([grid, *[same] * 20])[0]
    assert alone.keys() == among.keys()
    assert set(among.values()) == {"1-2"}


@pytest.mark.parametrize(("seeds", "together"), [(3, 0.0), (5, 0.0), (10, 1.0)])
def test_six_identical_variants_are_ranked_apart_in_few_reports(seeds: int, together: float) -> None:
    repetitions = 60
    wrong = of_ranks(6, 1, together, seeds, repetitions, np.random.default_rng(seeds))
    assert wrong <= 0.05 + 2 * (0.05 * 0.95 / repetitions) ** 0.5


def test_variants_that_differ_by_two_levels_are_told_apart_with_five_seeds() -> None:
    assert told_apart(3, 20, np.random.default_rng(0)) == 0
    assert told_apart(5, 20, np.random.default_rng(0)) > 0.8


def test_so_many_variants_that_no_pair_of_draws_could_tell_two_apart_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    luck = list(np.random.default_rng(5).random((2, 5, 8)))
    panel = ladder_grid([[solves(0.99)] * 5, [solves(0.01)] * 5], luck)
    assert set(ranks([panel])[0].values()) == {"1", "2"}
    monkeypatch.setattr("attnlab.analysis.ranks.DRAWS", 6)  # 36 pairs of draws: no p value below 1 / 36
    assert set(ranks([panel])[0].values()) == {"1-2"}
