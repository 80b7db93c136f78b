"""References for normalizers: rules that map one row of scores to weights, in plain Python, key by key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs, causal_mask
from tests.builders import attention_of, noise, pair_of

TOKENS = 9
Rule = Callable[[list[float], int], Sequence[float]]
"""The scores of keys 0 to i and the head -> their weights."""


def perturbed(
    name: str, options: dict[str, Any] | None = None, position: str = "none", tokens: int = TOKENS, **where: Any
) -> tuple[Attention, Position, QKV]:
    """An attention with noise added to every learned vector, and its queries, keys and values for random inputs."""
    attention, built_position = pair_of(Part(name=name, options=options or {}), Part(name=position), **where)
    with torch.no_grad():
        for seed, weight in enumerate(attention.parameters()):
            if weight.ndim < 2 and weight.requires_grad:
                weight.add_(0.5 * noise(*weight.shape, seed=100 + seed))
    return attention, built_position, attention.prepare(noise(2, tokens, 8), built_position, LayerInputs())


@torch.no_grad()
def looped(qkv: QKV, rule: Rule) -> Tensor:
    """The weights of all rows by a rule, B x H x T x S."""
    queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
    matrix = torch.zeros(*queries.shape[:-1], keys.shape[-2], dtype=torch.float64)
    root = math.sqrt(queries.shape[-1])
    for b in range(queries.shape[0]):
        for h in range(queries.shape[1]):
            for i in range(queries.shape[2]):
                scores = [float(queries[b, h, i] @ keys[b, h, j]) / root for j in range(i + 1)]
                matrix[b, h, i, : i + 1] = torch.tensor(rule(scores, h), dtype=torch.float64)
    return matrix


def assert_follows(name: str, rule: Rule, options: dict[str, Any] | None = None, tolerance: float = 1e-11) -> None:
    """Check that the initial weights of an attention are those of a rule."""
    attention, no_position = pair_of(Part(name=name, options=options or {}), Part(name="none"))
    qkv = attention.prepare(noise(2, TOKENS, 8), no_position, LayerInputs())
    torch.testing.assert_close(
        attention.effective_matrix(qkv, no_position), looped(qkv, rule), rtol=tolerance, atol=tolerance
    )


def softmax(scores: Sequence[float]) -> list[float]:
    """Softmax of one row."""
    parts = [math.exp(score - max(scores)) for score in scores]
    return [part / sum(parts) for part in parts]


def normalized(name: str, scores: Tensor, options: dict[str, Any] | None = None) -> Tensor:
    """The weights of an attention of two heads for given scores, T x T, in the precision of the scores."""
    attention = attention_of(name, options).to(scores.dtype)
    size = scores.shape[-1]
    zeros = torch.zeros(1, 2, size, 4, dtype=scores.dtype)
    qkv = QKV(zeros, zeros, zeros)
    rows = attention.add_bias(scores.expand(1, 2, size, size), None, qkv)
    mask, allowed = causal_mask(size, size, 0, scores.device), attention.mask(qkv)
    return attention.normalize(rows, mask if allowed is None else mask & allowed, qkv)[0, 0]


def learned(attention: Attention) -> int:
    """The number of trainable parameters."""
    return sum(weight.numel() for weight in attention.parameters() if weight.requires_grad)
