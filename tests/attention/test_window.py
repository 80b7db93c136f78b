"""Window with sinks: exactly the keys of the definition."""

from __future__ import annotations

import pytest
import torch

from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from tests.attention.loop_reference import looped, prepared
from tests.builders import attention_of


@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (3, 0), (3, 2), (5, 1), (1, 4), (40, 0)])
def test_weights_are_those_of_a_loop(window: int, sinks: int) -> None:
    attention, position, qkv = prepared(Part(name="window", options={"window": window, "sinks": sinks}), 11)
    expected = looped(qkv, lambda q, k, i: [j for j in range(i + 1) if i - j < window or j < sinks])
    torch.testing.assert_close(attention.effective_matrix(qkv, position), expected, rtol=1e-12, atol=1e-12)


def test_a_window_over_everything_is_softmax() -> None:
    attention, position, qkv = prepared(Part(name="window", options={"window": 64, "sinks": 0}), 11)
    expected = looped(qkv, lambda q, k, i: range(i + 1))
    torch.testing.assert_close(attention.effective_matrix(qkv, position), expected, rtol=1e-12, atol=1e-12)


def test_a_window_longer_than_the_run_is_refused() -> None:
    with pytest.raises(
        InvalidValueError, match="'window' cannot be 65: the longest sequence of the run has 64 tokens"
    ) as caught:
        attention_of("window", {"window": 65}, length=64)
    assert caught.value.hint == "Use at most 64, or softmax, which attends to all tokens."
    assert attention_of("window", length=5).window == 5
