#!/usr/bin/env bash
# fla-core 0.6.0: the two plain references of COMBA in ops/comba/naive.py compute different recurrences.
#
# The good guess: naive_recurrent_comba and naive_chunk_comba are one rule, token by token and in chunks, so either may check
# an implementation.
# The behavior: the recurrent one reads the state for its correction after the decay of the token, the chunked one before it. With
# log decays of zero they agree to rounding; with decays they differ by tenths. (The arguments beta and g are in another order
# too, which keywords hide.)
# Output seen: "without decay 7.2e-07, with decay 0.2".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5 einops==0.8.1
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps fla-core==0.6.0
"$folder/venv/bin/python" -W ignore - <<'PY'
import importlib.util
import sys
from pathlib import Path

import torch
from torch.nn import functional

# By path, because the package imports triton.
place = Path(importlib.util.find_spec("fla").submodule_search_locations[0]) / "ops" / "comba" / "naive.py"
spec = importlib.util.spec_from_file_location("comba_naive", place)
naive = importlib.util.module_from_spec(spec)
spec.loader.exec_module(naive)

torch.manual_seed(0)
q, k, p, v = (torch.randn(1, 16, 2, 8) for _ in range(4))
k, p = functional.normalize(k, dim=-1), functional.normalize(p, dim=-1)
beta = torch.rand(1, 16, 2)


def difference(decay: torch.Tensor) -> float:
    inputs = {"q": q, "k": k, "v": v, "p": p, "beta": beta, "g": decay}
    recurrent, _ = naive.naive_recurrent_comba(**inputs)
    chunked, _ = naive.naive_chunk_comba(**inputs, chunk_size=8)
    return float((recurrent - chunked[:, :16]).abs().max())


without, decayed = difference(torch.zeros(1, 16, 2)), difference(-torch.rand(1, 16, 2))
print(f"without decay {without:.1e}, with decay {decayed:.1f}")
sys.exit(0 if without < 1e-5 and decayed > 0.05 else 1)
PY
