"""Evidence that may be looked at after every seed: bets against a hypothesis, and confidence sequences.

Whoever bets on "the mean of d_1, d_2, ... is at most m" being false, a share f of the capital each time, has after n
seeds, for d in [-1, 1] and m > -1,

    K_n(f) = prod_i (1 + f (d_i - m) / (1 + m)),   E_n = sum_f w_f K_n(f)

If the hypothesis is true, the capital grows at no time by more than a factor of c with a probability above 1/c, however
the number of seeds was chosen (Ville's inequality). So a comparison may be continued until it is decided, and its error
stays below the level that was set before. No distribution is assumed beyond the bounds.

    ahead      the mean of d is at most 0: refuted
    alike      |d| is within a margin for at most half of the seeds: refuted
    sequence   the means that are refuted in neither direction: an interval that holds at all times at once

Shares f that are large pay where seeds solve or fail entirely, small ones where the differences are small; their
weights were chosen before any record was seen. Ten seeds that differ by 1 refute a mean of 0 at odds of 500 to 1.

Source   Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal
         Statistical Society B 2024, arXiv:2010.09686; Ville, "Étude critique de la notion de collectif", 1939.
Differs  A fixed mixture over shares, so that the order of the seeds does not matter to the capital.
Letters  N seeds, F shares of the capital, M means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHARES_F: Final = np.array([0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
WEIGHTS_F: Final = np.array([0.1, 0.1, 0.15, 0.15, 0.15, 0.35])
MEANS: Final = 401
"""Means of a confidence sequence that are tried between the bounds: one for every 0.005."""


def log_evidence(differences: Sequence[float], mean: float = 0.0) -> float:
    """The largest logarithm of the capital, after any number of seeds, of bets that the mean is above a number.

    >>> [round(float(np.exp(log_evidence([1.0] * seeds)))) for seeds in (0, 5, 10)]
    [1, 19, 501]

    Args:
        differences: Numbers in [-1, 1], in the order in which the seeds were added.
        mean: The number, in (-1, 1].

    Returns:
        The logarithm; 0 without seeds, and never below 0.
    """
    if not len(differences):
        return 0.0
    return float(max(0.0, _log_capital(np.asarray(differences, dtype=float), np.array([mean])).max()))


def seeds_needed(differences: Sequence[float], log_threshold: float) -> float:
    """Estimate how many more seeds like these take the evidence for a mean above 0 to a threshold.

    Args:
        differences: Numbers in [-1, 1].
        log_threshold: Logarithm of the threshold.

    Returns:
        The number of seeds; 0 where the evidence is there, infinity where seeds like these never bring it.
    """
    values_N = np.asarray(differences, dtype=float)
    if log_evidence(differences) >= log_threshold:
        return 0.0
    if not len(values_N):
        return math.inf
    growth_F = _log_factors(values_N, np.zeros(1))[0].mean(axis=0)  # N x F -> F
    best = int(growth_F.argmax())
    if not growth_F[best] > 0:
        return math.inf
    return max(1.0, math.ceil((log_threshold - math.log(WEIGHTS_F[best])) / growth_F[best]) - len(values_N))


def confidence_sequence(differences: Sequence[float], error: float) -> tuple[float, float]:
    """The interval of the mean that holds after every number of seeds at once.

    Args:
        differences: Numbers in [-1, 1], in the order in which the seeds were added.
        error: The probability that the mean is ever outside.

    Returns:
        The lower and the upper end, within [-1, 1].
    """
    if not len(differences):
        return -1.0, 1.0
    values_N = np.asarray(differences, dtype=float)
    means_M, threshold = np.linspace(-1, 1, MEANS), math.log(2 / error)
    below = _log_capital(values_N, means_M[1:]).max(axis=1) >= threshold  # "at most m" is refuted
    above = _log_capital(-values_N, -means_M[:-1]).max(axis=1) >= threshold
    low = float(means_M[1:][below].max(initial=-1.0))
    high = float(means_M[:-1][above].min(initial=1.0))
    return low, high


def _log_factors(values_N: Floats, means_M: Floats) -> Floats:
    """Logarithm of the factor of each bet, M x N x F; a bet of everything may lose everything."""
    scaled_MN = (values_N - means_M[:, None]) / (1 + means_M[:, None])
    with np.errstate(divide="ignore"):
        return np.log1p(np.maximum(SHARES_F * scaled_MN[..., None], -1.0))


def _log_capital(values_N: Floats, means_M: Floats) -> Floats:
    """Logarithm of the capital after each seed, M x N."""
    logs_MNF = _log_factors(values_N, means_M).cumsum(axis=1) + np.log(WEIGHTS_F)
    return np.logaddexp.reduce(logs_MNF, axis=-1)
