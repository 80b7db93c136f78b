"""Transformer-XL: the sum of the bias and q.k is the published score."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.builders import model_of, noise, position_of
from tests.position.biases import bias_of, chunked, random_qkv, randomize, scores_of

WIDTH, CHANNELS = 8, 4


def sinusoids(distance: int) -> Tensor:
    angles = [distance * 10_000 ** (-2 * m / WIDTH) for m in range(WIDTH // 2)]
    return torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64)


@torch.no_grad()
def test_the_score_is_the_published_one() -> None:
    position, qkv = randomize(position_of("xl").double()), random_qkv()
    u, v = (position.get_parameter(f"{name}_LD.0").view(2, CHANNELS) for name in ("content", "place"))
    projection, scores = position.get_parameter("wave_LDD.0"), scores_of(qkv) + bias_of(position, qkv)
    for b in range(2):
        for h in range(2):
            for i in range(9):
                for j in range(i + 1):
                    query, key = qkv.queries_BHTC[b, h, i], qkv.keys_BHSC[b, h, j]
                    projected = (projection @ sinusoids(i - j)).view(2, CHANNELS)[h]
                    expected = ((query + u[h]) @ key + (query + v[h]) @ projected) / math.sqrt(CHANNELS)
                    assert float(scores[b, h, i, j]) == pytest.approx(float(expected), abs=1e-11)


def test_the_bias_of_a_chunk_is_that_of_its_rows() -> None:
    position, qkv = randomize(position_of("xl").double()), random_qkv()
    whole = bias_of(position, qkv)[..., 5:, :]
    torch.testing.assert_close(chunked(position, qkv, 5), whole, rtol=1e-12, atol=1e-12)


def test_branches_and_other_widths_fit_the_scores() -> None:
    position = randomize(position_of("xl").double())
    queries, keys = noise(2, 3, 1, 2, 9, 4), noise(2, 1, 5, 2, 9, 4, seed=1)
    bias = bias_of(position, QKV(queries, keys, keys))
    assert bias.shape == (2, 3, 5, 2, 9, 9)
    one = QKV(queries[:, 1, 0], keys[:, 0, 3], keys[:, 0, 3])
    torch.testing.assert_close(bias[:, 1, 3], bias_of(position, one), rtol=1e-12, atol=1e-12)
    for channels in (3, 7):
        assert bias_of(position, random_qkv(channels=channels)).shape == (2, 2, 9, 9)


def test_each_layer_has_its_own_parameters_and_the_vectors_have_one_axis() -> None:
    position = model_of(position=Part(name="xl"), layers=3).position
    shapes = {name: tuple(weight.shape) for name, weight in position.named_parameters()}
    assert shapes == {
        f"{name}.{layer}": shape
        for name, shape in {"content_LD": (8,), "place_LD": (8,), "wave_LDD": (8, 8)}.items()
        for layer in range(3)
    }
    assert not torch.equal(bias_of(position, random_qkv(), 0), bias_of(position, random_qkv(), 2))


def test_the_shared_queries_have_small_initial_values() -> None:
    position = position_of("xl", width=4096)
    for name in ("content_LD.0", "place_LD.0"):
        assert position.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.05)


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        position_of("xl", width=9, heads=3)
    assert str(caught.value) == "model.width\n  The sinusoids of 'xl' need an even width, not 9."
