"""Randomized distances against explicit loops and their base; chunks, vmapped runs, errors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from attnlab.errors import InvalidValueError
from attnlab.position import POSITIONS, Position
from attnlab.position.randomized_distances import RandomizedAlibi, RandomizedXl
from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.builders import model_of, position_of
from tests.position.biases import bias_of, chunked, random_qkv, randomize

SHORT = {"range": 40}
KINDS = pytest.mark.parametrize("name", ["alibi", "xl"])


def built(name: str, options: Mapping[str, object] = SHORT, **where: int) -> RandomizedAlibi | RandomizedXl:
    position = randomize(position_of(f"randomized-{name}", options, **where).double())
    assert isinstance(position, RandomizedAlibi | RandomizedXl)
    return position


def sampled(position: RandomizedAlibi | RandomizedXl, tokens: int) -> list[int]:
    """The distances, by the sampler alone, which has its own tests."""
    return [0, *position.sample(tokens - 1, position.draw, first=1).tolist()]


def test_alibis_penalty_is_slope_times_the_sampled_distance() -> None:
    position, qkv = built("alibi"), random_qkv()
    position.draw = 3
    bias, distances = bias_of(position, qkv), sampled(position, 9)
    for head, slope in enumerate((0.0625, 0.00390625)):
        for i in range(9):
            for j in range(i + 1):
                assert bias[head, i, j].item() == -slope * distances[i - j]


@torch.no_grad()
def test_xl_reads_the_sinusoids_of_the_sampled_distance() -> None:
    position, qkv = built("xl"), random_qkv()
    position.draw = 3
    bias, distances = bias_of(position, qkv), sampled(position, 9)
    u, v = (position.get_parameter(f"{name}_LD.0").view(2, 4) for name in ("content", "place"))
    projection = position.get_parameter("wave_LDD.0")
    for h in range(2):
        for i in range(9):
            for j in range(i + 1):
                angles = [distances[i - j] * 10_000 ** (-2 * m / 8) for m in range(4)]
                sinusoids = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64)
                projected = (projection @ sinusoids).view(2, 4)[h]
                query, key = qkv.queries_BHTC[1, h, i], qkv.keys_BHSC[1, h, j]
                expected = (u[h] @ key + (query + v[h]) @ projected) / 2
                assert float(bias[1, h, i, j]) == pytest.approx(float(expected), abs=1e-11)


def test_distances_start_at_zero_and_are_sorted_distinct_and_below_the_range() -> None:
    position = built("alibi")
    samples = []
    for position.draw in range(200):
        samples.append(sampled(position, 10))
    distances = torch.tensor(samples)
    assert not distances[:, 0].any()
    assert distances.diff(dim=-1).min() == 1
    assert distances.max() == 39
    assert len({tuple(row) for row in samples}) == 200
    counts = distances[:, 1:].flatten().bincount(minlength=40)[1:].double()
    assert (counts - 200 * 9 / 39).abs().max() < 4.5 * math.sqrt(200 * 9 / 39)


@KINDS
def test_with_all_distances_drawn_it_equals_its_base(name: str) -> None:
    position, plain = built(name, {"range": 16}), randomize(position_of(name).double())
    qkv = random_qkv(16)
    torch.testing.assert_close(bias_of(position, qkv), bias_of(plain, qkv), rtol=1e-12, atol=1e-12)


@KINDS
def test_a_chunk_of_queries_uses_the_sample_of_the_whole(name: str) -> None:
    position, qkv = built(name), random_qkv()
    whole = bias_of(position, qkv)
    torch.testing.assert_close(chunked(position, qkv, 5), whole[..., 5:, :], rtol=1e-12, atol=1e-12)
    position.draw = 1
    assert not torch.equal(bias_of(position, qkv), whole)


@KINDS
def test_all_layers_share_one_sample(name: str) -> None:
    position = model_of(position=Part(name=f"randomized-{name}"), layers=2).position
    assert [buffer for buffer, _ in position.named_buffers() if "key" in buffer] == ["sample.key"]


class Biased(torch.nn.Module):
    """The bias alone, as a module's forward pass."""

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.position = position

    def forward(self, qkv: QKV) -> Tensor:
        return bias_of(self.position, qkv)


@KINDS
def test_each_vmapped_run_draws_its_own_sample(name: str) -> None:
    models = [Biased(built(name, seed=seed)) for seed in range(3)]
    qkv = random_qkv()
    weights, buffers = stack_module_state(models)

    def alone(own: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        return functional_call(models[0], (own, fixed), (qkv,))

    stacked = vmap(alone)(weights, buffers)
    for run, model in enumerate(models):
        torch.testing.assert_close(stacked[run], model(qkv), rtol=1e-12, atol=1e-12)
    assert not torch.equal(stacked[0], stacked[1])


@KINDS
def test_it_is_declared_random_and_a_bias(name: str) -> None:
    cls = POSITIONS.entry(f"randomized-{name}").cls
    assert cls.random
    assert cls.biases


@KINDS
def test_a_range_shorter_than_the_sequences_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        built(name, {"range": 15}, length=16)
    assert str(caught.value) == (
        "  16 tokens do not fit into a range of 15 positions.\n  Use a range of at least 16, better several times that."
    )
