"""No answer may depend on what comes later: not on tokens, not on how many there are."""

from __future__ import annotations

import torch

from attnlab.attention import Attention
from attnlab.position import POSITIONS, Position
from attnlab.testing._subject import Subject, gap, run, stream
from attnlab.testing._subject import position as build_position
from attnlab.testing.finding import Finding, judged

TOKENS = 37
CUTS = (1, 2, 5, 16, 17, 31, 36)
EXACT = 1e-10
"""What float64 may differ by when only the order of sums differs."""


def future(subject: Subject) -> Finding:
    """Changing later tokens leaves earlier outputs as they are, with every position that makes sense."""
    worst, where = 0.0, ""
    for position, name in _places(subject):
        attention = subject.build(biased=position.biases)
        for cut in CUTS:
            result = _leak(attention, position, cut)
            worst, where = max((worst, where), (result, f" at token {cut}, position {name}"))
    return judged("future never seen", worst <= EXACT, f"largest change {worst:.1e}{where if worst > EXACT else ''}")


def prefix(subject: Subject) -> Finding:
    """A prefix runs as it does within the whole, with every position that makes sense, by every path."""
    worst, where = 0.0, ""
    for position, name in _places(subject):
        attention = subject.build(biased=position.biases)
        for fast in (True, False):
            attention.fast = fast
            whole = run(attention, stream(2, TOKENS), position)
            for cut in CUTS:
                result = gap(run(attention, stream(2, TOKENS)[:, :cut], position), whole[:, :cut])
                worst, where = max((worst, where), (result, f" at length {cut}, position {name}"))
    return judged(
        "prefix equals whole", worst <= EXACT, f"largest difference {worst:.1e}{where if worst > EXACT else ''}"
    )


def _leak(attention: Attention, position: Position, cut: int) -> float:
    before = stream(2, TOKENS)
    after = torch.cat([before[:, :cut], 3.0 * stream(2, TOKENS - cut, seed=5)], dim=1)
    return gap(run(attention, before, position)[:, :cut], run(attention, after, position)[:, :cut])


def _places(subject: Subject) -> list[tuple[Position, str]]:
    """Positions that the attention can be paired with; those that draw at random are checked on their own."""
    kinds = [entry for entry in POSITIONS if subject.entry.cls.has_scores or not entry.cls.biases]
    return [(build_position(entry.name), entry.name) for entry in kinds if not entry.cls.random]
