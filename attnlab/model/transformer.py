"""A tiny causal transformer, from its spec.

Letters  B batch, T tokens, D width, V vocabulary, N supervised positions of the whole batch, P of each row.

It returns logits at the supervised positions only, and a trace of its inside when asked: no hooks, no side effects,
so that lanes and diagnostics share one forward pass. Past the mixing of the last layer no token reads another, so that
what nobody asks for goes no further: there, norms, MLP and head see supervised positions alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention import ATTENTIONS, Attention
from attnlab.errors import AttnlabError
from attnlab.model._cross_entropy import chunked_cross_entropy
from attnlab.position import POSITIONS, Position
from attnlab.registry import Entry
from attnlab.specs import ModelSpec, Part
from attnlab.tensors import QKV, ActivationTrace, AttentionOutput, LayerContext, LayerInputs

T = TypeVar("T")


MANY = 2**21
"""Logits beyond which the loss is worked out part by part."""


class ModelOutput(NamedTuple):
    """What a model says of a batch."""

    logits_NV: Tensor
    auxiliary: Tensor
    """A scalar added to the loss; zero for most attentions."""
    trace: tuple[ActivationTrace, ...] = ()
    """One trace, if it was asked for."""


@final
class Transformer(nn.Module):
    """Embedding, blocks, norm, head.

    Args:
        spec: Sizes, wiring, attention and position.
        vocabulary: V.
        length: The longest sequence, in tokens.
        generator: The stream all initial weights are drawn from.

    Raises:
        InvalidValueError: sizes that do not fit one another, or an option a part does not accept.
        UnknownNameError: a part or option that does not exist.
    """

    def __init__(self, spec: ModelSpec, *, vocabulary: int, length: int, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        position = POSITIONS.entry(spec.position.name)
        sizes = {"width": spec.width, "heads": spec.heads, "layers": spec.layers, "length": length}
        sites = [
            LayerContext(
                **sizes,
                layer=layer,
                biased=position.cls.biases,
                modifiers=spec.modifiers,
                init_scale=spec.init_scale,
                generator=generator,
            )
            for layer in range(spec.layers)
        ]
        self.embedding_VD = sites[0].normal(vocabulary, spec.width, std=1.0)
        self.position: Position = placed(sites[0], position, spec.position, "model.position")
        self.blocks = nn.ModuleList(Block(spec, context) for context in sites)
        self.norm = nn.LayerNorm(spec.width) if spec.norm == "pre" else nn.Identity()
        self.head = None if spec.tie_embeddings else sites[0].linear(spec.width, vocabulary)

    def forward(self, inputs_BT: Tensor, positions: Tensor | None, trace: bool = False) -> ModelOutput:
        """Logits where something is asked.

        Args:
            inputs_BT: Token ids, int64.
            positions: Places of the supervised positions in the flattened batch, ``row * T + column``: N, or B x P where
                each row has as many, which may be sooner done; None for all.
            trace: Whether to return the stream, scores and weights of every layer.
        """
        return self.answered(self.embedded(inputs_BT), positions, trace)

    def embedded(self, inputs_BT: Tensor) -> Tensor:
        """The stream before the first block: token ids embedded, with the position's share."""
        return self.position.embed(functional.embedding(inputs_BT, self.embedding_VD))

    def answered(self, stream_BTD: Tensor, positions: Tensor | None, trace: bool = False) -> ModelOutput:
        """The same from a stream that is given, such as noise: the blocks see it as it is, no position added."""
        states_ND, auxiliary, traced = self.read(stream_BTD, positions, trace)
        return ModelOutput(self.logits(states_ND), auxiliary, traced)

    def losses(self, inputs_BT: Tensor, positions: Tensor | None, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """Mean nats at the answers that are due, and the auxiliary loss; many logits are never held at once.

        Args:
            inputs_BT: Token ids, int64.
            positions: Places of the supervised positions in the flattened batch, N or B x P; None for all.
            targets_N: The answers.
        """
        states_ND, auxiliary, _ = self.read(self.embedded(inputs_BT), positions)
        if len(targets_N) * len(self.embedding_VD) > MANY:
            return chunked_cross_entropy(states_ND, self.head_VD, targets_N), auxiliary
        return functional.cross_entropy(self.logits(states_ND), targets_N), auxiliary

    def read(
        self, stream_BTD: Tensor, positions: Tensor | None, trace: bool = False
    ) -> tuple[Tensor, Tensor, tuple[ActivationTrace, ...]]:
        """What the head reads of a stream, the auxiliary loss, and a trace if one is asked for."""
        streams: list[Tensor] = [stream_BTD]
        mixes: list[AttentionOutput] = []
        first: tuple[QKV, ...] = ()
        if positions is not None and positions.shape[-1] >= stream_BTD.shape[-2]:
            positions = positions.flatten()  # by rows, a stream of those alone is told by being shorter
        for layer, block in enumerate(self.blocks, start=1):
            wanted = positions if layer == len(self.blocks) and not trace else None
            stream_BTD, mixed = block(stream_BTD, self.position, LayerInputs(first, wanted), trace)
            first = first or (mixed.qkv,)
            streams.append(stream_BTD)
            mixes.append(mixed)
        states_ND = self.norm(picked(stream_BTD, positions) if trace else stream_BTD.flatten(0, -2))
        auxiliary = torch.stack([mixed.auxiliary for mixed in mixes]).sum()
        return states_ND, auxiliary, (_trace(streams, mixes),) if trace else ()

    def logits(self, stream_ND: Tensor) -> Tensor:
        """What the head says of a stream."""
        return stream_ND @ self.head_VD.mT

    @property
    def head_VD(self) -> Tensor:
        """The head: its own weights, or the embedding's, scaled to the variance of a free head."""
        return self.embedding_VD / math.sqrt(self.spec.width) if self.head is None else self.head.weight

    @property
    def parameter_count(self) -> int:
        """Numbers it holds, each counted once; fixed ones left out."""
        return sum(weight.numel() for weight in self.parameters() if weight.requires_grad)


@final
class Block(nn.Module):
    """Attention, then an MLP, each a branch with norm and skip as the spec says."""

    def __init__(self, spec: ModelSpec, context: LayerContext) -> None:
        super().__init__()
        self.norm, self.skip = spec.norm, spec.residual
        self.attention = attention(spec, context)
        branches = 2 if spec.mlp_ratio else 1
        self.norms = nn.ModuleList(nn.LayerNorm(spec.width) for _ in range(branches if spec.norm != "none" else 0))
        hidden = max(1, round(spec.mlp_ratio * spec.width))
        self.mlp = Mlp(context, hidden) if spec.mlp_ratio else None

    def forward(
        self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs, trace: bool
    ) -> tuple[Tensor, AttentionOutput]:
        """The stream after the block, N x D where only some of it is asked for, and what the attention returned."""
        mixed: AttentionOutput = self.attention(self.before(x_BTD, 0), position, layer_inputs, trace)
        written_BTD = mixed.output_BTD
        if layer_inputs.query_positions is not None:
            x_BTD, written_BTD = (
                picked(stream_BTD, layer_inputs.query_positions) for stream_BTD in (x_BTD, written_BTD)
            )
        x_BTD = self.after(x_BTD, written_BTD, 0)
        if self.mlp is not None:
            x_BTD = self.after(x_BTD, self.mlp(self.before(x_BTD, 1)), 1)
        return x_BTD, mixed

    def before(self, x_BTD: Tensor, branch: int) -> Tensor:
        """What a branch reads."""
        return self.norms[branch](x_BTD) if self.norm == "pre" else x_BTD

    def after(self, x_BTD: Tensor, written_BTD: Tensor, branch: int) -> Tensor:
        """The stream with what a branch wrote."""
        total = x_BTD + written_BTD if self.skip else written_BTD
        return self.norms[branch](total) if self.norm == "post" else total


@final
class Mlp(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, context: LayerContext, hidden: int) -> None:
        super().__init__()
        self.up_proj = context.linear(context.width, hidden)
        self.down_proj = context.linear(hidden, context.width, gain=1 / math.sqrt(2 * context.layers))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The stream's update."""
        # Its weights lie the other way round for the product, whose gradient is then sooner worked out.
        return self.down_proj(functional.gelu(x_BTD @ self.up_proj.weight.mT.contiguous()))


def picked(stream_BTD: Tensor, positions: Tensor | None) -> Tensor:
    """The places of a stream that are asked, N x D; all of it for None, or where it holds those alone already."""
    stream_ND = stream_BTD.flatten(0, -2)
    if positions is None or stream_BTD.shape[:-1] == positions.shape:
        return stream_ND
    return stream_ND.index_select(0, positions.flatten())


def attention(spec: ModelSpec, context: LayerContext) -> Attention:
    """The attention of one layer: the parts of the spec take turns."""
    part = spec.attention[context.layer % len(spec.attention)]
    return placed(context, ATTENTIONS.entry(part.name), part, "model.attention")


def placed(context: LayerContext, entry: Entry[T], part: Part, where: str) -> T:
    """A part with its options, built at its site."""
    try:
        return entry.cls(context, **entry.complete(part.options))  # type: ignore[call-arg]  # parts take a site
    except AttnlabError as error:
        raise error.at(f"{where}: {part}") from None


def build(spec: ModelSpec, *, vocabulary: int, length: int, seed: int) -> Transformer:
    """A model whose initial weights are a function of the seed alone."""
    # Parts draw from the site's generator. A user's file may use torch's own layers, which draw from the global one:
    # it is lent the same seed and put back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Transformer(spec, vocabulary=vocabulary, length=length, generator=torch.Generator().manual_seed(seed))


def _trace(streams: list[Tensor], mixes: list[AttentionOutput]) -> ActivationTrace:
    scores = tuple(mixed.scores_BHTS for mixed in mixes)
    weights = tuple(mixed.weights_BHTS for mixed in mixes)
    return ActivationTrace(tuple(streams), scores, weights, tuple(mixed.qkv for mixed in mixes))


__all__ = ["QKV", "Block", "Mlp", "ModelOutput", "Transformer", "attention", "build"]
