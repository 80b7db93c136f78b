"""Distances: positive to earlier keys, zero to later ones."""

from __future__ import annotations

import torch

from attnlab.position.base import distance


def test_distances_count_back_from_the_query() -> None:
    distances = distance(2, 5, 2, torch.device("cpu"))
    assert distances.tolist() == [[2, 1, 0, 0, 0], [3, 2, 1, 0, 0]]
    assert distances.dtype == torch.float32
