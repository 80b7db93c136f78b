#!/usr/bin/env bash
# flash-linear-attention 0.6.0: the layer of DeltaFormer says that it erases by keys, and hands over its queries.
#
# The good guess: what a token erases from its value is found by comparing its key with earlier keys, as the documentation of
# DeltaFormerAttention says (K-K, not Q-K).
# The behavior: the layer calls deltaformer_attn(q=q, k=k, ...), which has no other argument for it; the plain reference of that
# operation (as its kernel) finds what is erased by the softmax of the query with earlier keys. An implementation by the
# documentation differs by tenths of the output.
# Shown with the layer loaded by path, because the package imports triton: its operation is the package's own plain reference,
# and its rotation stands in as none.
# Output seen: "documented: K-K; relative difference of the output from Q-K 1.2e-07, from K-K 0.3".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 einops==0.8.1
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps fla-core==0.6.0 flash-linear-attention==0.6.0
"$folder/venv/bin/python" -W ignore - <<'PY'
import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType

import torch

root = Path(importlib.util.find_spec("fla").submodule_search_locations[0])


def by_path(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stand_in(name: str, **values) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(values)


class NoRotation(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()

    def forward(self, q, k, **options):
        return q, k


naive = by_path("naive", root / "ops" / "deltaformer" / "naive.py")


def operation(q, k, v, beta, attention_mask, cu_seqlens):
    return naive.naive_deltaformer_attn(q, k, v, beta)


stand_in("transformers")
stand_in("transformers.utils", logging=type("logging", (), {"get_logger": staticmethod(logging.getLogger)}))
stand_in("fla")
stand_in("fla.modules", RMSNorm=None, RotaryEmbedding=NoRotation)
stand_in("fla.ops")
stand_in("fla.ops.deltaformer", deltaformer_attn=operation)
layer_type = by_path("layer", root / "layers" / "deltaformer.py").DeltaFormerAttention

torch.manual_seed(0)
heads, channels, tokens = 2, 8, 16
layer = layer_type(hidden_size=heads * channels, num_heads=heads)
x = 2 * torch.randn(1, tokens, heads * channels)


def by_hand(erase: str) -> torch.Tensor:
    q, k, v = (getattr(layer, f"{one}_proj")(x).unflatten(-1, (heads, channels)).transpose(1, 2) for one in "qkv")
    strength = layer.b_proj(x).transpose(1, 2)[..., None]
    scale = channels**-0.5
    finder = {"Q-K": q, "K-K": k}[erase]
    past = torch.ones(tokens, tokens, dtype=torch.bool).tril(-1)
    erasing = (finder @ k.mT * scale).masked_fill(~past, -torch.inf).softmax(-1).nan_to_num() * strength
    u = torch.linalg.solve_triangular(torch.eye(tokens) + erasing, v, upper=False)
    reads = (q @ k.mT * scale).masked_fill(~past & ~torch.eye(tokens, dtype=torch.bool), -torch.inf).softmax(-1)
    return layer.o_proj((reads @ u).transpose(1, 2).flatten(2))


with torch.no_grad():
    out, _, _ = layer(x)
    difference = {erase: float((out - by_hand(erase)).norm() / out.norm()) for erase in ("Q-K", "K-K")}
documented = "K-K" if "K-K similarity" in layer_type.__doc__ else "otherwise"
print(
    f"documented: {documented}; relative difference of the output from Q-K {difference['Q-K']:.1e}, "
    f"from K-K {difference['K-K']:.1f}"
)
sys.exit(0 if documented == "K-K" and difference["Q-K"] < 1e-4 and difference["K-K"] > 0.05 else 1)
PY
