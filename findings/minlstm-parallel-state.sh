#!/usr/bin/env bash
# minGRU-pytorch 0.2.1: minLSTM continued from a hidden state has other outputs in its parallel form than step by step.
#
# The good guess: prev_hidden continues a sequence, whether one token or several follow, so that a sequence given in two
# halves, or in one half and then token by token, gives what the whole gives. minGRU of the same package does all of it.
# The behavior: with one token minLSTM multiplies prev_hidden by the forget gate. With several it first applies the
# activation of new hidden values to prev_hidden (which adds 0.5 to a positive one) although that state has been activated
# already, so the second half is wrong by tens of percent. Sequences in chunks of two or more tokens are affected silently.
# Output seen: "minGRU: steps equal, halves equal; minLSTM: steps equal, halves N %" with N above 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 \
    minGRU-pytorch==0.2.1 einops==0.8.2
"$folder/venv/bin/python" - <<'PY'
import sys

import torch
from minGRU_pytorch import minGRU
from minGRU_pytorch.minLSTM import minLSTM

TOKENS, HALF = 40, 20


def difference(kind: type[torch.nn.Module], chunk: int) -> float:
    torch.manual_seed(0)
    module, inputs, outputs = kind(32), torch.randn(1, TOKENS, 32), []
    with torch.no_grad():
        whole = module(inputs)
        output, hidden = module(inputs[:, :HALF], return_next_prev_hidden=True)
        outputs.append(output)
        for start in range(HALF, TOKENS, chunk):
            output, hidden = module(inputs[:, start : start + chunk], hidden, return_next_prev_hidden=True)
            outputs.append(output)
    return float((torch.cat(outputs, 1) - whole).abs().max() / whole.abs().max())


sizes = [difference(kind, chunk) for kind in (minGRU, minLSTM) for chunk in (1, HALF)]
words = ["equal" if size < 1e-5 else f"{100 * size:.1f} %" for size in sizes]
print("minGRU: steps {}, halves {}; minLSTM: steps {}, halves {}".format(*words))
sys.exit(0 if max(sizes[:3]) < 1e-5 and sizes[3] > 0.01 else 1)
PY
