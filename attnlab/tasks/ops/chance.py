"""Chance accuracy of a task, measured: that of the best blind guess (``attnlab.tasks.ops.blind_guesses``).

The guesses are fitted on one sample of the training split, the best one is chosen on a second, and its accuracy is
measured on a third, so that nothing is chosen on what is scored. The samples are seeded and their size is fixed: the
same task has the same chance in every run and on every machine.

Letters  N supervised positions of a batch, in row-major order; B sequences.
"""

from __future__ import annotations

import hashlib
import math
import pickle
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from attnlab.specs import Split
from attnlab.tasks.batch import IGNORE, Batch
from attnlab.tasks.ops.blind_guesses import Shares, fit_blind_guesses

SEQUENCES = 8192
"""Sequences of each sample, reduced for long sequences."""
MAX_TOKENS = 2**17
"""Largest number of tokens of a sample, unless the fewest sequences have more."""
FEWEST = 64
"""Sequences of a sample at least, up to ``LONG_TOKENS`` in all; of longer ones there are fewer."""
LONG_TOKENS, FEWEST_LONG = 2**20, 2
"""Largest number of tokens of the fewest sequences; and the fewest from which a standard error can be told."""
MAX_NUMBERS = 2**24 + 2**16
"""Largest number of ids, of all sequences of a sample: some tasks draw a number for each, without replacement."""
LONG_POSITIONS = 2**14
"""Supervised positions that count as a sequence when a guess is chosen on fewer than ``FEWEST`` sequences."""
SEED = 0
STANDARD_ERRORS = 3.0
"""A fitted guess is chosen over a uniform one if it is this much better on the second sample."""
FEWEST_MATCHES = 10
"""Exact matches from which on their share is an estimate; below, it is bounded only."""
DECIMALS = 6
"""Decimals that are kept, so that the order of a summation cannot change the value."""


class Chance(NamedTuple):
    """The measured chance accuracies of a task."""

    guess: str
    """Name of the best blind guess."""
    accuracy: float
    """Its probability of being correct at a supervised position."""
    standard_error: float
    """Standard error of the accuracy, over sequences."""
    exact_match: float
    """The highest probability of a blind guess being correct at all supervised positions of a sequence."""


