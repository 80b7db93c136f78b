"""The learning rate of each step."""

from __future__ import annotations

import math

from attnlab.specs import TrainSpec


def learning_rate(train: TrainSpec, step: int) -> float:
    """Compute the rate of a step, counted from 0.

    A linear warmup is followed by a cosine down to ``min_lr_ratio`` of the peak, or by a constant rate.
    """
    warmup_steps = round(train.warmup_ratio * train.max_steps)
    if step < warmup_steps:
        return train.lr * (step + 1) / warmup_steps
    if train.schedule == "constant":
        return train.lr
    progress = (step - warmup_steps) / max(1, train.max_steps - warmup_steps)
    return train.lr * (train.min_lr_ratio + (1 - train.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))
