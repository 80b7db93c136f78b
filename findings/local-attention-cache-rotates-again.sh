#!/usr/bin/env bash
# local-attention 1.11.2: tokens given one by one with the cache have other outputs than the whole sequence.
#
# The good guess: LocalMHA(causal=True) called token by token with cache= and return_cache=True computes what one call with
# all tokens does, as in other attentions with a cache; LocalTransformer.generate relies on it.
# The behavior: the keys that are kept are those after the rotary embedding, and each step rotates all of them again. The
# first step after a whole prefix agrees to rounding, every later one differs by a few to twenty percent of the largest
# output. With use_rotary_pos_emb=False all steps agree, where the window is exact.
# Output seen: "first step: equal; later steps: N %; without rotary embedding: equal" with N above 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 \
    local-attention==1.11.2 hyper-connections==0.4.11 torch-einops-utils==0.2.0 einops==0.8.2
"$folder/venv/bin/python" - <<'PY'
import sys

import torch
from local_attention import LocalMHA

PREFIX, TOKENS = 20, 30


def differences(rotary: bool) -> list[float]:
    torch.manual_seed(0)
    options = {"window_size": 64, "exact_windowsize": True, "use_rotary_pos_emb": rotary}
    module = LocalMHA(dim=32, heads=4, dim_head=8, causal=True, **options).eval()
    inputs = torch.randn(1, TOKENS, 32)
    with torch.no_grad():
        whole = module(inputs)
        _, cache = module(inputs[:, :PREFIX], return_cache=True)
        found = []
        for token in range(PREFIX, TOKENS):
            output, cache = module(inputs[:, token : token + 1], cache=cache, return_cache=True)
            found.append(float((output[:, 0] - whole[:, token]).abs().max() / whole.abs().max()))
    return found


first, *later = differences(True)
plain = max(differences(False))
words = ["equal" if size < 1e-5 else f"{100 * size:.1f} %" for size in (first, max(later), plain)]
print(f"first step: {words[0]}; later steps: {words[1]}; without rotary embedding: {words[2]}")
sys.exit(0 if first < 1e-5 and max(later) > 0.01 and plain < 1e-5 else 1)
PY
