"""Causality checks: no output depends on later tokens, or on how many tokens follow."""

from __future__ import annotations

import torch

from attnlab.attention import Attention
from attnlab.position import POSITIONS, Position
from attnlab.testing._subject import Subject, build_position, max_difference, random_inputs, run
from attnlab.testing.finding import Finding, check_result

TOKENS = 37
CUTS = (1, 2, 5, 16, 17, 31, 36)
EXACT = 1e-10
"""Largest difference in float64 that a different order of sums may cause."""


def future(subject: Subject) -> Finding:
    """Changing later tokens leaves earlier outputs unchanged, with every position that can be paired."""
    worst, where = 0.0, ""
    for position, name in _positions(subject):
        attention = subject.build(biased=position.biases)
        for cut in CUTS:
            difference = _leak(attention, position, cut)
            worst, where = max((worst, where), (difference, f" at token {cut}, position {name}"))
    return check_result(
        "future never seen", worst <= EXACT, f"largest change {worst:.1e}{where if worst > EXACT else ''}"
    )


def prefix(subject: Subject) -> Finding:
    """A prefix alone gives the outputs of the whole sequence, with every position that can be paired, on every path."""
    worst, where = 0.0, ""
    for position, name in _positions(subject):
        attention = subject.build(biased=position.biases)
        for fast in (True, False):
            attention.fast = fast
            whole = run(attention, random_inputs(2, TOKENS), position)
            for cut in CUTS:
                difference = max_difference(run(attention, random_inputs(2, TOKENS)[:, :cut], position), whole[:, :cut])
                worst, where = max((worst, where), (difference, f" at length {cut}, position {name}"))
    return check_result(
        "prefix equals whole", worst <= EXACT, f"largest difference {worst:.1e}{where if worst > EXACT else ''}"
    )


def _leak(attention: Attention, position: Position, cut: int) -> float:
    """Largest change of the outputs before the cut when all tokens after it change."""
    before = random_inputs(2, TOKENS)
    after = torch.cat([before[:, :cut], 3.0 * random_inputs(2, TOKENS - cut, seed=5)], dim=1)
    return max_difference(run(attention, before, position)[:, :cut], run(attention, after, position)[:, :cut])


def _positions(subject: Subject) -> list[tuple[Position, str]]:
    """Positions that the attention can be paired with, and their names; random positions have tests of their own."""
    entries = [entry for entry in POSITIONS if subject.entry.cls.has_scores or not entry.cls.biases]
    return [(build_position(entry.name), entry.name) for entry in entries if not entry.cls.random]
