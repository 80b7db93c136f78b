"""Hard ALiBi: windows of one, two, .. tokens in the first heads."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention import ATTENTIONS
from attnlab.errors import IncompatiblePartsError, InvalidValueError
from attnlab.experiments.compatibility import check_position
from attnlab.specs import ModelSpec, Part
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


@pytest.mark.parametrize("attention", [entry.name for entry in ATTENTIONS if entry.cls.has_scores])
def test_an_attention_gives_hidden_keys_no_weight_or_is_refused(attention: str) -> None:
    built, position = pair_of(Part(name=attention), Part(name="hard-alibi"))
    weights = built(noise(1, 6, 8), position, LayerInputs(), trace=True).weights_BHTS[0][0, 0]
    hidden = weights.tril(-1).abs().max() == 0
    spec = ModelSpec(attention=(Part(name=attention),), position=Part(name="hard-alibi"))
    if built.hides_keys:
        assert hidden
        check_position(spec)
    else:
        assert not hidden or attention == "dape"  # whose correction, once trained, reads the penalty
        with pytest.raises(IncompatiblePartsError, match="'hard-alibi' hides keys by a penalty"):
            check_position(spec)
