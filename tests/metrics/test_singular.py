"""Singular values of matrices of which some are not finite."""

from __future__ import annotations

import torch

from attnlab.metrics._singular import singular_values


def test_a_matrix_that_is_not_finite_has_nan_and_the_others_their_values() -> None:
    matrices = torch.stack([torch.diag(torch.tensor([3.0, 2.0])), torch.full((2, 2), torch.inf), torch.eye(2)])
    matrices[2, 0, 1] = torch.nan
    values = singular_values(matrices)
    assert torch.allclose(values[0], torch.tensor([3.0, 2.0], dtype=torch.float64), rtol=1e-12)
    assert bool(values[1:].isnan().all())
