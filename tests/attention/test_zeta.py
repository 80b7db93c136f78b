"""ZETA against a loop over candidates; the first chunk, the curve, and the fraction of neighbors that it finds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.zeta import Zeta, curve_neighbors, recall, squared_distances, zorder
from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.attention.loop_reference import prepared
from tests.builders import attention_of, noise, seeded

MODES: list[dict[str, Any]] = [
    {"keep": 3, "chunk": 4, "local": False},
    {"keep": 3},
    {"keep": 1, "chunk": 1, "local": False, "channels": 2, "layers": 1},
    {"keep": 2, "search": "zorder", "window": 4, "channels": 1},
    {"keep": 3, "chunk": 5, "search": "zorder", "window": 5, "local": False},
    {"keep": 40, "channels": 5},
]
all_options = pytest.mark.parametrize("options", MODES, ids=lambda options: str(Part(name="zeta", options=options)))


def built(options: dict[str, Any], tokens: int = 17) -> tuple[Zeta, QKV, Tensor]:
    attention, position, qkv = prepared(Part(name="zeta", options=options), tokens)
    assert isinstance(attention, Zeta)
    return attention, qkv, attention.effective_matrix(qkv, position).detach()


def interleaved(point: Tensor) -> int:
    """The index of one point on the curve, by strings of bits."""
    bits = min(16, 62 // len(point))
    strings = [format(min(int(float(x.sigmoid()) * 2**bits), 2**bits - 1), f"0{bits}b") for x in point]
    return int("".join(string[bit] for bit in range(bits) for string in strings), 2)


def around(queries: Tensor, keys: Tensor, i: int, candidates: list[int], window: int) -> list[int]:
    """A window of the candidates, sorted along the curve, around the index of the query."""
    line = sorted(candidates, key=lambda j: (interleaved(keys[j]), j))
    own = sum(interleaved(keys[j]) < interleaved(queries[i]) for j in line)
    begin = max(0, min(own - window // 2, len(line) - window))
    return line[begin : begin + window]


@torch.no_grad()
def looped(attention: Zeta, qkv: QKV) -> Tensor:
    """From the formula, row by row."""
    queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
    gamma = float(attention.theta_1.sigmoid()) ** 2
    matrix = torch.zeros(*queries.shape[:-1], keys.shape[-2], dtype=torch.float64)
    for b in range(2):
        for h in range(2):
            for i in range(queries.shape[-2]):
                distances = ((queries[b, h, i] - keys[b, h]) ** 2).sum(-1)
                complete = i // attention.chunk * attention.chunk
                candidates = list(range(i + 1 if attention.local else complete))
                if attention.search == "zorder":
                    candidates = around(queries[b, h], keys[b, h], i, candidates, attention.window)
                near = sorted(candidates, key=lambda j: float(distances[j]))[: attention.keep]
                mean = 1 / (float(((queries[b, h, i] - keys[b, h, : i + 1].mean(0)) ** 2).sum()) + gamma)
                total = mean + sum(1 / (float(distances[j]) + gamma) for j in near)
                matrix[b, h, i, : i + 1] = mean / total / (i + 1)
                for j in near:
                    matrix[b, h, i, j] += 1 / (float(distances[j]) + gamma) / total
    return matrix


@all_options
def test_weights_are_those_of_a_loop(options: dict[str, Any]) -> None:
    attention, qkv, matrix = built(options)
    torch.testing.assert_close(matrix, looped(attention, qkv), rtol=1e-11, atol=1e-12)


@all_options
def test_rows_sum_to_one_and_every_past_token_has_a_weight(options: dict[str, Any]) -> None:
    _, _, matrix = built(options)
    torch.testing.assert_close(matrix.sum(-1), torch.ones_like(matrix[..., 0]))
    assert matrix[..., *torch.tril_indices(17, 17)].min() > 0


def test_the_first_chunk_has_the_mean_alone() -> None:
    _, _, matrix = built({"chunk": 5, "local": False})
    for i in range(5):
        torch.testing.assert_close(matrix[..., i, : i + 1], torch.full_like(matrix[..., i, : i + 1], 1 / (i + 1)))
    assert matrix[..., 5, :6].std(-1).min() > 1e-3


def test_without_local_tokens_of_the_own_chunk_have_the_weight_of_the_mean() -> None:
    _, _, matrix = built({"chunk": 4, "keep": 2, "local": False})
    for i in range(4, 17):
        own = matrix[..., i, i // 4 * 4 : i + 1]
        torch.testing.assert_close(own, matrix[..., i, [i]].expand_as(own))


def test_no_row_selects_more_than_keep_keys() -> None:
    _, _, matrix = built({"keep": 3}, tokens=30)
    least = matrix + torch.ones(30, 30).triu(1)
    selected = matrix > 1.0001 * least.amin(-1, keepdim=True)
    assert selected.sum(-1)[..., 5:].max() <= 3


def test_gamma_and_unselected_keys_have_gradients() -> None:
    attention, position, qkv = prepared(Part(name="zeta", options={"keep": 1}), 12)
    assert isinstance(attention, Zeta)
    keys = qkv.keys_BHSC.detach().requires_grad_()
    attention.attend(qkv._replace(keys_BHSC=keys), position)[..., -1, :].square().sum().backward()
    assert attention.theta_1.grad is not None
    assert attention.theta_1.grad.abs() > 0
    assert keys.grad is not None
    assert keys.grad.abs().amax(-1).min() > 0


def test_indices_on_the_curve_are_interleaved_bits() -> None:
    for channels in (1, 2, 3, 8, 40):
        points = 2 * noise(30, channels)
        assert zorder(points).tolist() == [interleaved(point) for point in points]
    assert zorder(torch.tensor([[1e9, 1e9, 1e9]])).tolist() == [2**48 - 1]


def test_neighbors_on_the_curve_are_the_window_around_the_query() -> None:
    queries, keys = torch.tensor([0, 5, 5, 9]), torch.tensor([7, 1, 5, 3, 5, 9])
    allowed = torch.ones(4, 6, dtype=torch.bool)
    allowed[2, 4] = False
    result = [row.nonzero().flatten().tolist() for row in curve_neighbors(queries, keys, allowed, 3)]
    assert result == [[1, 2, 3], [2, 3, 4], [0, 2, 3], [0, 4, 5]]


def uniform(channels: int, seed: int) -> Tensor:
    """Uniform queries and keys, where the sigmoid is nearly linear."""
    return 2 * torch.rand(2, 512, channels, generator=seeded(seed), dtype=torch.float64) - 1


@pytest.mark.parametrize(
    ("channels", "wide", "narrow"), [(1, 1.0, 0.94), (2, 0.83, 0.61), (3, 0.66, 0.51), (8, 0.50, 0.32)]
)
def test_the_curve_finds_fewer_neighbors_with_more_channels(channels: int, wide: float, narrow: float) -> None:
    rows = torch.arange(512)[:, None]
    allowed = torch.arange(512) < rows - rows % 32
    for window, expected in ((64, wide), (32, narrow)):
        drawn = [uniform(channels, seed) for seed in (0, 1)]
        shares = torch.stack([recall(queries, keys, allowed, 32, window)[32:] for queries, keys in drawn])
        assert float(shares.mean()) == pytest.approx(expected, abs=0.1)


def test_a_window_over_everything_finds_everything() -> None:
    allowed = torch.ones(20, 20, dtype=torch.bool).tril()
    assert recall(noise(20, 3), noise(20, 3, seed=1), allowed, 5, 20).tolist() == [1.0] * 20


def test_distances_are_exact_far_from_the_origin() -> None:
    queries, keys = 1e4 + noise(5, 4, dtype=torch.float32), 1e4 + noise(6, 4, seed=1, dtype=torch.float32)
    exact = ((queries.double()[:, None] - keys.double()) ** 2).sum(-1)
    torch.testing.assert_close(squared_distances(queries, keys).double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("layers", "more"), [(1, 0), (2, 2 * 64 * 64)])
def test_parameter_count_is_lower_by_the_narrow_keys(layers: int, more: int) -> None:
    attention = attention_of("zeta", {"layers": layers}, width=64, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 9729 + more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 4}, "'window' has no effect where the search is exact"),
        ({"search": "zorder", "window": 4, "keep": 5}, "'keep' is 5, above the window of 4"),
        ({"search": "zorder", "channels": 63}, "The space-filling curve has at most 62 channels, not 63"),
        ({"keep": 65}, "'keep' cannot be 65"),
        ({"chunk": 65, "local": False}, "'chunk' cannot be 65"),
        ({"chunk": 4}, "'chunk' has no effect where local is true"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        attention_of("zeta", options, length=64)
