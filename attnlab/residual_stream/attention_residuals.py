"""Attention residuals, AttnRes: each branch reads a softmax average of the embedding and all earlier updates.

    x_l = sum_{i < l} a_li h_i,   a_l = softmax_i(w_l.rms(h_i)),   h_l = f_l(x_l)

``h_0`` is the embedding, and l counts the branches of all layers; the head reads one more such average. Each ``w_l`` is
one learned vector that starts at zero. The average is then that of equal shares, the plain stream divided by the number
of its terms. A pre-norm model therefore begins as one with the plain stream, and differs by what it learns.

Source   Kimi Team, "Attention residuals", arXiv:2603.15031, over all earlier branches, not over groups.
Theirs   pseudo-query -> our w_l.
Differs  the norm of h_i has no gain: it would multiply w_l. The first branch has one term to read, and so no w.

Letters  B batch, T tokens, D width, I terms.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from attnlab.residual_stream.base import ResidualStream, Stream, register
from attnlab.tensors import LayerContext, at_least_float32, full_precision

EPS = 1e-6
"""Added to the mean square of a term."""


@register("attention-residuals", source="arXiv:2603.15031", aliases=("attnres",))
@final
class AttentionResiduals(ResidualStream):
    """A softmax average of the embedding and all earlier updates, by one learned vector for each branch."""

    is_single = False

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self.first = context.layer == 0
        self.query_D = nn.ParameterList(nn.Parameter(torch.zeros(context.width)) for _ in range(1 if self.first else 2))
        self.closing_D = nn.Parameter(torch.zeros(context.width)) if context.layer == context.layers - 1 else None

    def limit(self, branches: int) -> None:
        """Drop the vector of the second branch where there is one branch."""
        kept = branches - self.first
        self.query_D = nn.ParameterList(list(self.query_D)[:kept])

    def open(self, x_BTD: Tensor) -> Stream:
        """The embedding, as the only term."""
        return (x_BTD,)

    def close(self, x_BTD: Stream) -> Tensor:
        """The average that the head reads."""
        assert self.closing_D is not None, "the stream of the last layer closes"
        return softmax_average(x_BTD, self.closing_D)

    def read(self, x_BTD: Stream, branch: int) -> Tensor:
        """The average that the branch reads."""
        if self.first and branch == 0:
            term_BTD: Tensor = x_BTD[0]
            return term_BTD
        return softmax_average(x_BTD, self.query_D[branch - self.first])

    def write(self, x_BTD: Stream, update_BTD: Tensor, branch: int) -> Stream:
        """The terms, and the update as one more."""
        return (*x_BTD, update_BTD)


def softmax_average(terms_BTD: Stream, query_D: Tensor) -> Tensor:
    """Average terms with shares that are a softmax over them, token by token.

    The terms are not stacked: autograd then keeps each of them once, and not once for each branch that reads it.

    Args:
        terms_BTD: A tuple of tensors of one shape.
        query_D: The vector whose products with the normalized terms are the logits.

    Returns:
        The average, B x T x D.
    """
    first_BTD: Tensor = terms_BTD[0]
    with full_precision(first_BTD):
        exact = [at_least_float32(term_BTD) for term_BTD in terms_BTD]
        query_D = at_least_float32(query_D)
        logits = [term @ query_D * torch.rsqrt(term.square().mean(-1) + EPS) for term in exact]
        shares_IBT = torch.stack(logits).softmax(0)
        average_BTD = shares_IBT[0][..., None] * exact[0]
        for share_BT, term_BTD in zip(shares_IBT[1:], exact[1:], strict=True):
            average_BTD = torch.addcmul(average_BTD, share_BT[..., None], term_BTD)
    return average_BTD.to(first_BTD.dtype)
