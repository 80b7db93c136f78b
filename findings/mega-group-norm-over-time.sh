#!/usr/bin/env bash
# Mega-pytorch 0.1.0: norm_mhesa_heads=True makes the causal layer read later tokens.
#
# The good guess: the option is a normalization of the heads of each token, as the retention network that it is taken from
# has it, so MegaLayer(causal=True) stays causal; the moving average itself and its attention are.
# The behavior: the heads are moved to the channel axis of nn.GroupNorm, whose statistics run over the channels of a group
# and over all positions of the sequence. Every output depends on every later token, and a prefix alone gives other
# outputs than the same tokens at the start of a longer sequence. No error, and the loss of training looks better.
# Output seen: "without: change 0 %; norm_mhesa_heads: change N %, prefix differs by M %" with N and M above 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 \
    scipy==1.17.1 einops==0.8.2 Mega-pytorch==0.1.0
"$folder/venv/bin/python" - <<'PY'
import sys

import torch
from mega_pytorch import MegaLayer


def leak(normalized: bool) -> tuple[float, float]:
    torch.manual_seed(0)
    module = MegaLayer(dim=32, causal=True, norm_mhesa_heads=normalized).double().eval()
    inputs = torch.randn(1, 128, 32, dtype=torch.float64)
    changed = inputs.clone()
    changed[:, 64:] *= 3
    with torch.no_grad():
        output = module(inputs)
        change = (module(changed) - output)[:, :64].abs().max() / output.abs().max()
        prefix = (module(inputs[:, :64]) - output[:, :64]).abs().max() / output.abs().max()
    return float(change), float(prefix)


without, with_norm = leak(False), leak(True)
print(f"without: change {100 * without[0]:.1f} %; ", end="")
print(f"norm_mhesa_heads: change {100 * with_norm[0]:.1f} %, prefix differs by {100 * with_norm[1]:.1f} %")
sys.exit(0 if max(without) < 1e-10 and min(with_norm) > 0.01 else 1)
PY
