"""ALiBi: the slopes of the paper, and a penalty that depends on distance alone."""

from __future__ import annotations

import pytest
import torch

from attnlab.errors import InvalidValueError
from attnlab.position.alibi import slopes
from attnlab.tensors import QKV
from tests.builders import noise, position_of


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        (1, [2.0**-8]),
        (2, [0.0625, 0.00390625]),
        (4, [0.25, 0.0625, 0.015625, 0.00390625]),
        (6, [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]),
        (8, [2.0**-power for power in range(1, 9)]),
        (12, [2.0**-power for power in range(1, 9)] + [2.0**-power for power in (0.5, 1.5, 2.5, 3.5)]),
    ],
)
def test_slopes_are_those_of_the_paper(heads: int, expected: list[float]) -> None:
    assert slopes(heads) == pytest.approx(expected, rel=1e-12)
    buffer = position_of("alibi", width=2 * heads, heads=heads).get_buffer("slope_H")
    assert buffer.tolist() == pytest.approx(expected, rel=1e-7)


def test_the_last_slopes_of_twelve_heads() -> None:
    assert [round(slope, 4) for slope in slopes(12)[8:]] == [0.7071, 0.3536, 0.1768, 0.0884]


def test_the_penalty_is_slope_times_distance() -> None:
    position, scores = position_of("alibi").double(), torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    qkv = QKV(scores, scores, scores)
    bias = position.bias(scores, qkv, 0)
    assert bias is not None
    for head, slope in enumerate((0.0625, 0.00390625)):
        for i in range(5):
            for j in range(i + 1):
                assert bias[head, i, j].item() == -slope * (i - j)


def test_the_bias_of_a_chunk_is_that_of_its_rows() -> None:
    position, x = position_of("alibi"), torch.zeros(1, 2, 6, 6)
    whole = position.bias(x, QKV(x, x, x), 0)
    chunk = position.bias(x[..., 4:, :], QKV(x[..., 4:, :], x, x, start=4), 0)
    assert whole is not None
    assert chunk is not None
    assert torch.equal(chunk, whole[..., 4:, :])


def test_the_last_slope_is_an_option() -> None:
    buffer = position_of("alibi", {"octaves": 2.0}, heads=4).get_buffer("slope_H")
    assert buffer.tolist() == pytest.approx([2**-0.5, 2**-1.0, 2**-1.5, 2**-2.0])


def test_it_has_no_parameters_and_changes_neither_embeddings_nor_queries() -> None:
    position, x = position_of("alibi"), noise(1, 5, 8)
    assert list(position.parameters()) == []
    assert position.state_dict() == {}
    assert position.embed(x) is x
    assert position.rotate(x) is x


def test_zero_octaves_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        position_of("alibi", {"octaves": 0.0})
    assert str(caught.value) == "  Option 'octaves' cannot be 0.0.\n  Input should be greater than 0. Default: 8.0."
