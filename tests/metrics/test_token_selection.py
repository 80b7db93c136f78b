"""Selected tokens: margins by loops, the constraints of the SVM, and gradient descent towards its solution."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from attnlab.metrics.token_selection import (
    alignment,
    bilinear_forms,
    constraints,
    head_selections,
    max_margin_matrix,
    row_margins,
)
from attnlab.model.transformer import Block, Transformer
from attnlab.specs import Part
from tests.builders import all_positions, model_of, noise, tokens

TIGHT = 1e-10


def first_block(model: Transformer) -> Block:
    block = model.blocks[0]
    assert isinstance(block, Block)
    return block


def probed(seed: int, samples: int = 6, length: int = 8, width: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences of unit tokens, a query for each, and the value of each token."""
    x = torch.nn.functional.normalize(noise(samples, length, width, seed=3 * seed), dim=-1)
    z = torch.nn.functional.normalize(noise(samples, width, seed=3 * seed + 1), dim=-1)
    return x, z, torch.einsum("ntd,d->nt", x, noise(width, seed=3 * seed + 2))


def descended(x: Tensor, z: Tensor, token_values: Tensor, at_steps: tuple[int, ...]) -> list[Tensor]:
    """W after steps of normalized gradient descent on one softmax attention, the gradient in its pairwise form."""
    matrix, matrices = torch.zeros(x.shape[-1], z.shape[-1], dtype=torch.float64), []
    for step in range(1, at_steps[-1] + 1):
        weights = torch.einsum("ntd,de,ne->nt", x, matrix, z).softmax(-1)
        # s_t sum_u s_u (g_t - g_u): the usual form is rounding error once a row has saturated.
        at_scores = weights * torch.einsum("nu,ntu->nt", weights, token_values[:, :, None] - token_values[:, None, :])
        gradient = torch.einsum("nt,ntd,ne->de", at_scores, x, z)
        matrix = matrix + 0.1 * gradient / gradient.norm()
        if step in at_steps:
            matrices.append(matrix)
    return matrices


def separating(x: Tensor, z: Tensor, best: Tensor) -> tuple[Tensor, float, Tensor, Tensor]:
    """The SVM of the best tokens, and its constraints."""
    pairs = [(n, t) for n in range(len(x)) for t in range(x.shape[1]) if t != best[n]]
    differences = torch.stack([x[n, best[n]] - x[n, t] for n, t in pairs])
    queries = torch.stack([z[n] for n, _ in pairs])
    return (*max_margin_matrix(differences, queries), differences, queries)


@pytest.mark.parametrize("seed", range(4))
def test_the_svm_meets_every_constraint_and_no_smaller_matrix_does(seed: int) -> None:
    x, z, token_values = probed(seed)
    w, delta, differences, queries = separating(x, z, token_values.argmax(-1))
    met = torch.einsum("nd,de,ne->n", differences, w, queries)
    assert float(met.min()) == pytest.approx(1.0, abs=1e-8)
    assert float(w.norm()) == pytest.approx(1 / delta, rel=1e-8)
    # It is the smallest: the tight constraints span it with non-negative weights.
    tight = (met - 1).abs() < 1e-7
    columns = torch.einsum("nd,ne->nde", differences, queries).flatten(1)[tight].T
    shares = torch.linalg.lstsq(columns, w.flatten()[:, None]).solution
    assert (columns @ shares - w.flatten()[:, None]).abs().max() < 1e-7
    assert float(shares.min()) > -1e-7


def test_gradient_descent_turns_towards_the_svm_of_the_tokens_it_selects() -> None:
    """Known of 20 draws: a mean correlation of 0.76, 0.88, 0.95, 0.99 after 100, 200, 400, 800 steps.

    It does not always select the token of the highest value.
    """
    correlations = []
    for seed in range(8):
        x, z, token_values = probed(seed)
        matrices = descended(x, z, token_values, (100, 200, 400, 800))
        w, *_ = separating(x, z, torch.einsum("ntd,de,ne->nt", x, matrices[-1], z).argmax(-1))
        correlations.append([float((matrix * w).sum() / (matrix.norm() * w.norm())) for matrix in matrices])
    means = torch.tensor(correlations).mean(0).tolist()
    assert means == pytest.approx([0.76, 0.88, 0.95, 0.99], abs=0.03)


def test_tokens_that_no_matrix_selects_are_not_separable() -> None:
    """The same query selects one token in one sequence and the other in the next."""
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    z = torch.ones(2, 2, dtype=torch.float64)
    _, delta, *_ = separating(x, z, torch.tensor([0, 1]))
    assert delta < 1e-12


