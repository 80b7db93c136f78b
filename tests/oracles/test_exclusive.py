"""Exclusive attention against the projection of x-transformers."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.ops.modifiers import AttentionModifiers
from attnlab.specs import Modifiers
from attnlab.tensors import LayerContext
from tests.builders import noise, seeded

pytestmark = pytest.mark.oracle


def test_the_projection_is_that_of_x_transformers() -> None:
    package = pytest.importorskip("x_transformers.x_transformers")
    modifiers = AttentionModifiers(
        LayerContext(width=8, heads=2, modifiers=Modifiers(exclusive=True), generator=seeded()), 8
    )
    mixed, values = noise(2, 2, 5, 4, seed=1), noise(2, 2, 5, 4, seed=2)
    theirs = package.orthog_project(mixed.reshape(-1, 4), values.reshape(-1, 4)).view_as(mixed)
    torch.testing.assert_close(modifiers.exclude(mixed, values), theirs)
