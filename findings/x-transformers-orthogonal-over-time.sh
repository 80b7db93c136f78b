#!/usr/bin/env bash
# x-transformers 2.31.10: orthog_projected_values and orthog_residual make a causal Decoder read later tokens.
#
# The good guess: a Decoder is causal with each of its options. What these two remove from a token's output is the part along the
# token's own value, or own residual.
# The behavior: the function behind both flattens all axes but the batch before it projects, so one scalar product and one norm run
# over the whole sequence, later tokens included (with attn_orthog_projected_values_per_head=True too). Earlier outputs change with
# later tokens, and a prefix alone has other outputs than the same tokens at the start of a longer sequence.
# Output seen: "plain: change 0.0 %, prefix 0.0 %; projected values: change 3.5 %, prefix 8.4 %; residual: change 0.2 %, prefix 0.4 %".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 x-transformers==2.31.10
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from x_transformers import Decoder


def leak(**options: bool) -> tuple[float, float]:
    torch.manual_seed(0)
    module = Decoder(dim=32, depth=2, heads=4, attn_dim_head=8, **options).double().eval()
    inputs = torch.randn(1, 16, 32, dtype=torch.float64)
    changed = inputs.clone()
    changed[:, 8:] = inputs[:, :8]
    with torch.no_grad():
        output = module(inputs)
        change = (module(changed) - output)[:, :8].abs().max() / output.abs().max()
        prefix = (module(inputs[:, :8]) - output[:, :8]).abs().max() / output.abs().max()
    return 100 * float(change), 100 * float(prefix)


found = {
    "plain": leak(),
    "projected values": leak(attn_orthog_projected_values=True),
    "residual": leak(orthog_residual=True),
}
print("; ".join(f"{name}: change {change:.1f} %, prefix {prefix:.1f} %" for name, (change, prefix) in found.items()))
leaks = min(found["projected values"] + found["residual"])
sys.exit(0 if max(found["plain"]) < 1e-10 and leaks > 0.05 else 1)
PY
