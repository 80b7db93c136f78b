"""Rows in chunks: the same output with bounded memory, for every attention, where no gradient is recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attnlab.attention import ATTENTIONS, Attention
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from attnlab.testing._cost import LargestTensor
from tests.builders import noise, pair_of

TOKENS = 24
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((entry.name, {}) for entry in ATTENTIONS if not entry.cls.chunked_scan),
    ("dape", {"kernel": 3, "width": 4}),
    ("dape", {"kernel": 3, "width": 4, "padding": "symmetric"}),
    ("multi-token", {"queries": 3, "keys": 5, "norm": False}),
    ("gpam", {"lambdas": "untied", "plus": 0.25, "minus": 0.75}),
    ("mgk", {"components": 3, "keys": "shifted"}),
]
over_attentions = pytest.mark.parametrize(
    ("name", "options"), OPTIONS, ids=[str(Part(name=n, options=o)) for n, o in OPTIONS]
)


def built(name: str, options: dict[str, Any], position: str) -> tuple[Attention, Position, QKV]:
    attention, built_position = pair_of(Part(name=name, options=options), Part(name=position), length=TOKENS)
    with torch.no_grad():
        for index, weight in enumerate(attention.parameters()):
            weight.add_(0.1 * noise(*weight.shape, seed=index))
    return attention, built_position, attention.prepare(noise(2, TOKENS, 8), built_position, LayerInputs())


@over_attentions
@pytest.mark.parametrize("position", ["alibi", "rotary"])
def test_chunks_equal_the_whole(name: str, options: dict[str, Any], position: str) -> None:
    if position == "alibi" and not ATTENTIONS.entry(name).cls.has_scores:
        position = "none"
    attention, built_position, qkv = built(name, options, position)
    whole = attention.attend(qkv, built_position)
    for rows in (5, 23):
        attention.max_score_elements = rows * 2 * TOKENS * attention.score_maps
        with torch.no_grad():
            assert (attention.attend(qkv, built_position) - whole).abs().max() <= 1e-12
            chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., 7:, :], start=7)
            assert (attention.attend(chunk, built_position) - whole[..., 7:, :]).abs().max() <= 1e-12


@pytest.mark.parametrize("name", ["dape", "multi-token", "gpam", "mgk", "selective", "talking-heads"])
def test_the_largest_tensor_of_a_long_evaluation_is_bounded(name: str) -> None:
    attention, position = pair_of(Part(name=name), Part(name="alibi"), length=384)
    qkv = attention.prepare(noise(1, 384, 8), position, LayerInputs())
    attention.max_score_elements = 2**16
    with torch.no_grad(), LargestTensor() as bounded:  # type: ignore[no-untyped-call]
        attention.attend(qkv, position)
    with LargestTensor() as whole:  # type: ignore[no-untyped-call]
        attention.attend(qkv, position)
    assert bounded.size <= 1.3 * 2**16
    assert whole.size >= attention.num_heads * 384**2


def test_rows_within_the_limit_are_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, built_position, qkv = built("talking-heads", {}, "none")
    rows: list[int] = []
    weights = attention.weights

    def recorded(chunk: QKV, position: Position) -> torch.Tensor:
        rows.append(chunk.queries_BHTC.shape[-2])
        return weights(chunk, position)

    monkeypatch.setattr(attention, "weights", recorded)
    with torch.no_grad():
        attention.attend(qkv, built_position)
        attention.max_score_elements = 2 * 2 * TOKENS * 10
        attention.attend(qkv, built_position)
        attention.fast = False
        attention.attend(qkv, built_position)
    attention.fast = True
    attention.attend(qkv, built_position)
    assert rows == [24, 10, 10, 4, 24, 24]
