"""The mixing of the tokens alone, forward and backward: queries, keys and values in, weighted sums out.

The batch holds 4,096 tokens, or one longer sequence; width 64, two heads, causal. ``fused`` is torch's fused softmax
attention. As in training, both keep the memory that they free.

Letters  B batch, H heads, T tokens, C channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention import ATTENTIONS
from attnlab.config.inline_parts import parse_part
from attnlab.position import POSITIONS
from attnlab.tensors import QKV, LayerContext, LayerInputs
from attnlab.training.memory import keep_all_freed_memory, keep_freed_memory
from benchmarks.timing.pairs import Program

TOKENS, WIDTH, HEADS = 4096, 64, 2
LENGTHS = (64, 256, 1024, 4096)
"""Lengths at which the mixing is timed."""


def fused(length: int, device: torch.device) -> Program:
    """Make the mixing of torch's fused softmax attention."""
    qkv, grad = _heads(length, device)

    def run() -> None:
        mixed = functional.scaled_dot_product_attention(*qkv, is_causal=True)
        torch.autograd.grad(mixed, qkv, grad)

    return run


def ours(name: str, length: int, device: torch.device, position_name: str = "none") -> Program:
    """Make the mixing of an attention of ours, which may have options; its parameters have gradients too.

    So have those of a position that adds a bias, which is computed anew in each call, as in training.
    """
    generator = torch.Generator().manual_seed(0)
    position_class = POSITIONS.entry(position_name).cls
    context = LayerContext(width=WIDTH, heads=HEADS, length=length, generator=generator, biased=position_class.biases)
    part = parse_part(name)
    entry = ATTENTIONS.entry(part.name)
    attention = entry.cls(context, **entry.complete(part.options)).to(device)
    position = position_class(context).to(device)
    _, grad = _heads(length, device)
    x_BTD = torch.randn(len(grad), length, WIDTH, generator=generator).to(device)
    prepared = attention.prepare(x_BTD, position, LayerInputs())
    heads = [tensor.detach().requires_grad_() for tensor in prepared[:3]]
    extra = tuple(tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in prepared.extra)
    leaves = [*heads, *(one for one in extra if one.requires_grad), *attention.parameters(), *position.parameters()]
    qkv = QKV(heads[0], heads[1], heads[2], extra)
    shape = attention.attend(qkv, position).shape
    grad = grad if shape == grad.shape else torch.ones(shape, device=device)  # values may be held otherwise

    def run() -> None:
        mixed = attention.attend(qkv, position)
        torch.autograd.grad(mixed, leaves, grad, allow_unused=True)

    return run


def _heads(length: int, device: torch.device) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Queries, keys and values, laid out as a projection lays them out, and a gradient of the sums, B x H x T x C."""
    keep_freed_memory()
    keep_all_freed_memory()
    generator = torch.Generator().manual_seed(0)
    batch = max(1, TOKENS // length)
    drawn = torch.randn(4, batch, length, HEADS, WIDTH // HEADS, generator=generator).to(device)
    queries, keys, values, grad = (one.detach() for one in drawn.transpose(-3, -2))
    return (queries.requires_grad_(), keys.requires_grad_(), values.requires_grad_()), grad
