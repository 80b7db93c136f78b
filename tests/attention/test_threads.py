"""Loops that share one sequence or several among threads compute what one thread computes, for every attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS
from attnlab.attention.ops import loops
from attnlab.specs import Part
from attnlab.training.environment import torch_threads
from tests.builders import model_of, noise, tokens

LENGTH = 24


def differentiated(model: torch.nn.Module, batch: int) -> list[Tensor]:
    """The logits of a model, and the gradients of its weights."""
    logits = model(tokens(batch, LENGTH), None).logits_NV
    used = [weight for weight in model.parameters() if weight.requires_grad]
    upstream = noise(*logits.shape, seed=3, dtype=torch.float32)
    grads: tuple[Tensor | None, ...] = torch.autograd.grad(logits, used, upstream, allow_unused=True)
    return [logits.detach(), *(grad for grad in grads if grad is not None)]


@pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_threads_compute_what_one_computes(name: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARE", 1)
    model = model_of(Part(name=name), layers=1, width=16, heads=4, length=LENGTH).float()
    with torch.no_grad():
        for seed, weight in enumerate(model.parameters()):  # a gain of one would not be missed
            weight.add_(0.3 * noise(*weight.shape, seed=seed, dtype=torch.float32))
    results = []
    for threads in (1, 3):
        with torch_threads(threads):
            results.append(differentiated(model, batch))
    largest = max(float(one.abs().max()) for one in results[0])  # some gradients are zero but for their rounding
    for alone, together in zip(*results, strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6 * largest)
