#!/usr/bin/env bash
# x-transformers 2.31.10: a new layer with pre_talking_heads=True has all of its scores doubled.
#
# The good guess: the mixing of heads before the softmax starts as the identity (its weight is a Dirac kernel), as that after the
# softmax does, so that a new layer attends as it would without the option.
# The behavior: before the softmax the mixed scores are added to the scores, after it they replace the weights. With the identity the
# sum is twice the scores: the layer starts with half the temperature, and a matrix copied from a paper's talking heads is applied
# with the identity added.
# Output seen: "as without the option: post True, pre False; pre as with doubled queries: True".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 x-transformers==2.31.10
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from x_transformers.attend import Attend

torch.manual_seed(0)
heads = 4
queries, keys, values = torch.randn(3, 2, heads, 6, 8)


def attended(queries: torch.Tensor, **options: bool) -> torch.Tensor:
    with torch.no_grad():
        return Attend(heads=heads, causal=True, **options)(queries, keys, values)[0]


plain = attended(queries)
post = torch.allclose(attended(queries, post_talking_heads=True), plain, atol=1e-6)
pre = torch.allclose(attended(queries, pre_talking_heads=True), plain, atol=1e-6)
doubled = torch.allclose(attended(queries, pre_talking_heads=True), attended(2 * queries), atol=1e-6)
print(f"as without the option: post {post}, pre {pre}; pre as with doubled queries: {doubled}")
sys.exit(0 if (post, pre, doubled) == (True, False, True) else 1)
PY
