"""No position: no hook has an effect, and one layer treats the earlier tokens as a set."""

from __future__ import annotations

import torch

from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.builders import model_of, noise, position_of, tokens


def test_it_has_no_effect() -> None:
    position, x = position_of("none"), noise(1, 2, 5, 5)
    assert list(position.parameters()) == []
    assert position.embed(x) is x
    assert position.rotate(x, 3) is x
    assert position.bias(x, QKV(x, x, x), 0) is None
    assert not position.biases


def test_one_layer_without_position_does_not_depend_on_the_order_of_earlier_tokens() -> None:
    model, inputs_BT = model_of(position=Part(name="none"), layers=1), tokens(1, 7)
    shuffled_BT = inputs_BT[:, [3, 1, 5, 0, 4, 2, 6]]
    assert not torch.equal(inputs_BT, shuffled_BT)
    logits = [model(one, torch.tensor([6])).logits_NV for one in (inputs_BT, shuffled_BT)]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-12, atol=1e-12)
