"""The registered MLPs: what a block computes of each token by itself."""

from attnlab.mlp.base import MLPS, Mlp, register

__all__ = ["MLPS", "Mlp", "register"]
