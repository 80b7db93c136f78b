#!/usr/bin/env bash
# x-transformers 2.31.10: with num_residual_streams=4 every residual stream becomes the sum of all four at each layer.
#
# The good guess: HyperConnection mixes the streams by a matrix that Sinkhorn iterations make doubly stochastic, as the
# manifold-constrained hyper-connections that its docstring cites: rows and columns sum to 1, the mean stream is preserved.
# The behavior: prepare() splits the last axis of the mixing weights, one row of n numbers for each stream, into 1 x n before the
# iterations, instead of taking the n rows as one n x n matrix. The last normalization is over the axis of size 1, so all
# weights are 1: each stream is replaced by the sum of the streams, whatever was learned. The mean stream grows n-fold.
# The function sinkhorn itself is right: of an n x n matrix it gives row and column sums of 1.
# Output seen: "every stream is the sum: True, mean grows by 4.00, sinkhorn rows and columns sum to 1: True, learned weights
# change the mixing: False".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 x-transformers==2.31.10
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from x_transformers.x_transformers import HyperConnection, sinkhorn

torch.manual_seed(0)
streams, width = 4, 8
mixing = HyperConnection(width, layer_index=0, num_residual_streams=streams)
residual = torch.randn(streams, 3, width)  # (batch streams) tokens width, a batch of one
_, mixed, _ = mixing.prepare(residual)
total = residual.sum(0)[None, :, None].expand_as(mixed)
summed = torch.allclose(mixed, total, atol=1e-5)
growth = float((mixed.mean(2) / residual.mean(0)[None]).median())
with torch.no_grad():
    mixing.static_alpha.normal_()
    mixing.dynamic_alpha_fn.normal_()
    mixing.dynamic_alpha_scale.fill_(1.0)
    changed = not torch.allclose(mixing.prepare(residual)[1], mixed, atol=1e-5)
square = sinkhorn(torch.randn(streams, streams), 100)
right = bool(torch.allclose(square.sum(0), torch.ones(streams)) and torch.allclose(square.sum(1), torch.ones(streams)))
print(f"every stream is the sum: {summed}, mean grows by {growth:.2f}, sinkhorn rows and columns sum to 1: {right},", end=" ")
print(f"learned weights change the mixing: {changed}")
sys.exit(0 if summed and right and not changed and abs(growth - streams) < 1e-3 else 1)
PY
