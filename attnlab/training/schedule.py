"""The learning rate of each step."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from attnlab.specs import TrainSpec


def learning_rate(train: TrainSpec, step: int) -> float:
    """Compute the rate of a step, counted from 0.

    A linear warmup is followed by a cosine down to ``min_lr_ratio`` of the peak, or by a constant rate.

    Args:
        train: The schedule.
        step: Steps taken before it.

    Returns:
        The learning rate.
    """
    warmup_steps = round(train.warmup_ratio * train.max_steps)
    if step < warmup_steps:
        return train.lr * (step + 1) / warmup_steps
    if train.schedule == "constant":
        return train.lr
    progress = (step - warmup_steps) / max(1, train.max_steps - warmup_steps)
    return train.lr * (train.min_lr_ratio + (1 - train.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def rate_spent(train: TrainSpec, most: int | None = None) -> NDArray[np.float64]:
    """Compute the sum of the learning rates of the first steps: of none, of one, ..., of all.

    A step of AdamW changes no weight by much more than its rate, so that the sum bounds how far training can have come.

    Args:
        train: The schedule.
        most: Steps that were taken; None takes ``max_steps``, which may be more than memory holds.

    Returns:
        One sum for each number of steps, from 0 to ``most``.
    """
    warmup_steps = round(train.warmup_ratio * train.max_steps)
    steps = np.arange(train.max_steps if most is None else most)
    rates = np.full(len(steps), train.lr)
    if train.schedule == "cosine":
        progress = (steps - warmup_steps) / max(1, train.max_steps - warmup_steps)
        rates = train.lr * (train.min_lr_ratio + (1 - train.min_lr_ratio) * 0.5 * (1 + np.cos(np.pi * progress)))
    rising = train.lr * (steps + 1) / max(1, warmup_steps)
    return np.concatenate([[0.0], np.cumsum(np.where(steps < warmup_steps, rising, rates))])
