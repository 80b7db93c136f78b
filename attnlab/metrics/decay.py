"""The decay of a metric from layer to layer, fitted to the values that are above the float floor.

    log v_l = a + l log rate                 least squares over the layers above the floor
    log v_l+1 = b + order log v_l            order 1 is a steady decay, 3 the cubic law of bidirectional attention

Values below the floor are neither fitted nor interpreted: a doubly exponential decay reaches the floor after three
layers.

Source   the cubic law: Dong et al., arXiv:2103.03404. Pure causal attention keeps order 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnlab.metrics.metric import FLOAT_FLOOR


@dataclass(frozen=True)
class Decay:
    """A fitted decay."""

    rate: float
    """Factor per layer; nan with fewer than two values above the floor."""
    fit: float
    """R^2 of the logarithms; 1 where two values, or a constant, fit exactly."""
    order: float
    """The next value as a power of the last; nan with fewer than three values, or less than a factor 2 of decay."""
    points: int
    """Number of layers that were fitted."""
    below: tuple[int, ...]
    """Layers below the floor, which were not fitted."""


def decay(values: Sequence[float], floor: float = FLOAT_FLOOR, start: int = 0) -> Decay:
    """Fit rate, R^2 and order of a decay.

    >>> round(decay([1.0, 0.5, 0.25, 0.125, 1e-17]).rate, 3)
    0.5

    Args:
        values: One per layer, layer 0 first; nan is left out.
        floor: Size below which a value is rounding error; values after the first one below it are left out too.
        start: The first layer that is fitted; earlier values are left out.

    Returns:
        The fit; its numbers are nan where there are too few values.
    """
    layers = range(start, len(values))
    below = tuple(layer for layer in layers if values[layer] <= floor)
    last = min(below, default=len(values))
    fitted = [layer for layer in layers if layer < last and math.isfinite(values[layer])]
    logs = np.log([values[layer] for layer in fitted])
    slope, fit = _fit_line(np.array(fitted, dtype=float), logs)
    contiguous = len(fitted) > 2 and fitted == list(range(fitted[0], fitted[-1] + 1))
    order = _fit_line(logs[:-1], logs[1:])[0] if contiguous and float(np.ptp(logs)) > math.log(2) else math.nan
    return Decay(math.exp(slope), fit, order, len(fitted), below)


def _fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Fit a least-squares line; its slope and R^2, nan where there is none."""
    if len(x) < 2 or not np.ptp(x):
        return math.nan, math.nan
    slope, intercept = np.polyfit(x, y, 1)
    total = float(np.square(y - y.mean()).sum())
    unexplained = float(np.square(y - intercept - slope * x).sum())
    return float(slope), 1.0 if total <= unexplained else 1 - unexplained / total
