"""Do test sequences stand in the training stream more often than chance puts them there?

A small space of sequences repeats itself without any leak: two bits make four strings. So the share that is found is
held to the share of a fresh sample that chance alone could have put there. If both are drawn alike, the D found among
N test sequences and the F found among M fresh ones are a fair split of D + F:

    D ~ Binomial(D + F, N / (N + M))            a leak is a D that this reaches with P < 1e-5
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scipy.special import bdtrc

from attnlab.tasks import Batch
from attnlab.testing._samples import Material

RARE = 1e-5
"""Probability of a false alarm."""
NEARLY = 0.95
"""Share of the test sequences from which on a sample covers the space."""


class Repeats(NamedTuple):
    """Test sequences that stand exactly in the training sample."""

    found: int
    sequences: int
    expected: float
    """As many as chance puts there."""
    rarity: float
    """Probability that chance puts as many there."""
    again: int
    """Test sequences that stand in the fresh sample, which knows nothing of training."""

    @property
    def leaks(self) -> bool:
        """Whether chance does not explain them."""
        return self.rarity < RARE

    @property
    def covered(self) -> bool:
        """Whether a sample holds nearly everything there is: a table of sequences solves the level."""
        return not self.leaks and self.again >= NEARLY * self.sequences


def repeats(material: Material) -> Repeats:
    """Count them, and those of the fresh sample."""
    seen, known = set(_rows(material.training)), set(_rows(material.fresh))
    result, tested = _among(seen, material.test)
    lucky, fresh = _among(seen, material.fresh)
    rarity = float(bdtrc(result - 1, result + lucky, tested / (tested + fresh))) if result else 1.0
    return Repeats(result, tested, lucky * tested / fresh, rarity, _among(known, material.test)[0])


def _among(seen: set[bytes], batches: Sequence[Batch]) -> tuple[int, int]:
    there = [row in seen for row in _rows(batches)]
    return sum(there), len(there)


def _rows(batches: Sequence[Batch]) -> Iterable[bytes]:
    """Each sequence as its own bytes; sequences of different lengths differ."""
    return (row.tobytes() for batch in batches for row in batch.inputs_BT)
