"""A small causal transformer, built from its specification.

Letters  B batch, T tokens, D width, V vocabulary, N supervised positions of the whole batch, P of each row.

The model returns logits at the supervised positions only, and on request a trace of its activations. It has no hooks
and no side effects, so that vmapped runs and diagnostics share one forward pass. After the attention of the last layer
no token reads another token. There, norms, MLP and head compute the supervised positions alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.ops.precision import full_precision
from attnlab.block import Block, select_positions
from attnlab.errors import IncompatiblePartsError
from attnlab.mlp import Mlp
from attnlab.model._block import build_attention, build_block, build_norm, build_position
from attnlab.model._cross_entropy import chunked_cross_entropy
from attnlab.model._layout import make_contiguous
from attnlab.model._lazy import initialize_lazy
from attnlab.model.base import Model, ModelOutput
from attnlab.model.losses import mean_loss
from attnlab.model.module import build_module
from attnlab.position import POSITIONS, Position
from attnlab.residual_stream import Stream
from attnlab.specs import ModelSpec
from attnlab.tensors import (
    QKV,
    ActivationTrace,
    AttentionOutput,
    LayerContext,
    LayerInputs,
    ParameterRole,
    Role,
    at_least_float32,
)

MAX_LOGITS = 2**21
"""The loss of more logits than this is computed in chunks."""
MODEL_ROLES: Mapping[str, Role] = {"embedding_VD": "embedding", "position": "position", "norm": "norm", "head": "head"}
"""The roles of the parameters outside of the blocks, by the name of their module."""


@final
class Transformer(Model):
    """Embedding, blocks, norm, head.

    Args:
        spec: Sizes, wiring, attention and position.
        vocabulary: V.
        length: The longest sequence, in tokens.
        generator: The source of all initial weights.
        features: F, numbers per token; 0, the default, where tokens are ids.

    Raises:
        InvalidValueError: sizes that do not fit one another, or an option that a part does not accept.
        IncompatiblePartsError: The embedding is tied to the head, and tokens are numbers.
        UnknownNameError: a part or option that does not exist.
    """

    def __init__(
        self, spec: ModelSpec, *, vocabulary: int, length: int, generator: torch.Generator, features: int = 0
    ) -> None:
        super().__init__(spec)
        if features and spec.tie_embeddings:
            problem = "Tokens of this task are numbers: there is no embedding of ids that the head could share."
            raise IncompatiblePartsError(problem, "Leave out tie_embeddings.", where="model.tie_embeddings")
        positions = [POSITIONS.entry(part.name) for part in spec.position.alternating]
        sizes = {"width": spec.width, "heads": spec.heads, "layers": spec.layers, "length": length}
        contexts = [
            LayerContext(
                **sizes,
                layer=layer,
                biased=positions[layer % len(positions)].cls.biases,
                modifiers=spec.modifiers,
                init_scale=spec.init_scale,
                mlp_ratio=spec.mlp_ratio,
                generator=generator,
            )
            for layer in range(spec.layers)
        ]
        rows, std = (features, 1 / math.sqrt(features)) if features else (vocabulary, 1.0)
        self.embedding_VD = contexts[0].normal(rows, spec.width, std=std)
        """Of numbers the weights of a linear map, F x D."""
        self.position: Position = build_position(spec, contexts[0])
        self.blocks = nn.ModuleList(build_block(spec, context) for context in contexts)
        self.norm = build_norm(spec, contexts[-1]) if spec.norm == "pre" else nn.Identity()
        self.head = None if spec.tie_embeddings else contexts[0].linear(spec.width, vocabulary)

    def forward(self, inputs_BT: Tensor, positions: Tensor | None, trace: bool = False) -> ModelOutput:
        """Compute the logits at the supervised positions.

        Args:
            inputs_BT: Token ids, int64; or numbers, B x T x F, float32.
            positions: Indices of the supervised positions in the flattened batch, ``row * T + column``, int64: N, or
                B x P where each row has equally many, which may be faster; None for all positions.
            trace: Whether to return the residual stream, scores and weights of every layer.

        Returns:
            Logits in the order of the positions, the auxiliary loss and the trace.
        """
        return self.forward_embedded(self.embed(inputs_BT), positions, trace)

    def embed(self, inputs_BT: Tensor) -> Tensor:
        """Compute the residual stream before the first block.

        Args:
            inputs_BT: Token ids, int64; or numbers, B x T x F, or fewer, to which zeros are added.

        Returns:
            Embedded tokens with the position's embedding, if it has one, B x T x D.
        """
        if inputs_BT.is_floating_point():
            with full_precision(inputs_BT):
                embedded = inputs_BT.to(self.embedding_VD.dtype) @ self.embedding_VD[: inputs_BT.shape[-1]]
            return self.position.embed(embedded)
        return self.position.embed(functional.embedding(inputs_BT, self.embedding_VD))

    def forward_embedded(self, residual_BTD: Tensor, positions: Tensor | None, trace: bool = False) -> ModelOutput:
        """Compute the logits from a residual stream, such as noise.

        Args:
            residual_BTD: The input of the first block; no position embedding is added.
            positions: As in ``forward``.
            trace: As in ``forward``.

        Returns:
            As ``forward``.
        """
        states_ND, auxiliary, traces = self.hidden_states(residual_BTD, positions, trace)
        return ModelOutput(self.logits(states_ND), auxiliary, traces)

    def losses(self, inputs_BT: Tensor, positions: Tensor | None, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the losses of a batch. Many logits are never in memory at once.

        Args:
            inputs_BT: Token ids, int64.
            positions: As in ``forward``.
            targets_N: The target of each supervised position, int64; or a number, float32.

        Returns:
            Mean cross-entropy in nats, or the mean squared error of numbers, and the auxiliary loss, two scalars.
        """
        states_ND, auxiliary, _ = self.hidden_states(self.embed(inputs_BT), positions)
        if len(targets_N) * len(self.head_VD) > MAX_LOGITS and not targets_N.is_floating_point():
            return chunked_cross_entropy(states_ND, self.head_VD, targets_N), auxiliary
        return mean_loss(at_least_float32(self.logits(states_ND)), targets_N), auxiliary

    def hidden_states(
        self, residual_BTD: Tensor, positions: Tensor | None, trace: bool = False
    ) -> tuple[Tensor, Tensor, tuple[ActivationTrace, ...]]:
        """Compute the input of the head.

        Args:
            residual_BTD: The input of the first block.
            positions: As in ``forward``.
            trace: As in ``forward``.

        Returns:
            Hidden states at the supervised positions, N x D; the auxiliary loss, a scalar; one trace if requested.
        """
        first_block, last_block = self.blocks[0], self.blocks[-1]
        assert isinstance(first_block, Block)
        assert isinstance(last_block, Block)
        stream: Stream = first_block.residual_stream.open(residual_BTD)
        residuals: list[Tensor] = []
        inputs: list[Tensor] = []
        outputs: list[AttentionOutput] = []
        first: tuple[QKV, ...] = ()
        if positions is not None and positions.shape[-1] >= residual_BTD.shape[-2]:
            positions = positions.flatten()  # a B x P x D stream is recognized by P < T
        for layer, block in enumerate(self.blocks, start=1):
            queries = positions if layer == len(self.blocks) and not trace else None
            if trace:
                assert isinstance(block, Block)
                residuals.append(block.residual_stream.shown(stream))
                inputs.append(block.branch_input(stream, 0))
            stream, output = block(stream, self.position.of_layer(layer - 1), LayerInputs(first, queries), trace)
            first = first or (output.qkv,)
            outputs.append(output)
        residual_BTD = last_block.residual_stream.close(stream)
        residuals.append(residual_BTD)
        states_ND = self.norm(select_positions(residual_BTD, positions) if trace else residual_BTD.flatten(0, -2))
        auxiliary = torch.stack([output.auxiliary for output in outputs]).sum()
        return states_ND, auxiliary, (_trace(residuals, outputs, inputs),) if trace else ()

    def logits(self, states_ND: Tensor) -> Tensor:
        """Apply the head.

        Args:
            states_ND: Hidden states.

        Returns:
            Logits, N x V.
        """
        few = states_ND.shape[-2] * len(self.head_VD) <= MAX_LOGITS
        # Logits rounded to bf16 cost a tenth more steps on recall; where they are few, rounding saves no time.
        with full_precision(states_ND) if few else nullcontext():
            return states_ND @ self.head_VD.mT

    @property
    def head_VD(self) -> Tensor:
        """The head's own weights, or the embedding scaled to the variance of an untied head."""
        return self.embedding_VD / math.sqrt(self.spec.width) if self.head is None else self.head.weight

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """Layer and role of each parameter by name, as the modules declare them in ``parameter_roles``.

        A declaration names a parameter or a submodule. The innermost declaration above a parameter holds.
        """
        declared = {path: ParameterRole(None, role) for path, role in MODEL_ROLES.items()}
        for layer, block in enumerate(self.blocks, start=1):
            for prefix, module in block.named_modules(prefix=f"blocks.{layer - 1}"):
                roles: Mapping[str, Role] = getattr(module, "parameter_roles", {})
                declared |= {f"{prefix}.{path}": ParameterRole(layer, role) for path, role in roles.items()}
        return {name: _innermost(declared, name) for name, _ in self.named_parameters()}


