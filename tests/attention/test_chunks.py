"""Rows in chunks: the same numbers in bounded space, for every attention, where no gradient is recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attnlab.attention import ATTENTIONS, Attention
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import Context, Heads
from attnlab.testing._cost import Largest
from tests.builders import noise, pair_of

TOKENS = 24
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((entry.name, {}) for entry in ATTENTIONS if not entry.kind.scans),
    ("dape", {"kernel": 3, "width": 4}),
    ("dape", {"kernel": 3, "width": 4, "padding": "symmetric"}),
    ("multi-token", {"queries": 3, "keys": 5, "norm": False}),
    ("gpam", {"lambdas": "untied", "plus": 0.25, "minus": 0.75}),
    ("mgk", {"components": 3, "keys": "shifted"}),
]
every = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[str(Part(name=n, options=o)) for n, o in OPTIONS])


def built(name: str, options: dict[str, Any], position: str) -> tuple[Attention, Position, Heads]:
    attention, place = pair_of(Part(name=name, options=options), Part(name=position), length=TOKENS)
    with torch.no_grad():
        for index, weight in enumerate(attention.parameters()):
            weight.add_(0.1 * noise(*weight.shape, seed=index))
    return attention, place, attention.prepare(noise(2, TOKENS, 8), place, Context())


@every
@pytest.mark.parametrize("position", ["alibi", "rotary"])
def test_chunks_are_the_whole(name: str, options: dict[str, Any], position: str) -> None:
    if position == "alibi" and not ATTENTIONS.entry(name).kind.forms_scores:
        position = "none"
    attention, place, heads = built(name, options, position)
    whole = attention.mix(heads, place)
    for rows in (5, 23):
        attention.room = rows * 2 * TOKENS * attention.maps
        with torch.no_grad():
            assert (attention.mix(heads, place) - whole).abs().max() <= 1e-12
            chunk = heads._replace(queries_BHTC=heads.queries_BHTC[..., 7:, :], start=7)
            assert (attention.mix(chunk, place) - whole[..., 7:, :]).abs().max() <= 1e-12


@pytest.mark.parametrize("name", ["dape", "multi-token", "gpam", "mgk", "selective", "talking-heads"])
def test_the_largest_tensor_of_a_long_evaluation_is_bounded(name: str) -> None:
    attention, place = pair_of(Part(name=name), Part(name="alibi"), length=384)
    heads = attention.prepare(noise(1, 384, 8), place, Context())
    attention.room = 2**16
    with torch.no_grad(), Largest() as bounded:  # type: ignore[no-untyped-call]
        attention.mix(heads, place)
    with Largest() as whole:  # type: ignore[no-untyped-call]
        attention.mix(heads, place)
    assert bounded.size <= 1.3 * 2**16
    assert whole.size >= attention.count * 384**2


def test_rows_that_fit_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, place, heads = built("talking-heads", {}, "none")
    seen: list[int] = []
    weigh = attention.weights

    def watched(part: Heads, position: Position) -> torch.Tensor:
        seen.append(part.queries_BHTC.shape[-2])
        return weigh(part, position)

    monkeypatch.setattr(attention, "weights", watched)
    with torch.no_grad():
        attention.mix(heads, place)
        attention.room = 2 * 2 * TOKENS * 10
        attention.mix(heads, place)
        attention.fast = False
        attention.mix(heads, place)
    attention.fast = True
    attention.mix(heads, place)
    assert seen == [24, 10, 10, 4, 24, 24]
