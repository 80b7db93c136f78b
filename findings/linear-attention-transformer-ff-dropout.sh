#!/usr/bin/env bash
# linear-attention-transformer 0.19.1: ff_dropout and ff_glu are taken and not used.
#
# The good guess: ff_dropout=0.5 drops half of the hidden units of the feed-forward layers in training, as attn_layer_dropout
# drops what an attention adds, and ff_glu=True gates them, which doubles their first matrix.
# The behavior: both arguments reach the constructor of the layers, which makes the feed-forward nets of self-attention blocks
# without them: no dropout, no gate, no error. Only the nets of the further blocks that receives_context and attend_axially add
# get them. A search over ff_dropout compares equal models. (attn_layer_dropout, handed on beside it, works.)
# Output seen: "unlike in training: ff_dropout False, attn_layer_dropout True; parameters that ff_glu adds: 0; dropout of the
# feed-forward nets: 0.0 0.0, with a context 0.0 0.5 0.0 0.5".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 \
    linear-attention-transformer==0.19.1 linformer==0.2.3 local-attention==1.11.2 product-key-memory==0.3.0 \
    axial-positional-embedding==0.3.12 einops==0.8.2
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from linear_attention_transformer import LinearAttentionTransformerLM
from linear_attention_transformer.linear_attention_transformer import FeedForward


def model(**options: float) -> LinearAttentionTransformerLM:
    torch.manual_seed(0)
    made = LinearAttentionTransformerLM(num_tokens=16, dim=32, heads=4, depth=2, max_seq_len=64, causal=True, **options)
    return made.train()


def unlike(made: LinearAttentionTransformerLM) -> bool:
    tokens = torch.arange(64)[None] % 16
    with torch.no_grad():
        return not torch.equal(made(tokens), made(tokens))


def parameters(made: LinearAttentionTransformerLM) -> int:
    return sum(parameter.numel() for parameter in made.parameters())


def dropouts(made: LinearAttentionTransformerLM) -> str:
    return " ".join(str(net.dropout.p) for net in made.modules() if isinstance(net, FeedForward))


plain, dropped, attention = model(), model(ff_dropout=0.5), model(attn_layer_dropout=0.5)
added = parameters(model(ff_glu=True)) - parameters(plain)
rates, with_context = dropouts(dropped), dropouts(model(ff_dropout=0.5, receives_context=True))
print(
    f"unlike in training: ff_dropout {unlike(dropped)}, attn_layer_dropout {unlike(attention)}; "
    f"parameters that ff_glu adds: {added}; dropout of the feed-forward nets: {rates}, with a context {with_context}"
)
found = (unlike(dropped), unlike(attention), added, rates, with_context)
sys.exit(0 if found == (False, True, 0, "0.0 0.0", "0.0 0.5 0.0 0.5") else 1)
PY