class _MeasuredTask(Protocol):
    """What is used of a task."""

    vocabulary: int
    length: int

    @property
    def chance(self) -> float:
        """Chance accuracy."""

    def for_split(self, split: Split) -> Self:
        """The task that a split draws from."""

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw a batch of sequences."""

    def chance_samples(self) -> tuple[Batch, Batch, Batch]:
        """Sequences to fit, to choose and to score guesses on."""


class ClusteredMean(NamedTuple):
    """A mean over supervised positions, with sequences as the independent units."""

    mean: float
    standard_error: float


def measure_chance(task: _MeasuredTask) -> Chance:
    """Measure the best blind guess of a task; equal tasks are measured once in a process.

    Args:
        task: The task; its training split is sampled.

    Returns:
        The best guess and its accuracies.
    """
    key = _key(task)
    if key not in _measured:
        _measure(task, key, task.chance_samples())
    return _measured[key]


def exact_match_chance(task: _MeasuredTask) -> float:
    """The best probability that a guess that does not look at what is asked is correct at a whole sequence.

    Args:
        task: The task.

    Returns:
        The chance accuracy where sequences have one answer; else the exact match of the best blind guess. Where the
        task declares a higher chance accuracy than that of all blind guesses, for a guess of its own: the product of
        the chance accuracies, if that is higher.
    """
    key = _key(task)
    if key not in _queries:  # samples are drawn once, whatever is asked of them
        samples = task.chance_samples()
        _queries[key] = _queries_of(samples[2])
        if _queries[key].max(initial=0) != 1 and key not in _measured:
            _measure(task, key, samples)
    queries_B = _queries[key]
    if queries_B.max(initial=0) == 1:
        return task.chance
    measured = measure_chance(task)
    if task.chance <= measured.accuracy + STANDARD_ERRORS * measured.standard_error:
        return measured.exact_match
    return max(measured.exact_match, float((task.chance ** queries_B[queries_B > 0]).mean()))


def draw_samples(task: _MeasuredTask, split: Split = Split.TRAIN) -> tuple[Batch, Batch, Batch]:
    """Draw three samples of a split of a task that draws new sequences without end.

    Args:
        task: The task.
        split: The split; the default is training.

    Returns:
        The samples, the same ones for the same task.
    """
    sequences, source = sample_size(task.length, task.vocabulary), task.for_split(split)
    fitted, chosen, scored = (source.sample(np.random.default_rng([SEED, part]), sequences) for part in range(3))
    return fitted, chosen, scored


def sample_size(length: int, vocabulary: int = 1) -> int:
    """Number of sequences of each sample from which chance is measured.

    >>> sample_size(16), sample_size(512), sample_size(10_000), sample_size(100_000)
    (8192, 256, 64, 10)

    Args:
        length: T, tokens of a sequence.
        vocabulary: V, ids of the task.

    Returns:
        B, the number of sequences.
    """
    fewest = min(FEWEST, max(FEWEST_LONG, LONG_TOKENS // length))
    return max(fewest, min(SEQUENCES, MAX_TOKENS // length, MAX_NUMBERS // vocabulary))


_Key = tuple[type[_MeasuredTask], bytes]
_measured: dict[_Key, Chance] = {}
_queries: dict[_Key, NDArray[np.int64]] = {}
"""Supervised positions of each sequence on which a task is scored."""


def _measure(task: _MeasuredTask, key: _Key, samples: tuple[Batch, Batch, Batch]) -> None:
    """Keep what is measured on the samples of a task."""
    _queries[key] = _queries_of(samples[2])
    _measured[key] = best_blind_guess(*samples, task.vocabulary)


def _queries_of(batch: Batch) -> NDArray[np.int64]:
    """Supervised positions of each sequence, B."""
    return (batch.targets_BT != IGNORE).sum(axis=1)


def best_blind_guess(fitted: Batch, chosen: Batch, scored: Batch, vocabulary: int) -> Chance:
    """Find the best blind guess.

    Args:
        fitted: Sequences that the guesses are fitted on.
        chosen: Sequences on which the best one is chosen.
        scored: Sequences on which it is scored.
        vocabulary: V, the number of tokens; the audit reports a task that exceeds it.

    Returns:
        The best guess and its accuracies on the scored sequences; the uniform guess, which needs no estimate, where no
        other is better beyond chance variation; accuracies of 0 if one of the samples has no supervised position.
    """
    if not all(len(batch.query_positions()) for batch in (fitted, chosen, scored)):
        return Chance("any answer", 0.0, math.inf, 0.0)
    highest = max(int(max(batch.inputs_BT.max(), batch.targets_BT.max())) for batch in (fitted, chosen, scored))
    guesses = fit_blind_guesses([fitted], max(vocabulary, highest + 1))
    on_chosen = {name: guess(chosen) for name, guess in guesses.items()}
    best, matching = _choose(on_chosen, chosen), _choose_match(on_chosen, chosen)
    on_scored = {name: guesses[name](scored) for name in {best, matching, "any answer"}}
    mean, standard_error = clustered_mean([scored], [on_scored[best]])
    uniform, _ = clustered_mean([scored], [on_scored["any answer"]])
    exact_match = max(_exact_match(on_scored[name], scored).mean for name in (matching, "any answer"))
    return Chance(best, round(max(mean, uniform), DECIMALS), standard_error, exact_match)


def clustered_mean(batches: Sequence[Batch], shares: Sequence[Shares]) -> ClusteredMean:
    """Mean over supervised positions and its standard error, with sequences as the independent units.

    Args:
        batches: The sequences.
        shares: For each batch the value of each supervised position, N.

    Returns:
        The mean and its standard error, that of a ratio of sums over sequences; 0 and infinity without a position.

    Source: Cochran, "Sampling Techniques", 3rd edition, section 2.11 (ratio estimate).
    """
    sums, counts = [], []
    for batch, share_N in zip(batches, shares, strict=True):
        row_N, rows = batch.query_positions() // batch.inputs_BT.shape[1], len(batch.inputs_BT)
        sums.append(np.bincount(row_N, weights=share_N, minlength=rows))
        counts.append(np.bincount(row_N, minlength=rows))
    sum_B, count_B = np.concatenate(sums), np.concatenate(counts)
    sum_B, count_B = sum_B[count_B > 0], count_B[count_B > 0]
    if len(count_B) < 2:
        return ClusteredMean(float(sum_B.sum() / count_B.sum()) if len(count_B) else 0.0, math.inf)
    mean = float(sum_B.sum() / count_B.sum())
    variance = float(((sum_B - mean * count_B) ** 2).sum()) * len(count_B) / (len(count_B) - 1)
    return ClusteredMean(mean, math.sqrt(variance) / float(count_B.sum()))


def _choose(shares: dict[str, Shares], batch: Batch) -> str:
    """Name of the best guess: the uniform one unless another is better by several standard errors."""
    uniform_N = shares["any answer"]
    best, highest = "any answer", 0.0
    # With few sequences their standard error may be 0 by chance; a few very long ones count as more.
    rows = max(len(batch.inputs_BT), min(FEWEST, len(uniform_N) // LONG_POSITIONS))
    for name, share_N in shares.items():
        gain, standard_error = clustered_mean([batch], [share_N - uniform_N])
        least = STANDARD_ERRORS * max(standard_error, 1 / rows)
        if gain > max(highest, least):
            best, highest = name, gain
    return best


def _choose_match(shares: dict[str, Shares], batch: Batch) -> str:
    """Name of the best guess at whole sequences, as in ``_choose``."""
    uniform = _exact_match(shares["any answer"], batch).mean
    best, highest = "any answer", uniform
    for name, share_N in shares.items():
        mean, standard_error = _exact_match(share_N, batch)
        if mean > max(highest, uniform + STANDARD_ERRORS * standard_error):
            best, highest = name, mean
    return best


def _exact_match(share_N: Shares, batch: Batch) -> ClusteredMean:
    """Mean over sequences of the probability that all answers are correct.

    Where a guess that is not random matches too few sequences to estimate their share, it is bounded from above by the
    product of its accuracies, and by the share that would have been estimated.
    """
    rows = len(batch.inputs_BT)
    row_N = batch.query_positions() // batch.inputs_BT.shape[1]
    has_query_B = np.bincount(row_N, minlength=rows) > 0
    with np.errstate(divide="ignore"):
        all_correct_B = np.exp(np.bincount(row_N, weights=np.log(share_N), minlength=rows))[has_query_B]
    is_random = bool(((share_N > 0) & (share_N < 1)).any())
    if is_random or np.count_nonzero(all_correct_B) >= FEWEST_MATCHES:
        return ClusteredMean(float(all_correct_B.mean()), float(all_correct_B.std() / math.sqrt(len(all_correct_B))))
    product = float((share_N.mean() ** np.bincount(row_N, minlength=rows)[has_query_B]).mean())
    return ClusteredMean(min(product, FEWEST_MATCHES / len(all_correct_B)), 0.0)


def _key(task: _MeasuredTask) -> tuple[type[_MeasuredTask], bytes]:
    """The class and a digest of the attributes; of those that cannot be pickled, the identity of the object.

    Chance, and what else is derived from the options when it is first asked for, tells nothing.
    """
    derived = {"chance", *(name for name in vars(task) if isinstance(_declared(task, name), cached_property))}
    state = {name: value for name, value in vars(task).items() if name not in derived}
    if state.get("digest"):  # it stands for the content of a file
        state = {name: value for name, value in state.items() if isinstance(value, str | int | float | tuple)}
    try:
        content = pickle.dumps(state)
    except Exception:  # whatever a plugin's attributes raise
        content = str(id(task)).encode()
    return type(task), hashlib.sha256(content).digest()


def _declared(task: _MeasuredTask, name: str) -> object:
    """What the class has under the name of an attribute, without running it; None for nothing."""
    return next((vars(cls)[name] for cls in type(task).__mro__ if name in vars(cls)), None)
