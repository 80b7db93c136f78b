"""Weighted sums of the values under ``f(z) = z^2 / (1 + z^2)``, a tile of scores at a time.

    y_i = sum_{j <= i} f(z_ij) v_j / n_i,    n_i = sum_{j <= i} f(z_ij),    z_ij = scale * q_i.k_j
    dz_ij = 2 z_ij / (1 + z_ij^2)^2 (g_i.v_j - g_i.y_i) / n_i

The sums are additive over the keys, so no tile needs another: memory is linear in the length, tiles above the diagonal
are never computed, and a tile stays in the cache of a core. The backward pass computes each tile again.

Where a sum ``n`` is below :data:`LEAST` digits are lost, and where a |z| is above :data:`MOST` its square
overflows. There z is divided by the largest |z| of the row, m, and every weight is ``(z/m)^2 / (1 + z^2)`` plus
:data:`EQUAL`, so that a row of zeros is uniform.

Letters  B batch and heads, T queries and keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor

from attnlab.attention.ops.loops import usable
from attnlab.attention.ops.tiles import Result, Tile, TileBuffers, empty_like_heads, fold_runs, parts, tile_side, tiles
from attnlab.differentiation import differentiable_once
from attnlab.tensors import at_least_float32

LEAST = 1e-25
"""Least sum of a row that is computed without division by its largest |z|: the square of a |z| of 1e-16 of its root is
still representable in float32."""
EQUAL = 1e-30
"""Added to each weight of a row that is divided; the weights of a row of zeros are this alone."""
MOST = 1e18
"""Largest |z| of which the square is representable with room to spare; a larger one has the same weight."""
TINY = 1e-30
"""Least m; a row of which every |z| is below it is as a row of zeros."""
SHORT = 64
"""Most tokens of which the weights are kept for the backward pass."""


def rational_sums(queries_BHTC: Tensor, keys_BHTC: Tensor, values_BHTC: Tensor, scale: float) -> Tensor:
    """Mix the values of each query's own and earlier tokens.

    Args:
        queries_BHTC: Queries of all tokens.
        keys_BHTC: Keys.
        values_BHTC: Values; they may have other channels than the keys.
        scale: Factor on the dot products.

    Returns:
        B x H x T x C, in the type of the values.
    """
    looped = usable(queries_BHTC, keys_BHTC, values_BHTC)
    function = ShortRationalSums if queries_BHTC.shape[-2] <= SHORT and not looped else RationalSums
    mixed: Tensor = function.apply(queries_BHTC, keys_BHTC, values_BHTC, scale)[0]  # type: ignore[no-untyped-call]
    return mixed


@final
class RationalSums(torch.autograd.Function):
    """The weighted sums, the sum of each row, and the divisor m of each row, which is 1 for most."""

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the sums, and once more with divided rows where one needs it."""
        if usable(queries, keys, values):
            from attnlab.attention.ops import rational_loops

            mixed, totals = rational_loops.forward(queries, keys, values, scale)
        else:
            mixed, totals = _forward(queries, keys, values, scale, None)
        divisors = torch.ones_like(totals)
        if not bool((totals >= LEAST).all()):  # too small, or NaN after an overflow
            divisors = _divisors(queries, keys, scale)
            mixed, totals = _forward(queries, keys, values, scale, divisors)
        return mixed, totals, divisors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the inputs and the outputs, whose sizes grow with the length alone."""
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Compute each tile again, and the gradients of queries, keys and values from it."""
        queries, keys, values, mixed, totals, divisors = ctx.saved_tensors
        m = None if bool((divisors == 1).all()) else divisors
        if m is None and usable(queries, keys, values, grad):
            from attnlab.attention.ops import rational_loops

            return *rational_loops.backward(queries, keys, values, mixed, totals, grad, ctx.scale), None
        return *_backward(queries, keys, values, mixed, totals, m, grad, ctx.scale), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Fold the runs into the batch."""
        folded = fold_runs(info.batch_size, in_dims[:3], args[:3])
        outputs: tuple[Tensor, ...] = RationalSums.apply(*folded, args[3])  # type: ignore[no-untyped-call]
        return tuple(one.unflatten(0, (info.batch_size, -1)) for one in outputs), (0, 0, 0)


def _one_plus_square(z: Tensor, divisors: Tensor | None, tile: Tile, out: Tensor) -> None:
    """Write ``1 + z^2``, where z was divided by the divisors; limit z there."""
    if divisors is None:
        torch.addcmul(z.new_ones(()), z, z, out=out)
    else:
        z.clamp_(-MOST, MOST)
        torch.mul(z, divisors[:, tile.rows], out=out)
        out.mul_(out).add_(1.0)


def _largest(tensor: Tensor) -> float:
    """The largest absolute value."""
    return float(tensor.abs().amax())  # the norm of torch.inf takes ten times as long (torch 2.13.0)


def _divisors(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """The divisor of each row: its largest |z| up to the query, at most 1/2, so that none is 1; in blocks of rows."""
    queries, keys = at_least_float32(queries), at_least_float32(keys)
    largest, start = [], 0
    for rows in queries.split(tile_side(queries.shape[-2]), dim=-2):
        z = (rows * scale) @ keys[..., : start + rows.shape[-2], :].mT
        largest.append(z.tril_(start).abs_().amax(-1, keepdim=True))
        start += rows.shape[-2]
    return torch.cat(largest, dim=-2).clamp_(TINY, 0.5)


def _forward(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, divisors: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The weighted sums and the sum of each row."""
    tokens, side = queries.shape[-2], tile_side(queries.shape[-2])
    mixed, totals = empty_like_heads(values), at_least_float32(queries.new_empty(())).new_empty(*queries.shape[:-1], 1)
    for part in parts(queries):
        q, k, v = (at_least_float32(one[part]) for one in (queries, keys, values))
        m = None if divisors is None else divisors[part]
        q = q * scale if m is None else q * scale / m
        result, total, buffers = Result(mixed, part), totals[part], TileBuffers(q, 2, side)
        for tile in tiles(tokens, side):
            z, squares = buffers.of(tile)
            torch.bmm(q[:, tile.rows], k[:, tile.keys].mT, out=z)
            _one_plus_square(z, m, tile, squares)
            f = z.mul_(z).mul_(squares.reciprocal_())  # a quotient takes ten times as long as a product
            if m is not None:
                f.add_(EQUAL)
            if tile.diagonal:
                f.tril_()
            if tile.first:
                torch.sum(f, -1, keepdim=True, out=total[:, tile.rows])
            else:
                total[:, tile.rows].add_(f.sum(-1, keepdim=True))
            _accumulate(result.maps[:, tile.rows], f, v[:, tile.keys], begin=tile.first)
        result.maps.div_(total)
        result.store()
    return mixed, totals


