"""The registered blocks: how attention and MLP of a layer are put together."""

from attnlab.block.base import BLOCKS, Block, BlockParts, register, select_positions

__all__ = ["BLOCKS", "Block", "BlockParts", "register", "select_positions"]
