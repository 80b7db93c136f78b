"""The Newton-Schulz iteration, compared with the singular value decomposition and with torch's Muon."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.training._newton_schulz import newton_schulz

SHAPES = [(8, 8), (8, 24), (24, 8), (1, 5)]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    for matrix, result in zip(noise(4, *shape), newton_schulz(noise(4, *shape)), strict=True):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        rotated = left.mT @ result @ right.mT
        new_values = rotated.diagonal()
        large = values > 0.05 * values.max()
        assert bool((new_values[large] > 0.6).all())
        assert bool((new_values < 1.3).all())
        torch.testing.assert_close(rotated, new_values.diag(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1e3, 1e-9, 1e-30, 1e30])
def test_the_norm_of_a_matrix_does_not_matter(size: float) -> None:
    matrices = noise(2, 6, 4).float()
    torch.testing.assert_close(newton_schulz(matrices), newton_schulz(size * matrices), rtol=1e-4, atol=1e-4)


def test_a_matrix_of_zeros_stays_one() -> None:
    assert newton_schulz(torch.zeros(2, 3, 4)).count_nonzero() == 0


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (24, 8)])
def test_the_step_is_that_of_torchs_muon_within_bfloat16(shape: tuple[int, int]) -> None:
    weight = torch.nn.Parameter(torch.zeros(shape))
    weight.grad = noise(*shape).float()
    optimizer = torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    optimizer.step()
    ours = -newton_schulz(noise(*shape).float()[None])[0] * 0.2 * max(shape) ** 0.5
    assert bool((weight.detach() - ours).norm() < 0.03 * ours.norm())
