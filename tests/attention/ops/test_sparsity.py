"""Patterns: sets by their definitions, measured numbers of keys per row and of layers to a full receptive field."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.ops.sparsity import Pattern, depth, pattern, reachability

SIZES = {64: 8, 256: 16}


def whole(name: Pattern, tokens: int, window: int, **options: int) -> Tensor:
    return pattern(name, torch.arange(tokens)[:, None], torch.arange(tokens), window=window, **options)


def defined(name: Pattern, part: int, i: int, w: int) -> set[int]:
    """The keys of row i, from the definition."""
    past = range(i + 1)
    window = {j for j in past if i - j < w}
    powers = {i - 2**t for t in range(12) if i >= 2**t}
    sets: dict[str, tuple[set[int], ...]] = {
        "strided": (window, {j for j in past if (i - j) % w == 0}),
        "fixed": ({j for j in past if j // w == i // w}, {j for j in past if j % w == w - 1} | {i}),
        "star": (window | {0},),
        "window": (window,),
        "random": ({i},),
        "logsparse": ({i} | powers,),
    }
    return sets[name][part]


@pytest.mark.parametrize("window", [1, 3, 8, 100])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("strided", 0),
        ("strided", 1),
        ("fixed", 0),
        ("fixed", 1),
        ("star", 0),
        ("window", 0),
        ("random", 0),
        ("logsparse", 0),
    ],
)
def test_a_pattern_is_its_definition(name: Pattern, part: int, window: int) -> None:
    seen = whole(name, 37, window, part=part)
    for i in range(37):
        assert set(seen[i].nonzero().flatten().tolist()) == defined(name, part, i, window)


@pytest.mark.parametrize(
    ("name", "keys", "layers"),
    [
        ("window", (7.6, 15.5), (9, 17)),
        ("star", (8.4, 16.5), (9, 17)),
        ("logsparse", (6.0, 8.0), (6, 8)),
    ],
)
def test_patterns_of_one_set_reach_as_measured(name: Pattern, keys: tuple[float, ...], layers: tuple[int, ...]) -> None:
    for (tokens, window), count, expected in zip(SIZES.items(), keys, layers, strict=True):
        seen = whole(name, tokens, window)
        assert float(seen.sum()) / tokens == pytest.approx(count, abs=0.05)
        assert depth([seen]) == expected


@pytest.mark.parametrize(
    ("name", "turns", "union"), [("strided", (6.0, 12.0), (11.1, 23.0)), ("fixed", (4.5, 8.5), (8.0, 16.0))]
)
def test_patterns_of_two_sets_reach_all_tokens_in_two_layers(
    name: Pattern, turns: tuple[float, ...], union: tuple[float, ...]
) -> None:
    for (tokens, window), mean, joined in zip(SIZES.items(), turns, union, strict=True):
        first, second = (whole(name, tokens, window, part=part) for part in (0, 1))
        assert float(first.sum() + second.sum()) / (2 * tokens) == pytest.approx(mean, abs=0.05)
        assert float((first | second).sum()) / tokens == pytest.approx(joined, abs=0.05)
        assert depth([first, second]) == depth([first | second]) == 2


@pytest.mark.parametrize("seed", range(3))
def test_random_keys_alone_never_reach_all_tokens_and_with_a_window_they_do(seed: int) -> None:
    for (tokens, window), alone, with_window in zip(SIZES.items(), (8.4, 16.5), (8.8, 17.1), strict=True):
        drawn = whole("random", tokens, window, random=window, seed=seed)
        assert float(drawn.sum()) / tokens == pytest.approx(alone, abs=0.05)
        assert depth([drawn]) is None
        both = whole("window", tokens, window, random=2, seed=seed)
        assert float(both.sum()) / tokens == pytest.approx(with_window, abs=0.1)
        assert depth([both]) in (4, 5)


def test_random_keys_depend_on_seed_draw_query_and_key_alone() -> None:
    drawn = whole("random", 64, 8, random=8)
    assert torch.equal(drawn[:40, :40], whole("random", 40, 8, random=8))
    rows = pattern("random", torch.arange(10, 20)[:, None], torch.arange(64), window=8, random=8)
    assert torch.equal(rows, drawn[10:20])
    assert not torch.equal(drawn, whole("random", 64, 8, random=8, seed=1))
    assert not torch.equal(drawn, whole("random", 64, 8, random=8, draw=1))
    assert drawn.sum(-1).tolist() == [min(i, 8) + 1 for i in range(64)]


def test_past_keys_are_drawn_evenly() -> None:
    draws = torch.stack(
        [whole("random", 33, 8, random=8, seed=seed, draw=draw) for seed in range(20) for draw in (0, 1)]
    )
    share = draws[:, 32, :32].double().mean(0)
    assert share.mean() == pytest.approx(0.25)
    assert (share - 0.25).abs().max() < 0.25


def test_reachability_is_a_product_of_the_patterns() -> None:
    table = reachability([whole("window", 12, 3)] * 6)
    for layer, reached in enumerate(table, start=1):
        assert torch.equal(reached, whole("window", 12, 2 * layer + 1))


def test_depth_of_full_attention_and_of_one_token() -> None:
    assert depth([whole("window", 9, 9)]) == 1
    assert depth([whole("window", 1, 1)]) == 0
    assert depth([whole("window", 5, 1)]) is None
