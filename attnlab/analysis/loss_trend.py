"""How the loss of a run moved, against the learning rate that was spent, and what it promises.

The schedule flattens the end of a curve by itself: the last quarter of the steps of a cosine spends 7 % of its rate.
Quarters are therefore those of the rate spent, the sum of the learning rates of all steps so far. A run whose rate is
far too low falls by little, and as much in the last quarter as in those before; a trained one no longer falls.

    curve      the validation loss, on the same sequences at every step; with few training sequences the training loss
    falls      the share of the loss that is lost in the second, the third and the last quarter
    noise      the standard deviation of a point, from third differences, which a smooth curve hardly has
    promised   the fall over ten times the rate, if the quarters go on as a geometric series
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attnlab.records import Record
from attnlab.training.schedule import rate_spent

FALLING = 0.02
"""The loss is falling where it fell by at least this share in each of the last two quarters."""
STEEP = 0.1
"""It is falling as well where it fell by at least this share in the last quarter alone."""
PROMISED = 0.03
"""It is falling as well where the quarters, if they go on, promise a fall by at least this share."""
NOISE = 3.0
"""A fall counts where it is at least this many times the noise."""
NARROW = 32
"""Models that are narrower have weights as large as those of this width."""
GOING_ON = 36
"""Further quarters that the promise counts: ten times the rate spent."""
NORMAL = 1.4826 / math.sqrt(20)
"""Factor from the median size of a third difference to the standard deviation of a point: 20 = 1 + 9 + 9 + 1."""
MIN_VALIDATIONS = 8
"""With fewer, noise cannot be told from the curve."""


@dataclass(frozen=True)
class LossTrend:
    """How the loss moved."""

    falls: tuple[float, float, float]
    """Of the second, third and last quarter of the rate spent, as shares of the loss before."""
    noise: float
    """As a share of the loss at the end; 0 where the validations are too few to tell."""
    end: float
    lowest: float
    highest: float
    """Of the training losses between two validations."""

    @property
    def promised(self) -> float:
        """The fall over ten times the rate, if the quarters go on as they did; 0 where one did not fall."""
        if min(self.falls) <= 0:
            return 0.0
        ratio = min(1.0, math.sqrt(self.falls[2] / self.falls[0]))
        return self.falls[2] * sum(ratio**quarter for quarter in range(1, GOING_ON + 1))

    @property
    def steep(self) -> bool:
        """Whether the loss fell by much in the last quarter."""
        return self.falls[2] >= max(STEEP, NOISE * self.noise) or min(self.falls) >= STEEP

    @property
    def falling(self) -> Literal["yes", "unclear", "no"]:
        """Whether the loss was falling at the end; unclear where it was in one of the last two quarters only."""
        *_, before, last = self.falls
        clear = NOISE * self.noise
        both = 1 - (1 - before) * (1 - last)  # a fall after a rise may be none
        if self.steep or min(before, last) >= FALLING:
            return "yes"
        if self.promised >= PROMISED and last >= clear:
            return "yes"
        return "unclear" if min(max(before, last), both) >= max(FALLING, clear) else "no"


def loss_trend(record: Record) -> LossTrend | None:
    """Find how the loss of a run moved.

    Args:
        record: The run, with its whole history.

    Returns:
        The trend; None where there is no validation, or none to compare it with.
    """
    spent, losses = _curve(record)
    if len(losses) < 2 or not np.isfinite(losses).all() or losses.min() <= 0:
        return None
    at = np.interp((0.25, 0.5, 0.75, 1.0), spent, losses)
    first, second, third = (float(fall) for fall in -np.diff(at) / at[:-1])
    noise, points = 0.0, len(record.history)
    if points >= MIN_VALIDATIONS:
        # Of the later half, and without the last interval, which may be shorter than the others.
        later = losses[-max(MIN_VALIDATIONS, points // 2) : -1]
        noise = NORMAL * float(np.median(np.abs(np.diff(later, 3))))
    lowest = losses[-points:].min()  # the loss of the first step is of other sequences
    highest = max(point.loss for point in record.history)
    return LossTrend((first, second, third), noise / float(losses[-1]), float(losses[-1]), float(lowest), highest)


def weight_moved(record: Record) -> float:
    """Bound how far the steps together can have moved a weight, in units of the size of a weight.

    Args:
        record: The run.

    Returns:
        The rate spent over :func:`weight_size`; inf where that is not known.
    """
    train = record.spec.train
    size = weight_size(record)
    return float(rate_spent(train, min(record.steps, train.max_steps))[-1]) / size if size else math.inf


def peak_move(record: Record) -> float:
    """Bound how far one step can have moved a weight, in units of the size of a weight.

    Args:
        record: The run.

    Returns:
        The peak rate over :func:`weight_size`; 0 where that is not known.
    """
    size = weight_size(record)
    return record.spec.train.lr / size if size else 0.0


def weight_size(record: Record) -> float:
    """Tell the usual size of a weight of a matrix: its initial standard deviation, or that of a usual initialization.

    Weights that begin smaller than usual grow to that size. The larger ones of a narrow model need no larger moves.

    Args:
        record: The run.

    Returns:
        ``1 / sqrt(width)``, with a width of at least 32, times ``init_scale`` if above 1; 0 where it is not known: of a
        whole model, and of a run that continues another.
    """
    model = record.spec.model
    known = model.module is None and not record.spec.continue_from
    return max(1.0, model.init_scale) / math.sqrt(max(model.width, NARROW)) if known else 0.0


def _curve(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """The losses and the share of the rate that was spent before each."""
    history, train = record.history, record.spec.train
    if not history:
        return np.empty(0), np.empty(0)
    last = min(history[-1].step, train.max_steps)
    sums = rate_spent(train, last)
    sums = sums / sums[-1]
    steps = np.minimum([point.step for point in history], last)
    training = np.array([point.loss for point in history])
    validation = [point.validation_loss for point in history]
    middles = (np.concatenate([[0], steps[:-1]]) + steps) // 2  # of the steps that a training loss is the mean of
    if train.train_examples is not None or any(loss is None for loss in validation):
        spent, losses = sums[middles], training
    else:
        spent, losses = sums[steps], np.array(validation, float)
        if len(history) == 1:
            spent, losses = np.concatenate([sums[middles], spent]), np.concatenate([training, losses])
    if record.initial_loss is not None:
        spent, losses = np.concatenate([[0.0], spent]), np.concatenate([[record.initial_loss], losses])
    return spent, losses