def _backward(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mixed: Tensor,
    totals: Tensor,
    divisors: Tensor | None,
    grad: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values."""
    tokens, side = queries.shape[-2], tile_side(queries.shape[-2])
    wholes = empty_like_heads(queries), empty_like_heads(keys), empty_like_heads(values)
    for part in parts(queries):
        q, k, v, y, n, g = (at_least_float32(one[part]) for one in (queries, keys, values, mixed, totals, grad))
        m = None if divisors is None else divisors[part]
        q = q * scale if m is None else q * scale / m
        g = g / n
        common = (g * y).sum(-1, keepdim=True)
        results, buffers = [Result(whole, part) for whole in wholes], TileBuffers(q, 3, side)
        dq, dk, dv = (result.maps for result in results)
        for tile in tiles(tokens, side):
            rows, columns, diagonal, first = tile
            z, r, dz = buffers.of(tile)
            torch.bmm(q[:, rows], k[:, columns].mT, out=z)
            _one_plus_square(z, m, tile, r)
            r.reciprocal_()
            torch.bmm(g[:, rows], v[:, columns].mT, out=dz)
            dz.sub_(common[:, rows]).mul_(r)
            r.mul_(z)
            if diagonal:
                r.tril_()
            dz.mul_(r)
            f = r.mul_(z)
            if m is not None:
                f.add_(EQUAL)
                if diagonal:
                    f.tril_()
            _accumulate(dv[:, columns], f.mT, g[:, rows], begin=diagonal)
            _accumulate(dq[:, rows], dz, k[:, columns], begin=first)
            _accumulate(dk[:, columns], dz.mT, q[:, rows], begin=diagonal)
        dq.mul_(2 * scale if m is None else 2 * scale / m)
        dk.mul_(2)
        for result in results:
            result.store()
    return wholes


def _accumulate(total: Tensor, left: Tensor, right: Tensor, *, begin: bool) -> None:
    """Write a product, or add it."""
    if begin:
        torch.bmm(left, right, out=total)
    else:
        total.baddbmm_(left, right)


@final
class ShortRationalSums(torch.autograd.Function):
    """The weighted sums of short sequences; the weights and their slopes, half their derivative, before division; sums.

    Keeping them is faster than to compute them again, and takes little more memory than queries, keys and values.
    """

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute sums, weights and slopes, and once more with divided rows where one needs it."""
        outputs = _short_forward(queries, keys, values, scale, None)
        if not bool((outputs[3] >= LEAST).all()):  # too small, or an overflow
            outputs = _short_forward(queries, keys, values, scale, _divisors(queries, keys, scale))
        return outputs

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the inputs and the outputs."""
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of queries, keys and values."""
        tensors = ctx.saved_tensors
        wholes = [empty_like_heads(one) for one in tensors[:3]]
        for part in parts(tensors[0]):
            q, k, v, y, weights, slopes, totals, g = (at_least_float32(one[part]) for one in (*tensors, grad))
            g = g * totals.reciprocal()
            dz = torch.bmm(g, v.mT).sub_((g * y).sum(-1, keepdim=True)).mul_(slopes)
            # A product into memory of its own and a copy are faster than a product between the heads of other tokens.
            wholes[0][part] = torch.bmm(dz, k).mul_(2 * ctx.scale)
            wholes[1][part] = torch.bmm(dz.mT, q).mul_(2 * ctx.scale)
            wholes[2][part] = torch.bmm(weights.mT, g)
        return *wholes, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Fold the runs into the batch."""
        folded = fold_runs(info.batch_size, in_dims[:3], args[:3])
        outputs: tuple[Tensor, ...] = ShortRationalSums.apply(*folded, args[3])  # type: ignore[no-untyped-call]
        return tuple(one.unflatten(0, (info.batch_size, -1)) for one in outputs), (0, 0, 0, 0)


def _short_forward(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, divisors: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The weighted sums, the weights, their slopes, and the sum of each row."""
    mixed, (batch, heads, tokens) = empty_like_heads(values), queries.shape[:3]
    exact = at_least_float32(queries.new_empty(()))
    weights, slopes = (exact.new_empty(heads, batch, tokens, tokens).transpose(0, 1) for _ in range(2))
    totals = exact.new_empty(heads, batch, tokens, 1).transpose(0, 1)  # the maps of one head lie side by side
    past = exact.new_ones(tokens, tokens).tril_()
    whole = Tile(slice(0, tokens), slice(0, tokens), diagonal=True, first=True)
    overflows = divisors is None and not _largest(queries) * _largest(keys) * queries.shape[-1] * scale < MOST
    for part in parts(queries):
        q, k, v, f, slope = (at_least_float32(one[part]) for one in (queries, keys, values, weights, slopes))
        m = None if divisors is None else divisors[part]
        z = torch.bmm(q * scale if m is None else q * scale / m, k.mT)
        z = z.mul_(past) if m is None else z.tril_()  # a product of a key to come that is infinite
        _one_plus_square(z, m, whole, slope)
        torch.mul(z, slope.reciprocal_(), out=f)  # a quotient takes ten times as long as a product
        slope.mul_(f)
        f.mul_(z)
        if m is not None:
            f.add_(EQUAL).tril_()
            slope.div_(m)
        elif overflows:
            f.fill_(math.nan)
        torch.sum(f, -1, keepdim=True, out=totals[part])
        sums = torch.bmm(f, v).mul_(totals[part].reciprocal())
        sums[:, 0] = v[:, 0]  # a single weight is exactly one
        mixed[part] = sums
    return mixed, weights, slopes, totals
