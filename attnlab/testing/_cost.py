"""What a variant weighs, remembers and takes: counted, probed and timed, never declared by hand alone."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attnlab.attention import Attention
from attnlab.testing._subject import Subject, heads_of, run, stream, width_of
from attnlab.testing.finding import Finding, judged

LONG = 2048
TIMED = (256, 512, 1024)


def weights(subject: Subject) -> Finding:
    """Learned numbers are as many as the declared formula says."""
    attention, context = subject.placed()
    counted = sum(weight.numel() for weight in attention.parameters() if weight.requires_grad)
    options = subject.entry.complete(subject.options)
    declared = subject.entry.cls.num_parameters(context.width, context.heads, context.length, **options)
    sizes = f"D = {context.width}, H = {context.heads}"
    return judged("declared weights", counted == declared, f"counted {counted:,}, declared {declared:,} at {sizes}")


def memory(subject: Subject) -> Finding:
    """How much of the past a decoder must keep: the rank of the block of the matrix that leads from past to future."""
    ranks = {}
    for tokens in (32, 64):
        attention = subject.build(width=16, heads=2)
        matrix_BHTS = attention.effective_matrix(
            *heads_of(attention, stream(1, tokens, width=width_of(attention)))
        ).detach()
        if not bool(matrix_BHTS.isfinite().all()):
            return judged("decode state", False, "the effective matrix has numbers that are not finite")
        half = tokens // 2
        singular = torch.linalg.svdvals(matrix_BHTS[0, :, half:, :half])
        ranks[tokens] = float((singular > 1e-9 * singular[:, :1].clamp_min(1e-30)).sum(-1).double().mean())
    grows = ranks[64] > 1.25 * ranks[32]
    trend = "grows with T" if grows else "does not grow"
    told = ", ".join(f"{rank:.1f} of {tokens // 2} at T = {tokens}" for tokens, rank in ranks.items())
    return Finding("decode state", "told", f"rank per head {told}: {trend}")


def growth(subject: Subject) -> Finding:
    """Time per token at three lengths, and the exponent of T in the whole."""
    attention = subject.build(dtype=torch.float32, length=max(TIMED))
    seconds = [_seconds(attention, tokens) for tokens in TIMED]
    grad = math.log(seconds[-1] / seconds[0]) / math.log(TIMED[-1] / TIMED[0])
    each = ", ".join(f"{1e6 * spent / tokens:.1f}" for spent, tokens in zip(seconds, TIMED, strict=True))
    lengths = ", ".join(map(str, TIMED))
    return Finding(
        "cost", "told", f"{each} us per token at T = {lengths}: T^{grad:.1f} (at best {subject.entry.cls.cost})"
    )


def scan(subject: Subject) -> Finding:
    """A variant that scans trains long sequences without ever holding T x T numbers per head."""
    if not subject.entry.cls.chunked_scan:
        return Finding("long sequences", "told", "forms a T x T matrix")
    attention = subject.build(dtype=torch.float32, width=8, heads=1, length=LONG)
    with Largest() as largest:  # type: ignore[no-untyped-call]
        run(attention, stream(1, LONG, width=width_of(attention), dtype=torch.float32)).square().mean().backward()
    told = f"largest tensor {largest.size:,} numbers at T = {LONG:,}, against T x T = {LONG * LONG:,}"
    return judged("long sequences", largest.size < LONG * LONG // 4, told)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor made while it is on."""

    size = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and look at what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.size = max(self.size, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


@torch.no_grad()
def _seconds(attention: Attention, tokens: int) -> float:
    """Median time of one forward pass over one sequence."""
    x_BTD = stream(1, tokens, dtype=torch.float32)
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        run(attention, x_BTD)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)
