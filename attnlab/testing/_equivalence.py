"""Equivalence checks: lengths, batches, seeds, fast paths, query subsets and vmap do not change the result."""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.attention.adapter import Adapted
from attnlab.plugins import describe_exception
from attnlab.testing._randomness import dropout_modules, is_random
from attnlab.testing._seeds import seeded
from attnlab.testing._stacked import vmap_differences, vmap_obstacle
from attnlab.testing._subject import LENGTH, Subject, max_difference, random_inputs, run
from attnlab.testing._template import HEADLESS, OF_BLOCKS, blocks_of_queries, has_heads, prepare_qkv
from attnlab.testing.changes import changes_from_call_to_call
from attnlab.testing.finding import Finding, check_result, not_applicable

LENGTHS = (1, 2, 13, 64, 131, LENGTH)
TOLERATED = 2e-5
"""Relative difference of two paths in float32."""
ROUNDINGS, ROUNDED = 4, 3
"""Changes by a rounding of the inputs that are tolerated where they are larger, and how often roundings are drawn."""


def lengths(subject: Subject) -> Finding:
    """One token, prime lengths, lengths beyond every block: outputs have the right shape and are finite."""
    attention = subject.build()
    wrong = []
    for tokens in LENGTHS:
        x_BTD = random_inputs(1, tokens, dtype=subject.dtype)
        out = run(attention, x_BTD)
        if out.shape != x_BTD.shape or not bool(out.isfinite().all()):
            wrong.append(str(tokens))
    block = attention.block if isinstance(attention, Adapted) else 1
    padded = f"; inputs are padded to whole blocks of {block} tokens" if block > 1 else ""
    listed = f"T = {', '.join(map(str, LENGTHS))}{padded}"
    return check_result("lengths", not wrong, f"wrong at {', '.join(wrong)}" if wrong else listed)


def batches(subject: Subject) -> Finding:
    """The output of a sequence does not depend on the other sequences of the batch."""
    attention = subject.build()
    x_BTD = random_inputs(3, 21, dtype=subject.dtype)
    worst = max(
        max_difference(run(attention, x_BTD[row : row + 1]), run(attention, x_BTD)[row : row + 1]) for row in range(3)
    )
    passed = worst < subject.tolerance(1e-10)
    return check_result("batch independence", passed, f"largest difference {worst:.1e}{subject.rounding}")


def determinism(subject: Subject) -> Finding:
    """Weights and outputs are functions of the seed; outside of training nothing is random."""
    before = torch.get_rng_state()
    (first, context), (second, _), (other, _) = (subject.build_with_context(seed=seed) for seed in (3, 3, 4))
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    if not all(torch.equal(one, two) for one, two in states):
        hint = "draw weights with context.linear, context.normal or context.uniform"
        hint = "draw them with torch's own generator" if subject.adapted else hint
        return check_result("determinism", False, f"the weights are not a function of the seed: {hint}")
    drawn = list(zip(first.parameters(), other.parameters(), strict=True))
    if drawn and not any(not torch.equal(one, two) for one, two in drawn):
        return check_result("determinism", False, "two seeds gave the same weights")
    x_BTD = random_inputs(2, 17, width=context.width, dtype=subject.dtype)
    if changes := changes_from_call_to_call(first, lambda: run(first, x_BTD)):
        return check_result("determinism", False, f"in evaluation mode {changes}")
    if not torch.equal(run(first, x_BTD), run(second, x_BTD)):
        return check_result("determinism", False, "two modules of equal weights gave different outputs")
    if not torch.equal(before, torch.get_rng_state()):
        return check_result("determinism", False, "torch's global generator is used in evaluation mode")
    first.train(), second.train()

    def trained(attention: Attention) -> Tensor:
        with seeded(0):
            return run(attention, x_BTD)

    if changes := changes_from_call_to_call(first, lambda: trained(first)):
        return check_result("determinism", False, f"in training mode one seed gave two outputs: {changes}")
    if not torch.equal(trained(first), trained(second)):
        return check_result("determinism", False, "in training mode two modules of one seed gave different outputs")
    evidence = "equal seeds give equal weights and outputs"
    if is_random(first, context.width, dtype=subject.dtype):
        source = ", ".join(dropout_modules(first)) or "torch's global generator"
        evidence += f"; training is random by {source}, and evaluation is not"
    return check_result("determinism", True, evidence)


