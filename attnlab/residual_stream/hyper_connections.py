"""Manifold-constrained hyper-connections, mHC: n residual streams, mixed by a doubly stochastic matrix.

    x = sum_i sigmoid(a_i) X_i                              what a branch reads
    X_j <- sum_i R_ij X_i + 2 sigmoid(b_j) f(x)             what it writes

    a_i  = s n_i.A + A0_i       n_i = norm(X_i)
    b_i  = s' n_i.B + B0_i
    R    = Sinkhorn(s n_i.C_j + C0_ij)

a, b and R are computed for each token. The norm has mean 0, variance 1 and a learned gain. Sinkhorn takes the softmax
of each column, then divides rows by their sums and columns by theirs in turn: sums of rows and of columns become 1, so
that the mixing neither adds to the streams nor removes from them. All streams begin as the embedding, and the head
reads their mean. One stream is the plain sum.

A, B and C start at zero, s and s' at 0.01, C0 as the identity, B0 at 0, A0_i at 1 for one stream, another in each
branch, and at 0 for the others. The streams are then equal: a pre-norm model begins as one with the plain stream.

Source   Zhu et al., "Hyper-connections", arXiv:2409.19606, algorithm 2; Xie et al., "mHC", arXiv:2512.24880.
Theirs   H_pre -> our sigmoid(a); H_post -> our 2 sigmoid(b); H_res -> our R; expansion rate -> our ``streams``.
Differs  a, b and R read each stream by itself, as in algorithm 2 and in x-transformers; B0 starts at 0 and not at 1, as
         there, so that an update is added once. The head reads the mean of the streams, and not their sum.

Letters  B batch, T tokens, D width, I streams that are read, J streams that are written.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.residual_stream.base import ResidualStream, Stream, register
from attnlab.tensors import LayerContext, at_least_float32, full_precision


@register("hyper-connections", source="arXiv:2512.24880, arXiv:2409.19606", aliases=("mhc",))
@final
class HyperConnections(ResidualStream):
    """Several residual streams that a doubly stochastic matrix mixes; one is the plain sum.

    Options:
        streams: n, the number of residual streams.
        rounds: How many times rows and columns are divided by their sums.
    """

    is_single = False

    def __init__(
        self,
        context: LayerContext,
        *,
        streams: Annotated[int, Field(ge=1, le=64)] = 4,
        rounds: Annotated[int, Field(ge=1, le=100)] = 5,
    ) -> None:
        super().__init__(context)
        self.streams, self.rounds = streams, rounds
        first = 2 * context.layer
        self.branches = nn.ModuleList(
            StreamMixing(context.width, streams, (first + branch) % streams)
            for branch in range(2 if streams > 1 else 0)
        )

    def limit(self, branches: int) -> None:
        """Drop the maps of the second branch where there is one branch."""
        self.branches = self.branches[:branches]

    def maps(self, branch: int) -> StreamMixing:
        """The maps of a branch.

        Args:
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            The maps.
        """
        maps = self.branches[branch]
        assert isinstance(maps, StreamMixing)
        return maps

    def open(self, x_BTD: Tensor) -> Stream:
        """The embedding in every stream."""
        return (x_BTD,) * self.streams

    def close(self, x_BTD: Stream) -> Tensor:
        """The mean of the streams."""
        return torch.stack(x_BTD).mean(0)

    def read(self, x_BTD: Stream, branch: int) -> Tensor:
        """The gated sum of the streams."""
        if self.streams == 1:
            only_BTD: Tensor = x_BTD[0]
            return only_BTD
        x_BTID = torch.stack(x_BTD, dim=-2)
        shares_BTI = self.maps(branch).shares(x_BTID)
        with full_precision(x_BTID):
            return (shares_BTI.to(x_BTID.dtype)[..., None] * x_BTID).sum(-2)

    def write(self, x_BTD: Stream, update_BTD: Tensor, branch: int) -> Stream:
        """The mixed streams, each with its share of the update."""
        if self.streams == 1:
            return (x_BTD[0] + update_BTD,)
        x_BTID = torch.stack(x_BTD, dim=-2)
        mixing_BTIJ, gain_BTJ = self.maps(branch).mixing(x_BTID, self.rounds)
        with full_precision(x_BTID):
            mixed_BTJD = mixing_BTIJ.to(x_BTID.dtype).mT @ x_BTID
            return torch.addcmul(mixed_BTJD, gain_BTJ.to(x_BTID.dtype)[..., None], update_BTD[..., None, :]).unbind(-2)


@final
class StreamMixing(nn.Module):
    """The maps of one branch, from the streams to what is read, mixed and written.

    Args:
        width: D.
        streams: n.
        own: The stream that the branch reads most of.
    """

    def __init__(self, width: int, streams: int, own: int) -> None:
        super().__init__()
        self.gain_D = nn.Parameter(torch.ones(width))
        self.read_D, self.write_D = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.mix_DJ = nn.Parameter(torch.zeros(width, streams))
        self.read_scale, self.write_scale = nn.Parameter(torch.tensor(0.01)), nn.Parameter(torch.tensor(0.01))
        self.read_I = nn.Parameter((torch.arange(streams) == own).float())
        self.write_J = nn.Parameter(torch.zeros(streams))
        self.mix_IJ = nn.Parameter(torch.eye(streams))

    def normed(self, x_BTID: Tensor) -> Tensor:
        """Normalize the streams.

        Args:
            x_BTID: The streams.

        Returns:
            Each with mean 0 and variance 1, times the gain, in float32 or more.
        """
        x_BTID = at_least_float32(x_BTID)
        return functional.layer_norm(x_BTID, x_BTID.shape[-1:], at_least_float32(self.gain_D))

    def shares(self, x_BTID: Tensor) -> Tensor:
        """Compute the share of each stream in what the branch reads.

        Args:
            x_BTID: The streams.

        Returns:
            Shares between 0 and 1, B x T x I.
        """
        with full_precision(x_BTID):
            return (self.read_scale * (self.normed(x_BTID) @ self.read_D) + self.read_I).sigmoid()

    def mixing(self, x_BTID: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
        """Compute the mixing matrix, and the factor of the update in each stream.

        Args:
            x_BTID: The streams.
            rounds: Of Sinkhorn.

        Returns:
            The matrix, B x T x I x J, and factors between 0 and 2, B x T x J.
        """
        with full_precision(x_BTID):
            normed_BTID = self.normed(x_BTID)
            logits_BTIJ = self.read_scale * (normed_BTID @ self.mix_DJ) + self.mix_IJ
            gain_BTJ = 2 * (self.write_scale * (normed_BTID @ self.write_D) + self.write_J).sigmoid()
            return sinkhorn(logits_BTIJ, rounds), gain_BTJ


def sinkhorn(logits_IJ: Tensor, rounds: int) -> Tensor:
    """Make a matrix whose rows and columns sum to about 1.

    Args:
        logits_IJ: Of any leading axes.
        rounds: How many times rows, then columns, are divided by their sums.

    Returns:
        Positive numbers of the same shape. Columns sum to 1; rows nearly, the more so the more rounds there are.
    """
    mixing = logits_IJ.softmax(-2)
    for _ in range(rounds):
        mixing = mixing / mixing.sum(-1, keepdim=True)
        mixing = mixing / mixing.sum(-2, keepdim=True)
    return mixing
