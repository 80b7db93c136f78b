"""The learning rate of each step."""

from __future__ import annotations

import math

from attnlab.specs import TrainSpec


def rate(train: TrainSpec, step: int) -> float:
    """Rate of a step counted from 0: a linear rise, then a cosine down to ``floor`` of the peak, or a constant."""
    rise = round(train.warmup_ratio * train.max_steps)
    if step < rise:
        return train.lr * (step + 1) / rise
    if train.schedule == "constant":
        return train.lr
    done = (step - rise) / max(1, train.max_steps - rise)
    return train.lr * (train.min_lr_ratio + (1 - train.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done)))
