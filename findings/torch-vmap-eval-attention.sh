#!/usr/bin/env bash
# torch 2.13.0: models stacked with torch.func.vmap cannot be differentiated in evaluation mode if they hold nn.MultiheadAttention.
#
# The good guess: what vmap and backward() do in training mode they do in evaluation mode, which only switches dropout off; alone,
# the module has a gradient in both modes.
# The behavior: in evaluation mode the module takes a fused inference path unless an argument requires a gradient. Under vmap its
# stacked parameters do not say so, the inference path is taken, and the backward pass raises a RuntimeError: it has no derivative.
# Output seen: "alone: train ok, eval ok; stacked: train ok, eval RuntimeError".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

modules = [nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2)]
x = torch.randn(1, 5, 8)


def loss(parameters: dict[str, Tensor]) -> Tensor:
    output, _ = functional_call(modules[0], parameters, (x, x, x), {"need_weights": False})
    return output.square().sum()


def alone() -> None:
    loss(dict(modules[0].named_parameters())).backward()


def stacked() -> None:
    parameters, _ = stack_module_state(modules)
    vmap(loss)(parameters).sum().backward()


def outcome(program, training: bool) -> str:
    for module in modules:
        module.train(training)
    try:
        program()
    except RuntimeError as error:
        return type(error).__name__
    return "ok"


found = [outcome(program, training) for program in (alone, stacked) for training in (True, False)]
print(f"alone: train {found[0]}, eval {found[1]}; stacked: train {found[2]}, eval {found[3]}")
sys.exit(0 if found == ["ok", "ok", "ok", "RuntimeError"] else 1)
PY
