#!/usr/bin/env bash
# transformers 5.24.0: Moshi's sliding_window limits attention with a cache only; without one every earlier token is seen.
#
# The good guess: sliding_window is part of the model, as in Mistral: in training, in evaluation and in generation a token of
# a layer attends to that many last tokens, and use_cache changes what a step costs, not what it gives.
# The behavior: the mask of MoshiForCausalLM is plainly causal, while the cache that it makes from the same config keeps only the last
# sliding_window tokens. A call on the whole sequence, as in training, sees all of it; the same tokens given one by one with the
# cache see the window. Beyond the window the two have other outputs, and a ladder over sliding_window trains equal models.
# Output seen: "Mistral: first token seen whole False, cached False, outputs alike True; Moshi: first token seen whole True, cached
# False, outputs alike False".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 transformers==5.24.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from transformers import MistralConfig, MistralForCausalLM, MoshiConfig, MoshiForCausalLM

window, length = 8, 24
sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4}
common = {**sizes, "head_dim": 8, "max_position_embeddings": 64, "sliding_window": window, "pad_token_id": 0}


def last(model: torch.nn.Module, tokens: torch.Tensor, cached: bool) -> torch.Tensor:
    with torch.no_grad():
        if not cached:
            return model(tokens, use_cache=False).logits[0, -1]
        cache = None
        for place in range(length):
            output = model(tokens[:, place : place + 1], cache=cache, use_cache=True)
            cache = output.cache
        return output.logits[0, -1]


def examine(model: torch.nn.Module) -> tuple[bool, bool, bool]:
    model.eval()
    tokens = torch.arange(3, 3 + length)[None]
    other = tokens.clone()
    other[0, 0] = 50
    whole, steps = last(model, tokens, False), last(model, tokens, True)
    seen = [not torch.allclose(last(model, other, cached), kept, atol=1e-6) for cached, kept in ((False, whole), (True, steps))]
    return seen[0], seen[1], torch.allclose(whole, steps, atol=1e-5)


torch.manual_seed(0)
found = {
    "Mistral": examine(MistralForCausalLM(MistralConfig(intermediate_size=64, **common))),
    "Moshi": examine(MoshiForCausalLM(MoshiConfig(ffn_dim=64, **common))),
}
print("; ".join(f"{name}: first token seen whole {a}, cached {b}, outputs alike {c}" for name, (a, b, c) in found.items()))
sys.exit(0 if found == {"Mistral": (False, False, True), "Moshi": (True, False, False)} else 1)
PY
