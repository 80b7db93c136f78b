"""xPos against the rotary embedding of x-transformers."""

from __future__ import annotations

import pytest
import torch

from tests.builders import noise, position_of

pytestmark = pytest.mark.oracle


def test_products_are_those_of_x_transformers() -> None:
    package = pytest.importorskip("x_transformers.x_transformers")
    theirs = package.RotaryEmbedding(4, use_xpos=True, scale_base=8).double()
    angles, scale = theirs(torch.arange(9))
    ours = position_of("rotary", {"xpos": 8.0}).double()
    query, key = noise(1, 1, 9, 4), noise(1, 1, 9, 4, seed=1)
    halves = [0, 2, 1, 3]  # theirs pairs neighboring channels, ours the two halves
    expected = package.apply_rotary_pos_emb(query[..., halves], angles, scale)
    expected = expected @ package.apply_rotary_pos_emb(key[..., halves], angles, scale**-1).mT
    # Theirs holds frequencies in float32.
    torch.testing.assert_close(ours.rotate(query) @ ours.rotate_keys(key).mT, expected, rtol=0, atol=1e-6)
