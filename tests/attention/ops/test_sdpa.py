"""Fused softmax: the values and gradients of the plain path, for every variant and position that uses it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS, Attention
from attnlab.attention.ops.sdpa import empty_scores, sdpa
from attnlab.position import POSITIONS, Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from attnlab.testing._cost import LargestTensor
from tests.attention.test_softmax import looped
from tests.builders import layer_context, noise, pair_of

SDPA_COMPATIBLE = [entry.name for entry in ATTENTIONS if entry.cls.sdpa_compatible]
BIASED = [entry.name for entry in POSITIONS if entry.cls.biases]
TOKENS = 11


def built(name: str, position_name: str, dtype: torch.dtype = torch.float64) -> tuple[Attention, Position]:
    attention, position = pair_of(Part(name=name), Part(name=position_name), length=TOKENS)
    return attention.to(dtype), position.to(dtype)


def test_the_sdpa_compatible_attentions() -> None:
    assert set(SDPA_COMPATIBLE) == {"softmax", "grouped", "latent", "window", "deltaformer", "knocking-heads"}


@pytest.mark.parametrize("position_name", ["none", "rotary", *BIASED])
@pytest.mark.parametrize("name", SDPA_COMPATIBLE)
def test_the_fast_path_equals_the_plain_one_forward_and_backward(name: str, position_name: str) -> None:
    attention, position = built(name, position_name, torch.float32)
    x_BTD = noise(3, TOKENS, 8, dtype=torch.float32).requires_grad_()
    weights = [weight for module in (attention, position) for weight in module.parameters() if weight.requires_grad]
    results = []
    for fast in (True, False):
        attention.fast = fast
        out = attention(x_BTD, position, LayerInputs()).output_BTD
        grads = torch.autograd.grad(out.square().sum(), [x_BTD, *weights], allow_unused=True)
        results.append([out, *grads])
    for one, other in zip(*results, strict=True):
        if one is not None and other is not None:
            assert (one - other).abs().max() <= 1e-5 * max(1.0, other.abs().max().item())
        assert (one is None) == (other is None)


@pytest.mark.parametrize("position_name", ["none", "alibi", "t5", "xl"])
@pytest.mark.parametrize("name", SDPA_COMPATIBLE)
def test_gradients_agree_with_finite_differences(name: str, position_name: str) -> None:
    attention, position = built(name, position_name)
    heads = [noise(1, 2, 5, 4, seed=seed).requires_grad_() for seed in range(3)]
    with torch.no_grad():  # what an attention computes besides is held
        prepared = attention.prepare(noise(1, 5, 8), position, LayerInputs())

    def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        qkv = prepared._replace(queries_BHTC=queries, keys_BHSC=keys, values_BHSC=values)
        return attention.attend(qkv, position)

    assert torch.autograd.gradcheck(attend, heads)


@pytest.mark.parametrize("position_name", ["none", "alibi", "kerple", "xl"])
@pytest.mark.parametrize("name", SDPA_COMPATIBLE)
@pytest.mark.parametrize("graded", [True, False])
def test_a_chunk_of_rows_is_part_of_the_whole(name: str, position_name: str, graded: bool) -> None:
    attention, position = built(name, position_name)
    with torch.set_grad_enabled(graded):
        qkv = attention.prepare(noise(2, TOKENS, 8), position, LayerInputs())
        chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., 4:9, :], start=4)
        mixed = attention.attend(chunk, position)
        attention.fast = False
        assert (mixed - attention.attend(qkv, position)[..., 4:9, :]).abs().max() <= 1e-12


@pytest.mark.parametrize("position_name", BIASED)
def test_the_bias_depends_on_the_scores_only_where_declared(position_name: str) -> None:
    attention, position = built("softmax", position_name)
    with torch.no_grad():
        for weight in position.parameters():
            weight.add_(noise(*weight.shape))
    qkv = attention.prepare(noise(2, TOKENS, 8), position, LayerInputs())
    biases = [position.bias(scores, qkv, 0) for scores in (noise(2, 2, TOKENS, TOKENS), empty_scores(qkv))]
    assert biases[0] is not None
    assert biases[1] is not None
    assert torch.equal(biases[0], biases[1]) != POSITIONS.entry(position_name).cls.reads_scores


@pytest.mark.parametrize(("position_name", "fused"), [("none", True), ("fire", True), ("cope", False)])
def test_the_scores_are_formed_only_where_they_are_read(
    position_name: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention, position = built("softmax", position_name)
    formed: list[int] = []
    score = attention.score

    def recorded(qkv: QKV) -> Tensor:
        formed.append(1)
        return score(qkv)

    monkeypatch.setattr(attention, "score", recorded)
    attention(noise(2, TOKENS, 8), position, LayerInputs())
    assert bool(formed) != fused


@pytest.mark.parametrize("learned", [True, False])
def test_a_bias_and_a_mask_are_both_applied(learned: bool) -> None:
    qkv = QKV(noise(1, 1, 6, 4), noise(1, 1, 6, 4, seed=1), torch.eye(6, dtype=torch.float64)[None, None])
    bias_TS = noise(6, 6, seed=2).requires_grad_(learned)
    near_TS = torch.ones(6, 6, dtype=torch.bool).triu(-2)
    matrix = sdpa(qkv, bias_TS, near_TS)[0, 0]
    far = bias_TS.detach().masked_fill(~near_TS, -1e30)
    expected = looped(qkv.queries_BHTC[0, 0], qkv.keys_BHSC[0, 0], far)
    torch.testing.assert_close(matrix, torch.tensor(expected, dtype=torch.float64))


def test_low_precision_adds_the_bias_in_single_precision() -> None:
    queries, keys, values = (noise(1, 2, 6, 4, seed=seed).bfloat16() for seed in range(3))
    bias_TS = 1 + 1e-4 * noise(6, 6, seed=3).float()
    mixed = sdpa(QKV(queries, keys, values), bias_TS, None)
    assert mixed.dtype == torch.bfloat16
    exact = sdpa(QKV(queries.float(), keys.float(), values.float()), bias_TS, None)
    assert (mixed.float() - exact).abs().max() <= 2**-7


@pytest.mark.parametrize("position_name", ["none", "alibi"])
def test_a_long_evaluation_holds_few_rows(position_name: str) -> None:
    attention, position = pair_of(Part(name="softmax"), Part(name=position_name), length=384)
    qkv = attention.prepare(noise(1, 384, 8), position, LayerInputs())
    attention.max_score_elements = 2**16
    with torch.no_grad(), LargestTensor() as bounded:  # type: ignore[no-untyped-call]
        attention.attend(qkv, position)
    assert bounded.size <= 1.3 * 2**16


def test_empty_scores_use_no_memory() -> None:
    qkv = QKV(noise(3, 2, 5, 4).bfloat16(), noise(3, 2, 7, 4).bfloat16(), noise(3, 2, 7, 4).bfloat16())
    assert empty_scores(qkv).shape == (3, 2, 5, 7)
    assert empty_scores(qkv).dtype == torch.float32
    assert empty_scores(qkv).untyped_storage().nbytes() == 4


def test_query_rows_with_too_large_a_mask_are_gathered_from_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, position = built("softmax", "none")
    qkv = attention.prepare(noise(2, TOKENS, 8), position, LayerInputs())
    query_positions_BP = torch.tensor([[1, 9], [0, 3]])
    expected = attention.attend_queries(qkv, position, query_positions_BP)
    rows: list[int] = []
    attend = attention.attend

    def recorded(qkv: QKV, position: Position) -> Tensor:
        rows.append(qkv.queries_BHTC.shape[-2])
        return attend(qkv, position)

    monkeypatch.setattr(attention, "attend", recorded)
    for elements, all_rows in ((2 * 2 * TOKENS, []), (2 * 2 * TOKENS - 1, [TOKENS])):
        monkeypatch.setattr(attention, "max_score_elements", elements)
        torch.testing.assert_close(
            attention.attend_queries(qkv, position, query_positions_BP), expected, rtol=1e-12, atol=1e-12
        )
        assert rows == all_rows


class Doubled(Attention):
    """An attention that overrides attend, which the fused kernel does not implement."""

    sdpa_compatible = True

    def attend(self, qkv: QKV, position: Any) -> Tensor:
        """Twice the weighted sums."""
        return 2 * super().attend(qkv, position)


def test_an_override_of_attend_is_used_with_query_positions() -> None:
    attention, (_, position) = Doubled(layer_context()).double(), built("softmax", "none")
    x_BTD, query_positions_BP = noise(2, TOKENS, 8), torch.tensor([[1, 9], [TOKENS + 0, TOKENS + 3]])
    assert not attention.supports_query_subset
    whole_BTD = attention(x_BTD, position, LayerInputs()).output_BTD
    assert torch.equal(
        attention(x_BTD, position, LayerInputs(query_positions=query_positions_BP)).output_BTD, whole_BTD
    )
