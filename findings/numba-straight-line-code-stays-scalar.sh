#!/usr/bin/env bash
# numba 0.68.1: straight-line code is never turned into vector instructions; only loops are.
#
# The good guess: functions are compiled at LLVM's level 3, which joins neighboring operations on neighboring elements (SLP), so a
# loop over four elements that is written out by hand is at least as fast as the loop.
# The behavior: numba's pipeline switches SLP off and keeps the vectorizer of loops. Four products of neighbors, written out, are
# four scalar products; the loop over n is vectorized. NUMBA_SLP_VECTORIZE=1, named in the list of variables, switches it on.
# Shown through the optimized LLVM code for the generic processor, whatever the machine has.
# Output seen: "by default: loop vector, written out scalar; with NUMBA_SLP_VECTORIZE=1: loop vector, written out vector".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install numba==0.68.1 numpy==2.3.5
cat > "$folder/code.py" <<'PY'
import re

from numba import njit


@njit("void(float64[::1], float64[::1], int64)")
def loop(x, out, n):
    for i in range(n):
        out[i] = x[i] * x[i]


@njit("void(float64[::1], float64[::1])")
def written_out(x, out):
    a, b, c, d = x[0] * x[0], x[1] * x[1], x[2] * x[2], x[3] * x[3]
    out[0], out[1], out[2], out[3] = a, b, c, d


def kind(function) -> str:
    (code,) = function.inspect_llvm().values()
    return "vector" if re.search(r"fmul <\d+ x double>", code) else "scalar"


print(f"loop {kind(loop)}, written out {kind(written_out)}")
PY
export NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=
default=$(env -u NUMBA_SLP_VECTORIZE "$folder/venv/bin/python" "$folder/code.py")
switched=$(NUMBA_SLP_VECTORIZE=1 "$folder/venv/bin/python" "$folder/code.py")
echo "by default: $default; with NUMBA_SLP_VECTORIZE=1: $switched"
[ "$default" = "loop vector, written out scalar" ] && [ "$switched" = "loop vector, written out vector" ]
