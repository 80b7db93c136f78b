"""Tiles of the scores: parts of T x T that stay in the cache of a core, for some sequences and one head at a time.

Letters  B batch, H heads, T queries and keys, C channels per head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

TILE = 2**17
"""Numbers of a tile over all sequences that are computed together: three of them fit a cache of 2 MB."""


class Tile(NamedTuple):
    """One tile of the scores: its rows and keys, and whether it lies on the diagonal or at the first keys."""

    rows: slice
    keys: slice
    diagonal: bool
    first: bool


def tiles(tokens: int, side: int) -> Iterator[Tile]:
    """List the tiles on and below the diagonal, row by row.

    Args:
        tokens: T.
        side: Rows and keys of a tile.

    Yields:
        The tiles.
    """
    for row in range(0, tokens, side):
        for key in range(0, row + 1, side):
            rows, keys = (slice(start, min(start + side, tokens)) for start in (row, key))
            yield Tile(rows, keys, diagonal=row == key, first=key == 0)


def tile_side(tokens: int) -> int:
    """Choose the size of a tile: long enough for fast products, short enough to skip most of the other half.

    Args:
        tokens: T.

    Returns:
        Rows, and as many keys.
    """
    return min(tokens, 128 if tokens <= 512 else 256)


def parts(queries_BHTC: Tensor) -> Iterator[tuple[slice, int]]:
    """Divide a batch into parts of which the tiles are computed together.

    A product takes the channels of one head where they lie, between those of other heads.

    Args:
        queries_BHTC: Queries.

    Yields:
        Some sequences and one head, as an index.
    """
    batch, heads, tokens = queries_BHTC.shape[:3]
    count = max(1, TILE // tile_side(tokens) ** 2)
    return ((slice(start, start + count), head) for start in range(0, batch, count) for head in range(heads))


def empty_like_heads(tensor_BHTC: Tensor) -> Tensor:
    """Make an empty tensor of the same shape, in which the heads of a token lie side by side.

    Args:
        tensor_BHTC: The tensor.

    Returns:
        B x H x T x C, with the memory of B x T x (H C).
    """
    return torch.empty_like(tensor_BHTC.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)


@final
class Result:
    """The part of a result that some maps are written to, in float32 or more until it is stored.

    Args:
        whole_BHTC: The result.
        part: The sequences and the head.
    """

    def __init__(self, whole_BHTC: Tensor, part: tuple[slice, int]) -> None:
        self.stored = whole_BHTC[part]
        exact = torch.promote_types(self.stored.dtype, torch.float32)
        self.maps = self.stored if self.stored.dtype == exact else torch.empty_like(self.stored, dtype=exact)

    def store(self) -> None:
        """Round the maps to the type of the result."""
        if self.maps is not self.stored:
            self.stored.copy_(self.maps)


@final
class TileBuffers:
    """Memory of the tiles of some maps.

    Args:
        maps: B x T x C.
        count: How many tiles are held at a time.
        side: Rows and keys of a tile.
    """

    def __init__(self, maps: Tensor, count: int, side: int) -> None:
        self.maps = maps.shape[0]
        self.flat = [maps.new_empty(self.maps * side**2) for _ in range(count)]

    def of(self, tile: Tile) -> Iterator[Tensor]:
        """Give the memory of one tile.

        Args:
            tile: The tile.

        Yields:
            B x rows x keys, as often as tiles are held at a time.
        """
        rows, keys = tile.rows.stop - tile.rows.start, tile.keys.stop - tile.keys.start
        return (one[: self.maps * rows * keys].view(self.maps, rows, keys) for one in self.flat)


def fold_runs(runs: int, in_dims: tuple[int | None, ...], tensors: tuple[Any, ...]) -> Iterator[Tensor]:
    """Fold vmapped runs into the batch.

    Args:
        runs: How many runs.
        in_dims: The axis of the runs of each tensor; None where they share it.
        tensors: ... x B x H x T x C.

    Yields:
        Each tensor, (runs B) x H x T x C.
    """
    for tensor, dim in zip(tensors, in_dims, strict=True):
        yield (tensor.expand(runs, *tensor.shape) if dim is None else tensor.movedim(dim, 0)).flatten(0, 1)
