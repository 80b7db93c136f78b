"""Selection of the highest allowed scores: deterministic, earlier entries first, independent of later ones."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.ops.selection import checked_size, complete_blocks, expand_blocks, top_k_mask
from attnlab.errors import InvalidValueError
from tests.builders import noise


def ranked(scores: list[float], allowed: list[bool], count: int) -> list[bool]:
    """The best by sorting pairs."""
    order = sorted((j for j in range(len(scores)) if allowed[j]), key=lambda j: (-scores[j], j))
    return [j in order[:count] for j in range(len(scores))]


@pytest.mark.parametrize("count", [0, 1, 3, 7, 20])
def test_the_selection_is_that_of_a_sort(count: int) -> None:
    scores_TS = (2 * noise(6, 9)).round()  # many are equal
    allowed_TS = noise(6, 9, seed=1) > -0.5
    expected = [ranked(*row, count) for row in zip(scores_TS.tolist(), allowed_TS.tolist(), strict=True)]
    assert top_k_mask(scores_TS, allowed_TS, count).tolist() == expected
    assert top_k_mask(scores_TS.long(), allowed_TS, count).tolist() == expected


def test_each_row_may_have_its_own_count() -> None:
    scores_TS, allowed_TS = (2 * noise(5, 8)).round(), noise(5, 8, seed=1) > -0.5
    counts = [1, 2, 3, 8, 50]
    rows = zip(scores_TS.tolist(), allowed_TS.tolist(), counts, strict=True)
    expected = [ranked(*row) for row in rows]
    assert top_k_mask(scores_TS, allowed_TS, torch.tensor(counts)[:, None]).tolist() == expected
    both = top_k_mask(scores_TS.expand(2, 5, 8), allowed_TS, torch.tensor(counts)[:, None])
    assert both.tolist() == [expected, expected]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("counts", [2, torch.tensor([[2]])])
def test_scores_equal_up_to_rounding_are_taken_in_order(dtype: torch.dtype, counts: int | torch.Tensor) -> None:
    allowed_TS = torch.ones(1, 5, dtype=torch.bool)
    roundings = torch.tensor([0, 1, -2, 3, 2], dtype=dtype) * torch.finfo(dtype).eps
    equal_TS = (torch.tensor([[3.0, 3.0, 1.0, 3.0, -5.0]], dtype=dtype)) * (1 + roundings)
    assert top_k_mask(equal_TS, allowed_TS, counts).tolist() == [[True, True, False, False, False]]
    different_TS = torch.tensor([[3.0, 3.0, 1.0, 3.01, -5.0]], dtype=dtype) * (1 + roundings)
    assert top_k_mask(different_TS, allowed_TS, counts).tolist() == [[True, False, False, True, False]]
    hidden_TS = torch.tensor([[3.0, 3.0, 1.0, 3.01, 1e9]], dtype=dtype)
    visible_TS = torch.tensor([[True, True, True, True, False]])
    assert top_k_mask(hidden_TS, visible_TS, counts).tolist() == [[True, False, False, True, False]]


def test_nothing_is_selected_from_nothing() -> None:
    assert not top_k_mask(noise(3, 4), torch.zeros(3, 4, dtype=torch.bool), 2).any()
    assert top_k_mask(noise(3, 0), torch.ones(3, 0, dtype=torch.bool), 2).shape == (3, 0)


def test_only_complete_blocks_are_used() -> None:
    tensor_SC = noise(7, 2)
    assert torch.equal(complete_blocks(tensor_SC, 3), torch.stack([tensor_SC[:3], tensor_SC[3:6]]))
    assert complete_blocks(tensor_SC, 8).shape == (0, 8, 2)
    assert expand_blocks(torch.tensor([[1.0, 2.0]]), torch.arange(7), 3).tolist() == [[1, 1, 1, 2, 2, 2, 0]]
    assert expand_blocks(torch.ones(2, 0, dtype=torch.bool), torch.arange(2), 3).tolist() == [[False, False]] * 2


def test_a_size_beyond_the_run_is_refused_and_a_default_is_cut() -> None:
    assert [
        checked_size("window", None, 8, 5),
        checked_size("window", None, 8, 50),
        checked_size("window", 50, 8, 50),
    ] == [5, 8, 50]
    with pytest.raises(InvalidValueError) as caught:
        checked_size("window", 51, 8, 50)
    assert str(caught.value) == (
        "  'window' cannot be 51: the longest sequence of the run has 50 tokens.\n"
        "  Use at most 50, or softmax, which attends to all tokens."
    )
