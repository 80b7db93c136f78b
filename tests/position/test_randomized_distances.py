"""Randomized distances: a loop over drawn ones; those of the base where there is no choice; chunks, lanes, refusals."""

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
from tests.position.biases import awake, bias_of, chunked, heads_of

SHORT = {"range": 40}
KINDS = pytest.mark.parametrize("name", ["alibi", "xl"])


def built(name: str, options: Mapping[str, object] = SHORT, **where: int) -> RandomizedAlibi | RandomizedXl:
    position = awake(position_of(f"randomized-{name}", options, **where).double())
    assert isinstance(position, RandomizedAlibi | RandomizedXl)
    return position


def drawn(position: RandomizedAlibi | RandomizedXl, tokens: int) -> list[int]:
    """The distances, with nothing of the code under test but the sampler, which has tests of its own."""
    return [0, *position.sample(tokens - 1, position.draw, first=1).tolist()]


def test_alibis_penalty_is_slope_times_the_drawn_distance() -> None:
    position, qkv = built("alibi"), heads_of()
    position.draw = 3
    bias, far = bias_of(position, qkv), drawn(position, 9)
    for head, grad in enumerate((0.0625, 0.00390625)):
        for i in range(9):
            for j in range(i + 1):
                assert bias[head, i, j].item() == -grad * far[i - j]


@torch.no_grad()
def test_xl_hears_the_waves_of_the_drawn_distance() -> None:
    position, qkv = built("xl"), heads_of()
    position.draw = 3
    bias, far = bias_of(position, qkv), drawn(position, 9)
    u, v = (position.get_parameter(f"{name}_LD.0").view(2, 4) for name in ("content", "place"))
    projection = position.get_parameter("wave_LDD.0")
    for h in range(2):
        for i in range(9):
            for j in range(i + 1):
                turns = [far[i - j] * 10_000 ** (-2 * m / 8) for m in range(4)]
                wave = torch.tensor([*map(math.sin, turns), *map(math.cos, turns)], dtype=torch.float64)
                positions = (projection @ wave).view(2, 4)[h]
                query, key = qkv.queries_BHTC[1, h, i], qkv.keys_BHSC[1, h, j]
                expected = (u[h] @ key + (query + v[h]) @ positions) / 2
                assert float(bias[1, h, i, j]) == pytest.approx(float(expected), abs=1e-11)


def test_distances_start_at_zero_and_are_sorted_distinct_and_below_the_range() -> None:
    position = built("alibi")
    samples = []
    for position.draw in range(200):
        samples.append(drawn(position, 10))
    far = torch.tensor(samples)
    assert not far[:, 0].any()
    assert far.diff(dim=-1).min() == 1
    assert far.max() == 39
    assert len({tuple(row) for row in samples}) == 200
    counts = far[:, 1:].flatten().bincount(minlength=40)[1:].double()
    assert (counts - 200 * 9 / 39).abs().max() < 4.5 * math.sqrt(200 * 9 / 39)


@KINDS
def test_where_all_distances_are_drawn_it_is_its_base(name: str) -> None:
    position, plain = built(name, {"range": 16}), awake(position_of(name).double())
    qkv = heads_of(16)
    torch.testing.assert_close(bias_of(position, qkv), bias_of(plain, qkv), rtol=1e-12, atol=1e-12)


@KINDS
def test_a_chunk_of_queries_hears_the_sample_of_the_whole(name: str) -> None:
    position, qkv = built(name), heads_of()
    whole = bias_of(position, qkv)
    torch.testing.assert_close(chunked(position, qkv, 5), whole[..., 5:, :], rtol=1e-12, atol=1e-12)
    position.draw = 1
    assert not torch.equal(bias_of(position, qkv), whole)


@KINDS
def test_one_sample_serves_all_layers(name: str) -> None:
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
def test_each_lane_draws_its_own(name: str) -> None:
    models = [Biased(built(name, seed=seed)) for seed in range(3)]
    qkv = heads_of()
    weights, buffers = stack_module_state(models)

    def alone(own: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        return functional_call(models[0], (own, fixed), (qkv,))

    together = vmap(alone)(weights, buffers)
    for lane, model in enumerate(models):
        torch.testing.assert_close(together[lane], model(qkv), rtol=1e-12, atol=1e-12)
    assert not torch.equal(together[0], together[1])


@KINDS
def test_it_is_known_to_draw_and_to_bias(name: str) -> None:
    kind = POSITIONS.entry(f"randomized-{name}").cls
    assert kind.random
    assert kind.biases


@KINDS
def test_a_range_shorter_than_the_sequences_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        built(name, {"range": 15}, length=16)
    assert str(caught.value) == (
        "  16 tokens do not fit into a range of 15 places.\n  Use a range of at least 16, better several times that."
    )
