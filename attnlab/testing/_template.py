"""Whether an attention's output is that of the template's queries, keys and values.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.position import Position
from attnlab.tensors import QKV, LayerInputs
from attnlab.testing._subject import build_position, max_difference, random_inputs, run

OF_BLOCKS = "number tokens by qkv.query_indices_T1 and qkv.key_indices_S, not by the shape of the scores"
"""What makes blocks of queries right."""
HEADLESS = "the output is not that of the template's queries, keys and values"
"""Why checks of the effective matrix do not apply to some attentions."""


def has_heads(attention: Attention, width: int) -> bool:
    """Whether the output is that of the attention's own queries, keys and values.

    A class that overrides ``forward`` may compute its output in another way. What the template would compute of such
    an attention is not what it does, and some of the template's parts may not exist.

    Args:
        attention: The attention.
        width: D.

    Returns:
        Whether ``output(attend(prepare(x)))`` exists and is the attention's output.
    """
    if type(attention).forward is Attention.forward:
        return True
    if not type(attention).has_heads:
        return False
    x_BTD = random_inputs(2, 7, width=width, dtype=next(attention.parameters(), torch.zeros(1).double()).dtype)
    output_BTD = run(attention, x_BTD)
    try:
        qkv, no_position = prepare_qkv(attention, x_BTD)
        template_BTD = attention.output(attention.attend(qkv, no_position), x_BTD)
    except Exception:
        return False  # whatever is missing, the template does not describe this attention
    return template_BTD.shape == output_BTD.shape and max_difference(template_BTD, output_BTD) < 1e-6


@contextmanager
def blocks_of_queries(attention: Attention, x_BTD: Tensor, blocks: int) -> Iterator[None]:
    """Let an attention attend a few queries at a time, as it does where sequences are long.

    Args:
        attention: The attention.
        x_BTD: Its inputs.
        blocks: The fewest blocks.

    Yields:
        Nothing.
    """
    limits = attention.max_score_elements, attention.max_recomputed_elements
    batch, tokens, width = x_BTD.shape
    if blocks > 1 and has_heads(attention, width):
        most = batch * attention.score_maps * tokens * max(1, tokens // blocks)
        attention.max_score_elements = attention.max_recomputed_elements = most
    try:
        yield
    finally:
        attention.max_score_elements, attention.max_recomputed_elements = limits


def prepare_qkv(attention: Attention, x_BTD: Tensor) -> tuple[QKV, Position]:
    """Queries, keys and values with the position ``none``, and that position."""
    no_position = build_position(width=x_BTD.shape[-1])
    return attention.prepare(x_BTD, no_position, LayerInputs()), no_position
