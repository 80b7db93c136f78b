"""A check of a whole model of the user's own, quick enough to be made before it is trained.

    leak      the logits of no token change when later tokens, or the other rows of the batch, are replaced
    changes   equal calls give equal logits in evaluation mode
    prefix    a prefix alone gives the logits of the whole
    seed      initial weights are a function of the seed

Tokens have no gradient, so a leak is seen by the change that it makes. It is tried with the initial weights, and with
weights that are all moved a little: an output map, or a branch, that starts at zero would hide whatever is behind it.

Letters  B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.errors import AttnlabError
from attnlab.model.base import Model, ModelOutput
from attnlab.model.module import failed_module
from attnlab.model.transformer import build_model
from attnlab.specs import ModelSpec
from attnlab.testing._seeds import seeded
from attnlab.testing.changes import changes_from_call_to_call
from attnlab.testing.finding import Conformance, Finding, check_result
from attnlab.testing.quick_check import LEAK, LEAK_32, LENGTHS, LONGEST, QuickCheck

CUTS = 4
"""Cuts of each length, evenly spaced; each has a row of the batch."""
MAX_ROW_TOKENS = 100
"""Rows are told apart at lengths up to this: what mixes them mixes them at any."""
ROWS = "by other rows of the batch,"
MOVED = 0.1
"""Standard deviation of what is added to every weight of the moved model."""
VOCABULARY, LENGTH = 29, 131
"""Sizes of the sequences where no task gives them."""


def quick_model_check(spec: ModelSpec, vocabulary: int, length: int) -> QuickCheck:
    """Check one whole model.

    Args:
        spec: Names the model.
        vocabulary: V.
        length: The longest sequence of the run, in tokens.

    Returns:
        What was found; the largest fault of each kind.

    Raises:
        Exception: Whatever the model raises.
    """

    def make(dtype: torch.dtype = torch.float64) -> Model:
        return build_model(spec, vocabulary=vocabulary, length=length, seed=0).to(dtype)

    one, other = make(torch.float32), make(torch.float32)
    state = other.state_dict()
    seeds = next((name for name, tensor in one.state_dict().items() if not torch.equal(tensor, state[name])), "")
    try:
        _logits(make().eval(), _tokens(2, min(length, 2), vocabulary, 0))
        dtype, tolerance = torch.float64, LEAK
    except RuntimeError:  # it computes in float32 whatever its weights are
        dtype, tolerance = torch.float32, LEAK_32
    lengths = sorted({min(length, tokens) for tokens in (*LENGTHS, length)} | {max(1, length - 1)})
    lengths = [tokens for tokens in lengths if tokens <= LENGTHS[-1]]
    evaluated, inputs_BT = make(dtype).eval(), _tokens(2, lengths[-1], vocabulary, 1)
    with torch.no_grad():
        if changes := changes_from_call_to_call(evaluated, lambda: evaluated(inputs_BT, None).logits_NV):
            return QuickCheck(changes=changes, seeds=seeds)
    longest = min(length, LONGEST)
    leak = _leak(lambda: make(dtype), lengths, longest, vocabulary, tolerance)
    prefix = "" if leak else _prefix(make(dtype).eval(), lengths[-1], vocabulary, tolerance)
    untried = f"{longest:,} of {length:,} tokens" if longest < length else ""
    return QuickCheck(leak=leak, prefix=prefix, seeds=seeds, untried=untried)


def check_model(spec: ModelSpec) -> Conformance:
    """Check one whole model with made-up tokens, for a report.

    Args:
        spec: Names the model.

    Returns:
        The findings.

    Raises:
        PluginError: The code of the model fails.
        AttnlabError: It cannot be built, or returns no logits of every token.
    """
    where = f"model.module: {spec.module}"
    try:
        found = quick_model_check(spec, VOCABULARY, LENGTH)
    except AttnlabError as error:
        raise error.at(where) from None
    except Exception as error:
        raise failed_module(spec, error) from error
    kept = found.changes
    count = build_model(spec, vocabulary=VOCABULARY, length=LENGTH, seed=0).parameter_count
    unknown = "not known: equal tokens have other logits"
    sizes = f"vocabulary {VOCABULARY}, up to {LENGTH} tokens"
    findings = (
        check_result("equal calls", not kept, kept or "equal tokens have equal logits"),
        check_result("future never seen", not (kept or found.leak), found.leak or (unknown if kept else sizes)),
        Finding("prefix equals whole", "info", found.prefix or (unknown if kept or found.leak else "equal")),
        check_result("seeds", not found.seeds, found.seeds or "initial weights follow the seed"),
        Finding("parameters", "info", f"{count:,}, counted"),
    )
    return Conformance(spec.variant, findings)


def _leak(make: Callable[[], Model], lengths: list[int], longest: int, vocabulary: int, tolerance: float) -> str:
    """The largest change of the logits by other rows, or else by later tokens, and where; empty if there is none.

    Where rows are mixed, the tokens of one row change the others too: what is told then is the rows.
    """
    for moved in (False, True):
        found: list[tuple[bool, float, str]] = []
        for training in (False, True):
            model = (_moved(make()) if moved else make()).train(training)
            mode = f"in {'training' if training else 'evaluation'} mode{' with every weight moved' if moved else ''}"
            evaluated = [*lengths] if moved else sorted({*lengths, longest})
            for tokens in [lengths[0], lengths[-1]] if training else evaluated:
                changes = _changes(model, tokens, vocabulary)
                found += [(place.startswith(ROWS), size, f"{place}, {mode}") for size, place in changes]
        leaks = [one for one in found if not one[1] <= tolerance]
        if leaks:
            _, size, where = max(leaks)
            return f"largest change {size:.1e} {where}"
    return ""


def _changes(model: Model, tokens: int, vocabulary: int) -> list[tuple[float, str]]:
    """The relative changes of logits that may not change: one cut in each row, and one row among others."""
    inputs_BT = _tokens(CUTS, tokens, vocabulary, 3)
    others_BT = (inputs_BT + 1 + _tokens(CUTS, tokens, max(1, vocabulary - 1), 4)) % vocabulary
    logits_BTV = _logits(model, inputs_BT)
    if not bool(logits_BTV.isfinite().all()):
        return []  # too large a weight once moved; the initial weights are tried as they are
    scale = _scale(logits_BTV)
    cuts_B = torch.linspace(1, max(1, tokens - 1), CUTS).round().long()
    before_BT = torch.arange(tokens) < cuts_B[:, None]
    change_BTV = _logits(model, inputs_BT.where(before_BT, others_BT)) - logits_BTV
    sizes = [_largest(change_TV[:cut]) for change_TV, cut in zip(change_BTV, cuts_B.tolist(), strict=True)]
    cut = int(cuts_B[sizes.index(max(sizes))])
    found = [(max(sizes) / scale, f"by the tokens after token {cut} of {tokens}")]
    # A module that takes the tokens for rows sees earlier rows alone.
    for row in (0, CUTS - 1) if tokens <= MAX_ROW_TOKENS else ():
        rows_BT = others_BT.clone()
        rows_BT[row] = inputs_BT[row]
        change = _largest(_logits(model, rows_BT)[row] - logits_BTV[row]) / scale
        found.append((change, f"{ROWS} at {tokens} tokens"))
    return found


def _prefix(model: Model, tokens: int, vocabulary: int, tolerance: float) -> str:
    """Where a prefix differs from the whole, and by how much."""
    inputs_BT = _tokens(2, tokens, vocabulary, 5)
    logits_BTV = _logits(model, inputs_BT)
    cuts = sorted({cut for cut in (1, 7, tokens // 2, tokens - 1) if 0 < cut < tokens})
    sizes = {cut: _largest(_logits(model, inputs_BT[:, :cut]) - logits_BTV[:, :cut]) for cut in cuts}
    cut = max(sizes, key=lambda one: sizes[one], default=0)
    return f"{sizes[cut]:.1e} at length {cut}" if cut and not sizes[cut] <= tolerance * _scale(logits_BTV) else ""


def _moved(model: Model) -> Model:
    """Move all weights of a model a little, shared ones once."""
    random = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.is_floating_point():
                noise = torch.randn(weight.shape, generator=random, dtype=torch.float64)
                weight.add_(MOVED * noise.to(weight.dtype))
    return model


@torch.no_grad()
def _logits(model: Model, inputs_BT: Tensor) -> Tensor:
    """The logits of every token, B x T x V, with equal dropout in every call."""
    with seeded(0):
        output: ModelOutput = model(inputs_BT, None)
        return output.logits_NV.view(*inputs_BT.shape, -1)


def _tokens(rows: int, tokens: int, vocabulary: int, seed: int) -> Tensor:
    return torch.randint(vocabulary, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def _largest(change: Tensor) -> float:
    """The largest absolute entry; infinite if one is not finite."""
    largest = change.abs().max()
    return float(largest) if bool(largest.isfinite()) else float("inf")


def _scale(logits_BTV: Tensor) -> float:
    return max(1.0, float(logits_BTV.abs().max()))
