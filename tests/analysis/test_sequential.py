"""Evidence at any time: its error over all ways that coins may fall, the capital by hand, confidence sequences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from attnlab.analysis.sequential import SHARES_F, WEIGHTS_F, confidence_sequence, log_evidence, seeds_needed


def capital(differences: list[float], mean: float = 0.0) -> float:
    """The largest capital, bet by bet."""
    purses = [float(weight) for weight in WEIGHTS_F]
    largest = 1.0
    for one in differences:
        gain = (one - mean) / (1 + mean)
        purses = [purse * max(0.0, 1 + share * gain) for purse, share in zip(purses, SHARES_F, strict=True)]
        largest = max(largest, sum(purses))
    return largest


@pytest.mark.parametrize("mean", [0.0, -0.4, 0.7])
def test_the_evidence_is_the_capital_of_the_bets(mean: float) -> None:
    differences = np.random.default_rng(1).uniform(-1, 1, 20).round(3).tolist()
    assert math.exp(log_evidence(differences, mean)) == pytest.approx(capital(differences, mean))


def test_nobody_can_win_from_fair_coins_more_often_than_the_odds() -> None:
    # Over all 2^13 ways that 13 fair coins may fall, looked at after every coin.
    coins = [[1.0 if bit == "1" else -1.0 for bit in f"{way:013b}"] for way in range(2**13)]
    largest = np.array([capital(way) for way in coins])
    for odds in (5, 20, 100):
        assert 0 < (largest >= odds).mean() <= 1 / odds


def test_a_mean_below_the_hypothesis_gives_still_less() -> None:
    ways = list(itertools.product((1.0, -1.0, -0.2), repeat=7))  # the mean of one is -0.067
    assert np.mean([capital(list(way)) >= 20 for way in ways]) <= 1 / 20


def test_seeds_needed_are_those_after_which_the_evidence_is_there() -> None:
    differences = [0.8, 0.9]
    more = seeds_needed(differences, math.log(160))
    repeated = differences * 20
    assert log_evidence(repeated[: 2 + int(more)]) >= math.log(160) - 0.7  # the weights of the other shares
    assert seeds_needed([1.0] * 12, math.log(160)) == 0
    assert seeds_needed([1.0, -1.0], math.log(160)) == math.inf
    assert seeds_needed([], math.log(160)) == math.inf


def test_a_sequence_holds_the_mean_and_shrinks() -> None:
    random, widths, missed = np.random.default_rng(2), [], 0
    for _ in range(100):
        seen = random.choice([0.9, 0.0, -0.3], 25, p=[0.5, 0.3, 0.2])  # mean 0.39
        low, high = confidence_sequence(seen.tolist(), 0.05)
        missed += not low <= 0.39 <= high
        widths.append((high - low, np.subtract(*confidence_sequence(seen[:5].tolist(), 0.05)[::-1])))
    assert missed <= 5
    assert all(long < short for long, short in widths)
    assert confidence_sequence([], 0.05) == (-1.0, 1.0)


def test_a_sequence_is_mirrored_with_its_numbers() -> None:
    differences = [0.5, 0.1, 0.9, -0.2]
    low, high = confidence_sequence(differences, 0.1)
    assert confidence_sequence([-one for one in differences], 0.1) == pytest.approx((-high, -low))
