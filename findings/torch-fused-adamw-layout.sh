#!/usr/bin/env bash
# torch 2.13.0: AdamW(fused=True) on a CPU pairs weights and gradients by their place in memory, not by their index.
#
# The good guess: fused=True changes how fast a step is, not what it is: a gradient of the right shape gives the same step whatever
# its strides are, as with fused=False and foreach=True, and as backward() followed by step() gives.
# The behavior: the kernel reads weight, gradient and moments from the first byte on. torch.autograd.grad may return a gradient with
# other strides than its weight (here those of a transpose, because a transposed copy of the weight is used); set as .grad it is accepted without
# an error or a warning, and each weight is moved by the gradient of another.
# Output seen: "plain and foreach agree: True; fused agrees: False; fused with a contiguous gradient agrees: True".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch

torch.manual_seed(0)
start_IO, target_OI = torch.randn(3, 4), torch.randn(4, 3)


def stepped(contiguous: bool = False, **how: bool) -> torch.Tensor:
    weight_IO = torch.nn.Parameter(start_IO.clone())
    optimizer = torch.optim.AdamW([weight_IO], lr=0.1, **how)
    for _ in range(3):
        loss = (weight_IO.t().contiguous() - target_OI).square().sum()
        (grad_IO,) = torch.autograd.grad(loss, [weight_IO])
        weight_IO.grad = grad_IO.contiguous() if contiguous else grad_IO
        optimizer.step()
    return weight_IO.detach()


plain_IO = stepped(foreach=False)
foreach = torch.allclose(plain_IO, stepped(foreach=True))
fused = torch.allclose(plain_IO, stepped(fused=True))
contiguous = torch.allclose(plain_IO, stepped(True, fused=True))
print(f"plain and foreach agree: {foreach}; fused agrees: {fused}; fused with a contiguous gradient agrees: {contiguous}")
sys.exit(0 if (foreach, fused, contiguous) == (True, False, True) else 1)
PY
