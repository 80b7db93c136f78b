"""Learned positions: one vector per position, and an error beyond the table."""

from __future__ import annotations

import pytest
import torch

from attnlab.errors import InvalidValueError
from tests.builders import noise, position_of


def test_each_position_adds_its_vector() -> None:
    position, x = position_of("learned", length=6).double(), noise(2, 4, 8)
    table = position.get_parameter("place_TD")
    assert table.shape == (6, 8)
    assert torch.equal(position.embed(x), x + table[:4])


def test_vectors_start_at_the_scale_of_the_embedding() -> None:
    table = position_of("learned", width=64, length=200).get_parameter("place_TD")
    assert table.std().item() == pytest.approx(1.0, rel=0.03)


def test_a_longer_sequence_is_refused() -> None:
    position = position_of("learned", length=6)
    assert position.embed(torch.zeros(1, 6, 8)).shape == (1, 6, 8)
    with pytest.raises(InvalidValueError) as caught:
        position.embed(torch.zeros(1, 7, 8))
    assert str(caught.value) == (
        "  Learned positions end at 6 tokens; the sequence has 7.\n"
        "  Use a position that extends to longer sequences: none, fourier, rotary or alibi."
    )
