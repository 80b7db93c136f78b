#!/usr/bin/env bash
# torch 2.13.0 on a CPU: FlopCounterMode counts no operation of nn.LSTM, where it counts those of nn.GRU and nn.RNN.
#
# The good guess: the counter, which works below autograd, counts the matrix products of every layer of torch.nn alike, so models
# can be given equal budgets of operations.
# The behavior: on a CPU an LSTM is one oneDNN operator (mkldnn_rnn_layer), for which the counter has no formula: it counts 0,
# in the backward pass too, and says nothing. With oneDNN switched off the products are counted.
# Output seen: "LSTM 0, GRU 7680, RNN 2560; LSTM without oneDNN 10240".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def counted(kind: type[nn.Module]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        kind(8, 8, batch_first=True)(torch.randn(1, 10, 8))
    return counter.get_total_flops()


found = [counted(kind) for kind in (nn.LSTM, nn.GRU, nn.RNN)]
with torch.backends.mkldnn.flags(enabled=False):
    found.append(counted(nn.LSTM))
print(f"LSTM {found[0]}, GRU {found[1]}, RNN {found[2]}; LSTM without oneDNN {found[3]}")
sys.exit(0 if found == [0, 7680, 2560, 10240] else 1)
PY
