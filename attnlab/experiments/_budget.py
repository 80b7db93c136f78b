"""Step 4 of a plan: the MLP or the width of a variant is chosen so that it has the budget of another.

    parameters   learned parameters of the model         solved by the MLP's hidden width
    flops        operations of one forward pass          solved by the MLP's hidden width
    state        numbers a decoder keeps of the past     solved by the width of the residual stream

Operations are counted by running one sequence (matrix products, convolutions; fused kernels off, scans on). The state
is the one that each attention declares after half of a sequence, with the inputs that a short convolution reads again:
keys and values of a cache, the latent vectors of ``latent``, the matrix of a recurrence. ``attnlab check`` probes it.

Letters  B batch, T tokens, D width, N supervised positions of a batch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode

from attnlab.attention import Attention
from attnlab.attention.ops.loops import no_loops
from attnlab.choices import Budget
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.model.base import Model
from attnlab.model.transformer import Transformer, build_model
from attnlab.specs import ModelSpec, variant_text
from attnlab.tasks.io.streams import Source
from attnlab.training.denormals import flush_denormals

CLOSE = 0.02
"""Largest relative distance to the budget that is accepted."""


@flush_denormals()  # may start torch's threads, which keep the setting they start with
def match_budget(model: ModelSpec, reference: ModelSpec, budget: Budget, source: Source) -> ModelSpec:
    """Change the MLP or the width of a model so that it has the budget of another.

    Args:
        model: The model.
        reference: The model whose budget it is given.
        budget: What is made equal.
        source: The task on which operations and state are counted.

    Returns:
        The changed model; its field ``matched`` has the two numbers.

    Raises:
        InvalidValueError: No size comes within 2 % of the budget (10 % for the state, which grows in steps); or the
            model is a whole model of the user's own.
    """
    if model.module is not None:
        hint = "Give it sizes of its own as options, or leave --match out."
        problem = "The sizes of a whole model cannot be chosen by a budget."
        raise InvalidValueError(problem, hint, where=f"model.module: {model.module}")
    measure = MEASURES[budget]
    wanted = measure(_built(reference, source), source)
    sizes = _widths(model) if budget == "state" else _hidden(model, measure, wanted, source)
    best, spent = model, math.inf
    refused: AttnlabError | None = None
    for candidate in sizes:
        try:
            size = measure(_built(candidate, source), source)
        except AttnlabError as error:
            refused = error
            continue  # this variant cannot have such a width
        if abs(size - wanted) < abs(spent - wanted):
            best, spent = candidate, size
    if math.isinf(spent) and refused is not None:
        raise refused.at(model.variant)  # no size has such a budget
    variant = reference.variant
    if abs(spent - wanted) > (5 * CLOSE if budget == "state" else CLOSE) * wanted:
        hint = "Give it other sizes with --set, or compare without --match."
        problem = f"No size gives it the {wanted:,} {budget} of {variant}; the closest has {spent:,}."
        raise InvalidValueError(problem, hint, where="+".join(map(str, model.attention)))
    return best.model_copy(update={"matched": f"{budget} of {variant}: {wanted:,}, here {spent:,}"})


def parameters(model: Model, source: Source) -> int:
    """Count the learned parameters.

    Args:
        model: The model.
        source: Not used.

    Returns:
        Their number.
    """
    return model.parameter_count


def flops(model: Model, source: Source) -> int:
    """Count the operations of one forward pass over one sequence, with every token in every block.

    Training computes the last block's MLP at supervised positions only. Counting it like that would make the width of
    an MLP depend on how many positions a task supervises.

    Args:
        model: The model; its fast paths are switched off, but for chunked scans.
        source: Gives the sequence.

    Returns:
        Floating-point operations.
    """
    for part in model.modules():
        if isinstance(part, Attention):
            part.fast = part.chunked_scan
    batch = source.training(0, 1)
    with _without_mkldnn(), no_loops(), FlopCounterMode(display=False) as counter, torch.no_grad():
        inputs_BT = torch.from_numpy(batch.inputs_BT.copy())
        if isinstance(model, Transformer):
            all_ND, _, _ = model.hidden_states(model.embed(inputs_BT), None)
            model.logits(all_ND[torch.from_numpy(batch.query_positions())])
        else:
            model(inputs_BT, None)
    return counter.get_total_flops()


@contextmanager
def _without_mkldnn() -> Iterator[None]:
    """Within this context an ``nn.LSTM`` is computed by products: torch's counter does not know MKLDNN's operation."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration", category=UserWarning)
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def state(model: Model, source: Source) -> int:
    """Count the numbers that a decoder keeps of the first half of a sequence, over all layers.

    Args:
        model: The model.
        source: Gives the length of the sequence.

    Returns:
        The count.

    Raises:
        InvalidValueError: The model is a whole model of the user's own.
    """
    if not isinstance(model, Transformer):
        hint = "Match parameters or flops instead."
        raise InvalidValueError("A whole model of your own declares no state.", hint, where="--match state")
    half = source.training(0, 1).inputs_BT.shape[1] // 2
    parts = [part for part in model.modules() if isinstance(part, Attention)]
    return sum(part.state_size(half) + part.modifiers.state_size(half) for part in parts)


MEASURES: dict[Budget, Callable[[Model, Source], int]] = {
    "parameters": parameters,
    "flops": flops,
    "state": state,
}


def _built(model: ModelSpec, source: Source) -> Model:
    return build_model(model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=0)


def _hidden(model: ModelSpec, measure: Callable[[Model, Source], int], wanted: int, source: Source) -> list[ModelSpec]:
    """The MLP's hidden widths around the solution: every budget here grows linearly in it.

    An MLP of three maps has two thirds of that width, rounded, so that its size grows at every multiple of three.
    """
    few, more = (measure(_built(_with_hidden(model, hidden), source), source) for hidden in (3, 6))
    if few == more:
        hint = "Give it an MLP, or compare without --match."
        problem = f"The size of the MLP {variant_text(model.mlp)} cannot be chosen."
        raise InvalidValueError(problem, hint, where="model.mlp")
    solution = 3 * (wanted - few + more - few) / (more - few)
    return [_with_hidden(model, hidden) for hidden in {max(1, math.floor(solution)), max(1, math.ceil(solution))}]


def _with_hidden(model: ModelSpec, hidden: int) -> ModelSpec:
    return model.model_copy(update={"mlp_ratio": hidden / model.width})


def _widths(model: ModelSpec) -> list[ModelSpec]:
    """Widths from a quarter to four times, in steps of two channels per head."""
    step = 2 * model.heads
    return [model.model_copy(update={"width": width}) for width in range(step, 4 * model.width + 1, step)]
