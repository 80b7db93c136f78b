#!/usr/bin/env bash
# torch 2.13.0 on a CPU: flex_attention outside of torch.compile attends to blocks that its BlockMask leaves out.
#
# The good guess: a BlockMask says which blocks of keys each block of queries sees, and compiling changes how that is computed, not
# what. A mask made by BlockMask.from_kv_blocks from chosen blocks (the argument mask_mod is optional) shows them in to_dense()
# and sparsity(), so an uncompiled call is a reference for the compiled one.
# The behavior: uncompiled, the blocks are not read at all; only mask_mod is, and without one every key is seen. The output is that
# of dense attention, and the only warning is about speed and memory. Compiled, the same call sees the chosen blocks alone. A
# block-sparse method that is checked uncompiled is checked as full attention.
# Output seen: "sparsity 50 %; uncompiled: as dense True, as the blocks False; compiled: as dense False, as the blocks True". The
# part after the last semicolon needs a C++ compiler, and is left out without one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5
TORCHINDUCTOR_CACHE_DIR="$folder/cache" "$folder/venv/bin/python" -W ignore - <<'PY'
import shutil
import sys

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

torch.manual_seed(0)
size = 128
queries, keys, values = torch.randn(3, 1, 1, 2 * size, 16)
# Two blocks of queries, each of which sees the block of keys at its own place.
counts = torch.ones(1, 1, 2, dtype=torch.int32)
chosen = torch.tensor([[[[0, 1], [1, 0]]]], dtype=torch.int32)
mask = BlockMask.from_kv_blocks(counts, chosen, BLOCK_SIZE=size)
shown = mask.to_dense().tolist() == [[[[1, 0], [0, 1]]]]

dense = scaled_dot_product_attention(queries, keys, values)
parts = zip(*(tensor.split(size, dim=2) for tensor in (queries, keys, values)))
blocks = torch.cat([scaled_dot_product_attention(*part) for part in parts], dim=2)


def alike(attend) -> tuple[bool, bool]:
    with torch.no_grad():
        output = attend(queries, keys, values, block_mask=mask)
    return torch.allclose(output, dense, atol=1e-5), torch.allclose(output, blocks, atol=1e-5)


eager = alike(flex_attention)
print(f"sparsity {mask.sparsity():.0f} %; uncompiled: as dense {eager[0]}, as the blocks {eager[1]}", end="")
compiled = (False, True)
if shutil.which("g++"):
    compiled = alike(torch.compile(flex_attention))
    print(f"; compiled: as dense {compiled[0]}, as the blocks {compiled[1]}", end="")
print()
right = shown and mask.sparsity() == 50
sys.exit(0 if right and eager == (True, False) and compiled == (False, True) else 1)
PY
