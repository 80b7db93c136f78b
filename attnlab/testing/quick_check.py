"""A check of an attention that is not built in, quick enough to be made before it is trained.

    leak      no output depends on a later token or on another row: by gradient and by change, at a few cuts of a few
              lengths, in evaluation and in training mode
    prefix    a prefix alone gives the outputs of the whole
    seed      initial weights are a function of the seed

``attnlab check`` tries every token of more lengths, on every path and with every position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from attnlab.attention import Attention
from attnlab.registry import Entry
from attnlab.testing._causality import Leak, leak_at
from attnlab.testing._paths import MODES, Path, Sizes, single_path
from attnlab.testing._randomness import is_random
from attnlab.testing._subject import Subject, build_position, max_difference

LENGTHS = (3, 66, 300)
"""Within a block, and beyond one and four blocks of 64 tokens."""
CUTS = 4
"""Cuts of each length, evenly spaced."""
LEAK = 1e-7
"""Largest change or relative gradient that is no leak. A leak of 1e-3 is far above, rounding in float64 far below."""
LEAK_32 = 1e-4
"""The same for a module that computes in float32."""
PREFIX_32 = 1e-4
"""Largest difference between a prefix and the whole that is rounding, in float32."""


@dataclass(frozen=True)
class QuickCheck:
    """What was found."""

    leak: str = ""
    """Where an output depends on a later token or on another row, and how much; empty if nowhere."""
    prefix: str = ""
    """Where a prefix has other outputs than the whole, and by how much; empty if nowhere."""
    seeds: str = ""
    """What of the initial weights is not a function of the seed; empty if nothing."""
    random: bool = False
    """Whether training is random, as with dropout."""


def quick_check(entry: Entry[Attention], options: Mapping[str, Any], width: int, heads: int, length: int) -> QuickCheck:
    """Check one attention at the sizes of a model.

    Args:
        entry: The attention.
        options: Its options.
        width: D.
        heads: H.
        length: The longest sequence of the run, in tokens.

    Returns:
        What was found; the first and largest fault of each kind.

    Raises:
        Exception: Whatever the attention raises.
    """
    subject, sizes = Subject(entry, options), Sizes(width, heads, max(length, *LENGTHS))
    try:
        return _checked(subject, sizes, length, torch.float64)
    except RuntimeError:  # it computes in float32 whatever its inputs are
        return _checked(subject, sizes, length, torch.float32)


def _checked(subject: Subject, sizes: Sizes, length: int, dtype: torch.dtype) -> QuickCheck:
    no_position = build_position(width=sizes.width, heads=sizes.heads).to(dtype)
    exact = dtype is torch.float64
    worst, where = Leak(0.0, "change", 0, 0), ""
    paths = [single_path(subject, no_position, sizes, training, dtype) for training in (False, True)]
    for path, mode in zip(paths, MODES.values(), strict=True):
        for tokens in sorted({*LENGTHS, min(length, LENGTHS[-1])}) if not path.attention.training else LENGTHS[::2]:
            leak = _largest(path, tokens)
            if not leak.size <= worst.size:
                worst, where = leak, f" at token {leak.cut + 1} of {leak.tokens}, {mode}"
    random = is_random(paths[1].attention, sizes.width, no_position, dtype)
    leaks = not worst.size <= (LEAK if exact else LEAK_32)
    prefix = "" if leaks else _prefix(paths[0], LEAK if exact else PREFIX_32)
    return QuickCheck(f"{worst}{where}" if leaks else "", prefix, _seeds(subject, sizes), random)


def _largest(path: Path, tokens: int) -> Leak:
    """The largest violation at a few cuts of a length, and of one row by another."""
    cuts_B = torch.linspace(0, tokens - 1, CUTS).round().long()
    columns_BP = torch.arange(tokens).expand(CUTS, -1)
    return leak_at(path, path.forward, cuts_B, columns_BP, tokens)


def _prefix(path: Path, tolerance: float) -> str:
    """Where a prefix differs from the whole, and by how much."""
    with torch.no_grad():
        x_BTD = path.inputs(2, 131)
        whole_BTD = path.forward(x_BTD)
        differences = {
            cut: max_difference(path.forward(x_BTD[:, :cut]), whole_BTD[:, :cut]) for cut in (1, 7, 64, 65, 129)
        }
    cut = max(differences, key=lambda one: differences[one])
    scale = max(1.0, float(whole_BTD.abs().max()))
    return f"{differences[cut]:.1e} at length {cut}" if differences[cut] > tolerance * scale else ""


def _seeds(subject: Subject, sizes: Sizes) -> str:
    """The first weight that two models of one seed do not have in common."""
    one, other = (subject.build_with_context(seed=0, **sizes._asdict())[0].state_dict() for _ in range(2))
    return next((name for name, tensor in one.items() if not torch.equal(tensor, other[name])), "")
