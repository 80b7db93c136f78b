"""How fast a number decays from layer to layer, from the points that are more than rounding.

    log v_l = a + l log rate                 least squares over the layers above the floor
    log v_l+1 = b + order log v_l            order 1 is a steady decay, 3 the cubic law of bidirectional attention

Nothing is fitted to, and nothing claimed from, points below the floor: a doubly exponential decay meets it after three
layers.

Source   the cubic law: Dong et al., arXiv:2103.03404. Pure causal attention keeps order 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnlab.metrics.metric import FLOOR


@dataclass(frozen=True)
class Decay:
    """A fitted decay."""

    rate: float
    """Factor per layer; nan with fewer than two points above the floor."""
    fit: float
    """R^2 of the logarithms; 1 where two points, or a constant, fit exactly."""
    order: float
    """How the next value follows the last as a power; nan with fewer than three points or less than a factor 2."""
    points: int
    """Layers that were fitted."""
    below: tuple[int, ...]
    """Layers below the floor, which were not."""


def decay(values: Sequence[float], floor: float = FLOOR, start: int = 0) -> Decay:
    """Rate, fit and order of a decay.

    >>> round(decay([1.0, 0.5, 0.25, 0.125, 1e-17]).rate, 3)
    0.5

    Args:
        values: One per layer, the first at ``start``; nan is left out.
        floor: Size below which a value is rounding. A value after the first one below it is left out too.
        start: The first layer that is fitted; earlier values are passed over.
    """
    layers = range(start, len(values))
    below = tuple(layer for layer in layers if values[layer] <= floor)
    last = min(below, default=len(values))
    saved = [layer for layer in layers if layer < last and math.isfinite(values[layer])]
    logs = np.log([values[layer] for layer in saved])
    grad, fit = _line(np.array(saved, dtype=float), logs)
    steady = len(saved) > 2 and saved == list(range(saved[0], saved[-1] + 1)) and float(np.ptp(logs)) > math.log(2)
    order = _line(logs[:-1], logs[1:])[0] if steady else math.nan
    return Decay(math.exp(grad), fit, order, len(saved), below)


def _line(across: np.ndarray, up: np.ndarray) -> tuple[float, float]:
    """Slope and R^2 of a least-squares line; nan where there is none."""
    if len(across) < 2 or not np.ptp(across):
        return math.nan, math.nan
    grad, base = np.polyfit(across, up, 1)
    total = float(np.square(up - up.mean()).sum())
    missed = float(np.square(up - base - grad * across).sum())
    return float(grad), 1.0 if total <= missed else 1 - missed / total
