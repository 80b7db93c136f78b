#!/usr/bin/env bash
# PoPE-pytorch 0.2.1 and x-transformers 2.31.10: polar positions with bias_uniform_init=True cannot be built.
#
# The good guess: bias_uniform_init=True starts the learned shifts from U(-2 pi, 0), as the paper does within the trained length.
# The behavior: the constructors fill a parameter in place that requires a gradient, and raise "a leaf Variable that requires grad
# is being used in an in-place operation". Under torch.no_grad() both work.
# Output seen: "PoPE-pytorch raises, x-transformers raises".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps PoPE-pytorch==0.2.1 \
    x-transformers==2.31.10 einops==0.8.1 einx==0.4.3 frozendict==2.5.1 loguru==0.7.3 torch-einops-utils==0.2.0 packaging==25.0
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from PoPE_pytorch.pope import PoPE
from x_transformers.x_transformers import PolarEmbedding


def raises(build) -> bool:
    with torch.no_grad():
        build()  # works
    try:
        build()
    except RuntimeError as error:
        return "leaf Variable" in str(error)
    return False


seen = {
    "PoPE-pytorch": raises(lambda: PoPE(4, heads=2, bias_uniform_init=True)),
    "x-transformers": raises(lambda: PolarEmbedding(4, 2, bias_uniform_init=True)),
}
print(", ".join(f"{name} {'raises' if one else 'works'}" for name, one in seen.items()))
sys.exit(0 if all(seen.values()) else 1)
PY
