"""The textbook shape: one small transformer, a target at every position; our step against a hand-written loop.

    2 layers, width 64, 2 heads, T = 64, V = 64, batch 64, AdamW, the gradient clipped

The hand-written loop is what a careful person writes for this shape alone: one product for queries, keys and values,
fused attention, fused AdamW. x-transformers is timed where it is installed, by default and with its fused attention.

Letters  B batch, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.choices import Compile, Precision
from attnlab.config.inline_parts import parse_part
from attnlab.specs import ModelSpec, RunSpec, TaskSpec, TrainSpec
from attnlab.tasks import Batch
from attnlab.tasks.io.streams import Source
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of its batches."""

    layers: int = 2
    width: int = 64
    heads: int = 2
    length: int = 64
    vocabulary: int = 64
    batch: int = 64

    @property
    def operations(self) -> float:
        """Floating-point operations of the matrix products of one step: three passes, causal scores counted in full."""
        per_token = self.layers * (24 * self.width**2 + 4 * self.length * self.width)
        return 3.0 * self.batch * self.length * (per_token + 2 * self.width * self.vocabulary)

    def spec(self, attention: str = "softmax", seed: int = 0, precision: Precision = "float32") -> RunSpec:
        """The run of attnlab that has this shape; the attention may have options, as on the command line."""
        sizes = {"layers": self.layers, "width": self.width, "heads": self.heads}
        model = ModelSpec.model_validate(
            {**sizes, "attention": parse_part(attention), "position": "learned"}, strict=False
        )
        train = TrainSpec(batch_size=self.batch, precision=precision)
        return RunSpec(task=TaskSpec(name="copy"), model=model, train=train, seed=seed)

    def batches(self, count: int = 8) -> list[Batch]:
        """Draw random tokens; the target of a position is the token before it, so that every position has one."""
        random = np.random.default_rng(0)
        drawn = [random.integers(0, self.vocabulary, (self.batch, self.length)) for _ in range(count)]
        return [Batch(inputs_BT, np.roll(inputs_BT, 1, axis=1)) for inputs_BT in drawn]


class SourceOfShape(Source):
    """A source of any length and vocabulary, from which nothing is drawn."""

    def __init__(self, shape: Shape) -> None:
        self.length, self.vocabulary, self.features = shape.length, shape.vocabulary, 0


Step = Callable[[], object]


def ours(
    shape: Shape,
    device: torch.device,
    compile: Compile = "never",
    attention: str = "softmax",
    precision: Precision = "float32",
) -> Step:
    """Make a step of attnlab."""
    spec = shape.spec(attention, precision=precision)
    stepper = SingleStepper(spec, SourceOfShape(shape), device, compile)
    batches: Iterator[Batch] = cycle(shape.batches())

    def step() -> None:
        stepper.step({0: next(batches)}, {0: LEARNING_RATE})

    return step


def vmapped(shape: Shape, device: torch.device, count: int, attention: str = "softmax") -> Step:
    """Make a step of vmapped runs, each on a batch of its own."""
    specs = [shape.spec(attention, seed) for seed in range(count)]
    stepper = VmapStepper(specs, [SourceOfShape(shape)] * count, device)
    drawn = shape.batches()
    batches = {run: drawn[run % len(drawn)] for run in range(count)}
    return lambda: stepper.step(batches, dict.fromkeys(batches, LEARNING_RATE))


def hand_written(shape: Shape, device: torch.device) -> Step:
    """Make a step of the hand-written loop."""
    torch.manual_seed(0)
    return plain_loop(HandModel(shape).to(device), shape, device)


def x_transformers(shape: Shape, device: torch.device, flash: bool) -> Step:
    """Make a step of x-transformers in the same loop.

    Raises:
        ModuleNotFoundError: x-transformers is not installed.
    """
    library: Any = importlib.import_module("x_transformers")
    torch.manual_seed(0)
    layers = library.Decoder(
        dim=shape.width,
        depth=shape.layers,
        heads=shape.heads,
        attn_dim_head=shape.width // shape.heads,
        attn_flash=flash,
    )
    model: nn.Module = library.TransformerWrapper(
        num_tokens=shape.vocabulary, max_seq_len=shape.length, attn_layers=layers
    )
    return plain_loop(model.to(device), shape, device)


def plain_loop(model: nn.Module, shape: Shape, device: torch.device) -> Step:
    """Make a step of the usual five lines around a model that returns logits of every position."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    batches = cycle(shape.batches())

    def step() -> None:
        batch = next(batches)
        inputs_BT, targets_BT = (torch.from_numpy(array).to(device) for array in batch[:2])
        loss = functional.cross_entropy(model(inputs_BT).flatten(0, 1), targets_BT.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


@final
class HandModel(nn.Module):
    """The model as one writes it for this shape alone."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.length, shape.width)
        self.blocks = nn.ModuleList(HandBlock(shape.width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)

    def forward(self, inputs_BT: Tensor) -> Tensor:
        """Logits of every position."""
        x_BTD: Tensor = self.tokens(inputs_BT) + self.positions.weight[: inputs_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.head(self.norm(x_BTD))


@final
class HandBlock(nn.Module):
    """Attention and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up_proj, self.down_proj = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The residual stream after the block."""
        parts: Any = self.qkv(self.norms[0](x_BTD)).chunk(3, dim=-1)
        queries, keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x_BTD = x_BTD + self.out_proj(mixed.transpose(1, 2).flatten(2))
        return x_BTD + self.down_proj(functional.gelu(self.up_proj(self.norms[1](x_BTD))))
