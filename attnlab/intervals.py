"""Confidence intervals for a share of correct answers: independent answers, and answers that come in sequences.

A test asks several questions of each sequence, and a model that fails a sequence fails many of them at once. Counting
every question as an independent trial then gives intervals that are several times too short. The clustered interval
treats the sequences as the independent trials:

    accuracy        p = sum of correct answers / sum of questions: a ratio of two sums over sequences
    its variance    v = S / (S - 1) * sum((correct - p * questions)^2) / (sum of questions)^2     S sequences
    trials          m = p (1 - p) / v: as many independent answers would have that variance
    interval        that of Wilson for a share p of m trials, with Student's quantile of S - 1 degrees of freedom

A sample in which only a few sequences have errors may lack the longest ones, and a sample without errors has no
variance at all. So the lower end is computed with half a sequence more that is wholly wrong, and the upper end with
half a sequence more that is wholly right; it has as many questions as the sequence of a question has on average. With
one question per sequence the interval is exactly Wilson's. ``python -m benchmarks.sequence_coverage`` measures how
often it covers.

Source   Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927; Korn and Graubard,
         "Confidence intervals for proportions with small expected number of positive counts estimated from survey
         data", Survey Methodology 1998 (effective number of trials, degrees of freedom); Dean and Pagano, "Evaluating
         confidence interval methods for binomial proportions in clustered surveys", Journal of Survey Statistics and
         Methodology 2015 (Wilson's interval at that number); the half sequence is ours.
"""

from __future__ import annotations

import math

Z = 1.959963984540054
"""The quantile of the normal distribution that leaves 2.5 % above it."""
SERIES_DEGREES = 30
"""Degrees of freedom from which on Student's quantile is taken from a series, without importing scipy."""
EXTRA_SEQUENCES = 0.5
"""Sequences that are added, wholly wrong for the lower end and wholly right for the upper one."""


def wilson_interval(successes: float, total: float, quantile: float = Z) -> tuple[float, float]:
    """Compute the score interval of Wilson for a proportion.

    Args:
        successes: How many of the trials succeeded.
        total: How many trials there were.
        quantile: Half width in standard errors; the default gives an interval of 95 %.

    Returns:
        The lower and the upper end, within [0, 1]; (nan, nan) without trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    if not total:
        return (math.nan, math.nan)
    z, n, p = quantile, total, successes / total
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Without failures the upper end is 1 exactly, and without successes the lower one 0: sums of floats fall short.
    low, high = max(0.0, center - half), min(1.0, center + half)
    return (0.0 if successes <= 0 else low, 1.0 if successes >= total else high)


def clustered_interval(
    correct: int, questions: int, sequences: int, correct_squared: int, correct_questions: int, questions_squared: int
) -> tuple[float, float]:
    """Compute a 95 % interval for a share of correct answers whose questions come in sequences.

    Args:
        correct: Correct answers.
        questions: Questions.
        sequences: Sequences with at least one question.
        correct_squared: Sum over the sequences of (correct answers of the sequence)^2.
        correct_questions: Sum over the sequences of correct answers times questions.
        questions_squared: Sum over the sequences of questions^2.

    Returns:
        The lower and the upper end, within [0, 1]; (nan, nan) without questions, and (0, 1) for several questions of a
        single sequence, which say nothing about others.
    """
    if not questions:
        return (math.nan, math.nan)
    if questions == sequences:
        return wilson_interval(correct, questions)
    if sequences == 1:
        return (0.0, 1.0)
    quantile = student_quantile(sequences - 1)
    size = questions_squared / questions
    weight = EXTRA_SEQUENCES * (1 - 1 / size)
    extra, extra_squared = weight * size, weight * size * size
    ends = []
    for right in (0, 1):  # the lower end, then the upper
        c, n, s = correct + right * extra, questions + extra, sequences + weight
        cc, cn = correct_squared + right * extra_squared, correct_questions + right * extra_squared
        p = c / n
        squares = max(0.0, cc - 2 * p * cn + p * p * (questions_squared + extra_squared))
        variance = s / (s - 1) * squares / (n * n)
        trials = p * (1 - p) / variance if variance > 0 else s
        ends.append(wilson_interval(p * trials, trials, quantile)[right])
    return (ends[0], ends[1])


def mean_interval(
    count: int, total: float, squares: float, bounds: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Compute a 95 % interval for the mean of independent numbers.

    Between bounds it is that of Wilson for a share of as many trials as have the variance of the numbers, at least one
    for each number: of numbers that are all equal the variance is 0, and the interval is not. Without bounds it is
    that of Student.

    Args:
        count: How many numbers there are.
        total: Their sum.
        squares: The sum of their squares.
        bounds: The lowest and the highest possible number.

    Returns:
        The lower and the upper end; (nan, nan) without numbers, and for a single one without bounds.
    """
    if not count or (count == 1 and bounds is None):
        return (math.nan, math.nan)
    mean = total / count
    variance = max(0.0, squares - total * mean) / max(1, count - 1) / count
    if bounds is None:
        half = student_quantile(count - 1) * math.sqrt(variance)
        return (mean - half, mean + half)
    low, size = bounds[0], bounds[1] - bounds[0]
    share = min(1.0, max(0.0, (mean - low) / size))
    trials = max(float(count), share * (1 - share) * size * size / variance) if variance > 0 else float(count)
    ends = wilson_interval(share * trials, trials, student_quantile(count - 1) if count > 1 else Z)
    return (low + size * ends[0], low + size * ends[1])


def student_quantile(degrees: int) -> float:
    """Compute the quantile of Student's distribution that leaves 2.5 % above it.

    >>> [round(student_quantile(degrees), 4) for degrees in (1, 19, 1023)]
    [12.7062, 2.093, 1.9623]

    Args:
        degrees: Degrees of freedom, at least 1.

    Returns:
        The quantile.

    Source: Abramowitz and Stegun, "Handbook of mathematical functions", 26.7.5.
    """
    if degrees < SERIES_DEGREES:
        from scipy.special import stdtrit  # late, because the import takes longer than a command

        return float(stdtrit(degrees, 0.975))
    z, n = Z, degrees
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / n + second / n**2 + third / n**3 + fourth / n**4
