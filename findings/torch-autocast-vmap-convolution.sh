#!/usr/bin/env bash
# torch 2.13.0: autocast on a CPU does not reach convolutions under torch.func.vmap.
#
# The good guess: what autocast computes in bfloat16 for one model it computes in bfloat16 for stacked models, as it does for linear
# layers and products of matrices.
# The behavior: under vmap a convolution is taken apart before autocast sees it. It stays in float32, silently; and if its input comes
# from a linear layer, which autocast has made bfloat16, it raises a RuntimeError about the types, in a model that runs alone.
# Output seen: "alone: linear bfloat16, convolution bfloat16, both ok; stacked: linear bfloat16, convolution float32, both RuntimeError".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

x, weight, taps = torch.randn(2, 3, 8, 4), torch.randn(4, 4), torch.randn(4, 1, 3)


def linear(x: Tensor) -> Tensor:
    return functional.linear(x, weight)


def convolution(x: Tensor) -> Tensor:
    return functional.conv1d(x.mT, taps, groups=4)


def outcome(program: Callable[[], Tensor]) -> str:
    try:
        return str(program().dtype).removeprefix("torch.")
    except RuntimeError as error:
        return type(error).__name__


def outcomes(run: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> tuple[str, str, str]:
    with torch.autocast("cpu", torch.bfloat16):
        both = outcome(lambda: run(lambda x: convolution(linear(x))))
        return outcome(lambda: run(linear)), outcome(lambda: run(convolution)), "ok" if both == "bfloat16" else both


alone, stacked = outcomes(lambda program: program(x[0])), outcomes(lambda program: vmap(program)(x))
text = "; ".join(
    f"{name}: linear {found[0]}, convolution {found[1]}, both {found[2]}"
    for name, found in (("alone", alone), ("stacked", stacked))
)
print(text)
expected = ("bfloat16", "bfloat16", "ok"), ("bfloat16", "float32", "RuntimeError")
sys.exit(0 if (alone, stacked) == expected else 1)
PY