def build_model(spec: ModelSpec, *, vocabulary: int, length: int, seed: int, features: int = 0) -> Model:
    """Build a transformer, or a whole model of the user's own; its initial weights are a function of the seed alone.

    Args:
        spec: Sizes, wiring, attention and position; or the whole model.
        vocabulary: V.
        length: The longest sequence, in tokens.
        seed: Seed of the initial weights.
        features: F, numbers per token; 0, the default, where tokens are ids.

    Returns:
        The model, in float32 on the CPU; a user's part may have weights of other types.

    Raises:
        InvalidValueError: sizes that do not fit one another, an option that a part does not accept, or a lazy layer
            that no forward pass uses.
        UnknownNameError: a part or option that does not exist.
        PluginError: The constructor of a whole model fails.
        IncompatiblePartsError: Tokens are numbers, and the model is a whole one or ties its embedding to the head.
    """
    if features and spec.module is not None:
        problem = "Tokens of this task are numbers, and a whole model reads ids."
        raise IncompatiblePartsError(problem, "Leave out --model, or choose another task.", where="model.module")
    # Built-in parts draw from the context's generator. A user's part may contain torch's own layers, which draw from
    # the global generator. It gets the same seed, and its state is restored.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: Model
        if spec.module is not None:
            model = build_module(spec, vocabulary, length)
        else:
            generator = torch.Generator().manual_seed(seed)
            model = Transformer(spec, vocabulary=vocabulary, length=length, generator=generator, features=features)
        initialize_lazy(model, length)
    make_contiguous(model)
    return model


