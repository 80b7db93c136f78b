"""The chunked cross-entropy against torch's: value and gradients, in one chunk and in many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.model import _cross_entropy as module
from attnlab.model import transformer
from attnlab.model._cross_entropy import chunked_cross_entropy
from attnlab.model.transformer import build
from attnlab.specs import ModelSpec

POSITIONS, WIDTH, VOCABULARY = 11, 6, 17


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("chunk", [1, 3 * VOCABULARY, 10**6])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_it_is_cross_entropy_with_its_gradients(chunk: int, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk)
    targets_N = torch.arange(POSITIONS) % VOCABULARY
    result = []
    for loss in (
        chunked_cross_entropy,
        lambda states, head, targets: functional.cross_entropy(states @ head.mT, targets),
    ):
        states_ND = (size * noise(0, POSITIONS, WIDTH)).requires_grad_()
        head_VD = noise(1, VOCABULARY, WIDTH).requires_grad_()
        value = loss(states_ND, head_VD, targets_N)
        result.append((value.detach(), *torch.autograd.grad(3.0 * value, [states_ND, head_VD])))
    for ours, theirs in zip(*result, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_it_is_differentiable_once() -> None:
    states_ND = noise(0, POSITIONS, WIDTH).requires_grad_()
    value = chunked_cross_entropy(states_ND, noise(1, VOCABULARY, WIDTH), torch.zeros(POSITIONS, dtype=torch.int64))
    (grad_ND,) = torch.autograd.grad(value, states_ND, create_graph=True)
    with pytest.raises(RuntimeError, match="grad"):
        torch.autograd.grad(grad_ND.sum(), states_ND)


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_the_model_gives_the_same_loss_either_way(tie: bool, everywhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(ModelSpec(layers=1, width=8, tie_embeddings=tie), vocabulary=VOCABULARY, length=5, seed=0).double()
    inputs_BT = torch.arange(15).view(3, 5) % VOCABULARY
    positions_N = None if everywhere else torch.tensor([1, 4, 9, 14])
    targets_N = torch.arange(15 if everywhere else 4)
    result = []
    for limit in (0, 10**9):
        monkeypatch.setattr(transformer, "MAX_LOGITS", limit)
        loss, auxiliary = model.losses(inputs_BT, positions_N, targets_N)
        grads = torch.autograd.grad(loss + auxiliary, list(model.parameters()))
        result.append((loss.detach(), *grads))
    for ours, theirs in zip(*result, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    by_hand = functional.cross_entropy(model(inputs_BT, positions_N).logits_NV, targets_N)
    torch.testing.assert_close(result[0][0], by_hand.detach(), rtol=1e-12, atol=1e-12)
