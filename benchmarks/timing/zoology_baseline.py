"""Multi-query recall as first published: logits of every position, and sequences that are drawn one by one.

    logits      B x T x V, although only n of T positions have targets
    sequences   keys and values drawn without replacement by a shuffle of all ids, once per sequence

Written from the description of the setup in arXiv:2312.04927 and of its code; no line of it is copied.

Letters  B batch, T tokens, V vocabulary, n pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from attnlab.tasks import IGNORE
from benchmarks.timing.textbook import HandModel, Shape

PAIRS, POWER = 4, 0.01


def row_by_row(
    random: np.random.RandomState, vocabulary: int, length: int, batch: int
) -> tuple[NDArray[np.int64], ...]:
    """Draw inputs and targets; queries stand in slots of two tokens after the context, the rest is random ids."""
    half, slots = vocabulary // 2, (length - 2 * PAIRS) // 2
    key_ids = np.tile(np.arange(1, half), (batch, 1))
    value_ids = np.tile(np.arange(half, vocabulary), (batch, 1))
    odds = np.arange(1, slots + 1) ** (POWER - 1)
    slot_ids = np.tile(np.arange(slots), (batch, 1))
    keys = np.apply_along_axis(random.choice, 1, key_ids, replace=False, size=PAIRS)
    values = np.apply_along_axis(random.choice, 1, value_ids, replace=False, size=PAIRS)
    gaps = np.apply_along_axis(random.choice, 1, slot_ids, replace=False, p=odds / odds.sum(), size=PAIRS)
    inputs_BT = random.randint(0, vocabulary, (batch, length))
    targets_BT = np.full((batch, length), IGNORE)
    inputs_BT[:, 0 : 2 * PAIRS : 2], inputs_BT[:, 1 : 2 * PAIRS : 2] = keys, values
    positions = 2 * PAIRS + 2 * gaps
    np.put_along_axis(inputs_BT, positions, keys, 1)
    np.put_along_axis(targets_BT, positions, values, 1)
    return inputs_BT, targets_BT


def every_position(shape: Shape, device: torch.device) -> Callable[[], object]:
    """Make a step on a batch that is drawn row by row, with logits of every position."""
    torch.manual_seed(0)
    model, random = HandModel(shape).to(device), np.random.RandomState(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)

    def step() -> None:
        drawn = row_by_row(random, shape.vocabulary, shape.length, shape.batch)
        inputs_BT, targets_BT = (torch.from_numpy(array).to(device) for array in drawn)
        logits_BTV = model(inputs_BT)
        loss = functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
