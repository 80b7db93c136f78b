"""PoPE against PoPE-pytorch and x-transformers."""

from __future__ import annotations

import math

import pytest
import torch

from tests.builders import noise, position_of
from tests.position.test_pope import shifts_of

pytestmark = pytest.mark.oracle


def test_products_are_those_of_the_package() -> None:
    package = pytest.importorskip("PoPE_pytorch.pope")
    with torch.no_grad():  # its uniform start fails without (0.2.1)
        theirs = package.PoPE(4, heads=2, bias_uniform_init=True).double()
    ours = position_of("pope").double()
    shifts_of(ours).copy_(theirs.bias.detach())
    query, key = noise(1, 2, 9, 4), noise(1, 2, 9, 4, seed=1)
    rotation = ours.for_input(noise(1, 9, 8), 0)
    queries, keys = package.apply_pope_to_qk(theirs(9), query, key)
    products = rotation.rotate(query) @ rotation.rotate_keys(key).mT / math.sqrt(8)
    # Theirs holds frequencies in float32.
    torch.testing.assert_close(products, queries @ keys.mT / math.sqrt(4), rtol=0, atol=1e-6)


def test_products_are_those_of_x_transformers() -> None:
    package = pytest.importorskip("x_transformers.x_transformers")
    with torch.no_grad():
        theirs = package.PolarEmbedding(4, 2, True).double()
    ours = position_of("pope").double()
    frequencies, bias = theirs(torch.arange(9))
    shifts_of(ours).copy_(bias.detach().reshape(2, 4))
    query, key = noise(1, 2, 9, 4), noise(1, 2, 9, 4, seed=1)
    rotation = ours.for_input(noise(1, 9, 8), 0)
    queries = package.apply_polar_pos_emb(query, frequencies)
    keys = package.apply_polar_pos_emb(key, frequencies + bias)
    products = rotation.rotate(query) @ rotation.rotate_keys(key).mT / math.sqrt(8)
    torch.testing.assert_close(products, queries @ keys.mT / math.sqrt(4), rtol=0, atol=1e-6)
