"""Attentions, positions and modifiers that cannot be combined are refused."""

from __future__ import annotations

import pytest
from torch import Tensor

from attnlab.attention import ATTENTIONS, Attention, RowConstraint
from attnlab.attention.base import Position
from attnlab.errors import IncompatiblePartsError
from attnlab.experiments.compatibility import check_position
from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.experiments.requests import one, stack


@pytest.fixture
def scoreless() -> str:
    """An attention that has no scores: the mean of the values so far."""

    @ATTENTIONS.register("running-mean", source="a test")
    class RunningMean(Attention):
        """The mean of the values so far."""

        row_constraint = RowConstraint.STOCHASTIC
        has_scores = False

        def attend(self, qkv: QKV, position: Position) -> Tensor:
            values = qkv.values_BHSC
            count = values.new_ones(values.shape[-2]).cumsum(0)[:, None]
            return (values.cumsum(-2) / count)[..., qkv.start :, :]

    return "running-mean"


@pytest.mark.parametrize("others", [(), ("softmax",)])
def test_a_position_that_biases_scores_needs_scores(scoreless: str, others: tuple[str, ...]) -> None:
    variant = stack(*others, scoreless)
    with pytest.raises(IncompatiblePartsError) as caught:
        one(attentions=[variant], positions=[Part(name="alibi")])
    assert str(caught.value) == (
        "model.position\n"
        "  'running-mean' has no attention scores, and the position 'alibi' adds a bias to them.\n"
        "  Combine it with: fourier, interpolated, learned, none, randomized, rotary, selective-rotary, sinusoidal, "
        "yarn."
    )


@pytest.mark.parametrize("position", ["none", "learned", "rotary", "sinusoidal"])
def test_other_positions_can_be_combined_with_it(scoreless: str, position: str) -> None:
    spec = one(attentions=[stack(scoreless)], positions=[Part(name=position)])
    check_position(spec.model)
    assert (spec.variant, spec.model.position.name) == (scoreless, position)
