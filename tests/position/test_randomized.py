"""Randomized positions: uniform sorted samples, functions of seed and draw, and the base at the sampled positions."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from attnlab.errors import InvalidValueError
from attnlab.position.ops.sampling import scramble
from attnlab.position.randomized import Randomized
from tests.builders import noise, position_of

SHORT = {"range": 40}


def built(options: Mapping[str, object] | None = None, **where: int) -> Randomized:
    position = position_of("randomized", options, **where)
    assert isinstance(position, Randomized)
    return position


def samples(position: Randomized, tokens: int, count: int) -> torch.Tensor:
    drawn = []
    for draw in range(count):
        position.draw = draw
        drawn.append(position.sampled_positions(tokens))
    return torch.stack(drawn)


def test_positions_are_sorted_distinct_and_within_the_range() -> None:
    drawn = samples(built(SHORT), 15, 50)
    assert drawn.diff(dim=-1).min() >= 1
    assert drawn.min() >= 0
    assert drawn.max() <= 39
    assert torch.equal(built(SHORT).sampled_positions(40), torch.arange(40))


def test_every_position_is_equally_likely() -> None:
    drawn = samples(built(SHORT), 10, 4000)
    counts = drawn.flatten().bincount(minlength=40).double()
    # 4000 draws with probability 1/4: mean 1000, deviation 27.
    assert (counts - 1000).abs().max() < 4.5 * 27.4
    pair = ((drawn == 3).any(-1) & (drawn == 4).any(-1)).double().mean()
    assert float(pair) == pytest.approx(0.25 * 9 / 39, abs=0.015)


def test_a_sample_is_a_function_of_seed_and_draw() -> None:
    one, same, other = built(seed=1), built(seed=1), built(seed=2)
    assert torch.equal(samples(one, 16, 5), samples(same, 16, 5))
    assert not torch.equal(samples(one, 16, 5), samples(other, 16, 5))
    assert len({tuple(row) for row in samples(one, 16, 100).tolist()}) == 100
    one.draw = -1
    assert not torch.equal(one.sampled_positions(16), samples(same, 16, 2)[1])
    assert all(torch.equal(one.sampled_positions(16), one.sampled_positions(16)) for _ in range(3))


def test_scramble_is_the_finalizer_of_murmurhash3_and_has_no_ties() -> None:
    assert scramble(torch.tensor([0, 1, 0xFFFFFFFF])).tolist() == [0, 0x514E28B7, 0x81F16F39]
    assert scramble(torch.arange(100_000)).unique().numel() == 100_000


def test_the_base_encodes_the_sampled_positions() -> None:
    x = noise(2, 2, 9, 4)
    rotated = built(SHORT).double()
    positions = rotated.sampled_positions(9)
    whole = position_of("rotary").double().rotate(noise(1).expand(2, 2, 40, 4).clone().index_copy(2, positions, x))
    torch.testing.assert_close(rotated.rotate(x), whole[:, :, positions], rtol=1e-12, atol=1e-12)
    assert rotated.embed(x) is x
    torch.testing.assert_close(rotated.rotate(x[..., 4:, :], 4), rotated.rotate(x)[..., 4:, :], rtol=0, atol=0)

    embeddings = noise(2, 9, 8)
    sinusoidal = built({**SHORT, "base": "sinusoidal"}).double()
    plain = position_of("sinusoidal").double()
    expected = embeddings + plain.embed(torch.zeros(1, 40, 8).double())[:, sinusoidal.sampled_positions(9)]
    torch.testing.assert_close(sinusoidal.embed(embeddings), expected, rtol=1e-12, atol=1e-12)
    assert sinusoidal.rotate(x) is x

    learned = built({**SHORT, "base": "learned"}).double()
    table = learned.get_parameter("place_ND")
    assert table.shape == (40, 8)
    assert torch.equal(learned.embed(embeddings), embeddings + table[learned.sampled_positions(9)])


def test_each_vmapped_run_draws_its_own_sample() -> None:
    models, x = [built(seed=seed).double() for seed in range(3)], noise(1, 2, 9, 4)
    weights, keys = stack_module_state(models)

    def rotate(own: dict[str, torch.Tensor], key: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(Rotation(models[0]), ({f"position.{name}": value for name, value in key.items()},), (x,))

    assert weights == {}
    for draw in (0, 1):
        for model in models:
            model.draw = draw
        stacked = vmap(rotate)(weights, keys)
        for run, model in enumerate(models):
            torch.testing.assert_close(stacked[run], model.rotate(x), rtol=1e-12, atol=1e-12)


class Rotation(torch.nn.Module):
    """The rotation alone, as a module's forward pass."""

    def __init__(self, position: Randomized) -> None:
        super().__init__()
        self.position = position

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.position.rotate(x)


def test_the_global_generator_is_unchanged() -> None:
    before = torch.get_rng_state()
    built().rotate(noise(1, 2, 9, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_range_shorter_than_the_sequences_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        built({"range": 15}, length=16)
    assert str(caught.value) == (
        "  16 tokens do not fit into a range of 15 positions.\n  Use a range of at least 16, better several times that."
    )
    with pytest.raises(InvalidValueError, match="even number of channels per head, not 3"):
        built(width=9, heads=3)
    with pytest.raises(InvalidValueError, match="need an even width, not 9"):
        built({"base": "sinusoidal"}, width=9, heads=3)