def test_alignment_reports_tokens_that_are_not_separable() -> None:
    first = noise(1, 1, 3).expand(2, -1, -1)
    x_BTD = torch.cat([first, noise(1, 1, 3, seed=1).expand(2, -1, -1)], dim=1)
    weights = torch.tensor([[[1.0, 0.0], [0.9, 0.1]], [[1.0, 0.0], [0.1, 0.9]]], dtype=torch.float64)
    aligned = alignment(x_BTD, weights, noise(3, 3, seed=2))
    assert aligned is not None
    assert not aligned.separable
    assert aligned.best == 0.0
    assert math.isnan(aligned.correlation)
    assert aligned.trivial


def test_constraints_are_of_rows_with_one_winner_among_visible_keys() -> None:
    x_BTD = noise(1, 4, 3)
    weights = torch.tensor([[[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.7, 0.1, 0], [0, 0.6, 0, 0.4]]]).double()
    differences, queries = constraints(x_BTD, weights)
    x = x_BTD[0]
    # Row 0 sees one key and row 1 has two winners; key 0 and key 2 are hidden from row 3.
    expected = [(x[1] - x[0], x[2]), (x[1] - x[2], x[2]), (x[1] - x[3], x[3])]
    assert (differences - torch.stack([one for one, _ in expected])).abs().max() < TIGHT
    assert (queries - torch.stack([one for _, one in expected])).abs().max() < TIGHT
    repeated = x_BTD.clone()
    repeated[0, 2] = repeated[0, 1]
    assert len(constraints(repeated, weights)[0]) == 2


def test_margins_are_those_of_loops() -> None:
    scores = noise(2, 2, 5, 5)
    weights = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    margins = row_margins(scores, weights)
    assert margins[:, :, 0].isnan().all()
    for b, h, i in itertools.product(range(2), range(2), range(1, 5)):
        first, second, *_ = sorted(scores[b, h, i, : i + 1].tolist(), reverse=True)
        assert float(margins[b, h, i]) == pytest.approx(first - second, abs=TIGHT)


def test_the_matrix_of_a_head_gives_its_scores() -> None:
    model, inputs = model_of(), tokens(3, 8)
    trace = model(inputs, all_positions(inputs), trace=True).trace[0]
    block = first_block(model)
    read = block.branch_input(trace.residual_BTD[0], 0)
    matrices = bilinear_forms(block.attention.query.weight, block.attention.key.weight, 2)
    assert (torch.einsum("bjd,hde,bie->bhij", read, matrices, read) - trace.scores_BHTS[0][0]).abs().max() < TIGHT


def test_the_matrix_of_shared_keys_gives_the_scores_too() -> None:
    model, inputs = model_of(Part(name="grouped", options={"groups": 1})), tokens(3, 8)
    trace = model(inputs, all_positions(inputs), trace=True).trace[0]
    block = first_block(model)
    read = block.branch_input(trace.residual_BTD[0], 0)
    matrices = bilinear_forms(block.attention.query.weight, block.attention.key.weight, 2)
    assert (torch.einsum("bjd,hde,bie->bhij", read, matrices, read) - trace.scores_BHTS[0][0]).abs().max() < TIGHT


def test_a_layer_is_described_head_by_head() -> None:
    model, inputs = model_of(), tokens(2, 8)
    trace = model(inputs, all_positions(inputs), trace=True).trace[0]
    block = first_block(model)
    maps = (block.attention.query.weight, block.attention.key.weight)
    read = block.branch_input(trace.residual_BTD[0], 0)
    selections = head_selections(read, trace.scores_BHTS[0][0], trace.weights_BHTS[0][0], *maps)
    matrices = bilinear_forms(*maps, 2)
    for one, matrix in zip(selections, matrices, strict=True):
        values = torch.linalg.svdvals(matrix)
        assert one.norm == pytest.approx(float(matrix.norm()))
        assert one.nuclear == pytest.approx(float(values.sum()))
        assert one.stable_rank == pytest.approx(float(matrix.norm().square() / values[0] ** 2))
        assert one.min_margin <= one.margin
        assert one.alignment is not None
        # The scores are those of W, so W selects these tokens; no W has a larger margin than the SVM.
        assert one.alignment.separable
        assert 0 < one.alignment.margin <= one.alignment.best + TIGHT
        assert 0 < one.alignment.correlation <= 1
    assert (
        head_selections(read, trace.scores_BHTS[0][0], trace.weights_BHTS[0][0], *maps, is_bilinear=False)[0].alignment
        is None
    )
    few = head_selections(read, trace.scores_BHTS[0][0], trace.weights_BHTS[0][0], *maps, columns=7)[0].alignment
    assert few is not None
    assert few.columns == 7