def build(spec: ModelSpec, *, vocabulary: int, length: int, seed: int, features: int = 0) -> Transformer:
    """Build a transformer as :func:`build_model` does.

    Args:
        spec: Sizes, wiring, attention and position.
        vocabulary: V.
        length: The longest sequence, in tokens.
        seed: Seed of the initial weights.
        features: F, numbers per token; 0, the default, where tokens are ids.

    Returns:
        The model.

    Raises:
        InvalidValueError: As :func:`build_model`.
        UnknownNameError: a part or option that does not exist.
    """
    model = build_model(spec, vocabulary=vocabulary, length=length, seed=seed, features=features)
    assert isinstance(model, Transformer), "nothing is known of the inside of a whole model"
    return model


def _innermost(declared: Mapping[str, ParameterRole], name: str) -> ParameterRole:
    """The role declared for a parameter, or for the innermost module that contains it and has a role."""
    path = name
    while path not in declared and "." in path:
        path = path.rpartition(".")[0]
    return declared[path]


def _trace(residuals: list[Tensor], outputs: list[AttentionOutput], inputs: list[Tensor]) -> ActivationTrace:
    """The trace of a forward pass: residual streams, and what each attention read and returned."""
    scores = tuple(output.scores_BHTS for output in outputs)
    weights = tuple(output.weights_BHTS for output in outputs)
    return ActivationTrace(tuple(residuals), scores, weights, tuple(output.qkv for output in outputs), tuple(inputs))


__all__ = [
    "QKV",
    "Block",
    "Mlp",
    "Model",
    "ModelOutput",
    "Transformer",
    "build",
    "build_attention",
    "build_model",
    "select_positions",
]
