"""Hard ALiBi: windows of one, two, .. tokens in the first heads."""

from __future__ import annotations

import pytest
import torch

from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.builders import SOFTMAX, noise, pair_of, position_of


@pytest.mark.parametrize(("windows", "expected"), [(None, [1, 2, 6, 6]), (3, [1, 2, 3, 6]), (0, [6] * 4)])
def test_each_head_attends_to_its_window(windows: int | None, expected: list[int]) -> None:
    position = Part.model_validate({"name": "hard-alibi", "windows": windows})
    attention, built = pair_of(SOFTMAX, position, heads=4)
    output = attention(noise(1, 6, 8), built, LayerInputs(), trace=True)
    for head, window in enumerate(expected):
        for i in range(6):
            seen = [j for j in range(6) if output.weights_BHTS[0][0, head, i, j] > 0]
            assert seen == list(range(max(0, i + 1 - window), i + 1))


def test_it_has_no_parameters_and_half_of_the_heads_have_windows() -> None:
    position = position_of("hard-alibi", heads=4)
    assert list(position.parameters()) == []
    x = torch.zeros(1, 4, 3, 2)
    assert position.rotate(x) is x


def test_more_windows_than_heads_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="3 heads with a window are more than the 2 heads"):
        position_of("hard-alibi", {"windows": 3})
