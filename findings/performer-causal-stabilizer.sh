#!/usr/bin/env bash
# performer-pytorch 1.1.4: with causal=True later tokens change earlier outputs.
#
# The good guess: SelfAttention(causal=True) is causal, as prefix sums of linear attention are. The maximum that is
# subtracted in the exponent of its softmax kernel, for numeric stability, cancels between numerator and normalizer.
# The behavior: for the keys that maximum runs over all tokens of the sequence, and a constant (1e-4) is added to the
# exponential afterwards, so that it does not cancel. A later key of large norm changes what earlier tokens give, by several
# percent of the largest output. The maximum is detached: the gradient with respect to the later tokens is exactly zero, so a
# test of causality by gradients passes. With generalized_attention=True (a ReLU kernel) nothing leaks.
# Output seen: "softmax kernel: change N %, gradient 0; ReLU kernel: change 0 %" with N above 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 \
    performer-pytorch==1.1.4 local-attention==1.11.2 axial-positional-embedding==0.3.12 einops==0.8.2
"$folder/venv/bin/python" - <<'PY'
import sys

import torch
from performer_pytorch import SelfAttention


def leak(generalized: bool) -> tuple[float, float]:
    torch.manual_seed(0)
    module = SelfAttention(dim=32, heads=4, dim_head=8, causal=True, generalized_attention=generalized).double().eval()
    inputs = torch.randn(1, 256, 32, dtype=torch.float64, requires_grad=True)
    output = module(inputs)
    (gradient,) = torch.autograd.grad(output[:, :64].square().sum(), inputs)
    changed = inputs.detach().clone()
    changed[:, 64:] *= 3
    with torch.no_grad():
        change = (module(changed) - output)[:, :64].abs().max() / output.abs().max()
    return float(change), float(gradient[:, 64:].abs().max())


softmax, relu = leak(False), leak(True)
print(f"softmax kernel: change {100 * softmax[0]:.1f} %, gradient {softmax[1]:g}; ReLU kernel: change {100 * relu[0]:g} %")
sys.exit(0 if softmax[0] > 0.01 and softmax[1] == 0 and relu[0] < 1e-12 else 1)
PY
