"""A check of an attention that is not built in, quick enough to be made before it is trained.

    leak      no output depends on a later token or on another row: by gradient and by change, at a few cuts of the
              lengths of the run and of a few others, in evaluation and in training mode, for noise and repeated tokens
    prefix    a prefix alone gives the outputs of the whole
    blocks    blocks of queries give the outputs of all queries at once
    seed      initial weights are a function of the seed
    changes   equal calls give equal outputs in evaluation mode

``attnlab check`` tries every token of more lengths, on every path and with every position.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attnlab.attention import Attention
from attnlab.attention.adapter import Adapted
from attnlab.registry import Entry
from attnlab.testing._leak_probe import Leak, leak_at
from attnlab.testing._numerics import first_line
from attnlab.testing._paths import MODES, Path, Sizes, single_path
from attnlab.testing._randomness import is_random
from attnlab.testing._subject import Subject, build_position, max_difference, run
from attnlab.testing._template import blocks_of_queries
from attnlab.testing.changes import changes_from_call_to_call

LENGTHS = (3, 66, 300)
"""Lengths that are tried besides those of the run: within a block, and beyond one and four blocks of 64 tokens."""
CUTS = 4
"""Cuts of each length up to :data:`SHORT`, evenly spaced; a longer one has two, in the middle and at its end."""
SHORT, GRADIENT, LONGEST = 300, 1024, 2048
"""Tokens up to which all cuts are tried, up to which the gradient is taken, and up to which anything is tried."""
SECONDS = 10.0
"""Time after which no longer length is begun: a module of Python loops is slow."""
LEAK = 1e-7
"""Largest change or relative gradient that is no leak. A leak of 1e-3 is far above, rounding in float64 far below."""
LEAK_32 = 1e-4
"""The same for a module that computes in float32."""
PREFIX_32 = 1e-4
"""Largest difference between a prefix and the whole that is rounding, in float32."""
PREFIXES = (1, 7, 64, 65, 129)
WHOLE = 131
BLOCKS = 3


@dataclass(frozen=True)
class QuickCheck:
    """What was found."""

    leak: str = ""
    """Where an output depends on a later token or on another row, and how much; empty if nowhere."""
    prefix: str = ""
    """Where a prefix has other outputs than the whole, and by how much; empty if nowhere."""
    blocks: str = ""
    """How blocks of queries differ from all queries at once; empty if they do not."""
    seeds: str = ""
    """What of the initial weights is not a function of the seed; empty if nothing."""
    changes: str = ""
    """Why equal calls give different outputs in evaluation mode; empty if they give the same."""
    random: bool = False
    """Whether training is random, as with dropout."""
    untried: str = ""
    """Up to which length leaks were looked for, if the run has longer sequences; empty if it has none."""


def quick_check(
    entry: Entry[Attention], options: Mapping[str, Any], width: int, heads: int, lengths: Collection[int]
) -> QuickCheck:
    """Check one attention at the sizes of a model.

    Args:
        entry: The attention.
        options: Its options.
        width: D.
        heads: H.
        lengths: The lengths of the run's sequences, in tokens: of training, test and other levels.

    Returns:
        What was found; the first and largest fault of each kind.

    Raises:
        Exception: Whatever the attention raises at a length of the run.
    """
    subject, sizes = Subject(entry, options), Sizes(width, heads, max(*lengths, *LENGTHS))
    no_position = build_position(width=width, heads=heads).to(subject.dtype)
    evaluated, trained = (single_path(subject, no_position, sizes, training) for training in (False, True))
    if changes := _changes(evaluated, min(*lengths, SHORT)):
        return QuickCheck(changes=changes, seeds=_seeds(subject, sizes))
    worst, where, longest = Leak(0.0, "change", 0, 0, 0), "", 0
    for leak, mode in _leaks(evaluated, trained, lengths):
        longest = max(longest, leak.tokens)
        if not leak.size <= worst.size:
            worst, where = leak, f" {leak.place}, {mode}"
    leaks = not worst.size <= subject.tolerance(LEAK, LEAK_32)
    return QuickCheck(
        f"{worst}{where}" if leaks else "",
        "" if leaks else _prefix(evaluated, subject.tolerance(LEAK, PREFIX_32), max(lengths)),
        _blocks(evaluated, subject.tolerance(LEAK, PREFIX_32)),
        _seeds(subject, sizes),
        random=is_random(trained.attention, sizes.width, no_position, subject.dtype, min(*lengths, SHORT)),
        untried=f"{longest:,} of {max(lengths):,} tokens" if longest < max(lengths) else "",
    )


def _changes(path: Path, tokens: int) -> str:
    """Why equal calls give different outputs; empty if they give the same."""
    x_BTD = path.inputs(2, tokens)
    try:
        return changes_from_call_to_call(path.attention, lambda: run(path.attention, x_BTD))
    except Exception:
        return ""  # a length of the run that is refused is found below


def _leaks(evaluated: Path, trained: Path, lengths: Collection[int]) -> Iterator[tuple[Leak, str]]:
    """The largest violation at each length in each mode; a length beyond the run's that is refused is left out."""
    own = {length for length in lengths if length <= LONGEST}
    longest = {LONGEST} if len(own) < len(lengths) else set()
    start = time.monotonic()
    for tokens in sorted({*own, *longest, *LENGTHS}):
        if time.monotonic() - start > SECONDS:
            return
        for path, mode in ((evaluated, MODES[False]), (trained, MODES[True])):
            try:
                for repeated in (False, True) if tokens <= SHORT else (False,):
                    yield _largest(path, tokens, repeated), mode
            except Exception:
                if tokens in own:
                    raise