def fast_path(subject: Subject) -> Finding:
    """The fast path agrees with the plain one, forward and backward, in float32; so do blocks of queries.

    A token whose output is small beside its terms, and is then normalized, amplifies rounding: two right computations
    differ there by what a rounding of the inputs changes in either.
    """
    if subject.adapted:
        return not_applicable("fast path equals plain", "a module of its own has one path")
    worst, passed, more = 0.0, True, ""
    for tokens, blocks in ((1, 1), (63, 1), (130, 1), (130, 3)):
        x_BTD = random_inputs(2, tokens, dtype=torch.float32)
        paths = []
        for fast in (True, False):
            attention = subject.build(dtype=torch.float32)
            attention.fast = fast
            paths.append(attention)
        plain = _differentiated(paths[1], x_BTD)
        try:
            with blocks_of_queries(paths[0], x_BTD, blocks):
                fast_results = _differentiated(paths[0], x_BTD)
        except Exception as error:
            if blocks == 1:
                raise
            evidence = f"in {blocks} blocks of queries: {describe_exception(error).splitlines()[0]}; {OF_BLOCKS}"
            return check_result("fast path equals plain", False, evidence)
        difference = _relative_difference(fast_results, plain)
        if not difference < TOLERATED:
            rounding = _change_by_rounding(paths[1], x_BTD, plain)
            advice = f"; {OF_BLOCKS}" if blocks > 1 and passed and difference > ROUNDINGS * rounding else ""
            passed = passed and difference <= ROUNDINGS * rounding
            where = f"in {blocks} blocks of queries at T = {tokens}" if blocks > 1 else f"at T = {tokens}"
            more = f" {where}, where a rounding of the inputs changes {rounding:.1e}{advice}"
        worst = max(worst, difference)
    return check_result("fast path equals plain", passed, f"largest relative difference {worst:.1e}{more}")


def _differentiated(attention: Attention, x_BTD: Tensor) -> list[Tensor]:
    """Outputs, and the gradient of their squares."""
    inputs_BTD = x_BTD.clone().requires_grad_()
    out_BTD = run(attention, inputs_BTD)
    return [out_BTD.detach(), torch.autograd.grad(out_BTD.square().sum(), inputs_BTD)[0]]


def _relative_difference(results: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference of each tensor relative to its largest number, or to 1; the larger of both."""
    return max(
        max_difference(one, other) / max(1.0, float(other.abs().max()))
        for one, other in zip(results, expected, strict=True)
    )


def _change_by_rounding(attention: Attention, x_BTD: Tensor, expected: list[Tensor]) -> float:
    """The largest relative change where each input is one rounding larger, smaller or the same, drawn a few times."""
    generator, changes = torch.Generator().manual_seed(4), []
    for _ in range(ROUNDED):
        signs_BTD = torch.randint(-1, 2, x_BTD.shape, generator=generator)
        rounded_BTD = x_BTD * (1 + torch.finfo(x_BTD.dtype).eps * signs_BTD)
        changes.append(_relative_difference(_differentiated(attention, rounded_BTD), expected))
    return max(changes)


def query_subset(subject: Subject) -> Finding:
    """Outputs at some query positions of each row equal those of the whole sequence, forward and backward."""
    if subject.adapted:
        return not_applicable("query subset", "a module of its own computes all tokens")
    tokens, columns_BP = 40, torch.tensor([[0, 3, 39], [38, 7, 20]])
    positions_BP = columns_BP + tokens * torch.arange(2)[:, None]
    attention, x_BTD = subject.build(), random_inputs(2, tokens, dtype=subject.dtype).requires_grad_()
    whole_ND = run(attention, x_BTD).flatten(0, 1)[positions_BP.flatten()]
    states_ND = run(attention, x_BTD, query_positions=positions_BP)
    grads = [torch.autograd.grad(one.square().sum(), x_BTD)[0] for one in (whole_ND, states_ND)]
    worst = max(max_difference(whole_ND, states_ND), max_difference(*grads))
    return check_result(
        "query subset", worst < subject.tolerance(1e-9), f"largest difference {worst:.1e}{subject.rounding}"
    )


def effective_matrix(subject: Subject) -> Finding:
    """The attention is linear in the values: the effective matrix times the values is its output."""
    attention, context = subject.build_with_context()
    if not has_heads(attention, context.width):
        return not_applicable("linear in the values", HEADLESS)
    qkv, no_position = prepare_qkv(attention, random_inputs(2, 23, dtype=subject.dtype))
    product = attention.effective_matrix(qkv, no_position) @ qkv.values_BHSC
    worst = max_difference(product, attention.attend(qkv, no_position))
    evidence = f"matrix times values differs from the attention output by {worst:.1e}"
    return check_result("linear in the values", worst < subject.tolerance(1e-9), f"{evidence}{subject.rounding}")


def vmapped(subject: Subject) -> Finding:
    """Models run as one program under ``torch.func.vmap`` give the outputs and gradients of the single models.

    A module of its own, or one that is random in training, is trained alone where it cannot be stacked.
    """
    if not (obstacle := vmap_obstacle(subject)):
        found = vmap_differences(subject)
        evidence = f"outputs differ by {found.outputs:.1e}, gradients by {found.gradients:.1e}{subject.rounding}"
        return check_result("vmap", True, evidence)
    attention, context = subject.build_with_context(training=True)
    if subject.adapted or is_random(attention, context.width, dtype=subject.dtype):
        return not_applicable("vmap", f"it cannot be vmapped, so that its runs are trained one by one: {obstacle}")
    return check_result("vmap", False, obstacle)
