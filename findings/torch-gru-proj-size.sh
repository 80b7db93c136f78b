#!/usr/bin/env bash
# torch 2.13.0: nn.GRU refuses the argument proj_size at the default that its documentation states.
#
# The good guess: an argument that is documented with a default may be passed at that default, so code that builds a module
# from a full list of its arguments (a configuration file, a matcher of constructor arguments) works for LSTM, GRU and RNN.
# The behavior: RNNBase, whose signature the three share, has proj_size=0. nn.LSTM accepts proj_size=0; nn.GRU and nn.RNN
# raise a ValueError for the mere presence of the keyword.
# Output seen: "LSTM ok, GRU ValueError, RNN ValueError".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import inspect
import sys

from torch import nn

default = inspect.signature(nn.RNNBase.__init__).parameters["proj_size"].default


def outcome(kind: type[nn.Module]) -> str:
    try:
        kind(4, 4, proj_size=default)
    except ValueError as error:
        return type(error).__name__
    return "ok"


found = [outcome(kind) for kind in (nn.LSTM, nn.GRU, nn.RNN)]
print(f"LSTM {found[0]}, GRU {found[1]}, RNN {found[2]}")
sys.exit(0 if default == 0 and found == ["ok", "ValueError", "ValueError"] else 1)
PY
