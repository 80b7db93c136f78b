#!/usr/bin/env bash
# transformers 5.24.0: arguments that a forward hook catches at GPT-2's attention hold a cache that already has the call's keys.
#
# The good guess: the arguments that a hook is given are the inputs of the module, so calling the module with them again is the
# same function of its inputs, and its Jacobian is that of the attention.
# The behavior: a model called for logits alone makes a key-value cache, which the attention fills during the call. Called again
# with the caught arguments it appends its keys to the full cache: there are twice as many keys as tokens, the first half
# constants. use_cache=False, or a copy of the arguments made before the call, has the expected behavior.
# Output seen: "keys after one call: 5, after the second: 10; without a cache: None".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 transformers==5.24.0
"$folder/venv/bin/python" - <<'PY'
import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel

model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=16, n_embd=8, n_layer=1, n_head=2)).eval()
attention = model.transformer.h[0].attn
caught = []
hook = attention.register_forward_hook(lambda module, args, kwargs, output: caught.append((args, kwargs)), with_kwargs=True)


def cache_of(kwargs):
    return next((value for value in kwargs.values() if hasattr(value, "get_seq_length")), None)


with torch.no_grad():
    model(torch.arange(5)[None])
    args, kwargs = caught[-1]
    cache = cache_of(kwargs)
    first = cache.get_seq_length() if cache is not None else None
    attention(*args, **kwargs)
    second = cache.get_seq_length() if cache is not None else None
    model(torch.arange(5)[None], use_cache=False)
    without = cache_of(caught[-1][1])
print(f"keys after one call: {first}, after the second: {second}; without a cache: {without}")
sys.exit(0 if (first, second, without) == (5, 10, None) else 1)
PY