def _largest(path: Path, tokens: int, repeated: bool) -> Leak:
    """The largest violation at a few cuts of a length, and of one row by another."""
    if tokens > SHORT:
        cuts_B = torch.tensor([tokens // 2 + 3, tokens - 2])
    else:
        cuts_B = torch.linspace(0, tokens - 1, CUTS).round().long()
    columns_BP = torch.arange(tokens).expand(len(cuts_B), -1)
    gradient = tokens <= GRADIENT and not repeated
    return leak_at(path, path.forward, cuts_B, columns_BP, tokens, gradient, repeated)


def _prefix(path: Path, tolerance: float, longest: int) -> str:
    """Where a prefix differs from the whole, and by how much; a prefix of a length that is refused is left out."""
    differences = {0: 0.0}
    with torch.no_grad():
        x_BTD = path.inputs(2, WHOLE)
        try:
            whole_BTD = path.forward(x_BTD)
        except Exception:
            if longest >= WHOLE:
                raise
            return ""
        for cut in PREFIXES:
            try:
                differences[cut] = max_difference(path.forward(x_BTD[:, :cut]), whole_BTD[:, :cut])
            except Exception:
                continue  # a module of whole blocks
    cut = max(differences, key=lambda one: differences[one])
    scale = max(1.0, float(whole_BTD.abs().max()))
    return f"{differences[cut]:.1e} at length {cut}" if differences[cut] > tolerance * scale else ""


def _blocks(path: Path, tolerance: float) -> str:
    """How blocks of queries differ from all queries at once; nothing of a length that is refused."""
    if isinstance(path.attention, Adapted):
        return ""
    x_BTD = path.inputs(2, WHOLE)
    with torch.no_grad():
        try:
            whole_BTD = path.forward(x_BTD)
        except Exception:
            return ""
        with blocks_of_queries(path.attention, x_BTD, BLOCKS):
            try:
                difference = max_difference(path.forward(x_BTD), whole_BTD)
            except Exception as error:
                return first_line(error)
    return (
        "" if difference <= tolerance * max(1.0, float(whole_BTD.abs().max())) else f"a difference of {difference:.1e}"
    )


def _seeds(subject: Subject, sizes: Sizes) -> str:
    """The first weight that two models of one seed do not have in common."""
    one, other = (subject.build_with_context(seed=0, **sizes._asdict())[0].state_dict() for _ in range(2))
    return next((name for name, tensor in one.items() if not torch.equal(tensor, other[name])), "")
