"""Every way to the same answer gives the same answer: lengths, batches, seeds, fast paths, lanes, chunks of rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from attnlab.tensors import LayerInputs
from attnlab.testing._subject import LENGTH, Subject, gap, heads_of, position, run, stream
from attnlab.testing.finding import Finding, judged

LENGTHS = (1, 2, 13, 64, 131, LENGTH)


def lengths(subject: Subject) -> Finding:
    """One token, prime lengths, lengths past every block: outputs of the right shape, all finite."""
    attention = subject.build()
    wrong = []
    for tokens in LENGTHS:
        out = run(attention, stream(1, tokens))
        if out.shape != (1, tokens, stream(1, 1).shape[-1]) or not bool(out.isfinite().all()):
            wrong.append(str(tokens))
    listed = ", ".join(map(str, LENGTHS))
    return judged("lengths", not wrong, f"wrong at {', '.join(wrong)}" if wrong else f"T = {listed}")


def batches(subject: Subject) -> Finding:
    """A sequence's answer does not depend on its neighbors in the batch."""
    attention = subject.build()
    x_BTD = stream(3, 21)
    worst = max(gap(run(attention, x_BTD[row : row + 1]), run(attention, x_BTD)[row : row + 1]) for row in range(3))
    return judged("batch independence", worst < 1e-10, f"largest difference {worst:.1e}")


def determinism(subject: Subject) -> Finding:
    """One seed gives one set of weights and answers, another seed another; torch's own generator is not drawn from."""
    before = torch.get_rng_state()
    first, second, other = subject.build(seed=3), subject.build(seed=3), subject.build(seed=4)
    same = all(
        torch.equal(one, two)
        for one, two in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    differs = any(not torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))
    answers = torch.equal(run(first, stream(2, 17)), run(second, stream(2, 17)))
    untouched = torch.equal(before, torch.get_rng_state())
    if not same or not untouched:
        hint = "draw weights with site.linear, site.normal or site.uniform"
        return judged("determinism", False, f"the weights are not a function of the seed: {hint}")
    if not differs:
        return judged("determinism", False, "two seeds gave the same weights")
    told = "one seed, one set of weights, one answer"
    return judged(
        "determinism", answers, told if answers else "the same weights gave two answers, or none that is finite"
    )


def fast(subject: Subject) -> Finding:
    """The fast path agrees with the plain one, forward and backward, in float32."""
    worst = 0.0
    for tokens in (1, 63, 130):
        x_BTD = stream(2, tokens, dtype=torch.float32).requires_grad_()
        result: list[Tensor] = []
        for path in (True, False):
            attention = subject.build(dtype=torch.float32)
            attention.fast = path
            out = run(attention, x_BTD)
            result += [out.detach(), torch.autograd.grad(out.square().sum(), x_BTD)[0]]
        scale = max(1.0, float(result[2].abs().max())), max(1.0, float(result[3].abs().max()))
        worst = max(worst, gap(result[0], result[2]) / scale[0], gap(result[1], result[3]) / scale[1])
    return judged("fast path equals plain", worst < 1e-5 * 2, f"largest relative difference {worst:.1e}")


def few(subject: Subject) -> Finding:
    """What is asked of some tokens of each row alone is what the whole gives there, forward and backward."""
    tokens, columns_BP = 40, torch.tensor([[0, 3, 39], [38, 7, 20]])
    places_BP = columns_BP + tokens * torch.arange(2)[:, None]
    attention, x_BTD = subject.build(), stream(2, tokens).requires_grad_()
    whole_ND = run(attention, x_BTD).flatten(0, 1)[places_BP.flatten()]
    states_ND = run(attention, x_BTD, positions=places_BP)
    grads = [torch.autograd.grad(one.square().sum(), x_BTD)[0] for one in (whole_ND, states_ND)]
    worst = max(gap(whole_ND, states_ND), gap(*grads))
    return judged("asked tokens alone", worst < 1e-9, f"largest difference {worst:.1e}")


def matrix(subject: Subject) -> Finding:
    """Mixing is linear in the values: the effective matrix times the values is the mix."""
    attention = subject.build()
    qkv, nowhere = heads_of(attention, stream(2, 23))
    worst = gap(attention.effective_matrix(qkv, nowhere) @ qkv.values_BHSC, attention.attend(qkv, nowhere))
    return judged("linear in the values", worst < 1e-9, f"matrix times values differs from the mix by {worst:.1e}")


def lanes(subject: Subject) -> Finding:
    """Several models run as one under ``torch.func.vmap``, with the answers and gradients they give alone."""
    models = [subject.build(seed=seed) for seed in (0, 1)]
    for model in models:
        model.fast = False
    nowhere, x_BTD = position(), stream(2, 11)
    weights, buffers = stack_module_state(models)

    def alone(own: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        return functional_call(models[0], (own, fixed), (x_BTD, nowhere, LayerInputs())).output_BTD

    together = vmap(alone)(weights, buffers)
    grads = torch.func.grad(lambda own: vmap(alone)(own, buffers).square().sum())(weights)
    worst = max(gap(together[lane], run(model, x_BTD)) for lane, model in enumerate(models))
    run(models[1], x_BTD).square().sum().backward()
    own = {name: weight.grad for name, weight in models[1].named_parameters() if weight.grad is not None}
    grad = max((gap(grads[name][1], gradient) for name, gradient in own.items()), default=0.0)
    return judged("lanes", max(worst, grad) < 1e-8, f"answers differ by {worst:.1e}, gradients by {grad:.1e}")
