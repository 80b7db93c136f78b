"""Leak check: do test sequences occur in the training split more often than by chance?

A small space of sequences has repeats without any leak: two bits make four strings. So the share of repeats is compared
with that of a fresh sample, which can repeat training sequences by chance alone. If both are drawn alike, the D repeats
among N test sequences and the F repeats among M fresh ones are a fair split of D + F:

    D ~ Binomial(D + F, N / (N + M))            it is a leak if P(at least D) < 1e-5
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scipy.special import bdtrc

from attnlab.tasks import Batch
from attnlab.testing._samples import TaskSamples

ALPHA = 1e-5
"""Probability of a false alarm."""
COVERED = 0.95
"""Share of known test sequences at or above which a sample covers the space of sequences."""


class Repeats(NamedTuple):
    """Test sequences that occur exactly in the training sample."""

    repeated: int
    sequences: int
    """Test sequences compared."""
    expected: float
    """Repeats expected by chance."""
    p_value: float
    """Probability of at least this many repeats by chance."""
    in_fresh: int
    """Test sequences that occur in the fresh sample, which is independent of training."""

    @property
    def leaks(self) -> bool:
        """Whether there are more repeats than chance explains."""
        return self.p_value < ALPHA

    @property
    def covered(self) -> bool:
        """Whether a sample contains nearly all sequences, so that a table of sequences solves the level."""
        return not self.leaks and self.in_fresh >= COVERED * self.sequences


def count_repeats(samples: TaskSamples) -> Repeats:
    """Count the repeats of training sequences in the test sample, and in the fresh one."""
    training, fresh_rows = set(_rows(samples.training)), set(_rows(samples.fresh))
    repeated, tested = _count(training, samples.test)
    by_chance, fresh = _count(training, samples.fresh)
    p_value = float(bdtrc(repeated - 1, repeated + by_chance, tested / (tested + fresh))) if repeated else 1.0
    return Repeats(repeated, tested, by_chance * tested / fresh, p_value, _count(fresh_rows, samples.test)[0])


def _count(known: set[bytes], batches: Sequence[Batch]) -> tuple[int, int]:
    """Number of sequences that are known, and number of all sequences."""
    is_known = [row in known for row in _rows(batches)]
    return sum(is_known), len(is_known)


def _rows(batches: Sequence[Batch]) -> Iterable[bytes]:
    """Each sequence as its own bytes; sequences of different lengths differ."""
    return (row.tobytes() for batch in batches for row in batch.inputs_BT)
