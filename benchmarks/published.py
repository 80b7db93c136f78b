"""Multi-query recall over 8,192 ids as first published: model, recipe, and logits of every position.

    block    r <- h + r,  h <- attention(norm r);   r <- h + r,  h <- norm r
    logits   norm(r + h), times the embedding
    dropout  0.1 of the attention and of the embedding
    recipe   100,000 examples with zeros for filler, batches of 512, AdamW with a weight decay of 0.1 on every weight,
             a cosine from epoch to epoch over 64 epochs

Written from the description in arXiv:2312.04927 (figure 2) and of its code; no line of it is copied.

Letters  B batch, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.tasks import IGNORE
from benchmarks.timing.zoology_baseline import row_by_row

VOCABULARY, LENGTH, WIDTH, LAYERS = 8192, 64, 64, 2
EXAMPLES, BATCH, EPOCHS = 100_000, 512, 64
DROPOUT, WEIGHT_DECAY, INIT_STD = 0.1, 0.1, 0.02
LEARNING_RATES = (1e-4, 4.64e-4, 2.15e-3, 1e-2)
"""The learning rates of its grid."""


class Layer(nn.Module):
    """One head of attention; the MLP is replaced by the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.qkv, self.out_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        for layer, std in ((self.qkv, INIT_STD), (self.out_proj, INIT_STD / math.sqrt(2 * LAYERS))):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, h_BTD: Tensor, r_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """The output of the layer, and the residual stream."""
        r_BTD = h_BTD + r_BTD
        queries, keys, values = self.qkv(self.norms[0](r_BTD)).chunk(3, dim=-1)
        drop = DROPOUT if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, dropout_p=drop)
        r_BTD = self.out_proj(mixed) + r_BTD
        return self.norms[1](r_BTD), r_BTD


class PublishedModel(nn.Module):
    """The model."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=INIT_STD)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, inputs_BT: Tensor) -> Tensor:
        """Logits of every position."""
        h_BTD: Tensor = functional.dropout(self.tokens(inputs_BT) + self.positions.weight, DROPOUT, self.training)
        r_BTD = torch.zeros_like(h_BTD)
        for layer in self.layers:
            h_BTD, r_BTD = layer(h_BTD, r_BTD)
        return self.norm(r_BTD + h_BTD) @ self.tokens.weight.mT


def examples(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Draw inputs and targets row by row, with zeros as filler."""
    inputs_BT, targets_BT = row_by_row(np.random.RandomState(seed), VOCABULARY, LENGTH, count)
    filler = targets_BT == IGNORE
    filler[:, :8] = False  # the context
    inputs_BT[filler] = 0
    return torch.from_numpy(inputs_BT), torch.from_numpy(targets_BT)


def training(learning_rate: float, seed: int) -> tuple[nn.Module, Callable[[], Any]]:
    """Make the model and its training step; the examples are drawn before the first step, as its code does."""
    torch.manual_seed(seed)
    model = PublishedModel()
    inputs_NT, targets_NT = examples(seed, EXAMPLES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS, eta_min=0.0)
    batches: list[Tensor] = []

    def step() -> None:
        if not batches:
            batches.extend(torch.randperm(EXAMPLES).split(BATCH))
        rows = batches.pop()
        logits_BTV = model.train()(inputs_NT[rows])
        loss = functional.cross_entropy(logits_BTV.flatten(0, 1), targets_NT[rows].flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not batches:
            schedule.step()

    return model, step


@torch.no_grad()
def count_correct(model: nn.Module, inputs_NT: Tensor, targets_NT: Tensor) -> tuple[int, int]:
    """Count the correct predictions and the targets."""
    correct = total = 0
    for inputs_BT, targets_BT in zip(inputs_NT.split(64), targets_NT.split(64), strict=True):
        mask_BT = targets_BT != IGNORE
        correct += int((model.eval()(inputs_BT).argmax(-1) == targets_BT)[mask_BT].sum())
        total += int(mask_BT.sum())
    return correct, total
