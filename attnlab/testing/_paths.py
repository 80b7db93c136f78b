"""The paths on which a model computes an attention: in both modes, alone or as vmapped runs, at all tokens or at a few.

    fast          as a single run computes it
    plain         without fast paths: the specification
    vmapped       two models as one program, as vmapped runs are trained; each computes half of the batch
    query subset  at a few query positions of each row, where the attention supports it

Weights that start at zero are drawn here: a layer that has no effect before it is trained shows no leak of its input.

Letters  B batch, T tokens, P query positions per row, D width, 2 the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from attnlab.attention import Attention
from attnlab.attention.adapter import Adapted
from attnlab.position import POSITIONS, Position
from attnlab.tensors import LayerContext, LayerInputs
from attnlab.testing._seeds import seeded
from attnlab.testing._stacked import vmap_obstacle
from attnlab.testing._subject import Subject, build_position, random_inputs, run
from attnlab.training.batched_sdpa import BatchedSDPAMode

Forward = Callable[[Tensor], Tensor]
SYMBOLS = 5
"""Different tokens among repeated ones."""
AWAKENED = 0.1
"""Standard deviation of what is drawn for weights that are all zero."""
MODES = {False: "evaluation mode", True: "training mode"}


@dataclass(frozen=True)
class Path:
    """One way to compute the attention."""

    name: str
    context: LayerContext
    """Sizes of the attention; inputs have its width."""
    forward: Forward
    """From inputs, B x T x D, to outputs, B x T x D; B is even. Two calls draw the same random numbers."""
    attention: Attention
    """The attention itself, or the program of the vmapped ones."""
    dtype: torch.dtype = torch.float64
    """Type of the inputs."""

    def inputs(self, batch: int, tokens: int, seed: int = 2) -> Tensor:
        """Standard normal inputs, B x T x D."""
        return random_inputs(batch, tokens, width=self.context.width, seed=seed, dtype=self.dtype)

    def repeated(self, batch: int, tokens: int, seed: int = 2) -> Tensor:
        """Inputs of a few tokens that are repeated, as an embedding makes them, B x T x D."""
        table_VD = random_inputs(1, SYMBOLS, width=self.context.width, seed=17, dtype=self.dtype)[0]
        generator = torch.Generator().manual_seed(seed)
        return table_VD[torch.randint(0, SYMBOLS, (batch, tokens), generator=generator)]


class Sizes(NamedTuple):
    """The sizes of an attention, as :meth:`Subject.build_with_context` takes them."""

    width: int
    heads: int
    length: int


def whole_paths(
    subject: Subject, position: Position, sizes: Sizes, *, plain: bool = True, modes: Sequence[bool] = (False, True)
) -> Iterator[Path]:
    """The paths that compute all tokens.

    Args:
        subject: The attention.
        position: The position of the model.
        sizes: Sizes of the attention.
        plain: Whether to include the plain path of a single run.
        modes: Whether the attention is in training mode, for each mode to try.

    Yields:
        The paths.
    """
    for training in modes:
        mode = MODES[training]
        built = [
            subject.build_with_context(seed=seed, biased=position.biases, training=training, **sizes._asdict())
            for seed in (0, 1, 0)
        ]
        *models, slow = (awakened(attention) for attention, _ in built)
        context = built[0][1]
        dtype = subject.dtype
        name = mode if subject.adapted else f"{mode}, fast path"
        yield Path(name, context, _single(models[0], position), models[0], dtype)
        if not vmap_obstacle(subject):
            yield Path(f"{mode}, vmapped", context, _vmapped(models, position), models[0], dtype)
        if plain and not subject.adapted:
            slow.fast = False
            yield Path(f"{mode}, plain path", context, _single(slow, position), slow, dtype)


def single_path(
    subject: Subject, position: Position, sizes: Sizes, training: bool, dtype: torch.dtype | None = None
) -> Path:
    """The path of a single run.

    Args:
        subject: The attention.
        position: The position of the model.
        sizes: Sizes of the attention.
        training: Whether it is in training mode.
        dtype: Type of weights and inputs; None is that in which results are compared.

    Returns:
        The path.
    """
    dtype = dtype or subject.dtype
    attention, context = subject.build_with_context(
        biased=position.biases, training=training, dtype=dtype, **sizes._asdict()
    )
    name = MODES[training] if subject.adapted else f"{MODES[training]}, fast path"
    return Path(name, context, _single(awakened(attention), position), attention, dtype)


@torch.no_grad()
def awakened(attention: Attention) -> Attention:
    """Draw the learned weights that are all zero, in place.

    Args:
        attention: The attention.

    Returns:
        The same attention.
    """
    generator = torch.Generator().manual_seed(9)
    for weight in attention.parameters():
        if weight.requires_grad and weight.is_floating_point() and not bool(weight.any()):
            weight.copy_(AWAKENED * torch.randn(weight.shape, generator=generator))
    return attention


def paired_positions(subject: Subject, sizes: Sizes) -> list[tuple[Position, str]]:
    """Positions that the attention can be paired with, and their names; random positions have tests of their own.

    Args:
        subject: The attention.
        sizes: Its sizes; the width and the heads of the positions are those with which the attention is built.

    Returns:
        The positions, each with its name. A module of its own reads none: it gets the position ``none``.
    """
    if subject.adapted:
        return [(build_position(width=sizes.width, heads=sizes.heads), "none")]
    context = subject.build_with_context(**sizes._asdict())[1]
    cls = subject.entry.cls
    entries = [
        entry
        for entry in POSITIONS
        if (cls.has_scores or not entry.cls.biases)
        and (cls.hides_keys or not entry.cls.hides_keys)
        and (not entry.cls.polar or (cls.has_scores and cls.plain_products))
    ]
    return [
        (
            build_position(entry.name, width=context.width, heads=context.heads, length=sizes.length).to(subject.dtype),
            entry.name,
        )
        for entry in entries
        if not entry.cls.random
    ]


def computes_query_subset(attention: Attention) -> bool:
    """Whether the output at a few query positions is computed in another way than that at all tokens."""
    if isinstance(attention, Adapted):
        return False
    return attention.supports_query_subset if type(attention).forward is Attention.forward else True


def at_query_positions(path: Path, position: Position, columns_BP: Tensor) -> Forward:
    """The same path at some query positions of each row.

    Args:
        path: A path of a single run.
        position: The position of the model.
        columns_BP: Positions of the queries in their row, int64.

    Returns:
        A function from inputs, B x T x D, to outputs, B x P x D.
    """

    def forward(x_BTD: Tensor) -> Tensor:
        positions_BP = columns_BP + x_BTD.shape[1] * torch.arange(len(x_BTD))[:, None]
        with seeded(0):
            return run(path.attention, x_BTD, position, positions_BP).unflatten(0, columns_BP.shape)

    return forward


def _single(attention: Attention, position: Position) -> Forward:
    """The attention of a single run."""

    def forward(x_BTD: Tensor) -> Tensor:
        with seeded(0):
            return run(attention, x_BTD, position)

    return forward


def _vmapped(models: list[Attention], position: Position) -> Forward:
    """Two attentions as one program; each computes half of the batch."""
    parameters, buffers = stack_module_state(models)

    def single(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x_BTD: Tensor) -> Tensor:
        inputs = position.embed(x_BTD), position, LayerInputs()
        return functional_call(models[0], (parameters, buffers), inputs).output_BTD

    def forward(x_BTD: Tensor) -> Tensor:
        with seeded(0), BatchedSDPAMode():
            x_2BTD = x_BTD.unflatten(0, (2, -1))
            return vmap(single, randomness="different")(parameters, buffers, x_2BTD).flatten(0, 1)

    return forward
