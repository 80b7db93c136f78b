"""The paths on which a model computes an attention: in both modes, alone or as vmapped runs, at all tokens or at a few.

    fast          as a single run computes it
    plain         without fast paths: the specification
    vmapped       two models as one program, as vmapped runs are trained; each computes half of the batch
    query subset  at a few query positions of each row, where the attention supports it

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
from attnlab.position import POSITIONS, Position
from attnlab.tensors import LayerContext, LayerInputs
from attnlab.testing._seeds import seeded
from attnlab.testing._subject import Subject, build_position, random_inputs, run
from attnlab.training.batched_sdpa import BatchedSDPAMode

Forward = Callable[[Tensor], Tensor]
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
        *models, slow = (attention for attention, _ in built)
        context = built[0][1]
        yield Path(f"{mode}, fast path", context, _single(models[0], position), models[0])
        yield Path(f"{mode}, vmapped", context, _vmapped(models, position), models[0])
        if plain:
            slow.fast = False
            yield Path(f"{mode}, plain path", context, _single(slow, position), slow)


def single_path(
    subject: Subject, position: Position, sizes: Sizes, training: bool, dtype: torch.dtype = torch.float64
) -> Path:
    """The path of a single run.

    Args:
        subject: The attention.
        position: The position of the model.
        sizes: Sizes of the attention.
        training: Whether it is in training mode.
        dtype: Type of weights and inputs.

    Returns:
        The path.
    """
    attention, context = subject.build_with_context(
        biased=position.biases, training=training, dtype=dtype, **sizes._asdict()
    )
    return Path(f"{MODES[training]}, fast path", context, _single(attention, position), attention, dtype)


def paired_positions(subject: Subject, sizes: Sizes) -> list[tuple[Position, str]]:
    """Positions that the attention can be paired with, and their names; random positions have tests of their own.

    Args:
        subject: The attention.
        sizes: Its sizes; the width and the heads of the positions are those with which the attention is built.

    Returns:
        The positions in float64, each with its name.
    """
    context = subject.build_with_context(**sizes._asdict())[1]
    entries = [entry for entry in POSITIONS if subject.entry.cls.has_scores or not entry.cls.biases]
    return [
        (build_position(entry.name, width=context.width, heads=context.heads, length=sizes.length), entry.name)
        for entry in entries
        if not entry.cls.random
    ]


def computes_query_subset(attention: Attention) -> bool:
    """Whether the output at a few query positions is computed in another way than that at all tokens."""
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
