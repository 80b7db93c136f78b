#!/usr/bin/env bash
# muon-optimizer 0.1.0: a step overwrites the gradients that it is given, and torch 2.13.0's Muon leaves them.
#
# The good guess: optimizer.step() reads p.grad. After it, until zero_grad, the gradients are those of the loss, so their norm may be
# logged there, and a second backward adds to them.
# The behavior: the look-ahead of Nesterov's momentum, which is the default, is computed in place in p.grad. After a step it holds
# (1 - m) g + m b with b the updated momentum: at the first step, with m = 0.95, about a tenth of the gradient, later mostly the
# momentum. Neither torch.optim.Muon nor the AdamW that the package has for the other parameters does this, so in one model the
# gradients of the matrices change and those of the rest stay.
# Output seen: "left of the gradient's norm: muon 0.098, its Adam 1, torch.optim.Muon 1; steps alike: True".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 muon-optimizer==0.1.0
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from muon import SingleDeviceMuonWithAuxAdam

torch.manual_seed(0)
start, gradient, of_bias = torch.randn(16, 32), torch.randn(16, 32), torch.randn(16)


def parameter(value: torch.Tensor, slope: torch.Tensor) -> torch.nn.Parameter:
    made = torch.nn.Parameter(value.clone())
    made.grad = slope.clone()
    return made


matrix, bias = parameter(start, gradient), parameter(torch.zeros(16), of_bias)
groups = [{"params": [matrix], "lr": 0.02, "use_muon": True}, {"params": [bias], "use_muon": False}]
SingleDeviceMuonWithAuxAdam(groups).step()

peer = parameter(start, gradient)
torch.optim.Muon([peer], lr=0.02, weight_decay=0.0).step()

left = [float(made.grad.norm() / slope.norm()) for made, slope in ((matrix, gradient), (bias, of_bias), (peer, gradient))]
alike = torch.allclose(matrix, peer, atol=1e-3)
print(f"left of the gradient's norm: muon {left[0]:.3f}, its Adam {left[1]:g}, torch.optim.Muon {left[2]:g}; steps alike: {alike}")
sys.exit(0 if abs(left[0] - 0.0975) < 1e-3 and left[1:] == [1, 1] and alike else 1)
PY
